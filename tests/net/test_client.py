#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The wire protocol as its document says it: a client in Python, written from daemon/link/README.md
and daemon/batch/README.md, against real probes; what it gets is compared, field by field, with what
the project's own collector writes.

The client needs python3-zmq; without it these tests skip themselves."""
import collections
import json
import os
import sys
import time

import fb

sys.path.insert(0, os.path.join(fb.ROOT, "tests", "tools"))
try:
    import flowbus_client
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

PROGRAM = os.path.join(fb.ROOT, "tests", "tools", "flowbus_client.py")
SOME = "start,src_addr,dst_addr,dst_port,proto,bytes,rev_bytes,tcp_flags,app,tls_sni,end_reason"
# filter, fields: what a collector and clients ask for
WISHES = (("", "all"), ("app http", "all"),
          ("proto udp and total_bytes > 300 or tcp_flags has rst", "all"),
          ('server_name "*.tls.example"', SOME))
# wish, codec, with a key?
WAYS = ((0, None, True), (0, "none", False), (1, "zlib", True), (1, "zstd", False),
        (2, "zlib", False), (2, "none", True), (3, "zstd", True), (3, None, False))


def multiset(records):
    return collections.Counter(json.dumps(r, sort_keys=True) for r in records)


def client(lab, address, records, **options):
    """A client in this process whose flows go to @records."""
    c = flowbus_client.Client(address, records.append, **options)
    lab.undo.append(c.close)
    return c


def upright(c):
    """Nothing came that the document does not explain."""
    fb.equal("damaged, bad, missing", (c["damaged"], c["bad"], c["missing"]), (0, 0, 0))


def passed(node):
    return [s for s in node.do("show subscriptions") if s["peer"] == "python"]


def same_records(lab):
    """Eight clients, four wishes, each codec with and without a key, beside four collectors."""
    pcap, _ = lab.traffic(12000, 900)
    key = lab.secret()
    clear, safe = lab.port(), lab.port()
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{clear}?bind name=clear max_delay=300ms",
                     f"publish tcp://127.0.0.1:{safe}?bind name=safe max_delay=300ms key_file={key}")
    for i, (expr, fields) in enumerate(WISHES):
        lab.node(f"c{i}", f"json {lab.path(f'c{i}.json')} name=file time=us flush=50ms",
                 f"subscribe tcp://127.0.0.1:{clear}?connect name=in filter='{expr}' fields={fields}")
    programs = []
    for i, (wish, codec, with_key) in enumerate(WAYS):
        expr, fields = WISHES[wish]
        cmd = [sys.executable, PROGRAM, f"tcp://127.0.0.1:{safe if with_key else clear}",
               "--name", f"python{i}", "--filter", expr, "--summary"]
        cmd += ["--fields", fields] if fields != "all" else []
        cmd += ["--codec", codec] if codec else []
        cmd += ["--key", key] if with_key else []
        with open(lab.path(f"p{i}.json"), "wb") as out, open(lab.path(f"p{i}.err"), "wb") as err:
            programs.append(lab.spawn(cmd, stdout=out, stderr=err))
    n = len(WISHES) + len(WAYS)
    lab.wait(lambda: len(probe.do("show subscriptions")) == n, f"{n} subscriptions", 40)
    probe.attach(f"pcap {pcap} name=t {fb.NO_TIMEOUTS}")
    lab.wait(lambda: probe.ended("t"), "the end of the capture", 60)
    lab.wait(lambda: all(s["passed"] == s["acked"] for s in probe.do("show subscriptions")),
             "all acknowledged", 60)
    for p in programs:
        p.terminate()
    for i, p in enumerate(programs):
        with open(lab.path(f"p{i}.err"), encoding="utf-8") as f:
            text = f.read() if p.wait(20 * fb.SLOW) != 0 else ""
        fb.equal(f"status of client {i}: {text}", p.returncode, 0)
    lab.wait(lambda: all(fb.count_lines(lab.path(f"c{w}.json")) >= fb.count_lines(
        lab.path(f"p{i}.json")) for i, (w, _, _) in enumerate(WAYS)), "the collectors' files")
    for i, (wish, codec, with_key) in enumerate(WAYS):
        want = multiset(fb.records(lab.path(f"c{wish}.json")))
        fb.check(sum(want.values()) > 20, f"{WISHES[wish]} is a poor test")
        fb.same_multiset(f"{WISHES[wish]} codec {codec} key {with_key}",
                         multiset(fb.records(lab.path(f"p{i}.json"))), want)
        with open(lab.path(f"p{i}.err"), encoding="utf-8") as f:
            upright(json.loads(f.read().split("\n")[-2]))


def binds(lab):
    """The other role of the socket: it listens, probes connect; a wrong key does not come in."""
    pcap, _ = lab.traffic(6000, 400)
    key, other = lab.secret("a.key"), lab.secret("b.key")
    records = []
    local = lab.path("local.json")
    c = client(lab, f"tcp://127.0.0.1:{lab.port()}?bind", records, key=key)
    address = c.address + "?connect"
    for name in ("one", "two"):
        lab.node(name, f"publish {address} name=hub key_file={key} max_delay=100ms retry_min=200ms")
    wrong = lab.node("wrong", f"publish {address} name=hub key_file={other} retry_min=200ms")
    lab.nodes[0].attach(f"json {local} name=file time=us flush=50ms")
    c.until(lambda: len([p for p in c.peers.values() if p.current]) == 2, 30, "two probes")
    for node in lab.nodes:
        node.attach(f"pcap {pcap} name=t {fb.NO_TIMEOUTS}")
    lab.wait(lambda: all(n.ended("t") for n in lab.nodes), "the end of the capture", 60)
    n = fb.count_lines(local)
    c.until(lambda: len(records) >= 2 * n, 60, f"{2 * n} flows")
    c.until(lambda: all(s["passed"] == s["acked"] for x in lab.nodes[:2] for s in passed(x)), 20)
    want = collections.Counter()
    for name in ("one", "two"):
        want.update(multiset({**r, "probe": name} for r in fb.records(local)))
    fb.same_multiset("flows of two probes", multiset(records), want)
    fb.check("key" in wrong.endpoint("hub")["why"], wrong.endpoint("hub"))
    upright(c.n)


def resume(lab):
    """Cuts in the middle of frames, and a RESET: everything once."""
    pcap, _ = lab.traffic(12000, 3000)
    records, local = [], lab.path("local.json")
    port = lab.port()
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{port}?bind name=hub max_delay=20ms",
                     f"json {local} name=file time=us flush=50ms")
    proxy = fb.Proxy(lab, port)
    c = client(lab, f"tcp://127.0.0.1:{proxy.port}", records, node_id=77)
    for cut in range(4):
        c.until(lambda: any(p.current for p in c.peers.values()), 20, "a subscription")
        n = len(records)
        probe.attach(f"pcap {pcap} name=t{cut} batch_delay=1ms {fb.NO_TIMEOUTS}")
        c.until(lambda: len(records) > n, 30, "flows")
        proxy.cut()
        c.until(lambda: c.n["sessions"] > cut + 1, 20, "the next session")
    c.until(lambda: any(p.current for p in c.peers.values()), 20, "a subscription")
    # a message with a number of the other side that is not its: RESET, and HELLO again
    time.sleep(1.1)
    p = next(iter(c.peers.values()))
    c.put(p.rid, flowbus_client.encode("PING", p.me, p.peer ^ 1, time=1, mono=1))
    c.until(lambda: c.n["resets"] == 1 and c.n["sessions"] == 6, 10, "RESET and a new session")
    c.until(lambda: any(p.current for p in c.peers.values()), 20, "the subscription")
    lab.wait(lambda: all(probe.ended(f"t{i}") for i in range(4)), "the end of the captures", 60)
    c.until(lambda: all(s["passed"] == s["acked"] > 0 for s in passed(probe)), 60, "all of it")
    fb.check(len(passed(probe)) == 1, passed(probe))
    time.sleep(0.3)
    fb.same_multiset("flows over six sessions", multiset({**r, "probe": "probe"} for r in records),
                     multiset({**r, "probe": "probe"} for r in fb.records(local)))
    fb.equal("sessions that were resumed", c.n["resumed"], 5)
    upright(c.n)


def gap(lab):
    """Who does not acknowledge gets a window and no more; what the ring then drops is announced."""
    pcap, _ = lab.traffic(60000, 36000)
    records = []
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{lab.port()}?bind name=hub ring=1M "
                     "window=64K max_delay=20ms", start=False)
    probe.start()
    c = client(lab, probe.attached[0].split()[1].split("?")[0], records, codec="none")
    c.until(lambda: any(p.current for p in c.peers.values()), 20, "a subscription")
    c.hold = True
    for i in range(4):
        probe.attach(f"pcap {pcap} name=t{i} app=native {fb.NO_TIMEOUTS}")
        c.until(lambda i=i: probe.ended(f"t{i}"), 60, "the end of the capture")
    lab.wait(lambda: passed(probe)[0]["passed"] > 0, "flows")
    c.until(lambda: passed(probe)[0]["lost"] > 0, 20, f"a loss: {passed(probe)}")
    p = next(iter(c.peers.values()))
    box = p.inboxes[p.current]
    fb.check(box.window == 65536 and box.octets < box.window + (300 << 10),
             f"{box.octets} octets came without acknowledgement, the window is {box.window}")
    c.hold = False
    c.until(lambda: passed(probe)[0]["passed"] == passed(probe)[0]["acked"] +
            passed(probe)[0]["lost"], 60, "the rest")
    row = passed(probe)[0]
    fb.check(c.gaps and row["lost"] > 0, "no GAP came")
    fb.equal("flows lost", c.n["lost"], row["lost"])
    fb.equal("flows received", len(records), row["acked"])
    fb.equal("flows received and lost", len(records) + c.n["lost"], row["passed"])
    upright(c.n)


def the_rest(lab):
    """STATS, PING and PONG, a refused filter, a live change, BYE, an unknown item."""
    pcap, _ = lab.traffic(8000, 500)
    records, seconds = [], []
    port = lab.port()
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{port}?bind name=hub max_delay=50ms "
                     "heartbeat=300ms")
    c = client(lab, f"tcp://127.0.0.1:{port}", records, filter="proto nonsense",
               on_second=seconds.append)
    c.until(lambda: c.refused, 20, "REFUSED")
    fb.check("line 1, column 7" in c.refused, c.refused)
    c.change("proto udp")
    c.until(lambda: c.refused is None and any(p.current for p in c.peers.values()), 10, "yes")
    probe.attach(f"pcap {pcap} name=t {fb.NO_TIMEOUTS}")
    c.until(lambda: probe.ended("t"), 60, "the end")
    c.until(lambda: passed(probe)[0]["acked"] == passed(probe)[0]["passed"] > 0, 20, "the first")
    first = len(records)
    c.change("proto tcp")
    c.until(lambda: len(passed(probe)) == 1 and "tcp" in passed(probe)[0]["filter"], 10, "a change")
    probe.attach(f"pcap {pcap} name=u {fb.NO_TIMEOUTS}")
    c.until(lambda: probe.ended("u"), 60, "the end")
    c.until(lambda: passed(probe)[0]["acked"] == passed(probe)[0]["passed"] > 0, 20, "the second")
    fb.equal("protocols", ({r["proto"] for r in records[:first]}, {r["proto"] for r in
                                                                  records[first:]}), ({17}, {6}))
    fb.equal("packets of the statistics", sum(s["packets"] for s in seconds), 16000)
    fb.equal("probes of the statistics", {s["probe"] for s in seconds}, {"probe"})
    fb.check(sum(a["flows"] for s in seconds for a in s["apps"]) > first, "no applications")
    p = next(iter(c.peers.values()))
    c.until(lambda: c.n["pongs"] >= 2, 10, "PONGs")
    trip, offset = min(p.clock)
    fb.check(0 <= trip < 1e6 * fb.SLOW and abs(offset) < 1e6 * fb.SLOW, f"clock {trip} {offset}")
    fb.check(p.seen.startswith("127.0.0.1:"), p.seen)
    # a tag that nobody knows is skipped; an item twice is damaged, and nothing else suffers
    bad = probe.counters("hub")["msg_bad"]
    pongs = c.n["pongs"]
    ping = flowbus_client.encode("PING", p.me, p.peer, time=1, mono=time.monotonic_ns() // 1000)
    c.put(p.rid, ping + bytes([250, 3]) + b"new")
    c.until(lambda: c.n["pongs"] > pongs, 10, "an answer")
    c.put(p.rid, ping + ping[20:])
    c.until(lambda: probe.counters("hub")["msg_bad"] == bad + 1, 10, "a damaged message")
    probe.do("detach", "hub")
    c.until(lambda: not c.peers, 10, "BYE")
    upright(c.n)


if __name__ == "__main__":
    fb.main(same_records, binds, resume, gap, the_rest)
