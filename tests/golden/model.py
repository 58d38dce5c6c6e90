#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The meter against a naive model of its rules.

    model.py --flowbusd PATH --gen PATH            generated captures, several sets of timeouts
    model.py --flowbusd PATH --corpus [NAME ...]   the corpus (see corpus.py), default timeouts

The model is a dictionary and the rules as they are written in daemon/flow/README.md; it shares no
code with the daemon. Records are compared as multisets: ends, packets, octets, TCP flags, first and
last time, reason of the end, and which end opened the flow where a SYN says so. A record whose
initiator was judged by service or first packet is compared without regard to direction.
"""
import argparse
import collections
import ipaddress
import json
import os
import subprocess
import sys
import tempfile

import parse

FIN, SYN, RST, ACK = 1, 2, 4, 16
LETTERS = {letter: 1 << i for i, letter in enumerate("FSRPAUECN")}
DEFAULTS = {"active": 60.0, "idle": 15.0, "tcp_end": 2.0}
STEP_BACK_US, STEP_PACKETS = 60000000, 64


class Flow:
    def __init__(self):
        self.by_syn = None       # the end that opened it, when a SYN told
        self.fins, self.finished, self.is_open = set(), False, False
        self.last = 0            # on the meter's clock

    def begin(self, now, ts):
        self.is_open, self.first, self.start, self.end = True, now, ts, ts
        self.packets, self.octets, self.flags = [0, 0], [0, 0], [0, 0]


class Model:
    def __init__(self, active, idle, tcp_end):
        self.active, self.idle, self.tcp_end = (int(t * 1e6) for t in (active, idle, tcp_end))
        self.flows, self.records, self.now = {}, collections.Counter(), 0

    def due(self, f):
        """(when, why) the entry must be looked at next."""
        least = None
        if self.tcp_end and f.finished:
            least = (f.last + self.tcp_end, "finished")
        if self.idle and (least is None or f.last + self.idle < least[0]):
            least = (f.last + self.idle, "idle")
        if self.active and f.is_open and (least is None or f.first + self.active < least[0]):
            least = (f.first + self.active, "active")
        return least

    def expire(self, key):
        """Do what is due by now; the entry, or None when it has left."""
        f = self.flows.get(key)
        while f is not None:
            due = self.due(f)
            if due is None or due[0] > self.now:
                return f
            self.record(key, f, due[1])
            if due[1] != "active":
                del self.flows[key]
                return None
        return None

    def record(self, key, f, why):
        if f.is_open:
            self.records[form(key, f, why)] += 1
        f.is_open = False

    def packet(self, ts, p):
        self.now = max(self.now, ts)
        if p is None:
            return
        a, b, side = (p.src, p.sport), (p.dst, p.dport), 0
        if (len(a[0]), a) > (len(b[0]), b):
            a, b, side = b, a, 1
        key = (p.proto, a, b)
        f = self.expire(key)
        if f is not None and f.finished and self.tcp_end and p.tcp_flags & (SYN | ACK) == SYN:
            self.record(key, f, "finished")
            f = None
        if f is None:
            f = self.flows[key] = Flow()
        if not f.is_open:
            f.begin(self.now, ts)
        f.packets[side] += 1
        f.octets[side] += p.length
        f.flags[side] |= p.tcp_flags
        f.start, f.end, f.last = min(f.start, ts), max(f.end, ts), self.now
        if p.tcp_flags & SYN and f.by_syn is None:
            f.by_syn = 0 if a == b else side ^ bool(p.tcp_flags & ACK)
        if p.tcp_flags & FIN:
            f.fins.add(side)
        f.finished = f.finished or bool(p.tcp_flags & RST) or len(f.fins) == 2

    def finish(self):
        for key in list(self.flows):
            f = self.expire(key)
            if f is not None:
                self.record(key, f, "forced")
        return self.records


def form(key, f, why):
    """A record for comparing: unordered ends unless a SYN said who opened it."""
    sides = [(end, f.packets[i], f.octets[i], f.flags[i]) for i, end in enumerate(key[1:])]
    if f.by_syn is not None:
        return ("syn", key[0], sides[f.by_syn], sides[not f.by_syn], f.start, f.end, why)
    return ("any", key[0], *sorted(sides), f.start, f.end, why)


def daemon_form(r):
    def flags(name):
        return sum(LETTERS[x] for x in r.get(name, ""))
    sides = [((ipaddress.ip_address(r["src_addr"]).packed, r.get("src_port", 0)), r["packets"],
              r["bytes"], flags("tcp_flags")),
             ((ipaddress.ip_address(r["dst_addr"]).packed, r.get("dst_port", 0)),
              r.get("rev_packets", 0), r.get("rev_bytes", 0), flags("rev_tcp_flags"))]
    by_syn = r["direction_by"] == "syn"
    return ("syn" if by_syn else "any", int(r["proto"]), *(sides if by_syn else sorted(sides)),
            r["start"], r["end"], r["end_reason"])


def run_daemon(daemon, path, timeouts):
    options = " ".join(f"{k}={int(v * 1e6)}us" for k, v in timeouts.items())
    p = subprocess.run([daemon, "--once", "--attach", f"pcap {path} app=off {options}",
                        "--attach", "json - time=us"], capture_output=True, text=True, timeout=300,
                       stdin=subprocess.DEVNULL, check=False)
    return p, collections.Counter(daemon_form(json.loads(x)) for x in p.stdout.splitlines())


def compare(name, want, got):
    missing, extra = want - got, got - want
    if not missing and not extra:
        print(f"{name}: {sum(want.values())} records agree")
        return True
    print(f"{name}: {sum(got.values())} records, the model has {sum(want.values())}; "
          f"{sum(missing.values())} missing, {sum(extra.values())} unexpected")
    for x in sorted(missing, key=str)[:4]:
        print("  missing   ", x)
    for x in sorted(extra, key=str)[:4]:
        print("  unexpected", x)
    return False


def modelled(path, timeouts):
    m = Model(**timeouts)
    for ts, p in parse.packets(path):
        m.packet(ts, p)
    return m.finish()


def one(daemon, name, path, timeouts):
    want = modelled(path, timeouts)
    p, got = run_daemon(daemon, path, timeouts)
    if p.returncode != 0:
        print(f"{name}: status {p.returncode}: {p.stderr.strip()}")
        return False
    return compare(name, want, got)


def generated(daemon, gen):
    """Long enough in packet time for every kind of end; few flows, so that they come back."""
    good = True
    with tempfile.TemporaryDirectory() as d:
        for i, (packets, options) in enumerate((
                (60000, ["--flows", "300", "--pps", "400", "--vlan", "30"]),
                (40000, ["--flows", "60", "--pps", "200", "--tcp", "100", "--udp", "0",
                         "--icmp", "0", "--arrival-rate", "2", "--zipf", "0"]),
                (60000, ["--flows", "5000", "--pps", "3000", "--random-ports"]))):
            path = os.path.join(d, f"g{i}.pcap")
            subprocess.run([gen, "--packets", str(packets), "--out", path, "--seed", str(i + 1),
                            *options], check=True, timeout=60)
            for timeouts in (DEFAULTS, {"active": 10.0, "idle": 3.0, "tcp_end": 0.05},
                             {"active": 0.0, "idle": 2.5, "tcp_end": 0.0},
                             {"active": 1.0, "idle": 30.0, "tcp_end": 31.0},
                             {"active": 0.0, "idle": 0.0, "tcp_end": 0.0}):
                label = f"generated {i} " + " ".join(f"{k}={v:g}s" for k, v in timeouts.items())
                good &= one(daemon, label, path, timeouts)
    return good


def corpus(daemon, names):
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    data = os.environ.get("FLOWBUS_DATA") or os.path.join(source, "..", "shared", "data")
    where = os.path.join(data, "packets")
    if not os.path.isdir(where):
        print(f"skipped: no corpus in {data} (FLOWBUS_DATA names its directory)")
        return None
    n, bad, unread, steps = 0, [], 0, 0
    for name in sorted(os.listdir(where)):
        if names and not any(x in name for x in names):
            continue
        path = os.path.join(where, name)
        try:
            with open(os.path.join(data, "expected", "packets",
                                   name.rsplit(".", 1)[0] + ".json"), encoding="utf-8") as f:
                if json.load(f)["capture"]["expect"] != "process":
                    raise parse.Unreadable("not for processing")
            stepping = clock_steps(path)
            want = modelled(path, DEFAULTS)
        except (parse.Unreadable, IndexError, KeyError):
            unread += 1          # corpus.py checks how the daemon refuses these
            continue
        if stepping:
            steps += 1           # the clock rule for steps back is not part of the model
            continue
        p, got = run_daemon(daemon, path, DEFAULTS)
        n += 1
        if p.returncode != 0:
            print(f"{name}: status {p.returncode}: {p.stderr.strip()}")
            bad.append(name)
        elif not compare(name, want, got):
            bad.append(name)
    print(f"{n} captures, {len(bad)} differ; not compared: {unread} unreadable, "
          f"{steps} whose clock is set back")
    return not bad and n > 0


def clock_steps(path):
    """Does the source's clock go back for good?"""
    now = back = 0
    for ts, _ in parse.packets(path):
        back = back + 1 if ts < now - STEP_BACK_US else 0
        now = max(now, ts)
        if back >= STEP_PACKETS:
            return True
    return False


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--flowbusd", required=True)
    a.add_argument("--gen")
    a.add_argument("--corpus", action="store_true")
    a.add_argument("names", nargs="*")
    a = a.parse_args()
    good = corpus(a.flowbusd, a.names) if a.corpus else generated(a.flowbusd, a.gen)
    return 77 if good is None else 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
