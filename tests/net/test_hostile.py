#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile peers on real sockets: some have the key, some have not, some speak no ZeroMQ at all. They
send whatever comes to mind for a few seconds; honest peers of the same ends lose nothing, double
nothing and keep their sessions. FLOWBUS_SEED repeats a run.

Needs python3-zmq; without it these tests skip themselves."""
import collections
import json
import os
import random
import socket
import sys
import time

import fb

sys.path.insert(0, os.path.join(fb.ROOT, "tests", "tools"))
try:
    import zmq

    import flowbus_client as fc
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

SECONDS = 4
EDGES = (0, 1, 2, 255, 4096, 4097, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
FILTERS = ("", "app http", "proto tcp and", "((((", "bytes > 1 or " * 60 + "bytes > 2", "proto udp",
           "src port in (" + ",".join(map(str, range(900))) + ")", "\0\xff")


class Hostile:
    """One socket; it has learnt the protocol, and what it heard it may say again."""

    def __init__(self, rnd, context, address, role, claim=None, bind=False, keys=None, key=None):
        self.rnd, self.context, self.address, self.role = rnd, context, address, role
        self.claim, self.bind, self.keys, self.key = claim, bind, keys, key
        self.n, self.sock = 0, None
        self.open()

    def open(self):
        if self.sock is not None:
            self.sock.close(0)
        self.sock = s = self.context.socket(zmq.ROUTER if self.bind else zmq.DEALER)
        s.linger, s.rcvhwm, s.sndhwm = 0, 100, 100
        if self.keys:
            s.curve_serverkey = self.keys[0]
            public, secret = (self.keys[2], self.keys[3]) if self.key is None else self.key
            s.curve_publickey, s.curve_secretkey = public, secret
        self.me, self.peer, self.channel, self.next = 1, 0, 0, 1
        self.rid, self.kept, self.reads = b"", [], self.rnd.random() < 0.7
        (s.bind if self.bind else s.connect)(self.address)

    def put(self, *parts):
        try:
            self.sock.send_multipart(([self.rid] if self.bind else []) + list(parts), zmq.DONTWAIT)
            self.n += 1
        except zmq.ZMQError:
            pass
        self.kept = (self.kept + [parts])[-20:]

    def hear(self):
        for _ in range(30):
            try:
                parts = self.sock.recv_multipart(zmq.DONTWAIT)
            except zmq.ZMQError:
                return
            if self.bind:
                self.rid = parts.pop(0)
            try:
                name, sender, _, items = fc.decode(parts[0])
            except (fc.Bad, fc.frame.Bad):
                raise fb.Failed(f"{self.address} sent a damaged message: {parts[0]!r}") from None
            self.peer = sender
            self.channel = items.get("channel", self.channel)
            self.next = items.get("next", items.get("seq", self.next))
            self.kept = (self.kept + [parts])[-20:]
            if name == "PING" and self.rnd.random() < 0.8:
                self.put(self.message("PONG", echo_time=items["time"], echo_mono=items["mono"],
                                      recv=1, time=1))

    def message(self, name, /, **items):
        must, may = fc.MESSAGES[name][1:]
        wanted = list(must) + [i for i in may if self.rnd.random() < 0.3]
        if self.rnd.random() < 0.05:
            wanted = wanted[1:]
        out = b"FL\1" + bytes([fc.MESSAGES[name][0]])
        pair = (self.me, 0 if name == "HELLO" else self.peer)
        if self.rnd.random() < 0.05:
            pair = self.rnd.sample((self.me, self.peer, 0, self.rnd.getrandbits(64)), 2)
        out += b"".join(x.to_bytes(8, "little") for x in pair)
        for item in wanted:
            tag, kind, most = fc.ITEMS[item]
            value = items.get(item, self.value(item, kind, most))
            if isinstance(value, int):
                value = (value % (1 << 64)).to_bytes(8, "little").rstrip(b"\0")
            out += bytes([tag]) + fc.varint(len(value)) + value
        return out

    def value(self, item, kind, most):
        r = self.rnd
        sound = {"role": self.role, "proto_min": 1, "proto_max": 1, "protocol": 1, "channel":
                 self.channel or 77, "seq": self.next + r.randrange(3), "next": self.next, "sub": 1,
                 "node_id": self.claim if self.claim and r.random() < 0.4 else 9 + r.randrange(3),
                 "from": self.next, "to": self.next + r.randrange(2), "stats": 1,
                 "end": r.choice((b"end", b"in", b"out")), "name": b"hostile", "filter": r.choice(FILTERS).encode()[:most]}
        if item in sound and r.random() < 0.9:
            return sound[item]
        if kind == "U":
            return r.choice(EDGES)
        return r.randbytes(r.choice((0, 1, 5, most, most + 1)))

    def step(self):
        r, what = self.rnd, self.rnd.random()
        if self.reads or what < 0.2:
            self.hear()
        if what < 0.12:
            self.me = r.getrandbits(63) | 1
            self.put(self.message("WELCOME" if self.bind else "HELLO"))
        elif what < 0.70:
            name = r.choice(list(fc.MESSAGES))
            self.next += name in ("BATCH", "GAP")
            body = [self.body()] if (name == "BATCH") != (r.random() < 0.03) else []
            self.put(self.message(name), *body)
        elif what < 0.80:
            for parts in r.sample(self.kept, min(3, len(self.kept))):
                cut = r.choice((0, 0, 1, 10))
                self.put(*[p[:len(p) - cut] for p in parts])
        elif what < 0.88:
            self.put(*[r.randbytes(r.choice((0, 1, 19, 20, 100, 20000)))
                       for _ in range(r.choice((1, 1, 2, 3, 6)))])
        elif what < 0.97:
            flood = self.message(r.choice(("PING", "SUBSCRIBE", "BATCH", "GAP", "STATS", "ACK")))
            for _ in range(40):
                self.put(flood)
        elif not self.bind:
            self.open()

    def body(self):
        bodies = [p[1] for p in self.kept if len(p) == 2]
        if bodies and self.rnd.random() < 0.6:
            return self.rnd.choice(bodies)
        return self.rnd.randbytes(self.rnd.choice((0, 39, 40, 500, 60000)))


def shout(port):
    """A connection that speaks no ZeroMQ, or begins to."""
    with socket.socket() as s:
        s.settimeout(1)
        s.connect(("127.0.0.1", port))
        greeting = b"\xff" + bytes(8) + b"\x7f\3\0" + b"NULL" + bytes(48)
        s.sendall(random.choice((b"GET / HTTP/1.0\r\n\r\n", greeting, greeting + b"\4\xff" * 50)))


def fight(rnd, lab, hostiles, ports, meter):
    """All of them at once, for a while, while flows are metered in between."""
    end, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        for h in hostiles:
            h.step()
        rounds += 1
        if rounds % 50 == 1:
            meter()
        if rounds % 100 == 7:
            shout(rnd.choice(ports))
    fb.check(sum(h.n for h in hostiles) > 300, "hostile peers hardly said a word")
    print(f"        {sum(h.n for h in hostiles)} messages of {len(hostiles)} peers, {rounds} rounds")
    for h in hostiles:
        h.sock.close(0)


def cast(rnd, context, where, role, claims):
    """For each address and key: two with the right key, one with another, one without."""
    other = zmq.curve_keypair()
    out = []
    for (address, keys), claim in zip(where, claims):
        out += [Hostile(rnd, context, address, role, claim, keys=keys) for _ in range(2)]
        if keys:
            out.append(Hostile(rnd, context, address, role, keys=keys, key=other))
            out.append(Hostile(rnd, context, address, role))
    return out


def start(lab):
    seed = int(os.environ.get("FLOWBUS_SEED", "0")) or random.randrange(1 << 32)
    print(f"        FLOWBUS_SEED={seed}", flush=True)
    context = zmq.Context()
    lab.undo.append(lambda: context.destroy(0))
    rnd = random.Random(seed)
    random.seed(seed)
    pcap, _ = lab.traffic(4000, 400)
    key = lab.secret()
    return rnd, context, pcap, key


def meter_into(lab, node, pcap, most=6):
    names = []

    def more():
        if len(names) < most:
            names.append(f"t{len(names)}")
            node.attach(f"pcap {pcap} name={names[-1]} {fb.NO_TIMEOUTS}")
    return more, lambda: all(node.ended(n) for n in names)


def untouched(node, name):
    """The honest peer's session is the one it had from the beginning."""
    fb.equal(f"{node.name}: lines that say {name} went", node.lines(f"peer {name} ", " down: "), [])


def balanced(node):
    for s in node.do("show subscriptions"):
        fb.equal(f"offered to {s['peer']}", s["offered"], s["filtered"] + s["passed"])
        fb.check(s["passed"] >= s["acked"] + s["queued"] + s["lost"], s)


def publisher(lab):
    """Hostile collectors, and what a connecting end of the same daemon connects to."""
    rnd, context, pcap, key = start(lab)
    clear, safe, trap = lab.port(), lab.port(), lab.port()
    local = lab.path("local.json")
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{clear}?bind name=clear max_delay=50ms",
                     f"publish tcp://127.0.0.1:{safe}?bind name=safe max_delay=50ms key_file={key}",
                     f"publish tcp://127.0.0.1:{trap}?connect name=trap retry_min=50ms retry_max=100ms",
                     f"json {local} name=file time=us flush=50ms")
    honest = []
    for name, port, option in (("ann", clear, ""), ("bob", safe, f" key_file={key}")):
        honest.append(lab.node(name, f"json {lab.path(name + '.json')} name=file time=us flush=50ms",
                               f"subscribe tcp://127.0.0.1:{port}?connect name=in{option}"))

    def subs():
        return {s["peer"]: s for s in probe.do("show subscriptions") if s["peer"] in ("ann", "bob")}
    lab.wait(lambda: len(subs()) == 2, "honest subscriptions")
    ids = {p["name"]: int(p["node_id"], 16) if isinstance(p["node_id"], str) else p["node_id"]
           for p in probe.do("show peers") if p["name"] in ("ann", "bob")}
    hostiles = cast(rnd, context, ((f"tcp://127.0.0.1:{clear}", None),
                                   (f"tcp://127.0.0.1:{safe}", fc.keys_of(key))), 2,
                    (ids["ann"], ids["bob"]))
    hostiles.append(Hostile(rnd, context, f"tcp://127.0.0.1:{trap}", 2, bind=True))
    more, ended = meter_into(lab, probe, pcap)
    fight(rnd, lab, hostiles, (clear, safe), more)
    lab.wait(ended, "the end of the captures", 60)
    lab.wait(lambda: all(s["acked"] == s["passed"] for s in subs().values()), "all acknowledged")
    n = fb.count_lines(local)
    for node in honest:
        lab.wait(lambda node=node: fb.count_lines(lab.path(node.name + ".json")) >= n, "the file", 30)
        fb.same_multiset(f"flows of {node.name}", fb.whole(lab.path(node.name + ".json")), fb.whole(local))
        untouched(probe, node.name)
        untouched(node, "probe")
    balanced(probe)
    for node in lab.nodes:
        node.stop()


def collector(lab):
    """Hostile probes, at a collector that honest probes connect to."""
    rnd, context, pcap, key = start(lab)
    clear, safe = lab.port(), lab.port()
    out = lab.path("out.json")
    hub = lab.node("hub", f"json {out} name=file time=us flush=50ms",
                   f"subscribe tcp://127.0.0.1:{clear}?bind name=clear",
                   f"subscribe tcp://127.0.0.1:{safe}?bind name=safe key_file={key}")
    meters = []
    for name, port, option in (("ann", clear, ""), ("bob", safe, f" key_file={key}")):
        node = lab.node(name, f"publish tcp://127.0.0.1:{port}?connect name=out max_delay=50ms{option}",
                        f"json {lab.path(name + '.json')} name=file time=us flush=50ms")
        meters.append(meter_into(lab, node, pcap))
    honest = lab.nodes[1:]
    lab.wait(lambda: all(len(n.do("show subscriptions")) == 1 for n in honest), "subscriptions")
    ids = {p["name"]: int(p["node_id"], 16) if isinstance(p["node_id"], str) else p["node_id"]
           for p in hub.do("show peers") if p["name"] in ("ann", "bob")}
    hostiles = cast(rnd, context, ((f"tcp://127.0.0.1:{clear}", None),
                                   (f"tcp://127.0.0.1:{safe}", fc.keys_of(key))), 1,
                    (ids["ann"], ids["bob"]))
    # frames that decode, with flows that nobody metered
    frames = [open(os.path.join(fb.ROOT, "tests", "unit", "batch", "golden.frame"), "rb").read()]
    for h in hostiles:
        h.body = lambda h=h: rnd.choice(frames) if rnd.random() < 0.4 else Hostile.body(h)
    fight(rnd, lab, hostiles, (clear, safe), lambda: [more() for more, _ in meters])
    for node, (_, ended) in zip(honest, meters):
        lab.wait(ended, "the end of the captures", 60)
        lab.wait(lambda node=node: all(s["acked"] == s["passed"] > 0
                                       for s in node.do("show subscriptions")), "all acknowledged", 30)
        untouched(hub, node.name)
        untouched(node, "hub")
        balanced(node)
    hub.stop()
    seen = {}
    for r in fb.records(out):
        seen.setdefault(r.pop("probe"), collections.Counter())[json.dumps(r, sort_keys=True)] += 1
    for node in honest:
        want = fb.whole(lab.path(node.name + ".json"), ["probe"])
        fb.same_multiset(f"flows of {node.name}", seen.get(node.name), want)


if __name__ == "__main__":
    fb.main(publisher, collector)
