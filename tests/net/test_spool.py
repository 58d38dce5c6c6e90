#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kill -9 of either side: what was in a written frame arrives once, the rest is said to be lost."""
import collections
import glob
import json
import os
import time

import fb


def capture(lab, name, flows=100000, seed=1):
    """About so many flows."""
    pcap, flow_list = lab.traffic(flows * 5, flows // 2, "--snaplen", "96", "--seed", str(seed),
                                  "--start", str(1700000000 + 10000 * seed), name=name)
    return pcap, fb.truth_of(flow_list)


def balanced(sub):
    fb.equal("offered", sub["offered"], sub["filtered"] + sub["passed"])
    fb.equal("passed", sub["passed"], sub["acked"] + sub["in_flight"] + sub["queued"] +
             sub["spooled"] + sub["lost"])


def row(pair):
    subs = [s for s in pair.probe.do("show subscriptions")]
    fb.equal("subscriptions", len(subs), 1)
    balanced(subs[0])
    return subs[0]


def sealed(pair):
    """Wait until everything that is left lies on the disk of the probe."""
    def quiet():
        mark = row(pair)["passed"]
        time.sleep(0.4)
        return row(pair)["passed"] == mark
    pair.lab.wait(quiet, "the last frame to be sealed")
    time.sleep(0.3)


def spooled(lab, **more):
    options = dict(ring="1M", codec="none", resume="1h", spool_size="1G")
    options.update(more)
    spool = lab.path("spool")
    os.makedirs(spool, exist_ok=True)
    text = " ".join(f"{k}={v}" for k, v in options.items())
    return fb.Pair(lab, publish=f"spool={spool} {text}"), spool


def segments(spool):
    return sorted(glob.glob(os.path.join(spool, "hub", "*", "*.seg")))


def collector_away(lab):
    """A collector that was killed and away gets from the disk what it missed, once."""
    pcap, truth = capture(lab, "a")
    pair, spool = spooled(lab)
    pair.start()
    pair.collector.kill()
    pair.meter(pcap)
    sealed(pair)
    fb.check(row(pair)["spooled"] > 1000, f"nothing on disk only: {row(pair)}")
    fb.check(segments(spool), "no segments")
    pair.collector.start()
    pair.arrived(sum(truth.values()))
    fb.same_multiset("flows from the spool", fb.flows_of(pair.out), truth)
    pair.settled()
    fb.equal("lost", row(pair)["lost"], 0)
    lab.wait(lambda: sum(os.path.getsize(s) for s in segments(spool)) < 1 << 20,
             "the segments to be deleted")


def probe_killed(lab):
    """kill -9 of the probe: its channels go on, what was in written frames comes, the rest is told."""
    pcap, truth = capture(lab, "a")
    pcap2, truth2 = capture(lab, "b", 5000, 2)
    pair, _ = spooled(lab)
    pair.start()
    pair.collector.kill()
    pair.meter(pcap)
    sealed(pair)
    pair.probe.kill()
    pair.probe.start()
    back = row(pair)
    fb.equal("flows that wait", back["spooled"] + back["queued"], sum(truth.values()))
    pair.collector.start()
    pair.arrived(sum(truth.values()))
    fb.same_multiset("flows over the kill", fb.flows_of(pair.out), truth)
    lab.wait(lambda: "was killed" in pair.collector.log(), "the loss to be told")
    pair.meter(pcap2, "again")
    pair.arrived(sum((truth + truth2).values()))
    fb.same_multiset("flows after it", fb.flows_of(pair.out), truth + truth2)
    # in order: nothing is said to be lost
    pair.collector.stop()
    pair.probe.stop()
    pair.probe.start()
    fb.equal("flows that wait after an orderly stop", row(pair)["passed"], row(pair)["acked"])
    told = pair.collector.log().count("was killed")
    pair.collector.start()
    pair.ready()
    time.sleep(1)
    fb.equal("losses told", pair.collector.log().count("was killed"), told)


def both_killed(lab):
    """Again and again, in turn and at once: every flow of a written frame once."""
    pair, _ = spooled(lab, codec="zstd")
    pair.start()
    want = collections.Counter()
    for i in range(5):
        pcap, truth = capture(lab, f"c{i}", 8000, 10 + i)
        want += truth
        if i % 2 == 0:
            pair.collector.kill()
        pair.meter(pcap, f"file{i}")
        sealed(pair)
        if i % 2 == 1:
            pair.collector.kill()
        if i != 2:
            pair.probe.kill()
            pair.probe.start()
        pair.collector.start()
        pair.ready()
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)


def wait_ahead(pair):
    """Until the file holds more than is saved: then a kill meets records not acknowledged."""
    state = os.path.join(pair.collector.dir, "state", "positions.json")
    end = time.monotonic() + 2 * fb.SLOW
    while time.monotonic() < end and not pair.probe.ended("file"):
        try:
            with open(state, encoding="utf-8") as f:
                saved = {x["inode"]: x["size"] for x in json.load(f)["files"]}
            now = os.stat(pair.out)
        except (OSError, ValueError):
            continue
        if now.st_size > saved.get(now.st_ino, 0):
            return


def collector_killed_often(lab):
    """kill -9 in the middle of a stream: the file is cut back to what was acknowledged."""
    for rotate in ("", "rotate_size=300K"):
        lab.nodes.clear()
        pcap, _ = capture(lab, "a", 30000)
        pair = fb.Pair(lab, publish="window=64K", json_options=rotate)
        pair.start()
        pair.probe.attach(f"pcap {pcap} name=file idle=200ms active=0 tcp_end=10ms app=off "
                          "max_flows=64K pace=real")
        cut = 0
        for i in range(6):
            time.sleep(0.7 + 0.13 * i)
            wait_ahead(pair)
            pair.collector.kill()
            pair.collector.start()
            cut = pair.collector.log().count("cut back by")
        lab.wait(lambda p=pair: p.probe.ended("file"), "the end of the capture", 60)
        pair.settled()
        local = lab.path(f"local{len(rotate)}.json")
        lab.once(f"pcap {pcap} idle=200ms active=0 tcp_end=10ms app=off max_flows=64K",
                 f"json {local} time=us")
        time.sleep(0.5)
        got = collections.Counter()
        for path in glob.glob(pair.out + "*"):
            got += fb.whole(path)
            os.unlink(path)
        fb.same_multiset("flows over six kills", got, fb.whole(local))
        fb.check(cut > 0, "no kill met records that were not acknowledged; the test proves nothing")
        pair.collector.stop()
        pair.probe.stop()


def local_records_stay(lab):
    """What did not come over a link is not cut off with what did: nobody would send it again."""
    pcap, truth = capture(lab, "a", 3000)
    pcap2, truth2 = capture(lab, "b", 3000, 2)
    pair = fb.Pair(lab).start()
    pair.meter(pcap)
    pair.settled()
    pair.collector.attach(f"pcap {pcap2} name=here {fb.NO_TIMEOUTS}")
    lab.wait(lambda: pair.collector.ended("here"), "the end of the local capture")
    time.sleep(2.5 * fb.SLOW)
    pair.collector.kill()
    pair.collector.start()
    pair.ready()
    pair.arrived(sum((truth + truth2).values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), truth + truth2)


def state_not_saved(lab):
    """Positions that cannot be saved any more: no old ones are left to cut a file back to."""
    pcap, truth = capture(lab, "a", 3000)
    pcap2, truth2 = capture(lab, "b", 3000, 2)
    pair = fb.Pair(lab).start()
    pair.meter(pcap)
    pair.settled()
    state = os.path.join(pair.collector.dir, "state")
    os.mkdir(os.path.join(state, "positions.json.new"))
    pair.meter(pcap2, "more")
    pair.settled()
    fb.check(not os.path.exists(os.path.join(state, "positions.json")), "old positions are left")
    fb.check(pair.collector.lines("positions.json", "cannot be written"), "nothing was said")
    pair.collector.kill()
    pair.collector.start()
    pair.ready()
    pair.arrived(sum((truth + truth2).values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), truth + truth2)


def overflow(lab):
    """No room left: the oldest or the newest go, counted, named and announced."""
    pcap, truth = capture(lab, "a")
    total = sum(truth.values())
    for policy, where in (("drop_oldest", "spool"), ("drop_newest", "spool"),
                          ("drop_oldest", "ring"), ("drop_newest", "ring")):
        lab.nodes.clear()
        if where == "spool":
            pair, _ = spooled(lab, spool_size="1M", on_full=policy)
        else:
            pair = fb.Pair(lab, publish=f"ring=1M codec=none resume=1h on_full={policy}")
        pair.start()
        pair.collector.kill()
        pair.meter(pcap)
        sealed(pair)
        pair.collector.start()
        lab.wait(lambda p=pair: row(p)["acked"] + row(p)["lost"] == total, "the rest", 30)
        lost = row(pair)["lost"]
        fb.check(0 < lost < total, f"{policy} {where}: {lost} of {total} lost")
        name = "flow_lost_" + where
        fb.equal(f"{policy} {name}", pair.probe.counters("hub")[name], lost)
        lab.wait(lambda p=pair: p.collector.counters("in").get("flow_lost_gap", 0) > 0, "the GAP")
        fb.equal("announced", pair.collector.counters("in")["flow_lost_gap"], lost)
        pair.arrived(total - lost)
        got = fb.flows_of(pair.out)
        fb.check(not got - truth, "flows that never were")
        pair.collector.stop()
        pair.probe.stop()
        os.unlink(pair.out)
        lab.run("rm", "-rf", lab.path("spool"))


def file_waits(lab):
    """on_full=block_file_input: a file is read no faster than there is room."""
    pcap, _ = capture(lab, "a")
    pair = fb.Pair(lab, publish="ring=1M codec=none resume=1h on_full=block_file_input queue=4")
    pair.start()
    pair.collector.kill()
    pair.probe.attach(f"pcap {pcap} name=file active=0 idle=1s tcp_end=1s app=off max_flows=64K "
                      "max_batches=8")
    def stalled():
        seen = pair.probe.endpoint("file")["packets"]
        time.sleep(0.5)
        return pair.probe.endpoint("file")["packets"] == seen and row(pair)["passed"] > 0
    lab.wait(stalled, "the input to wait")
    fb.check(not pair.probe.ended("file"), "the file was read to its end without room for it")
    pair.collector.start()
    lab.wait(lambda: pair.probe.ended("file"), "the end of the file", 30)
    pair.settled()
    fb.equal("lost", row(pair)["lost"], 0)
    local = lab.path("local.json")
    lab.once(f"pcap {pcap} active=0 idle=1s tcp_end=1s app=off max_flows=64K",
             f"json {local} time=us")
    pair.arrived(fb.count_lines(local))
    fb.same_multiset("flows", fb.whole(pair.out), fb.whole(local))


def torn(lab):
    """A torn tail is cut off and told; a damaged record costs what lies behind it in its segment."""
    pcap, truth = capture(lab, "a", 100000)
    total = sum(truth.values())
    for damage in ("middle", "tail"):
        lab.nodes.clear()
        pair, spool = spooled(lab, spool_size="16M")
        pair.start()
        pair.collector.kill()
        pair.meter(pcap)
        sealed(pair)
        pair.probe.kill()
        all_of = segments(spool)
        if damage == "tail":
            size = os.path.getsize(all_of[-1])
            os.truncate(all_of[-1], size - 7)
        else:
            fb.check(len(all_of) > 1, f"only {len(all_of)} segments")
            with open(all_of[0], "r+b") as f:
                f.seek(os.path.getsize(all_of[0]) // 2)
                byte = f.read(1)
                f.seek(-1, 1)
                f.write(bytes([byte[0] ^ 0x40]))
        pair.probe.start()
        back = row(pair)
        left = back["spooled"] + back["queued"]
        fb.check(0 < left < total, f"{damage}: {left} of {total} left")
        pair.collector.start()
        pair.arrived(left)
        fb.check(not fb.flows_of(pair.out) - truth, "flows that never were")
        words = "could not be read back" if damage == "middle" else "was killed"
        lab.wait(lambda p=pair, w=words: w in p.collector.log(), f"the GAP: {words}")
        pair.collector.stop()
        pair.probe.stop()
        os.unlink(pair.out)
        lab.run("rm", "-rf", spool)


def refusals(lab):
    """A spool that cannot be used refuses the attach, and says why."""
    spool = lab.path("spool")
    os.makedirs(spool)
    a = lab.node("a", f"publish tcp://127.0.0.1:{lab.port()} name=hub spool={spool}")
    b = lab.node("b")
    for where, code, words in ((spool, 4091, "in use by another flowbusd"),
                               (spool + "/none", 4040, "make it")):
        _, final = b.ask("attach", "publish", f"tcp://127.0.0.1:{lab.port()}", "name=hub",
                         f"spool={where}")
        fb.equal("code", final["code"], code)
        fb.check(words in final["text"], final)
    fb.equal("endpoints", b.do("show endpoints"), [])
    a.stop()
    b.attach(f"publish tcp://127.0.0.1:{lab.port()} name=hub spool={spool}")


if __name__ == "__main__":
    fb.main(collector_away, probe_killed, both_killed, collector_killed_often, local_records_stay,
            state_not_saved, overflow, file_waits, torn, refusals)
