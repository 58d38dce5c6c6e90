#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Live capture between two network namespaces: every packet once, both directions in one record.

    capture.py INPUT_RUN [TEST ...]        (needs root; exit 77 without)
"""
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

A, B = (f"flowbus-{x}{os.getpid()}" for x in "ab")  # others may run the same


def sh(*words, ns=None):
    words = (["ip", "netns", "exec", ns] if ns else []) + list(words)
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def make_link():
    sh("ip", "link", "add", "va0", "netns", A, "type", "veth", "peer", "name", "vb0", "netns", B)
    for ns, dev, host in ((A, "va0", 1), (B, "vb0", 2)):
        # IPv6 would send packets of its own
        sh("sysctl", "-qw", f"net.ipv6.conf.{dev}.disable_ipv6=1", ns=ns)
        sh("ip", "addr", "add", f"10.9.0.{host}/24", "dev", dev, ns=ns)
        sh("ip", "link", "set", dev, "up", ns=ns)
        sh("ip", "link", "set", "lo", "up", ns=ns)


def in_namespace(ns):
    """Move this thread; sockets made here stay in the namespace."""
    import ctypes
    fd = os.open(f"/run/netns/{ns}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(fd)


PORTS = iter(range(20000, 32000))  # a port twice would be one flow


def udp_sockets():
    """Sockets of both sides, made in a thread of their own per namespace."""
    made = {}

    def make(ns, port):
        in_namespace(ns)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("10.9.0.1" if ns == A else "10.9.0.2", port))
        s.settimeout(5)
        made[ns] = s

    for ns, port in ((A, next(PORTS)), (B, 5300)):
        t = threading.Thread(target=make, args=(ns, port))
        t.start()
        t.join()
    return made[A], made[B]


class Probe:
    """input_run in namespace A."""

    def __init__(self, tool, words):
        self.p = subprocess.Popen(["ip", "netns", "exec", A, tool, words], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.q = [], queue.Queue()
        threading.Thread(target=self.reader, daemon=True).start()

    def reader(self):
        for line in self.p.stdout:
            self.q.put(line.rstrip("\n"))
        self.q.put(None)

    def wait(self, what, timeout=10):
        """The first line not looked at yet that begins with @what."""
        end = time.monotonic() + timeout
        while True:
            line = self.q.get(timeout=max(0.01, end - time.monotonic()))
            assert line is not None, f"ended before {what!r}: {self.lines[-3:]}"
            self.lines.append(line)
            if line.startswith(what):
                return line

    def finish(self):
        self.p.stdin.close()
        while (line := self.q.get(timeout=20)) is not None:
            self.lines.append(line)
        assert self.p.wait() == 0, self.p.stderr.read()

    def flows(self):
        return [json.loads(x[5:]) for x in self.lines if x.startswith("flow ")]

    def seconds(self):
        return [json.loads(x[7:]) for x in self.lines if x.startswith("second ")]

    def counters(self):
        line = next(x for x in self.lines if x.startswith("counters "))
        return {k: int(v) for k, v in (w.split("=") for w in line.split()[1:])}


def exchange(n_flows, n_each):
    """@n_flows UDP flows, each @n_each packets there and as many back."""
    for _ in range(n_flows):
        a, b = udp_sockets()
        for i in range(n_each):
            a.sendto(b"ping" * 5, ("10.9.0.2", 5300))
            data, peer = b.recvfrom(100)
            b.sendto(data * 2, peer)
            a.recvfrom(100)
        a.close()
        b.close()


def check_exchange(p, n_flows, n_each):
    flows = [f for f in p.flows() if f["proto"] == 17 and 5300 in (f["src_port"], f["dst_port"])]
    keys = {(min(f["src_port"], f["dst_port"]), max(f["src_port"], f["dst_port"])) for f in flows}
    assert p.counters()["pkt_dropped_kernel"] == 0, p.counters()
    assert len(keys) == n_flows, f"{len(keys)} flows, expected {n_flows}: {p.counters()}"
    assert len(flows) == n_flows, f"{len(flows)} records: a flow was split"
    for f in flows:
        assert f["packets"] == n_each and f["rev_packets"] == n_each, f
        assert {f["bytes"], f["rev_bytes"]} == {n_each * 48, n_each * 68}, f
        assert f["in_if"] > 0, f
    c = p.counters()
    assert c["pkt_seen"] == c["pkt_metered"] + c["pkt_non_ip"] + c["pkt_malformed"], c
    assert c["pkt_metered"] == sum(f["packets"] + f["rev_packets"] for f in p.flows()), c
    assert c["pkt_dropped_kernel"] == 0, c


def test_workers(tool, n):
    p = Probe(tool, f"capture va0 workers={n} app=off ring=8M idle=60s filter='udp or arp'")
    p.wait("state up")
    exchange(40, 10)
    time.sleep(1.5)
    p.finish()
    check_exchange(p, 40, 10)
    seconds = p.seconds()
    assert len({s["second"] for s in seconds}) == len(seconds), "a second was given twice"
    assert sum(s["packets"] for s in seconds) == p.counters()["pkt_seen"]
    assert all(s["interface"] == "va0" for s in seconds)
    late = [s["late_us"] for s in seconds[:-1]]
    assert late and max(late) < 450000, late
    return f"seconds late by {min(late) // 1000}-{max(late) // 1000} ms"


def test_idle_without_packets(tool):
    """Flows end and are given although no more packets come."""
    p = Probe(tool, "capture va0 app=off ring=1M idle=500ms filter=udp")
    p.wait("state up")
    exchange(1, 1)
    sent = time.monotonic()
    p.wait("flow ", 5)
    took = time.monotonic() - sent
    p.finish()
    assert 0.3 < took < 3, took
    return f"given {took:.2f} s after the last packet, idle=500ms"


def test_vanish(tool, n):
    """The interface is removed and made again: down with the reason, then up, counts kept."""
    p = Probe(tool, f"capture va0 workers={n} app=off ring=1M idle=60s filter=udp")
    p.wait("state up")
    exchange(3, 2)
    time.sleep(0.3)
    sh("ip", "link", "del", "va0", ns=A)
    line = p.wait("state down", 5)
    assert "va0" in line and "every second" in line, line
    time.sleep(1.2)
    make_link()
    p.wait("state up", 5)
    exchange(3, 2)
    time.sleep(0.3)
    p.finish()
    check_exchange(p, 6, 2)
    seen = {f["in_if"] for f in p.flows()}
    assert len(seen) == 2, f"the interface was made again: {seen}"


def test_flapping(tool, n):
    """Removed and made again many times, also while it is being opened: up when that is over."""
    p = Probe(tool, f"capture va0 workers={n} app=off ring=1M idle=60s filter=udp")
    p.wait("state up")
    end, i = time.monotonic() + 6, 0
    while time.monotonic() < end:
        sh("ip", "link", "del", "va0", ns=A)
        time.sleep(0.01)
        make_link()
        i += 1
        time.sleep(0.03 + 0.02 * (i % 8))
    time.sleep(2.5)
    exchange(3, 2)
    time.sleep(0.3)
    p.finish()
    check_exchange(p, 3, 2)
    states = [x.split()[1] for x in p.lines if x.startswith("state ")]
    assert states[-1] == "up" and states.count("up") > 2, states
    return f"{i} times, {states.count('up')} times up"


def test_down_and_up(tool):
    p = Probe(tool, "capture va0 app=off ring=1M filter=udp")
    p.wait("state up")
    sh("ip", "link", "set", "va0", "down", ns=A)
    line = p.wait("state degraded", 5)
    assert "ip link set va0 up" in line, line
    sh("ip", "link", "set", "va0", "up", ns=A)
    p.wait("state up", 5)
    exchange(2, 2)
    time.sleep(0.3)
    p.finish()
    check_exchange(p, 2, 2)


def test_down_at_start(tool, n):
    """Attached while the interface is down: seconds say 0 packets, and it works once it is up."""
    sh("ip", "link", "set", "va0", "down", ns=A)
    p = Probe(tool, f"capture va0 workers={n} app=off ring=1M idle=60s filter=udp")
    line = p.wait("state down")
    assert "ip link set va0 up" in line and "every second" in line, line
    p.wait("second ", 5)
    p.wait("second ", 5)
    sh("ip", "link", "set", "va0", "up", ns=A)
    p.wait("state up", 5)
    exchange(2, 2)
    time.sleep(0.3)
    p.finish()
    check_exchange(p, 2, 2)
    numbers = [s["second"] for s in p.seconds()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    assert p.seconds()[0]["packets"] == 0


def test_any(tool):
    """The device any sees what va0 sees; in_if is va0's."""
    p = Probe(tool, "capture any app=off ring=1M filter='udp and port 5300'")
    p.wait("state up")
    exchange(2, 3)
    time.sleep(0.3)
    p.finish()
    flows = p.flows()
    assert sorted((f["packets"], f["rev_packets"]) for f in flows) == [(3, 3), (3, 3)], flows
    index = json.loads(sh("ip", "-j", "link", "show", "va0", ns=A))[0]["ifindex"]
    assert all(f["in_if"] == index for f in flows), flows


def raw_socket(ns, dev):
    made = []

    def make():
        in_namespace(ns)
        made.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        made[0].bind((dev, 0))

    t = threading.Thread(target=make)
    t.start()
    t.join()
    return made[0]


def frame(sport, tag=b""):
    return (b"\xff" * 6 + b"\2\0\0\0\0\1" + tag + b"\x08\0" +
            bytes.fromhex("4500001e00010000401100000a0900020a090001") +
            sport.to_bytes(2, "big") + bytes.fromhex("0035000a00006162"))


def test_start_under_load(tool, n):
    """Workers that join while packets come: each packet, a flow of its own, is seen once."""
    s, stop = raw_socket(B, "vb0"), threading.Event()
    sent = []

    def send():
        while not stop.is_set() and len(sent) < 60000:
            for _ in range(20):
                s.send(frame(1024 + len(sent)))
                sent.append(None)
            time.sleep(0.001)

    t = threading.Thread(target=send)
    t.start()
    try:
        p = Probe(tool, f"capture va0 workers={n} app=off ring=4M filter=udp")
        p.wait("state up")
        time.sleep(0.5)
    finally:
        stop.set()
        t.join()
        s.close()
    time.sleep(0.3)
    p.finish()
    ports = [f["src_port"] for f in p.flows()]
    assert len(ports) > 1000, len(ports)
    assert len(ports) == len(set(ports)), "a packet was seen by two workers"
    assert all(f["packets"] == 1 for f in p.flows())
    assert max(ports) == 1023 + len(sent), "the last packet is missing"
    # from the first packet seen by all on, none is missing
    first_whole = sorted(ports)[len(ports) // 2]
    assert set(range(first_whole, max(ports))) <= set(ports), "packets are missing"
    return f"{len(ports)} of {len(sent)} packets, from the moment of joining on"


def test_drops(tool, n):
    """A probe that is held up loses packets, and knows how many."""
    p = Probe(tool, f"capture va0 workers={n} app=off ring=256K filter=udp")
    p.wait("state up")
    s, sent = raw_socket(B, "vb0"), 30000
    pids = [int(x) for x in subprocess.run(["pgrep", "-P", str(p.p.pid)], capture_output=True,
                                           text=True).stdout.split()] or [p.p.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for i in range(sent):
        s.send(frame(1024 + i % 500))
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    s.close()
    time.sleep(2.5)
    p.finish()
    c = p.counters()
    assert c["pkt_dropped_kernel"] > 1000, c
    assert c["pkt_seen"] + c["pkt_dropped_kernel"] == sent, c
    dropped = sum(s["drops_kernel"] for s in p.seconds())
    assert dropped == c["pkt_dropped_kernel"], dropped
    return f"{c['pkt_dropped_kernel']} of {sent} dropped and counted"


def test_snaplen(tool):
    """Without detection only headers are copied, unless somebody asked for more."""
    for options, cut in (("app=off", 1), ("app=native", 0), ("app=off snaplen=2K", 0)):
        p = Probe(tool, f"capture va0 {options} ring=1M filter=udp")
        p.wait("state up")
        s = raw_socket(B, "vb0")
        s.send(frame(4000)[:16] + b"\x02\x1e" + frame(4000)[18:] + bytes(512))
        s.close()
        time.sleep(0.3)
        p.finish()
        c, f = p.counters(), p.flows()
        assert c["pkt_truncated"] == cut and c["pkt_metered"] == 1, (options, c)
        assert f[0]["bytes"] == 0x21e and f[0]["src_port"] == 4000, f


def test_vlan(tool):
    """A tag that the kernel takes out of the frame is seen all the same."""
    p = Probe(tool, "capture va0 app=off ring=1M filter='vlan and udp'")
    p.wait("state up")
    s = raw_socket(B, "vb0")
    for _ in range(3):
        s.send(frame(5353, bytes.fromhex("8100204d")))
    s.close()
    time.sleep(0.3)
    p.finish()
    flows = p.flows()
    assert len(flows) == 1 and flows[0]["vlan"] == 77 and flows[0]["packets"] == 3, flows


def refused(tool, words, *wanted, before=(), ns=A):
    p = subprocess.run(["ip", "netns", "exec", ns, *before, tool, words], capture_output=True,
                       text=True, stdin=subprocess.DEVNULL)
    assert p.returncode == 1 and p.stdout == "", p
    for w in wanted:
        assert w in p.stderr, f"{w!r} not in {p.stderr!r}"


def test_refused(tool):
    refused(tool, "capture va1", 'no interface "va1"', "va0")
    refused(tool, "capture va0 filter='port of call'", "port of call", "tcpdump")
    refused(tool, "capture va0 ring=3G", "2047M")
    sh("ip", "link", "set", "va0", "down", ns=A)
    refused(tool, "capture va0 filter='port of call'", "port of call", "tcpdump")
    sh("ip", "link", "set", "va0", "up", ns=A)
    refused(tool, "capture va0", "not permitted", "CAP_NET_RAW",
            before=("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all",
                    "--inh-caps=-all"))


def main():
    if os.geteuid() != 0:
        print("skipped: needs root for network namespaces")
        return 77
    tool, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    tests = [(test_workers, 1), (test_workers, 4), (test_start_under_load, 4),
             (test_snaplen,), (test_drops, 1), (test_drops, 2), (test_idle_without_packets,),
             (test_vanish, 1), (test_vanish, 3), (test_flapping, 1), (test_flapping, 3), (test_down_and_up,),
             (test_down_at_start, 1), (test_down_at_start, 2),
             (test_any,), (test_vlan,), (test_refused,)]
    failed = 0
    for fn, *args in tests:
        if names and fn.__name__ not in names:
            continue
        for ns in (A, B):
            subprocess.run(["ip", "netns", "del", ns], capture_output=True)
            sh("ip", "netns", "add", ns)
        name = fn.__name__ + "".join(f"({x})" for x in args)
        try:
            make_link()
            print(f"ok      {name} {fn(tool, *args) or ''}", flush=True)
        except (AssertionError, queue.Empty, OSError, subprocess.CalledProcessError) as e:
            failed += 1
            print(f"FAILED  {name}: {type(e).__name__} {e} {getattr(e, 'stderr', '')}", flush=True)
        finally:
            for ns in (A, B):
                subprocess.run(["ip", "netns", "del", ns], capture_output=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
