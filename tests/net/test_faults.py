#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The link when something dies: what was not delivered is delivered later, once, or is counted."""
import os
import signal
import time

import fb
import load


def captures(lab, n, packets=6000, flows=400):
    """Captures without a flow in common, and their truth."""
    made = []
    for i in range(n):
        made.append(lab.traffic(packets, flows, "--seed", str(100 + i), "--start",
                                str(1700000000 + 10000 * i), name=f"t{i}"))
    return [m[0] for m in made], [fb.truth_of(m[1]) for m in made]


def late_attach(lab):
    """A collector that comes late gets what is made from then on; detach stops it at once."""
    pcaps, truth = captures(lab, 3)
    pair = fb.Pair(lab)
    pair.probe.start()
    pair.meter(pcaps[0], "before")
    pair.collector.start()
    pair.ready()
    pair.meter(pcaps[1], "during")
    pair.arrived(sum(truth[1].values()))
    fb.same_multiset("flows after attach", fb.flows_of(pair.out), truth[1])
    pair.collector.do("detach", "in")
    lab.wait(lambda: not pair.subscriptions(), "the end of the subscription")
    sent = pair.probe.counters("hub")["frame_out"]
    pid = pair.probe.do("status")[0]["pid"]
    pair.meter(pcaps[2], "after")
    time.sleep(1)
    fb.equal("records after detach", fb.count_lines(pair.out), sum(truth[1].values()))
    fb.equal("frames sent after detach", pair.probe.counters("hub")["frame_out"], sent)
    fb.equal("the probe is the same process", pair.probe.do("status")[0]["pid"], pid)
    fb.check(pair.probe.endpoint("after")["packets"] > 0, "the probe stopped metering")


def collector_killed(lab):
    """kill -9 of the collector: started again within `resume`, it gets the rest, once."""
    pcaps, truth = captures(lab, 3)
    pair = fb.Pair(lab).start()
    pair.meter(pcaps[0], "one")
    pair.arrived(sum(truth[0].values()))
    pair.settled()
    pair.collector.kill()
    pair.meter(pcaps[1], "two")
    time.sleep(1)
    pair.collector.start()
    pair.ready()
    pair.meter(pcaps[2], "three")
    want = truth[0] + truth[1] + truth[2]
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows over the restart", fb.flows_of(pair.out), want)


def collector_gone_too_long(lab):
    """After `resume` the channel is forgotten: a late collector starts anew and is told so."""
    pcaps, truth = captures(lab, 3)
    pair = fb.Pair(lab, publish="resume=1s").start()
    pair.meter(pcaps[0], "one")
    pair.arrived(sum(truth[0].values()))
    pair.settled()
    pair.collector.kill()
    time.sleep(3 + 2 * fb.SLOW)
    pair.meter(pcaps[1], "two")
    pair.collector.start()
    pair.ready()
    pair.meter(pcaps[2], "three")
    want = truth[0] + truth[2]
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows without the gap", fb.flows_of(pair.out), want)


def probe_killed(lab):
    """kill -9 of the probe: the collector connects to the next one by itself."""
    for push in (False, True):
        pcaps, truth = captures(lab, 2)
        lab.nodes.clear()
        pair = fb.Pair(lab, push=push).start()
        pair.meter(pcaps[0], "one")
        pair.arrived(sum(truth[0].values()))
        pair.probe.kill()
        lab.wait(lambda p=pair: p.collector.do("show peers", "in") == [] or
                 p.collector.do("show peers", "in")[0]["state"] != "up", "the peer to be down")
        pair.probe.start()
        pair.ready()
        pair.meter(pcaps[1], "two")
        want = truth[0] + truth[1]
        pair.arrived(sum(want.values()))
        fb.same_multiset("flows over the restart", fb.flows_of(pair.out), want)
        pair.collector.stop()
        pair.probe.stop()
        os.unlink(pair.out)


def any_order(lab):
    """The collector first, the probe seconds later."""
    pcaps, truth = captures(lab, 1)
    pair = fb.Pair(lab)
    pair.collector.start()
    time.sleep(2)
    why = pair.collector.endpoint("in")["why"]
    fb.check("refused" in why.lower(), f"the reason of a closed port: {why!r}")
    pair.probe.start()
    pair.ready()
    pair.meter(pcaps[0])
    pair.arrived(sum(truth[0].values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), truth[0])


def connection_cut(lab):
    """The TCP connection is cut again and again while flows cross: nothing lost, nothing twice."""
    pcap, flow_list = lab.traffic(300000, 8000, "--snaplen", "128")
    want = fb.truth_of(flow_list)
    port = lab.port()
    proxy = fb.Proxy(lab, port)
    pair = fb.Pair(lab, port=port, publish="window=64K", key=lab.secret())
    pair.subscribe = pair.subscribe.replace(str(port), str(proxy.port))
    pair.collector.attached[-1] = pair.subscribe
    pair.start()
    pair.probe.attach(f"pcap {pcap} name=traffic app=native active=0 idle=300ms tcp_end=10ms "
                      "max_flows=64K pace=real")
    for _ in range(6):
        time.sleep(0.5)
        proxy.cut()
    lab.wait(lambda: pair.probe.ended("traffic"), "the end of the capture", 60)
    local = lab.path("local.json")
    lab.once(f"pcap {pcap} app=native active=0 idle=300ms tcp_end=10ms max_flows=64K",
             f"json {local} time=us")
    fb.check(proxy.n_connections >= 4, f"only {proxy.n_connections} connections")
    pair.arrived(fb.count_lines(local))
    fb.same_multiset("flows over cut connections", fb.whole(pair.out), fb.whole(local))
    del want


def slow_collector(lab):
    """A stopped collector holds up nobody: another one gets everything meanwhile."""
    pcaps, truth = captures(lab, 2)
    pair = fb.Pair(lab).start()
    out = lab.path("other.json")
    other = lab.node("other", f"json {out} name=file time=us flush=50ms",
                     pair.subscribe.replace("name=in", "name=in2"))
    pair.ready(2)
    pair.collector.process.send_signal(signal.SIGSTOP)
    pair.meter(pcaps[0], "one")
    pair.arrived(sum(truth[0].values()), out)
    lab.wait(lambda: any(p["name"] == "collector" and p["state"] != "up" for p in
                         pair.probe.do("show peers")) or len(pair.probe.do("show peers")) == 1,
             "the heartbeat to miss the stopped collector")
    pair.collector.process.send_signal(signal.SIGCONT)
    pair.ready(2)
    pair.meter(pcaps[1], "two")
    want = truth[0] + truth[1]
    pair.arrived(sum(want.values()), out)
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows of the stopped one", fb.flows_of(pair.out), want)
    fb.same_multiset("flows of the other", fb.flows_of(out), want)
    other.stop()


def detach_drain(lab):
    """detach --drain of the publisher delivers what is still gathering."""
    pcaps, truth = captures(lab, 1)
    pair = fb.Pair(lab, publish="max_delay=60s").start()
    pair.meter(pcaps[0])
    pair.probe.do("detach", "hub", "--drain")
    pair.arrived(sum(truth[0].values()))
    fb.same_multiset("drained flows", fb.flows_of(pair.out), truth[0])
    # and the collector's file: what is in its buffer is written before the answer
    pair.collector.do("detach", "file", "--drain")
    fb.equal("endpoints left", [e["name"] for e in pair.collector.do("show endpoints")], ["in"])


def stop_delivers(lab):
    """SIGTERM of a probe: meters are flushed, the last flows reach the collector."""
    pcaps, truth = captures(lab, 1)
    pair = fb.Pair(lab, publish="max_delay=60s").start()
    pair.meter(pcaps[0])
    pair.probe.stop()
    pair.arrived(sum(truth[0].values()))
    fb.same_multiset("flows at the end", fb.flows_of(pair.out), truth[0])


def stopped_while_away(lab):
    """A collector that is ended in order while its probe is dead: what it had written and not yet
    saved a position for is not there twice when both are back."""
    os.mkdir(lab.path("spool"))
    pair = fb.Pair(lab, json_options="fields=src_addr", publish="spool=" + lab.path("spool")).start()
    flood = load.Flood(lab, 20000, 60)
    flood_text = f"pcap {flood.path} name=flood {load.METER}"
    pair.probe.attach(flood_text)
    pair.probe.attached.append(flood_text)
    for _ in range(3):
        n = fb.count_lines(pair.out)
        lab.wait(lambda n=n: fb.count_lines(pair.out) > n + 30000, "more flows")
        pair.probe.kill()
        lab.wait(lambda: pair.collector.endpoint("in")["state"] != "up" or
                 not any(p["state"] == "up" for p in pair.collector.do("show peers", "in")),
                 "the link to be down")
        pair.collector.stop()
        pair.probe.start()
        pair.collector.start()
        pair.ready()
    flood.stop()
    lab.wait(lambda: pair.probe.ended("flood"), "the end of the input")
    pair.settled()
    pair.collector.stop()
    load.verify(pair.out, flood).once("the collector")


connection_cut.limit = 150
probe_killed.limit = 150
if __name__ == "__main__":
    fb.main(late_attach, collector_killed, collector_gone_too_long, probe_killed, any_order,
            connection_cut, slow_collector, detach_drain, stop_delivers, stopped_while_away)
