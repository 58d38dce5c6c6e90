#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What changes while flows pass: the filter of a subscription, and the clock of a probe."""
import collections
import os
import struct
import threading

import fb

STREAM = "pace=real active=200ms idle=100ms tcp_end=50ms batch_delay=10ms"


def key_of(r):
    return (r["src_addr"], r["dst_addr"], r.get("src_port"), r.get("dst_port"), r["proto"],
            r["start"], r["packets"])


def stream(lab, seconds, **kw):
    pcap, _ = lab.traffic(seconds * 10000, 1500, "--pps", "10000", "--arrival-rate", "1500", **kw)
    return pcap


def judged(flows, got, filters):
    """Can the flows, in the order they passed, be cut so that each filter judged its part and what
    arrived is exactly what it let through? `filters`: predicates in the order they were set."""
    reach = {0}
    for f in flows:
        arrived = key_of(f) in got
        reach = {s for s, want in enumerate(filters) if want(f) == arrived and
                 any(r <= s for r in reach)}
        if not reach:
            return False
    return True


def exact(lab):
    """The old filter judges what passed before the change, the new one what comes after, at the
    sequence that is told; nothing is lost, doubled or connected again."""
    pair = fb.Pair(lab, publish="max_delay=20ms", subscribe="filter='proto tcp'").start()
    events = fb.Watch(pair.collector, "watch events")
    # others have the same filters all the time: their channels have gathered flows of before
    lab.node("others", *(pair.subscribe.replace("name=in", f"name={p}").replace("proto tcp", f"proto {p}")
                         for p in ("tcp", "udp")))
    pair.ready(3)
    everything = lab.path("all.json")
    pair.probe.attach(f"json {everything} name=all time=us flush=50ms")
    ups = pair.probe.counters("hub")["peer_up"]
    pair.probe.attach(f"pcap {stream(lab, 5)} name=pcap {STREAM}")
    tcp, udp = (lambda r: r["proto"] == 6), (lambda r: r["proto"] == 17)
    filters, told = [tcp], []
    first = pair.collector.do("show subscriptions", "in")[0]
    for text, want in (("proto udp", udp), ("proto tcp", tcp), ("proto udp", udp), ("", bool),
                       ("proto tcp and packets > 2", lambda r: tcp(r) and r["packets"] > 2),
                       ("proto udp", udp), ("proto tcp", tcp), ("proto udp", udp)):
        fb.time.sleep(0.35 if len(told) < 5 else 0)        # the last ones in a hurry
        row = pair.collector.do("set", "in", f"filter={text}")[0]
        fb.equal("probes that answered", [p["change"] for p in row["probes"]], ["taken"])
        told.append(row["probes"][0])
        filters.append(want)
    lab.wait(lambda: pair.probe.ended("pcap"), "the end of the traffic", 60)
    lab.wait(lambda: pair.probe.endpoint("all")["flows"] == fb.count_lines(everything), "the file")
    pair.settled()
    flows = list(fb.records(everything))
    lab.wait(lambda: pair.collector.endpoint("in")["flows"] == fb.count_lines(pair.out), "records")
    got = collections.Counter(key_of(r) for r in fb.records(pair.out))
    fb.check(len(flows) > 2000 and got, f"{len(flows)} flows, {len(got)} arrived: nothing to see")
    metered = {key_of(f) for f in flows}
    fb.equal("flows that are unique", len(metered), len(flows))
    fb.equal("flows that came twice", [k for k, n in got.items() if n > 1], [])
    fb.equal("flows nobody metered", [k for k in got if k not in metered], [])
    fb.check(judged(flows, got, filters), "some flow was judged by the wrong filter")
    fb.equal("sessions", pair.probe.counters("hub")["peer_up"], ups)
    counters = pair.collector.counters("in")
    fb.equal("frames missing", counters["frame_missing"], 0)
    # what was told: each channel's frames are those from its first to the end that was told
    frames, before = 0, first
    for x in told:
        fb.equal("the channel replaced", x["old_channel"], before["channel"])
        frames += x["old_last"] - before["seq_first"] + 1
        before = x
    last = pair.collector.do("show subscriptions", "in")[0]
    frames += last["seq_next"] - last["seq_first"]
    fb.equal("frames", counters["frame_in"], frames)
    at_probe = [s for s in pair.subscriptions() if s["channel"] == last["channel"] and
                s["peer"] == "collector"][0]
    for name in ("seq_first", "old_channel", "old_last"):
        fb.equal(f"{name} at both ends", at_probe[name], last[name])
    lines = [e["event"] for e in events.stop() if "takes effect at sequence" in e["event"]]
    fb.equal("lines of the log", len(lines), len(told))
    fb.check(f"sequence {told[0]['seq_first']} of channel {told[0]['channel']} (old channel "
             f"{told[0]['old_channel']} ends at {told[0]['old_last']})" in lines[0], lines[0])


def fields_and_codec(lab):
    """Other columns and another compression, without a new connection; the figures of a shared
    channel are the same for those who share it."""
    a, _ = lab.traffic(6000, 400, "--seed", "1", name="a")
    b, _ = lab.traffic(6000, 400, "--seed", "2", "--start", "1700100000", name="b")
    pair = fb.Pair(lab).start()
    other = lab.node("other", f"json {lab.path('other.json')} name=file",
                     pair.subscribe.replace("name=in", "name=in fields=proto,src_addr,bytes "
                                            "codec=none"))
    pair.ready(2)
    pair.meter(a, "a")
    pair.settled()
    n = fb.count_lines(pair.out)
    ups = pair.probe.counters("hub")["peer_up"]
    pair.collector.do("set", "in", "fields=proto,src_addr,bytes", "codec=none")
    sub = pair.collector.do("show subscriptions", "in")[0]
    fb.equal("fields and codec", (sub["fields"], sub["codec"]), ("3 fields", "none"))
    lab.wait(lambda: [s["shared"] for s in pair.subscriptions()] == [True, True],
             "the replaced subscription to end")
    pair.meter(b, "b")
    pair.settled()
    lab.wait(lambda: pair.collector.endpoint("in")["flows"] == fb.count_lines(pair.out), "records")
    rows = list(fb.records(pair.out))
    fb.check(n > 300 and "dst_port" in rows[0] and len(rows) > n, f"{n} {len(rows)} {rows[:1]}")
    for r in rows[n:]:
        fb.equal("fields", sorted(set(r) - {"probe"}), ["bytes", "proto", "src_addr"])
    fb.equal("sessions", pair.probe.counters("hub")["peer_up"], ups)
    subs = {s["peer"]: s for s in pair.subscriptions()}
    new, old = subs["collector"], subs["other"]
    fb.equal("matched", new["passed"], len(rows) - n)
    fb.check(old["offered"] > new["offered"] == len(rows) - n and old["bytes_raw"] >
             new["bytes_raw"] > 0 and old["filter_ns"] >= new["filter_ns"] >= 0, f"{subs}")
    fb.equal("clear frames are raw and a header", new["bytes_sent"] - new["bytes_raw"],
             40 * (new["seq_next"] - new["seq_first"]))
    fb.check(new["ratio"] is not None and 0.9 < new["ratio"] <= 1, f"{new}")
    text = lab.run(fb.program("flowctl"), "-s", pair.probe.socket, "show",
                   "subscriptions").stdout
    for head in ("OFFERED", "MATCHED", "RAW", "SENT", "RATIO", "FILTER-CPU", "NS/FLOW"):
        fb.check(head in text, text)


class FakeProbe:
    """A probe in Python that connects (push mode), takes the first subscription and refuses each
    later one at line 1, column 7."""

    def __init__(self, port):
        try:
            import zmq
        except ImportError:
            raise fb.Skip("python3-zmq is missing") from None
        self.zmq, self.me, self.n, self.done = zmq, 4711, 0, False
        self.sock = zmq.Context.instance().socket(zmq.DEALER)
        self.sock.linger = 0
        self.sock.connect(f"tcp://127.0.0.1:{port}")
        self.peer = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def send(self, kind, *items):
        m = b"FL" + struct.pack("<BBQQ", 1, kind, self.me, self.peer)
        for tag, v in items:
            if isinstance(v, int):
                v = v.to_bytes((v.bit_length() + 7) // 8, "little")
            m += bytes([tag, len(v)]) + v                   # all are shorter than 128
        self.sock.send(m)

    @staticmethod
    def items(m):
        got, at = {}, 20
        while at < len(m):
            tag, n, shift = m[at], 0, 0
            at += 1
            while True:
                n |= (m[at] & 127) << shift
                at += 1
                shift += 7
                if m[at - 1] < 128:
                    break
            got[tag] = m[at:at + n]
            at += n
        return got

    def run(self):
        self.send(1, (1, 1), (2, 1), (3, 1), (4, 99), (5, b"hub"), (6, b"fake"))
        while not self.done:
            if not self.sock.poll(100):
                continue
            m = self.sock.recv()
            kind, self.peer, x = m[3], struct.unpack_from("<Q", m, 4)[0], self.items(m)
            if kind == 3 and self.n == 0:
                self.send(4, (13, 1), (20, 5), (22, 1), (14, b"proto = 6"))
            elif kind == 3:
                self.send(5, (13, 1), (27, 2), (28, b"no such thing here"), (29, 1), (30, 7))
            elif kind == 11:
                self.send(12, (31, x[31]), (33, x[31]), (34, x[32]), (35, x[31]))
            self.n += kind == 3
        self.sock.close()


def refused(lab):
    """What one probe refuses it goes on without, what all refuse changes nothing; where and why is
    told."""
    pcap = stream(lab, 2)
    pair = fb.Pair(lab, subscribe="filter='proto tcp'", push=True)
    pair.collector.start()
    fake = FakeProbe(pair.port)

    def subs():
        return {s["peer"]: s for s in pair.collector.do("show subscriptions")}
    lab.wait(lambda: "fake" in subs(), "the fake probe")
    rows, final = pair.collector.ask("set", "in", "filter=proto udp")
    fb.check(rows == [] and final["code"] == 4001 and (final["line"], final["col"]) == (1, 7) and
             "fake" in final["text"] and "no such thing here" in final["text"] and
             "^" in final["text"], f"{final}")
    end = pair.collector.endpoint("in")
    fb.equal("state and filter", (end["state"], end["options"]["filter"]), ("up", "proto tcp"))
    # one that takes it beside one that does not
    pair.probe.start()
    lab.wait(lambda: set(subs()) == {"fake", "probe"}, "both probes")
    rows, final = pair.collector.ask("set", "in", "filter=proto udp")
    fb.check(final["code"] == 2000 and "1 of 2 probes refuse" in final["text"], f"{final}")
    said = {p["peer"]: p for p in rows[0]["probes"]}
    fb.equal("changes", {p: x["change"] for p, x in said.items()},
             {"fake": "refused", "probe": "taken"})
    fb.equal("place", (said["fake"]["line"], said["fake"]["col"]), (1, 7))
    fb.check("tcp" in said["fake"]["filter"] or "6" in said["fake"]["filter"], f"{said}")
    fb.check("udp" in said["probe"]["filter"] or "17" in said["probe"]["filter"], f"{said}")
    # a real refusal: there is no room for another channel
    pair.probe.do("set", "hub", "max_channels=1")
    fake.done = True
    fake.thread.join()
    lab.wait(lambda: set(subs()) == {"probe"}, "the fake probe to be gone")
    _, final = pair.collector.ask("set", "in", "filter=dst port 53")
    fb.check(final["code"] == 4005 and "max_channels" in final["text"], f"{final}")
    pair.meter(pcap, "a", STREAM.replace("real", "full"))
    pair.settled()
    lab.wait(lambda: fb.count_lines(pair.out) > 50, "the old subscription's flows")
    fb.equal("protocols", {r["proto"] for r in fb.records(pair.out)}, {17})
    # another connection still gets what it had
    pair.probe.do("disable", "hub")
    pair.probe.do("enable", "hub")
    lab.wait(lambda: "probe" in subs(), "the probe again")
    pair.probe.do("set", "hub", "max_channels=4")
    fb.equal("then it is taken", pair.collector.do("set", "in", "filter=dst port 53")[0]["probes"]
             [0]["change"], "taken")


def set_shift(path, seconds):
    with open(path, "r+b" if os.path.exists(path) else "wb") as f:
        f.write(struct.pack("<q", int(seconds * 1e6)))


def wrong_clock(lab):
    """A probe whose clock is an hour ahead: measured, marked, told once, its flows carry the offset
    also through a relay; and right again."""
    shim, shift = os.path.join(fb.BUILD, "tests/net/libclock_shim.so"), lab.path("shift")
    set_shift(shift, 3600.25)
    pcap, flow_list = lab.traffic(3000, 200)
    n = sum(fb.truth_of(flow_list).values())
    pair = fb.Pair(lab)
    pair.probe.wrap = ["env", f"LD_PRELOAD={shim}", f"FLOWBUS_CLOCK_SHIFT={shift}"]
    pair.start()
    relay = lab.port()
    pair.collector.attach(f"publish tcp://127.0.0.1:{relay} name=on max_delay=100ms")
    pair.collector.attach(f"json {lab.path('late.json')} name=late 'filter=clock_offset > 1h'")
    far = lab.node("far", f"json {lab.path('far.json')} name=file flush=50ms",
                   f"subscribe tcp://127.0.0.1:{relay}?connect name=in heartbeat=500ms")
    lab.wait(lambda: pair.collector.do("show subscriptions", "on"), "the relay's collector")

    def peer():
        return pair.collector.do("show peers", "in")[0]
    lab.wait(lambda: peer()["clock"] == "wrong", "the mark")
    off = lambda x: abs(x - 3600.25)
    fb.check(off(peer()["clock_offset_us"] / 1e6) < 0.02, f"{peer()}")
    fb.check(0 < peer()["rtt_us"] < 500000 and peer()["lag_us"] is not None, f"{peer()}")
    fb.check(any("clock of probe probe" in p and "ahead" in p for p in
                 pair.collector.do("status")[0]["problems"]), "status says nothing")
    fb.equal("the other end's opinion", pair.probe.do("show peers", "hub")[0]["clock"], "ok")
    text = lab.run(fb.program("flowctl"), "-s", pair.collector.socket, "show", "peers").stdout
    fb.check("wrong" in text and "OFFSET" in text, text)
    watch = fb.Watch(pair.collector, "watch stats")
    pair.meter(pcap, "a", fb.NO_TIMEOUTS)
    pair.arrived(n)
    lab.wait(lambda: fb.count_lines(lab.path("far.json")) >= n, "records behind the relay")
    lab.wait(lambda: fb.count_lines(lab.path("late.json")) >= n, "records that the filter finds")
    for path in (pair.out, lab.path("far.json")):
        fb.check(all(off(r["clock_offset"]) < 0.02 for r in fb.records(path)), path)
    lab.wait(lambda: [s for s in watch.rows if s["probe"] == "probe"], "a second of the probe")
    second = [s for s in watch.stop() if s["probe"] == "probe"][0]
    fb.check(off(second["clock_offset_us"] / 1e6) < 0.02 and second["rtt_us"] > 0, f"{second}")
    # right again, then its flows carry nothing
    set_shift(shift, 0)
    lab.wait(lambda: peer()["clock"] == "ok", "the clock to be right again")
    fb.check(abs(peer()["clock_offset_us"]) < 20000, f"{peer()}")
    pair.meter(pcap, "b", fb.NO_TIMEOUTS)
    pair.arrived(2 * n)
    fb.equal("records with an offset", sum("clock_offset" in r for r in fb.records(pair.out)), n)
    # hysteresis: a little over half the limit is neither wrong nor, once wrong, right
    set_shift(shift, -1.5)
    lab.wait(lambda: peer()["clock_offset_us"] < -1000000, "the new offset")
    fb.equal("within the limit", peer()["clock"], "ok")
    set_shift(shift, -3)
    lab.wait(lambda: peer()["clock"] == "wrong", "behind")
    set_shift(shift, -1.5)
    lab.wait(lambda: peer()["clock_offset_us"] > -2000000, "the newest offset")
    fb.equal("not right yet", peer()["clock"], "wrong")
    pair.collector.do("set", "in", "clock_limit=0")
    fb.equal("without a limit", peer()["clock"], "ok")
    fb.equal("lines", [len(pair.collector.lines("clock of probe", x)) for x in
                       ("ahead of", "right again", "behind")], [1, 1, 1])


def filter_test(lab):
    """What a filter would have let through: compared with what a collector with that filter got,
    over packet time and over the clock, within what is kept."""
    pcap, _ = lab.traffic(60000, 6000, "--pps", "10000")      # six seconds
    pair = fb.Pair(lab, subscribe="filter='proto tcp'", publish="max_delay=1s").start()
    everything = lab.path("all.json")
    pair.probe.attach(f"json {everything} name=all time=us flush=50ms")
    pair.meter(pcap, options="active=0 idle=500ms tcp_end=200ms max_batches=8 batch_delay=60s")
    pair.settled()
    lab.wait(lambda: pair.probe.endpoint("all")["flows"] == fb.count_lines(everything), "the file")
    flows = list(fb.records(everything))
    tcp = [f for f in flows if f["proto"] == 6]

    def ask(node, *words):
        return node.do("filter test", *words)[0]
    whole = ask(pair.probe, "proto tcp", "--last", "1h")
    fb.equal("missed", whole["missed"], 0)
    fb.equal("all of it", (whole["seen"], whole["matched"], whole["encoded"], whole["scaled"],
                           whole["time"]), (len(flows), len(tcp), len(tcp), False, "packets"))
    fb.check(not whole["complete"] and 4 < whole["span_s"] < 8, f"{whole}")
    sub = pair.subscriptions()[0]
    for key, really in (("bytes", "bytes_sent"), ("bytes_raw", "bytes_raw")):
        fb.check(abs(whole[key] / sub[really] - 1) < 0.1, f"{key}: {whole} and really {sub}")
    brief = lambda f: key_of(dict(f, start=0))
    fb.equal("rows shown", [brief(r) in {brief(f) for f in tcp} for r in whole["rows"]], [True] * 3)
    newest = max(f["end"] for f in flows)
    for span in (1, 2):
        late = [f for f in flows if f["end"] > newest - span * 1000000]
        some = ask(pair.probe, "proto tcp", f"--last={span}s")
        fb.equal(f"the last {span} s", (some["seen"], some["matched"], some["complete"]),
                 (len(late), sum(f["proto"] == 6 for f in late), True))
    fb.equal("nothing", ask(pair.probe, "proto 250")["matched"], 0)
    # over the clock, at the collector
    lab.wait(lambda: pair.collector.endpoint("in")["flows"] == len(tcp), "the flows")
    here = ask(pair.collector, "packets > 2")
    fb.equal("at the collector", (here["seen"], here["matched"], here["time"]),
             (len(tcp), sum(f["packets"] > 2 for f in tcp), "clock"))
    fb.check(not here["complete"] and here["span_s"] < 60, f"{here}")
    fb.time.sleep(1.1)
    later = ask(pair.collector, "", "--last", "1s")
    fb.equal("a second later", (later["seen"], later["complete"]), (0, True))
    _, final = pair.probe.ask("filter test", "proto tcp andd")
    fb.check(final["col"] == 11 and "^" in final["text"], f"{final}")
    # a history that does not hold it all says so, and what it holds it counts rightly
    many, _ = lab.traffic(120000, 40000, "--arrival-rate", "60000", "--zipf", "0", name="many")
    small = lab.node("small", f"json {lab.path('small.json')} name=file", history="4M")
    small.attach(f"pcap {many} name=pcap {fb.NO_TIMEOUTS}")
    lab.wait(lambda: small.ended("pcap"), "the file")
    n = small.endpoint("pcap")["flows"]
    part = ask(small, "proto tcp", "--last", "1h")
    fb.check(not part["complete"] and part["history_bytes"] <= 4 << 20 and
             1000 < part["seen"] == part["history_flows"] < n, f"{n} flows, {part}")
    fb.equal("lost", [small.counters("pcap")[c] + pair.probe.counters("pcap")[c] for c in
                      ("flow_lost_batch", "flow_lost_queue")], [0, 0])
    none = lab.node("none", history="0")
    fb.equal("without one", none.ask("filter test", "proto tcp")[1]["code"], 8008)


if __name__ == "__main__":
    fb.main(filter_test, exact, fields_and_codec, refused, wrong_clock)
