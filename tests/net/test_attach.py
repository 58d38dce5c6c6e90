#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attach and detach while traffic runs: nobody else notices, nothing leaks, mistakes change nothing."""
import os
import random
import time

import fb
import load

SMALL = bool(os.environ.get("FLOWBUS_SMALL"))
RATE, STEPS = (3000, 60) if SMALL else (20000, 200)
FAST = "heartbeat=500ms retry_min=200ms retry_max=1s"


class Churn:
    """Endpoints of all kinds that come and go at a probe and at a collector."""

    def __init__(self, lab, probe, collector, hub, seed):
        self.lab, self.probe, self.collector, self.hub = lab, probe, collector, hub
        self.random, self.n, self.there = random.Random(seed), 0, []
        self.pcap, self.flows = lab.traffic(2000, 100, name="small")
        self.other_port = lab.port()
        # a collector for the publish endpoints that come and go, so that they have work
        self.second = lab.node("second", f"subscribe tcp://127.0.0.1:{self.other_port} name=in "
                               f"{FAST}", f"json {lab.path('second.json')} name=file "
                               f"{load.JSON}")

    def attach(self, node, name, text):
        node.attach(f"{text} name={name}")
        self.there.append((node, name))

    def step(self):
        """Attach one more or detach one, at random; at most 12 are there at once."""
        if self.there and (len(self.there) >= 12 or self.random.random() < 0.45):
            node, name = self.there.pop(self.random.randrange(len(self.there)))
            drain = ["--drain"] if self.random.random() < 0.3 else []
            node.do("detach", name, *drain)
            return
        self.n += 1
        kind = self.random.choice(("json", "json", "subscribe", "subscribe", "publish", "pcap"))
        name = f"x{self.n}"
        choose = self.random.choice
        if kind == "json":
            self.attach(choose((self.probe, self.second)), name,
                        f"json {self.lab.path(name + '.json')} fields=base "
                        f"filter='dst port {choose((1000, 1001, 9))}'")
        elif kind == "subscribe":
            self.attach(self.second, name, f"subscribe tcp://127.0.0.1:{self.hub} {FAST} "
                        f"filter='dst port {choose((1000, 1002, 9))}' "
                        f"fields={choose(('all', 'base', 'src_addr'))}")
        elif kind == "pcap":
            self.attach(self.second, name, f"pcap {self.pcap} {fb.NO_TIMEOUTS} app=off "
                        f"max_flows=1024 pace={choose(('full', 'real'))}")
        elif not any(n.startswith("p") for _, n in self.there):
            self.attach(self.probe, "p" + name, f"publish tcp://127.0.0.1:{self.other_port} {FAST} "
                        "max_delay=100ms ring=4M")

    def end(self):
        for node, name in self.there:
            node.do("detach", name)
        self.there.clear()

    def nodes(self):
        return self.probe, self.collector, self.second


def state(churn):
    """What must be as it was: descriptors, threads and memory of each process."""
    return {n.name: (load.descriptors(n.process.pid), len(os.listdir(f"/proc/{n.process.pid}/task")),
                     load.memory_kib(n.process.pid)) for n in churn.nodes()}


def at_random(lab):
    """200 attaches and detaches at random: the collector that stays gets each flow, once."""
    seed = int(os.environ.get("FLOWBUS_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"        FLOWBUS_SEED={seed}", flush=True)
    pair = fb.Pair(lab, json_options="fields=src_addr", publish="ring=64M").start()
    flood = load.Flood(lab, RATE, 120)
    pair.probe.attach(f"pcap {flood.path} name=flood {load.METER}")
    churn = Churn(lab, pair.probe, pair.collector, pair.port, seed)
    for _ in range(20):             # what is made once and kept: pools, the link, its threads
        churn.step()
    churn.end()
    time.sleep(1.5)
    before = state(churn)
    for i in range(STEPS):
        churn.step()
        if i % 10 == 0:
            load.peers_of(pair.probe)
        time.sleep(churn.random.uniform(0, 0.06))
    churn.end()
    held = flood.held_up()
    flood.stop()
    lab.wait(lambda: pair.probe.ended("flood"), "the end of the input")

    def delivered():
        return load.peers_of(pair.probe, "collector")[0]["acked"] == flood.end
    lab.wait(delivered, "everything to be delivered", 30)
    pair.collector.do("detach", "file", "--drain")
    load.verify(pair.out, flood).exact("the collector that stayed")
    c = pair.probe.counters("flood")
    fb.equal("flows metered", c["flow_ended"], flood.end)
    fb.equal("sessions lost of the one that stayed",
             [p["lost_flows"] for p in pair.probe.do("show peers") if p["name"] == "collector"], [0])
    lab.wait(lambda: all(state(churn)[k][:2] <= before[k][:2] for k in before),
             f"descriptors and threads to be as before: {before}, {state(churn)}")
    after = state(churn)
    print(f"        {STEPS} steps, {flood.end} flows, generator held up {held:.2f} s at most; "
          f"descriptors, threads, KiB before {before}, after {after}")
    for name in before:
        # a leak of an endpoint is a meter, a socket, a queue with batches: megabytes
        fb.check(after[name][2] <= before[name][2] + STEPS * 100 + (200 << 10) * (fb.SLOW > 1),
                 f"{name} grew from {before[name][2]} to {after[name][2]} KiB")
    for n in churn.nodes():
        n.stop()


def drain_delivers(lab):
    """detach --drain of a publisher under load: what was metered until then arrives, all of it."""
    for push in (False, True):
        lab.nodes.clear()
        pair = fb.Pair(lab, json_options="fields=src_addr", push=push,
                       publish="max_delay=2s ring=64M").start()
        flood = load.Flood(lab, RATE, 60, name=f"flood{push}")
        pair.probe.attach(f"pcap {flood.path} name=flood {load.METER}")
        lab.wait(lambda f=flood: f.end > RATE * 4, "four seconds of flows")
        began = time.monotonic()
        pair.probe.do("detach", "flood")        # ends the input: all flows of the table come out
        ended = pair.probe.do("status")[0]
        sent = flood_seen(pair, flood)
        pair.probe.do("detach", "hub", "--drain")
        took = time.monotonic() - began
        fb.check(took < 5 * fb.SLOW, f"draining took {took:.1f} s")
        lab.wait(lambda p=pair, n=sent: fb.count_lines(p.out) >= n, f"{sent} flows")
        v = load.verify(pair.out, flood).once("the drained collector")
        # those in the pipe when the input was detached were never read
        fb.equal("flows delivered", v.records, sent)
        fb.equal("flows missing before the last one that was read",
                 load.verify_range(pair.out, flood, "yyyy", 0, sent).missing, 0)
        fb.check(ended["name"] == "probe", f"{ended}")
        flood.process.kill()
        pair.collector.stop()
        pair.probe.stop()
        os.unlink(pair.out)


def flood_seen(pair, flood):
    """How many flows the hub took; the generator's log is filled up to now."""
    time.sleep(0.3)
    n = pair.probe.counters("hub")["flow_in"]
    fb.check(0 < n <= flood.end, f"{n} flows taken of {flood.end}")
    return n


def refused(lab):
    """Whatever cannot be attached leaves everything as it was, and the answer says what is wrong."""
    pair = fb.Pair(lab, json_options="fields=src_addr").start()
    probe, collector = pair.probe, pair.collector
    flood = load.Flood(lab, RATE, 60)
    probe.attach(f"pcap {flood.path} name=flood {load.METER}")
    weak, open_key, key = lab.path("weak.key"), lab.path("open.key"), lab.secret()
    with open(weak, "w", encoding="ascii") as f:
        f.write("password\n")
    os.chmod(weak, 0o600)
    with open(key, encoding="ascii") as f, open(open_key, "w", encoding="ascii") as g:
        g.write(f.read())
    os.chmod(open_key, 0o666)
    used = lab.port()
    with fb.socket.socket() as s:
        s.bind(("127.0.0.1", used))
        s.listen()
        here = f"tcp://127.0.0.1:{lab.port()}"
        cases = (
            (probe, ["publish", here, "name=hub"], ["hub", "attached already"]),
            (collector, ["subscribe", pair.address, "name=in"], ["in", "attached already"]),
            (probe, ["publish", f"tcp://127.0.0.1:{used}"], [str(used), "in use"]),
            (probe, ["publish", pair.address + "?bind", "name=h2"], [str(pair.port), "in use"]),
            (collector, ["subscribe", pair.address, "name=f", "filter=proto tcp and ("],
             ["filter", "("]),
            (collector, ["subscribe", pair.address, "name=f", "filter=dst prot 80"], ["port"]),
            (collector, ["json", lab.path("f.json"), "filter=packets > many"], ["filter"]),
            (probe, ["publish", here, "key_file=" + lab.path("no.key")], ["no.key"]),
            (probe, ["publish", here, "key_file=" + weak], ["weak.key"]),
            (probe, ["publish", here, "key_file=" + open_key], ["open.key"]),
            (probe, ["publish", here, "rings=1M"], ["rings", '"ring"']),
            (probe, ["publish", here, "ring=1"], ["ring"]),
            (probe, ["publish", here, "encryption=curve"], ["key"]),
            (probe, ["publish", "tcp://192.0.2.1:99999"], ["99999"]),
            (probe, ["publish", "tcp://0.0.0.0:5556"], ["key"]),
            (collector, ["subscribe", "udp://127.0.0.1:1"], ["udp"]),
            (probe, ["pcap", lab.path("no.pcap")], ["no.pcap"]),
            (probe, ["pcap", weak], ["weak.key"]),
            (probe, ["capture", "none0"], ["none0"]),
            (probe, ["kafka0", "x"], ["kafka0"]))
        before = [(n, n.do("show endpoints")) for n in (probe, collector)]
        fds = {n.name: load.descriptors(n.process.pid) for n in (probe, collector)}
        for node, words, expected in cases:
            _, final = node.ask("attach", *words)
            text = final["text"]
            fb.check(final["code"] >= 4000 and all(x in text for x in expected),
                     f"attach {' '.join(words)}: {final}; expected {expected}")
        for node, rows in before:
            fb.equal(f"endpoints of {node.name}",
                     [(r["name"], r["state"]) for r in node.do("show endpoints")],
                     [(r["name"], r["state"]) for r in rows])
        lab.wait(lambda: all(load.descriptors(n.process.pid) <= fds[n.name]
                             for n in (probe, collector)), "descriptors to be closed")
    # an address where nobody answers is no mistake: any start order works; the state says so
    for address, word in ((f"tcp://127.0.0.1:{lab.port()}?connect", "refused"),
                          ("tcp://no-such-host.invalid:5556", "does not resolve")):
        collector.attach(f"subscribe {address} name=far {FAST} encryption=none")
        fb.check(collector.endpoint("far")["for_s"] < 60, f"{collector.endpoint('far')}")
        lab.wait(lambda w=word: collector.endpoint("far")["state"] in ("degraded", "down") and
                 w in collector.endpoint("far")["why"], f"why {address} is not up: "
                 f"{collector.endpoint('far')}")
        peer = collector.do("show peers", "far")[0]
        fb.check(peer["state"] in ("down", "connecting") and word in peer["why"], f"{peer}")
        collector.do("detach", "far")
    flood.stop()
    pair.arrived(flood.end)
    load.verify(pair.out, flood).exact("the collector")


at_random.limit = 150
if __name__ == "__main__":
    fb.main(at_random, drain_delivers, refused)
