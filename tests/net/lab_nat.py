# SPDX-License-Identifier: Apache-2.0
"""A probe behind a masquerading router, and what can happen to it on the way.

    probe 10.77.0.2 --lan-- 10.77.0.1 router 198.51.100.1 --wan-- 198.51.100.9 collector

Three network namespaces; the router is nftables: what leaves by `wan` is masqueraded, what comes
in by `wan` and belongs to nothing is dropped without a word, as home routers do. Faults are rules
in the chain `faults`, cables pulled with `ip link`, entries of the connection table deleted with
conntrack, and loss and delay on the wan cable (netem, or where the kernel has none a pair of tun
devices with a process between them that drops and delays).

    python3 lab_nat.py wire NS NS LOSS DELAY_MS JITTER_MS      that process
"""
import contextlib
import os
import sys
import time

import fb

PROBE, LAN, PUBLIC, COLLECTOR = "10.77.0.2", "10.77.0.1", "198.51.100.1", "198.51.100.9"
METER = "app=native active=0 idle=300ms tcp_end=10ms max_flows=64K"
HEARTBEAT = 0.5
HAND_OVER = 2           # a session that is up must answer this long before a new one replaces it

RULES = """
table ip nat {
    chain post { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
}
table ip fw {
    chain faults { }
    chain forward {
        type filter hook forward priority filter;
        jump faults
        iifname "wan" ct state new drop
    }
    chain input { type filter hook input priority filter; iifname "wan" jump service; }
    chain service { ct state new,invalid drop; }
}
"""


class Nat:
    """The three namespaces. @wire: (loss %, delay ms, jitter ms) of the wan cable, each way."""

    def __init__(self, lab, wire=None):
        self.lab, self.wire = lab, "veth"
        for tool in ("nft", "conntrack"):
            if lab.run("sh", "-c", f"command -v {tool}", status=None).returncode != 0:
                raise fb.Skip(f"there is no {tool} here (see packaging/deps)")
        self.probe, self.router, self.collector = map(lab.namespace, "prc")
        lab.veth(self.probe, PROBE + "/24", self.router, LAN + "/24", "lan")
        if wire is None:
            self.cable()
        else:
            self.bad_cable(*wire)
        lab.run("ip", "-n", self.probe, "route", "add", "default", "via", LAN)
        lab.run("ip", "-n", self.collector, "route", "add", "default", "via", PUBLIC)
        self.sysctl("net.ipv4.ip_forward", 1)
        p = lab.run("ip", "netns", "exec", self.router, "nft", RULES, status=None)
        if p.returncode != 0:
            raise fb.Skip("nftables cannot masquerade here: " + p.stderr.strip()[:200])

    def cable(self):
        self.lab.veth(self.router, PUBLIC + "/24", self.collector, COLLECTOR + "/24", "wan")

    def bad_cable(self, loss, delay, jitter):
        netem = ["root", "netem", "loss", f"{loss}%", "delay", f"{delay}ms", f"{jitter}ms"]
        probe = self.lab.run("tc", "-n", self.router, "qdisc", "add", "dev", "lan", *netem,
                             status=None)
        if probe.returncode == 0:
            self.lab.run("tc", "-n", self.router, "qdisc", "del", "dev", "lan", "root")
            self.cable()
            for ns in (self.router, self.collector):
                self.lab.run("tc", "-n", ns, "qdisc", "add", "dev", "wan", *netem)
            self.wire = "netem"
            return
        self.wire = "tun"
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise fb.Skip("the kernel has neither netem nor /dev/net/tun")
        process = self.lab.spawn([sys.executable, "-B", os.path.abspath(__file__), "wire",
                                  self.router, self.collector, str(loss), str(delay), str(jitter)])
        ends = ((self.router, PUBLIC), (self.collector, COLLECTOR))
        for ns, address in ends:
            self.lab.wait(lambda n=ns: self.lab.run("ip", "-n", n, "link", "show", "wan",
                          status=None).returncode == 0, f"the tun device in {ns}")
            self.lab.run("ip", "-n", ns, "addr", "add", address + "/24", "dev", "wan")
            self.lab.run("ip", "-n", ns, "link", "set", "wan", "up")
        fb.check(process.poll() is None, "the wire broke")

    # ---- what an operator does, and what happens to him

    def on_router(self, *cmd, status=0):
        return self.lab.run("ip", "netns", "exec", self.router, *cmd, status=status)

    def nft(self, *words):
        self.on_router("nft", *words)

    def sysctl(self, name, value):
        self.on_router("sysctl", "-qw", f"{name}={value}")

    def fault(self, *rules):
        """Rules in the way of everything that is forwarded; none: the way is free."""
        self.nft("flush", "chain", "ip", "fw", "faults")
        for rule in rules:
            self.nft("add", "rule", "ip", "fw", "faults", *rule.split())

    def forget(self):
        """The router's table of connections is empty, as after a restart of it."""
        self.on_router("conntrack", "-F", status=None)

    def plug(self, cable, up):
        self.lab.run("ip", "-n", self.router, "link", "set", cable, "up" if up else "down")

    def move(self, address):
        """The provider gives the router another address; old connections are forgotten."""
        old = self.on_router("ip", "-4", "-o", "addr", "show", "dev", "wan").stdout.split()[3]
        self.on_router("ip", "addr", "del", old, "dev", "wan")
        self.on_router("ip", "addr", "add", address + "/24", "dev", "wan")
        self.forget()

    def connections(self, ns, port):
        """Established TCP connections of the link in a namespace."""
        p = self.lab.run("ip", "netns", "exec", ns, "cat", "/proc/net/tcp", "/proc/net/tcp6")
        n = 0
        for line in p.stdout.splitlines():
            w = line.split()
            if len(w) > 3 and w[3] == "01" and f"{port:04X}" in (w[1][-4:], w[2][-4:]):
                n += 1
        return n


class Pair(fb.Pair):
    """The probe publishes through the router (push mode), the collector listens; with a key."""

    def __init__(self, lab, nat, publish="", heartbeat=f"{HEARTBEAT}s", retry_max=1,
                 collector_heartbeat=None):
        self.lab, self.nat, self.port = lab, nat, lab.port()
        self.retry_max, self.heartbeat = retry_max, float(heartbeat.rstrip("s"))
        self.out = lab.path("collector.json")
        both = f"key_file={lab.secret()} retry_min=200ms retry_max={retry_max}s heartbeat="
        if "max_delay" not in publish:
            publish = "max_delay=100ms " + publish
        self.publish = f"publish tcp://{COLLECTOR}:{self.port} name=hub {both}{heartbeat} {publish}"
        self.subscribe = f"subscribe tcp://*:{self.port} name=in {both}"
        self.subscribe += collector_heartbeat or heartbeat
        self.json = f"json {self.out} name=file time=us flush=50ms"
        self.probe = lab.node("probe", self.publish, start=False, ns=nat.probe)
        self.collector = lab.node("collector", self.json, self.subscribe, start=False,
                                  ns=nat.collector)
        self.want, self.n_streams = None, 0

    # ---- flows all the time

    def stream(self, seconds, flows=300):
        """Begin to meter @seconds of traffic at its own pace; returns when flows arrive."""
        name = f"s{self.n_streams}"
        pcap, _ = self.lab.traffic(seconds * 1500, flows, "--pps", 1500, "--arrival-rate", 300,
                                   "--snaplen", 128, "--seed", self.n_streams + 1, "--start",
                                   1700000000 + 10000 * self.n_streams, name=name)
        local = self.lab.path(name + ".json")
        self.lab.once(f"pcap {pcap} {METER}", f"json {local} time=us")
        want = fb.whole(local)
        self.want = want if self.want is None else self.want + want
        self.n_streams += 1
        had = fb.count_lines(self.out)
        self.probe.attach(f"pcap {pcap} name={name} pace=real {METER}")
        self.lab.wait(lambda: fb.count_lines(self.out) > had, "the first flows")
        return name

    def flows_again(self, within, what):
        """Wait for records that were not there; returns how long it took."""
        began, had = time.monotonic(), fb.count_lines(self.out)
        self.lab.wait(lambda: fb.count_lines(self.out) > had, f"flows after {what}", within)
        return time.monotonic() - began

    def recovery(self):
        """Seconds a link needs at most once the way is free: the pause before the next try, its
        handshake where the first SYN was lost, and an old session that has to give way."""
        return self.retry_max + 3 + HAND_OVER

    # ---- what must hold

    def wait_up(self, within=20):
        def up():
            rows = [n.do("show peers", e) for n, e in ((self.probe, "hub"), (self.collector, "in"))]
            return all(len(r) == 1 and r[0]["state"] == "up" for r in rows) and self.subscriptions()
        self.lab.wait(up, "the link to be up at both ends", within)

    def sessions(self):
        """How often each end has had a peer come up."""
        return (self.probe.counters("hub")["peer_up"], self.collector.counters("in")["peer_up"])

    def settled(self):
        """Nothing is under way: what passed was acknowledged, or announced as lost."""
        def quiet():
            (s,) = self.probe.do("show subscriptions")
            return (s["in_flight"], s["queued"], s["acked"] + s["lost"]) == (0, 0, s["passed"])
        self.lab.wait(quiet, "everything to be acknowledged")

    def ledger(self):
        """Both equations of the subscription, at any moment."""
        for s in self.probe.do("show subscriptions"):
            fb.equal("offered", s["offered"], s["filtered"] + s["passed"])
            fb.equal("passed", s["passed"], sum(s[k] for k in (
                "acked", "in_flight", "queued", "spooled", "lost")))

    def finish(self):
        """All that was metered has arrived, once, and nothing of the faults is left."""
        for i in range(self.n_streams):
            self.lab.wait(lambda k=i: self.probe.ended(f"s{k}"), f"the end of s{i}", 60)
        self.wait_up()
        self.arrived(sum(self.want.values()))
        self.ledger()
        fb.same_multiset("flows", fb.whole(self.out), self.want)
        self.settled()
        (s,) = self.probe.do("show subscriptions")
        fb.equal("passed, acked, in flight, queued, lost",
                 [s[k] for k in ("passed", "acked", "in_flight", "queued", "lost")],
                 [s["passed"], s["passed"], 0, 0, 0])
        self.left_behind()

    def left_behind(self):
        """One peer, one connection and no complaint at either end."""
        for node, name, ns in ((self.probe, "hub", self.nat.probe),
                               (self.collector, "in", self.nat.collector)):
            e = node.endpoint(name)
            fb.equal(f"{name} at the end", (e["state"], e["why"]), ("up", ""))
            fb.equal(f"peers of {name}", len(node.do("show peers", name)), 1)
            fb.equal(f"connections of {name}", self.nat.connections(ns, self.port), 1)


# ---- a cable that loses and delays, where the kernel has no netem

def tun_in(namespace):
    """A tun device `wan` in a namespace; its packets are read and written here."""
    import ctypes
    import fcntl
    import struct
    with open(f"/run/netns/{namespace}", encoding="ascii") as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"wan", 0x1001))   # TUNSETIFF: TUN, NO_PI
    return fd


def carry(fds, loss, delay, jitter):
    """Each packet is lost with @loss, or comes out @delay +- @jitter seconds later: also overtaken."""
    import heapq
    import random
    import select
    dice, late, n = random.Random(1), [], 0
    other = {fds[0]: fds[1], fds[1]: fds[0]}
    while True:
        pause = max(0.0, late[0][0] - time.monotonic()) if late else None
        for fd in select.select(fds, [], [], pause)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(fd, 65536)
                    if dice.random() >= loss:
                        n += 1
                        due = time.monotonic() + delay + dice.uniform(-jitter, jitter)
                        heapq.heappush(late, (due, n, other[fd], packet))
        while late and late[0][0] <= time.monotonic():
            _, _, fd, packet = heapq.heappop(late)
            with contextlib.suppress(OSError):
                os.write(fd, packet)


if __name__ == "__main__":
    carry([tun_in(sys.argv[2]), tun_in(sys.argv[3])], float(sys.argv[4]) / 100,
          float(sys.argv[5]) / 1000, float(sys.argv[6]) / 1000)
