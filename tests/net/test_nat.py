#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A probe behind NAT: real namespaces, a masquerading router, and what happens on the way.

After each fault: flows arrive again within Pair.recovery() of its end, every flow came once (whole
records compared with what flowbusd --once makes of the same captures), both equations of the
subscription hold, and one connection and one peer are left at either end. lab_nat.py has the tools."""
import sys
import time

import fb
import lab_nat
from lab_nat import COLLECTOR, LAN, PROBE, PUBLIC, Nat, Pair


def push_mode(lab):
    """Probes that connect out deliver everything, and each end learns both addresses."""
    nat = Nat(lab)
    pair = Pair(lab, nat)
    pair.probe.start()
    time.sleep(0.5)                              # any start order: the probe has to try again
    pair.collector.start()
    pair.wait_up()
    files = [lab.traffic(6000, 400, "--seed", i, "--start", 1700000000 + i, name=f"t{i}")
             for i in (1, 20000)]
    pair.meter(files[0][0])
    want = fb.truth_of(files[0][1])
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)
    pair.ledger()
    (there,) = pair.probe.do("show peers", "hub")
    (here,) = pair.collector.do("show peers", "in")
    fb.equal("public address the probe learns", there["our_seen"].split(":")[0], PUBLIC)
    fb.equal("where the probe sees the collector", there["seen"], f"{COLLECTOR}:{pair.port}")
    fb.equal("the probe as the collector sees it", here["seen"], there["our_seen"])
    fb.check(PROBE in here["addresses"], f"the probe's own addresses: {here['addresses']}")
    fb.check(here["encrypted"] and there["encrypted"], "the link is not encrypted")
    # a second one behind the same address is another peer
    other = lab.node("other", pair.publish, ns=nat.probe)
    lab.wait(lambda: [p for p in other.do("show peers", "hub") if p["state"] == "up"] and
             other.do("show subscriptions"), "the second probe")
    other.attach(f"pcap {files[1][0]} name=pcap {fb.NO_TIMEOUTS}")
    want += fb.truth_of(files[1][1])
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows of both probes", fb.flows_of(pair.out), want)
    peers = pair.collector.do("show peers", "in")
    fb.equal("peers", sorted(p["name"] for p in peers), ["other", "probe"])
    fb.equal("addresses they are seen at", {p["seen"].split(":")[0] for p in peers}, {PUBLIC})
    fb.equal("ports they are seen at", len({p["seen"] for p in peers}), 2)


def poll_mode(lab):
    """A collector cannot connect to a probe behind NAT, whatever it tries; it says what would work."""
    nat = Nat(lab)
    key = lab.secret()
    lab.node("probe", f"publish tcp://*:5556 name=hub key_file={key}", ns=nat.probe)
    lab.run("ip", "-n", nat.collector, "route", "add", "unreachable", "10.88.0.0/16")
    with_key = f"key_file={key} retry_min=200ms retry_max=500ms"
    collector = lab.node(
        "collector", f"subscribe tcp://{PROBE}:5556 name=silent {with_key}",
        f"subscribe tcp://10.88.0.2:5556 name=noroute {with_key}",
        f"subscribe tcp://{LAN}:5557 name=refused {with_key}",
        f"subscribe tcp://{PUBLIC}:5556 name=public {with_key}", ns=nat.collector)
    nat.nft("insert", "rule", "ip", "fw", "service", "tcp", "dport", "5556-5557", "reject", "with",
            "tcp", "reset")
    hint = ("if NAT is between, let the probe connect: publish tcp://THIS:{0} there, "
            "subscribe tcp://*:{0} here")
    private = "; a private address: "
    wanted = {"silent": ("no answer", private, 5556),
              "noroute": ("refused or unreachable", private, 5556),
              "refused": ("refused or unreachable", private, 5557),
              "public": ("refused or unreachable", "", 5556)}

    def told(name, cause, why, port):
        text = collector.endpoint(name)["why"]
        return all(x in text for x in (cause, why, hint.format(port)))
    for name, words in wanted.items():
        lab.wait(lambda n=name, w=words: told(n, *w), f"{name} to say {words}", 15)
    for name, (cause, why, port) in wanted.items():
        lines = collector.lines(f"link: {name}:", cause, why, hint.format(port))
        fb.equal(f"lines in the log about {name}", len(lines), 1)
        (peer,) = collector.do("show peers", name)
        fb.check(hint.format(port) in peer["why"], f"show peers: {peer['why']!r}")
        fb.equal("state", collector.endpoint(name)["state"], "degraded")


def router_moves(lab):
    """The router gets another public address while flows cross, then a third one. The collector
    hears nothing of that and would wait long for the old connection: the new one replaces it."""
    nat = Nat(lab)
    pair = Pair(lab, nat, collector_heartbeat="30s").start(ready=False)
    pair.wait_up()
    pair.stream(9)
    for address in ("198.51.100.77", "198.51.100.78"):
        nat.move(address)
        took = pair.flows_again(pair.recovery() + 3 * pair.heartbeat, "the new address")
        print(f"flows {took:.1f} s after the router moved to {address}")
        pair.wait_up()
        lab.wait(lambda a=address: pair.probe.do("show peers", "hub")[0]["our_seen"].startswith(a),
                 "the probe to learn its new address")
        (here,) = pair.collector.do("show peers", "in")
        fb.check(here["seen"].startswith(address), f"the collector sees it at {here['seen']}")
        pair.ledger()
    pair.finish()


def cable_pulled(lab):
    """A cable out for less than three heartbeats is not noticed; for longer, the link comes again."""
    nat = Nat(lab)
    pair = Pair(lab, nat, heartbeat="1s").start(ready=False)
    pair.wait_up()
    pair.stream(13)
    for cable, seconds in (("lan", 1), ("wan", 7)):
        before = pair.sessions()
        nat.plug(cable, False)
        time.sleep(seconds)
        pair.ledger()
        nat.plug(cable, True)
        took = pair.flows_again(pair.recovery(), f"{seconds} s without {cable}")
        print(f"flows {took:.1f} s after {seconds} s without a cable")
        pair.wait_up()
        if seconds == 1:
            fb.equal("sessions after a short pull", pair.sessions(), before)
        else:
            fb.check(all(a > b for a, b in zip(pair.sessions(), before)),
                     f"nobody noticed {seconds} s without a cable: {pair.sessions()}")
        pair.ledger()
    pair.finish()


def loss_and_delay(lab):
    """5 % of the packets lost and 80 ms of delay with jitter, each way: slower, all there."""
    nat = Nat(lab, wire=(5, 80, 20))
    print(f"the bad cable is made with {nat.wire}")
    pair = Pair(lab, nat, heartbeat="2s").start(ready=False)
    pair.wait_up()
    pair.stream(6)
    pair.finish()
    (there,) = pair.probe.do("show peers", "hub")
    fb.check(there["rtt_us"] > 100000, f"a round trip of {there['rtt_us']} us: no delay on the way")
    tcp = lab.run("ip", "netns", "exec", nat.probe, "cat", "/proc/net/snmp").stdout
    names, values = [x.split() for x in tcp.splitlines() if x.startswith("Tcp:")]
    again = int(dict(zip(names, values))["RetransSegs"])
    fb.check(again >= 3, f"{again} segments sent again: nothing was lost on the way")


def tcp_reset(lab):
    """The router answers with RST for a while, to both ends, to one, to the other."""
    nat = Nat(lab)
    pair = Pair(lab, nat).start(ready=False)
    pair.wait_up()
    pair.stream(10)
    reset = "ip protocol tcp reject with tcp reset"
    for rules in ((reset,), ("iifname lan " + reset,), ("iifname wan " + reset,)):
        before = pair.sessions()
        nat.fault(*rules)
        time.sleep(0.7)
        nat.fault()
        took = pair.flows_again(pair.recovery(), "a reset")
        print(f"flows {took:.1f} s after: {', '.join(rules)}")
        pair.wait_up()
        fb.check(all(a > b for a, b in zip(pair.sessions(), before)), "the reset was not noticed")
        pair.ledger()
    pair.finish()


def one_way(lab):
    """Only one direction is dropped, then only the other: both ends notice by their heartbeats."""
    nat = Nat(lab)
    pair = Pair(lab, nat).start(ready=False)
    pair.wait_up()
    pair.stream(12)
    for rule in ("iifname lan drop", "iifname wan drop"):
        before = pair.sessions()
        nat.fault(rule)
        lab.wait(lambda: all(not n.do("show peers", e) or n.do("show peers", e)[0]["state"] != "up"
                             for n, e in ((pair.probe, "hub"), (pair.collector, "in"))),
                 f"both ends to notice: {rule}", 4 * pair.heartbeat + 2)
        pair.ledger()
        nat.fault()
        took = pair.flows_again(pair.recovery(), "one direction only")
        print(f"flows {took:.1f} s after: {rule}")
        pair.wait_up()
        fb.check(all(a > b for a, b in zip(pair.sessions(), before)), "no new session")
        pair.ledger()
    pair.finish()


def late_packets(lab):
    """Only the probe notices the outage. What its old connection still had under way arrives beside
    the new one, and must not be taken for a proof that the old one lives."""
    nat = Nat(lab)
    pair = Pair(lab, nat, retry_max=4, collector_heartbeat="30s").start(ready=False)
    pair.wait_up()
    pair.stream(7)
    before = pair.sessions()
    nat.fault("drop")
    time.sleep(2.3)
    nat.fault()
    lab.wait(lambda: all(a > b for a, b in zip(pair.sessions(), before)), "the new session",
             pair.recovery() - 3)
    pair.wait_up()
    fb.equal("connections refused", pair.collector.counters("in")["peer_refused"], 0)
    pair.finish()


def nat_forgets(lab):
    """Heartbeats keep the router's entry of an idle link; when it is deleted, both ends notice."""
    nat = Nat(lab)
    nat.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", 2)
    nat.sysctl("net.netfilter.nf_conntrack_tcp_timeout_unacknowledged", 2)
    nat.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    nat.fault("ct state invalid drop")           # and nobody is told
    pair = Pair(lab, nat).start(ready=False)
    pair.wait_up()
    before = pair.sessions()
    time.sleep(6)                                # three times as long as an idle entry lives
    fb.equal("sessions after an idle time", pair.sessions(), before)
    pair.stream(5)
    nat.forget()
    took = pair.flows_again(pair.recovery() + 3 * pair.heartbeat, "a forgotten entry")
    print(f"flows {took:.1f} s after the router forgot the connection")
    pair.wait_up()
    fb.check(all(a > b for a, b in zip(pair.sessions(), before)), "no new session")
    pair.finish()


def away_too_long(lab):
    """More flows than the ring holds while nobody gets through: what is missing was announced."""
    nat = Nat(lab)
    pair = Pair(lab, nat, "ring=1M window=64K codec=none").start(ready=False)
    pair.wait_up()
    pcaps = [lab.traffic(n, 300, "--arrival-rate", 40000, "--seed", n, "--start", 1700000000 + n,
                         "--snaplen", 128, name=f"t{n}") for n in (3000, 220000, 3001)]
    truth = [fb.truth_of(p[1]) for p in pcaps]
    pair.meter(pcaps[0][0], "before")
    pair.arrived(sum(truth[0].values()))
    nat.fault("drop")
    pair.meter(pcaps[1][0], "meanwhile")
    time.sleep(1)
    pair.ledger()
    nat.fault()
    pair.wait_up(pair.recovery())
    pair.meter(pcaps[2][0], "after")
    pair.settled()
    pair.ledger()
    (s,) = pair.probe.do("show subscriptions")
    want = truth[0] + truth[1] + truth[2]
    fb.check(s["lost"] > 1000, f"the ring held everything, {s['lost']} lost: the test proves nothing")
    fb.equal("offered", s["offered"], sum(want.values()))
    pair.arrived(sum(want.values()) - s["lost"])
    fb.equal("announced as lost", pair.collector.counters("in")["flow_lost_gap"], s["lost"])
    fb.equal("lost at the probe", pair.probe.counters("hub")["flow_lost_ring"], s["lost"])
    got = fb.flows_of(pair.out)
    extra = got - want
    fb.check(not extra, f"{sum(extra.values())} flows twice or wrong, such as {next(iter(extra), '')}")
    for part in (truth[0], truth[2]):
        fb.check(not part - got, "flows before or after the outage are missing")
    fb.check(pair.collector.lines("in:", f"lost {s['lost']} flows"), "the log says nothing of it")
    pair.left_behind()


def long_outage(lab):
    """A minute without a way, by the defaults: TCP's own patience must not add to ours. By hand."""
    nat = Nat(lab)
    pair = Pair(lab, nat, heartbeat="2s", retry_max=30).start(ready=False)
    pair.wait_up()
    pair.stream(110)
    nat.fault("drop")
    time.sleep(60)
    nat.fault()
    took = pair.flows_again(pair.recovery(), "a minute without a way")
    print(f"flows {took:.1f} s after an outage of 60 s")
    pair.ledger()
    pair.finish()


long_outage.limit = 240
if __name__ == "__main__":
    if "long_outage" in sys.argv:
        fb.main(*[long_outage])
    fb.main(push_mode, poll_mode, router_moves, cable_pulled, loss_and_delay, tcp_reset, one_way,
            late_packets, nat_forgets, away_too_long)
