#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare what flowbus makes of a corpus of captures with expectations of independent decoders.

    corpus.py --packets TOOL     decode every packet with the `packets` tool (reader and decoder only)
    corpus.py --flowbusd PATH    run flowbusd over every file: --attach pcap --attach json --once
    corpus.py ... [NAME ...]     only captures whose name contains one of these

The corpus is not part of the repository: FLOWBUS_DATA names its directory (packets/ and
expected/packets/), else ../shared/data beside the source directory. Absent: exit 77, skipped.

Packets are compared by outer counts and by the multiset of flows; the two ends of a flow are not
ordered (who opened it is the meter's judgement, not the decoder's). The expectations know no
timeouts, so the daemon runs with idle=0 active=0 tcp_end=0; records of one key are added up.
"""
import argparse
import collections
import ipaddress
import json
import os
import subprocess
import sys

FRAGMENT, LATER_FRAGMENT, HAS_VLAN = 1, 2, 64


class Got:
    """What was found in one capture, whichever program read it."""

    def __init__(self):
        self.counts = collections.Counter()
        self.flows = {}          # key -> [packets, bytes] of each end, ends in order of the key
        self.status, self.message = 0, ""

    def add(self, proto, src, sport, dst, dport, packets, octets, rev_packets, rev_octets):
        a, b = (src, sport), (dst, dport)
        fwd, rev = (packets, octets), (rev_packets, rev_octets)
        if a > b:
            a, b, fwd, rev = b, a, rev, fwd
        f = self.flows.setdefault((proto, a, b), [0, 0, 0, 0])
        if a == b:               # the directions cannot be told apart
            fwd, rev = (fwd[0] + rev[0], fwd[1] + rev[1]), (0, 0)
        for i, v in enumerate(fwd + rev):
            f[i] += v


def address(text):
    return ipaddress.ip_address(text).packed


def run_packets(tool, path):
    got = Got()
    p = subprocess.run([tool, path], capture_output=True, text=True, timeout=120)
    got.status, got.message = p.returncode, p.stderr.strip()
    for line in p.stdout.splitlines():
        w = line.split()
        got.counts["packets"] += 1
        got.counts["captured_bytes"] += int(w[1])
        got.counts["wire_bytes"] += int(w[2])
        flags = int(w[5])
        got.counts["vlan_packets"] += bool(flags & HAS_VLAN)
        if w[4] != "ip":
            got.counts["non_ip_packets" if w[4] == "non_ip" else "malformed_ip_packets"] += 1
            continue
        proto, src, sport, dst, dport, octets = (
            int(w[6]), address(w[7]), int(w[8]), address(w[9]), int(w[10]), int(w[11]))
        got.counts["ip_packets"] += 1
        got.counts["ipv4_packets" if len(src) == 4 else "ipv6_packets"] += 1
        got.counts["ip_bytes"] += octets
        got.counts["fragments"] += bool(flags & FRAGMENT)
        got.counts["non_first_fragments"] += bool(flags & LATER_FRAGMENT)
        got.add(proto, src, sport, dst, dport, 1, octets, 0, 0)
    return got


def run_flowbusd(daemon, path):
    got = Got()
    p = subprocess.run(
        [daemon, "--attach", f"pcap {path} idle=0 active=0 tcp_end=0 app=off max_flows=1M",
         "--attach", "json - time=us", "--once"], capture_output=True, text=True, timeout=120)
    got.status, got.message = p.returncode, p.stderr.strip()
    for line in p.stdout.splitlines():
        r = json.loads(line)
        proto = r["proto"]
        got.add(int(proto), address(r["src_addr"]), r.get("src_port", 0), address(r["dst_addr"]),
                r.get("dst_port", 0), r["packets"], r["bytes"], r.get("rev_packets", 0),
                r.get("rev_bytes", 0))
        got.counts["ip_packets"] += r["packets"] + r.get("rev_packets", 0)
        got.counts["ip_bytes"] += r["bytes"] + r.get("rev_bytes", 0)
    return got


def wanted_flows(want):
    columns = {name: i for i, name in enumerate(want["flow_columns"])}
    got = Got()
    for f in want["flows"]:
        got.add(*(f[columns["proto"]], address(f[columns["src"]]), f[columns["sport"]],
                  address(f[columns["dst"]]), f[columns["dport"]]),
                *(f[columns[c]] for c in ("fwd_packets", "fwd_bytes", "rev_packets", "rev_bytes")))
    return got.flows


def compare_flows(want, got, bad):
    outer = want["outer"]
    if len(got.flows) != outer["flows_bidirectional"]:
        bad.append(f"{len(got.flows)} flows, expected {outer['flows_bidirectional']}")
    if len(want["flows"]) != outer["flows_bidirectional"]:
        return                   # the list of expected flows is cut
    flows = wanted_flows(want)
    for key in sorted(set(flows) | set(got.flows)):
        if flows.get(key) != got.flows.get(key):
            bad.append(f"flow {key}: {got.flows.get(key)}, expected {flows.get(key)}")


def check(want, got, with_packets):
    """The differences as a list of sentences."""
    bad, capture, outer = [], want["capture"], want.get("outer")
    expect = capture["expect"]
    if expect.startswith("reject"):
        if got.status in (0, 3) or got.status < 0 or not got.message:
            bad.append(f"status {got.status}, expected {expect}")
        return bad
    if expect != "process" and got.status not in (0, 3) and got.status > 0 and got.message:
        return bad               # "process, or stop with a clear message": it stopped
    if capture["read_error"] is not None:
        if got.status == 0 or not got.message:
            bad.append("read without complaint, expected: " + capture["read_error"])
    elif got.status != 0:
        bad.append(f"status {got.status}: {got.message}")
    names = ["ip_packets", "ip_bytes"]
    if with_packets:
        names += ["ipv4_packets", "ipv6_packets", "non_ip_packets", "malformed_ip_packets",
                  "fragments", "non_first_fragments"]
        for name in ("packets", "captured_bytes", "wire_bytes"):
            if got.counts[name] != capture[name]:
                bad.append(f"{name} {got.counts[name]}, expected {capture[name]}")
        # the expectation forgets the outer tags of a packet whose tunnel is cut short
        vlan, link = got.counts["vlan_packets"], want["encapsulation"]
        if vlan < link["vlan_packets"] or (vlan > link["vlan_packets"] and not link["tunnels"]):
            bad.append(f"vlan_packets {vlan}, expected {link['vlan_packets']}")
    for name in names:
        if got.counts[name] != outer[name]:
            bad.append(f"{name} {got.counts[name]}, expected {outer[name]}")
    compare_flows(want, got, bad)
    return bad


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--packets")
    a.add_argument("--flowbusd")
    a.add_argument("names", nargs="*")
    a = a.parse_args()
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    data = os.environ.get("FLOWBUS_DATA") or os.path.join(source, "..", "shared", "data")
    expected = os.path.join(data, "expected", "packets")
    if not os.path.isdir(expected):
        print(f"skipped: no corpus in {data} (FLOWBUS_DATA names its directory)")
        return 77
    n = n_bad = 0
    for name in sorted(os.listdir(expected)):
        if a.names and not any(x in name for x in a.names):
            continue
        with open(os.path.join(expected, name)) as f:
            want = json.load(f)
        path = os.path.join(data, want["file"])
        got = run_packets(a.packets, path) if a.packets else run_flowbusd(a.flowbusd, path)
        bad = check(want, got, bool(a.packets))
        n, n_bad = n + 1, n_bad + bool(bad)
        for line in bad[:5]:
            print(f"{name}: {line}")
    print(f"{n} captures, {n_bad} differ")
    return 1 if n_bad or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
