#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Relays: what nobody wants never leaves the probe, names and statistics survive every hop, and
loops are found before a flow has gone round.

What a collector must get is computed here from the unfiltered records of a local run."""
import collections
import json

import fb

FAST = "heartbeat=500ms retry_min=100ms retry_max=500ms"
OUT = "flush=50ms time=us"
KEEP = {
    "app http": lambda r: r.get("app") == "http",
    "app dns": lambda r: r.get("app") == "dns",
    "proto udp": lambda r: r["proto"] == 17,
    "": lambda r: True,
}


def publish(port, name="hub"):
    return f"publish tcp://127.0.0.1:{port}?bind name={name} max_delay=50ms {FAST}"


def subscribe(port, name="in", more=""):
    return f"subscribe tcp://127.0.0.1:{port}?connect name={name} {FAST} {more}"


def json_out(lab, name, more=""):
    return f"json {lab.path(name + '.json')} name=file {OUT} {more}"


class Capture:
    """One capture and its records, as a local run writes them."""

    def __init__(self, lab, name, seed, packets=6000, flows=400, more=()):
        self.name = name
        self.pcap, _ = lab.traffic(packets, flows, "--seed", seed, "--start",
                                   1700000000 + 100000 * seed, *more, name=name)
        path = lab.path(name + ".local")
        lab.once(f"pcap {self.pcap} {fb.NO_TIMEOUTS}", f"json {path} time=us")
        self.records = list(fb.records(path))

    def kept(self, expr, probe, fields=None):
        """Counter of the records that pass, as a collector must write them."""
        seen = collections.Counter()
        for r in self.records:
            if KEEP[expr](r):
                r = dict(r if fields is None else {k: r[k] for k in fields if k in r},
                         probe=probe)
                seen[json.dumps(r, sort_keys=True)] += 1
        fb.check(seen, f"'{expr}' keeps nothing of {self.name}: a poor test")
        return seen

    def meter(self, lab, node, wait=True):
        node.attach(f"pcap {self.pcap} name={self.name} {fb.NO_TIMEOUTS}")
        if wait:
            lab.wait(lambda: node.ended(self.name), f"the end of {self.name}", 60)


def arrived(lab, name, want, settle=0.4):
    """The collector's file has exactly these records, and no more come."""
    path, n = lab.path(name + ".json"), sum(want.values())
    lab.wait(lambda: fb.count_lines(path) >= n,
             f"{n} records at {name}, {fb.count_lines(path)} so far", 30)
    fb.time.sleep(settle)
    fb.same_multiset(name, fb.whole(path, ()), want)


def asked(node):
    """What this publisher is asked for by whom."""
    return {s["peer"]: s["filter"] for s in node.do("show subscriptions") if
            s["peer"] and s["endpoint"] == "hub"}


def asks(lab, node, **want):
    lab.wait(lambda: asked(node) == want, f"{node.name} to be asked for {want}, "
             f"it is {asked(node)}")


def push_down(lab):
    """Two probes, a relay, two collectors with different filters and fields."""
    ports, caps = [lab.port(), lab.port()], [Capture(lab, "a", 1), Capture(lab, "b", 2)]
    taps = [fb.Proxy(lab, p) for p in ports]
    hub = lab.port()
    relay = lab.node("relay", publish(hub), *(subscribe(t.port, f"in{i}", "demand=outputs")
                                              for i, t in enumerate(taps)))
    probes = [lab.node(f"p{i}", publish(p)) for i, p in enumerate(ports)]
    # nobody wants anything: asked for nothing, and nothing crosses
    for p in probes:
        asks(lab, p, relay="false")
    idle = Capture(lab, "idle", 3)
    before = taps[0].n_bytes
    idle.meter(lab, probes[0])
    fb.time.sleep(0.3)
    n = probes[0].counters("hub")
    fb.equal("offered, left out", (n["flow_in"], n["flow_filtered"]), (len(idle.records),) * 2)
    fb.equal("frames sent for nobody", n["frame_out"], 0)
    fb.check(taps[0].n_bytes - before < 6000, f"{taps[0].n_bytes - before} octets for nobody")
    fb.equal("session", relay.do("show peers", "in0")[0]["state"], "up")
    lab.node("c1", json_out(lab, "c1"), subscribe(hub, more="filter='app http'"))
    lab.node("c2", json_out(lab, "c2"),
             subscribe(hub, more="filter='app dns' fields=src_addr,bytes,start"))
    for p in probes:
        asks(lab, p, relay='app ilike ("dns", "http")')
    details = relay.endpoint("in0")["details"]
    fb.equal("asked for", set(details["asked_for"].split()), {"hub:c1", "hub:c2"})
    fb.equal("how", (details["asked_demand"], details["asked_how"]), ("outputs", "exact"))
    for cap, p in zip(caps, probes):
        cap.meter(lab, p)
    fields = ("src_addr", "bytes", "start")
    want = [cap.kept("app http", f"p{i}") for i, cap in enumerate(caps)]
    few = [cap.kept("app dns", f"p{i}", fields) for i, cap in enumerate(caps)]
    arrived(lab, "c1", want[0] + want[1])
    arrived(lab, "c2", few[0] + few[1], 0)
    wanted, octets = {}, taps[1].n_bytes
    for i, (cap, p) in enumerate(zip(caps, probes)):
        wanted[i] = sum(want[i].values()) + sum(few[i].values())
        lab.wait(lambda: p.counters("hub")["flow_out"] >= wanted[i], "acknowledgements")
        n = p.counters("hub")
        fb.equal(f"flows that left p{i}", n["flow_out"], wanted[i])
        fb.equal(f"flows that did not leave p{i}", n["flow_filtered"],
                 n["flow_in"] - n["flow_out"])
    fb.equal("flows at the relay", relay.counters("hub")["flow_in"], sum(wanted.values()))
    # fewer fields cost less: only c2 is left, and its fields and those of its filter are asked for
    lab.nodes[3].do("detach", "in")
    for p in probes:
        asks(lab, p, relay='app ilike "dns"')
    fb.equal("fields", set(relay.endpoint("in1")["details"]["asked_fields"].split(",")),
             {"src_addr", "bytes", "start", "app", "probe", "exporter"})
    before = taps[1].n_bytes
    again = Capture(lab, "again", 4)
    again.meter(lab, probes[1])
    arrived(lab, "c2", few[0] + few[1] + again.kept("app dns", "p1", fields))
    fb.check(taps[1].n_bytes - before < octets / 2,
             f"{octets} octets for two collectors, {taps[1].n_bytes - before} for one")


def live_change(lab):
    """Collectors come, change and go while flows run: no gap, no reconnect, nothing twice. A local
    output counts as well."""
    port, hub = lab.port(), lab.port()
    probe = lab.node("p", publish(port))
    relay = lab.node("relay", publish(hub), subscribe(port, more="demand=outputs"))
    c1 = lab.node("c1", json_out(lab, "c1"), subscribe(hub, more="filter='app http'"))
    asks(lab, probe, relay='app ilike "http"')
    cap = Capture(lab, "a", 1, 30000, 4000, ("--pps", "5000"))
    # a paced run: changes of others happen in the middle of it
    probe.attach(f"pcap {cap.pcap} name=a pace=real {fb.NO_TIMEOUTS.replace('idle=0', 'idle=1s')}")
    c2 = lab.node("c2", json_out(lab, "c2"), subscribe(hub, more="filter='app dns'"))
    asks(lab, probe, relay='app ilike ("dns", "http")')
    c2.do("set", "in", "filter=proto udp")
    lab.wait(lambda: "17" in asked(probe)["relay"] or "udp" in asked(probe)["relay"], "the change")
    relay.attach(f"json {lab.path('r.json')} name=file {OUT} filter='app tls'")
    lab.wait(lambda: "tls" in asked(probe)["relay"], "the local output's wish")
    fb.check("file" in relay.endpoint("in")["details"]["asked_for"].split(), "who wants it")
    relay.do("set", "file", "filter=app ssh")
    lab.wait(lambda: "ssh" in asked(probe)["relay"], "the changed wish")
    relay.do("detach", "file")
    c2.do("detach", "in")
    asks(lab, probe, relay='app ilike "http"')
    lab.wait(lambda: probe.ended("a"), "the end of the capture", 60)
    lab.wait(lambda: probe.counters("a")["flow_ended"] > 0, "flows")
    want = local_run(lab, cap)
    arrived(lab, "c1", want)
    for node, end in ((probe, "hub"), (relay, "in"), (relay, "hub"), (c1, "in")):
        n = node.counters(end)
        fb.equal(f"{node.name} {end}: losses and repeats",
                 {k: v for k, v in n.items() if v and ("lost" in k or k in (
                     "frame_missing", "frame_repeated", "msg_bad"))}, {})
    fb.equal("sessions at the probe", probe.counters("hub")["peer_up"], 1)
    fb.check(relay.counters("in")["demand_changes"] >= 4, "too few changes: a poor test")


def local_run(lab, cap):
    """The HTTP records of the capture with the timeouts of the paced run."""
    path = lab.path("idle.local")
    lab.once(f"pcap {cap.pcap} {fb.NO_TIMEOUTS.replace('idle=0', 'idle=1s')}",
             f"json {path} time=us filter='app http'")
    seen = collections.Counter()
    for r in fb.records(path):
        seen[json.dumps(dict(r, probe="p"), sort_keys=True)] += 1
    return seen


def away(lab):
    """A collector that was killed keeps its wish: what it wants is still fetched, and waits. One
    that gives its subscription up is forgotten after some seconds, not at once."""
    port, hub = lab.port(), lab.port()
    probe = lab.node("p", publish(port))
    relay = lab.node("relay", publish(hub), subscribe(port, more="demand=outputs"))
    c1 = lab.node("c1", json_out(lab, "c1"), subscribe(hub, more="filter='app http'"))
    c2 = lab.node("c2", subscribe(hub, more="filter='app dns'"))
    asks(lab, probe, relay='app ilike ("dns", "http")')
    cap, more = Capture(lab, "a", 1), Capture(lab, "b", 2)
    c1.kill()
    lab.wait(lambda: relay.counters("hub")["peer_down"] > 0, "the relay to notice")
    began = fb.time.monotonic()
    c2.do("detach", "in")
    asks(lab, probe, relay='app ilike "http"')
    took = fb.time.monotonic() - began
    fb.check(2 < took < 10 * fb.SLOW, f"forgotten after {took:.1f} s")
    fb.time.sleep(0.5)
    cap.meter(lab, probe)
    fb.time.sleep(0.3)
    c1.start()
    arrived(lab, "c1", cap.kept("app http", "p"))
    # a restart of the relay: collectors find it again, and it asks for the same again
    relay.stop()
    relay.start()
    lab.wait(lambda: c1.endpoint("in")["state"] == "up" and relay.endpoint("in")["state"] == "up" and
             asked(probe).get("relay") == 'app ilike "http"', "all to be back")
    more.meter(lab, probe)
    arrived(lab, "c1", cap.kept("app http", "p") + more.kept("app http", "p"))


def cable_pulled(lab):
    """The demand changes while the probe cannot be reached: what waited there arrives first, then what
    is wanted now."""
    port, hub = lab.port(), lab.port()
    tap = fb.Proxy(lab, port)
    probe = lab.node("p", publish(port))
    relay = lab.node("relay", publish(hub), subscribe(tap.port, more="demand=outputs"))
    lab.node("c1", json_out(lab, "c1"), subscribe(hub, more="filter='app http'"))
    asks(lab, probe, relay='app ilike "http"')
    tap.open = False
    tap.cut()
    lab.wait(lambda: relay.endpoint("in")["state"] != "up", "the relay to notice")
    cap, more = Capture(lab, "a", 1), Capture(lab, "b", 2)
    cap.meter(lab, probe)
    lab.node("c2", json_out(lab, "c2"), subscribe(hub, more="filter='app dns'"))
    lab.wait(lambda: len(asked(relay)) == 2, "the second collector")
    tap.open = True
    asks(lab, probe, relay='app ilike ("dns", "http")')
    more.meter(lab, probe)
    arrived(lab, "c1", cap.kept("app http", "p") + more.kept("app http", "p"))
    arrived(lab, "c2", more.kept("app dns", "p"), 0)


def three_levels(lab):
    """Probe, three relays, collector: filters, names and seconds go through every one of them."""
    ports = [lab.port() for _ in range(5)]
    side = lab.node("side", publish(ports[4]))
    chain = [lab.node("p", publish(ports[0]))]
    for i in range(1, 4):
        more = [subscribe(ports[4], "side", "demand=outputs")] if i == 2 else []
        chain.append(lab.node(f"r{i}", publish(ports[i]),
                              subscribe(ports[i - 1], more="demand=outputs"), *more))
    asks(lab, chain[0], r1="false")
    c = lab.node("c", json_out(lab, "c"), subscribe(ports[3], more="filter='app http'"))
    for i in range(3):
        asks(lab, chain[i], **{f"r{i + 1}": 'app ilike "http"'})
    watch = fb.Watch(c, "watch stats")
    cap, other = Capture(lab, "a", 1), Capture(lab, "b", 2)
    cap.meter(lab, chain[0])
    other.meter(lab, side)
    arrived(lab, "c", cap.kept("app http", "p") + other.kept("app http", "side"))
    peer = c.do("show peers")[0]
    fb.equal("behind r3", set(peer["behind"]), {"p", "r1", "r2", "side"})
    fb.equal("twice", peer["twice"], [])
    for i in range(1, 4):
        n = chain[i].counters("hub")
        fb.check(0 < n["flow_in"] < len(cap.records) + len(other.records),
                 f"r{i} got {n['flow_in']} flows: filters were not pushed down")
    # seconds: each once, of its own probe, with its own numbers
    packets = {"p": 6000, "side": 6000}
    lab.wait(lambda: {r["probe"] for r in watch.rows} == set(packets) and
             all(sum(r["packets"] for r in watch.rows if r["probe"] == p) >= n
                 for p, n in packets.items()), "all seconds")
    for p, n in packets.items():
        rows = [r for r in watch.rows if r["probe"] == p]
        fb.equal(f"packets of {p}", sum(r["packets"] for r in rows), n)
        fb.equal(f"seconds of {p}", len({r["second"] for r in rows}), len(rows))


def loop_of_two(lab):
    """The subscription that closes a loop is refused, with the reason at both ends; it comes when
    the loop is opened. Meanwhile flows arrive once."""
    port, pa, pb = lab.port(), lab.port(), lab.port()
    probe = lab.node("p", publish(port))
    a = lab.node("a", publish(pa), subscribe(port, "probe"), json_out(lab, "a"))
    b = lab.node("b", publish(pb), subscribe(pa, "from-a"), json_out(lab, "b"))
    lab.wait(lambda: asked(a).get("b") == "", "b to subscribe to a")
    a.attach(subscribe(pb, "from-b"))
    lab.wait(lambda: a.endpoint("from-b")["state"] == "degraded", "the loop to be found")
    why = a.endpoint("from-b")["why"]
    fb.equal("why", why, "loop: this node -> b -> this node")
    lab.wait(lambda: "loop: " in b.endpoint("hub")["why"], "the other side to say so")
    fb.equal("one line at a", len(a.lines("from-b", why)), 1)
    fb.equal("one line at b", len(b.lines("hub", "a does not take our flows", why)), 1)
    fb.equal("asked of b", asked(b), {})
    fb.equal("b goes on", b.endpoint("from-a")["state"], "up")
    cap, more = Capture(lab, "x", 1), Capture(lab, "y", 2)
    cap.meter(lab, probe)
    once = cap.kept("", "p")
    arrived(lab, "a", once)
    arrived(lab, "b", once)
    # opened: a takes from b, and now b would close it
    b.do("detach", "from-a")
    lab.wait(lambda: asked(b).get("a") == "", "a to subscribe to b")
    fb.equal("a's link", a.endpoint("from-b")["state"], "up")
    b.attach(subscribe(pa, "from-a"))
    lab.wait(lambda: b.endpoint("from-a")["why"] == "loop: this node -> a -> this node", "b's loop")
    # a node and itself
    b.attach(subscribe(pb, "self"))
    lab.wait(lambda: b.endpoint("self")["why"] == "loop: this node -> this node", "itself")
    more.meter(lab, probe)
    arrived(lab, "a", once + more.kept("", "p"))


def loop_of_three(lab):
    """All links of a loop come up at the same moment: one of them gives way, whichever it is, and
    records go round no more than once."""
    n, port = 3, lab.port()
    ports = [lab.port() for _ in range(n)]
    nodes = [lab.node(f"n{i}", publish(ports[i]), json_out(lab, f"n{i}"),
                      subscribe(ports[i - 1], "up"), *([subscribe(port, "probe")] if i == 0 else []),
                      start=False) for i in range(n)]
    probe = lab.node("p", publish(port))
    for x in nodes:
        x.start(wait=False)
    for x in nodes:
        lab.wait(x.is_up, "start", node=x)

    def looped():
        return [x for x in nodes if x.endpoint("up")["why"].startswith("loop: ")]

    def settled():
        states = sorted(x.endpoint("up")["state"] for x in nodes)
        return states == ["degraded", "up", "up"] and len(looped()) == 1
    lab.wait(settled, "one link to give way", 30)
    fb.time.sleep(4.5)      # longer than whoever gave way waits
    fb.check(settled(), "another one gave way later")
    cap = Capture(lab, "x", 1)
    cap.meter(lab, probe)
    loser = looped()[0]
    i = nodes.index(loser)
    names = [f"n{(i + k) % n}" for k in range(1, n)]
    fb.equal("why", loser.endpoint("up")["why"],
             "loop: this node -> " + " -> ".join(names) + " -> this node")
    # from n0 the flows go on until the link that gave way
    once, k = cap.kept("", "p"), 0
    while True:
        arrived(lab, f"n{k}", once, 0.2)
        if nodes[(k + 1) % n] in (loser, nodes[0]):
            break
        k += 1
    # opened at another place: the link that gave way comes
    nodes[(i + 1) % n].do("disable", "up")
    lab.wait(lambda: loser.endpoint("up")["state"] == "up", "the loser to subscribe", 20)


def two_ways(lab):
    """The same probe over two relays: allowed, records come twice, and it is said once. Its seconds
    are taken once."""
    port, pa, pb = lab.port(), lab.port(), lab.port()
    probe = lab.node("p", publish(port))
    relays = [lab.node(n, publish(x), subscribe(port, more="demand=outputs"))
              for n, x in (("a", pa), ("b", pb))]
    c = lab.node("c", json_out(lab, "c"), subscribe(pa, "via-a", "filter='app http'"),
                 subscribe(pb, "via-b", "filter='app http'"))
    asks(lab, probe, a='app ilike "http"', b='app ilike "http"')
    lab.wait(lambda: len(c.lines("p is reached through", "come twice")) == 1, "one line")
    fb.equal("show", [p["twice"] for p in c.do("show peers")], [["p"], ["p"]])
    watch = fb.Watch(c, "watch stats")
    cap = Capture(lab, "x", 1)
    cap.meter(lab, probe)
    want = cap.kept("app http", "p")
    arrived(lab, "c", want + want)
    lab.wait(lambda: sum(r["packets"] for r in watch.rows) >= 6000, "the seconds")
    lab.wait(lambda: sum(c.counters(f"via-{x}")["stats_repeated"] for x in "ab") > 0, "repeats")
    fb.equal("packets of all seconds", sum(r["packets"] for r in watch.rows), 6000)
    fb.equal("lines", len(c.lines("come twice")), 1)
    relays[1].stop()
    lab.wait(lambda: [p["twice"] for p in c.do("show peers") if p["state"] == "up"] == [[]],
             "one way only")


if __name__ == "__main__":
    fb.main(push_down, live_change, away, cable_pulled, three_levels, loop_of_two, loop_of_three, two_ways)
