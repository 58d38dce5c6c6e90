#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Under valgrind from start to end: no errors, and nothing that was allocated is forgotten."""
import re
import shutil

import fb


def valgrind(lab, name):
    if not shutil.which("valgrind"):
        raise fb.Skip("valgrind is not installed")
    return ["valgrind", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible",
            "--errors-for-leak-kinds=definite,indirect,possible", "--error-exitcode=99",
            "--child-silent-after-fork=yes", f"--log-file={lab.path(name + '.valgrind')}"]


def judge(lab, name):
    with open(lab.path(name + ".valgrind"), encoding="utf-8", errors="replace") as f:
        text = f.read()
    errors = re.search(r"ERROR SUMMARY: (\d+) errors", text)
    fb.check(errors and errors.group(1) == "0", f"{name}:\n{text[-8000:]}")
    held = re.search(r"in use at exit: ([\d,]+) bytes in ([\d,]+) blocks", text)
    print(f"        {name}: no errors, {held.group(1)} octets in {held.group(2)} blocks at exit")


def file_to_file(lab):
    pcap, flow_list = lab.traffic(5000, 300)
    want, out = fb.truth_of(flow_list), lab.path("out.json")
    lab.run(*valgrind(lab, "once"), fb.program("flowbusd"), "--once", "--attach",
            f"pcap {pcap} {fb.NO_TIMEOUTS} max_flows=4096", "--attach", f"json {out} time=us",
            timeout=120)
    fb.same_multiset("flows", fb.flows_of(out), want)
    judge(lab, "once")


def probe_and_collector(lab):
    """A whole life: key, subscription, flows, commands, a refused peer, detach, SIGTERM."""
    pcap, flow_list = lab.traffic(5000, 300)
    want = fb.truth_of(flow_list)
    pair = fb.Pair(lab, key=lab.secret())
    pair.probe.wrap = valgrind(lab, "probe")
    pair.collector.wrap = valgrind(lab, "collector")
    pair.start()
    stranger = lab.node("stranger", pair.subscribe.replace("name=in", "name=other").replace(
        lab.path("link.key"), lab.secret("other.key")))
    pair.meter(pcap, options=f"{fb.NO_TIMEOUTS} max_flows=4096")
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)
    watch = fb.Watch(pair.collector, "watch flows", "app http")
    for words in (("status",), ("show peers",), ("show subscriptions",), ("show config",),
                  ("show counters",), ("show fields",), ("help", "attach"),
                  ("filter explain", "app http and total_bytes > 1M")):
        for node in (pair.probe, pair.collector):
            node.do(*words)
    watch.stop()
    pair.collector.do("detach", "in")
    pair.collector.attach(pair.subscribe.replace("retry_max=1s", "retry_max=1s filter='app http'"))
    pair.ready()
    pair.probe.do("detach", "pcap")
    stranger.stop()
    pair.collector.stop()
    pair.probe.stop()
    judge(lab, "probe")
    judge(lab, "collector")


if __name__ == "__main__":
    fb.SLOW = max(fb.SLOW, 4)
    fb.main(file_to_file, probe_and_collector, limit=150)
