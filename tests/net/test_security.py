#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys of the link: with the wrong one, or with one at one end only, nothing readable crosses, both
ends log one clear line and `show endpoints` says why."""
import os

import fb

NAMES = (b".site.example", b".tls.example", b"dns\x07example", b"app http", b"probe", b"collector")
WHY = ("key", "encrypt", "unencrypted", "trusted")


def refused(lab, publish_key, subscribe_key, push=False):
    pcap, _ = lab.traffic(4000, 300)
    none = " encryption=none"
    pair = fb.Pair(lab, push=push,
                   publish=f"key_file={publish_key}" if publish_key else none,
                   subscribe="filter='app http' " +
                   (f"key_file={subscribe_key}" if subscribe_key else none))
    sniffer = fb.Sniffer(pair.port) if os.geteuid() == 0 else None
    pair.start(ready=False)
    pair.meter(pcap)

    def told(node, name):
        return any(w in node.endpoint(name)["why"].lower() for w in WHY)
    lab.wait(lambda: told(pair.probe, "hub") and told(pair.collector, "in"),
             "a reason at both ends: %r, %r" % (pair.probe.endpoint("hub")["why"],
                                                pair.collector.endpoint("in")["why"]), 25)
    fb.time.sleep(3)                                   # several more tries
    fb.equal("records at the collector", fb.count_lines(pair.out), 0)
    fb.equal("subscriptions", pair.subscriptions(), [])
    for node, name in ((pair.probe, "hub"), (pair.collector, "in")):
        row = node.endpoint(name)
        fb.check(row["state"] in ("degraded", "down", "starting"), f"{name} is {row['state']}")
        lines = [x for x in node.lines(f"{name}:") if any(w in x.lower() for w in WHY)]
        fb.check(1 <= len(lines) <= 2, f"{node.name} logs {len(lines)} lines, one is right:\n" +
                 node.log())
        print(f"        {node.name}: {row['why']}")
    fb.check(pair.probe.counters("hub")["peer_refused"] + pair.collector.counters("in")
             ["peer_refused"] > 0, "no refusal was counted")
    if sniffer:
        readable(sniffer)
    pair.collector.stop()
    pair.probe.stop()


def readable(sniffer):
    payload = sniffer.stop().payload()
    fb.check(payload, "nothing was captured: the test proves nothing")
    for name in NAMES:
        fb.equal(f"{name!r} on the link", payload.count(name), 0)


def wrong_key(lab):
    refused(lab, lab.secret("a.key"), lab.secret("b.key"))


def wrong_key_push(lab):
    refused(lab, lab.secret("a.key"), lab.secret("b.key"), push=True)


def no_key_at_collector(lab):
    refused(lab, lab.secret("a.key"), None)


def no_key_at_probe(lab):
    refused(lab, None, lab.secret("a.key"))


def right_key_is_secret(lab):
    """With the right key everything arrives and nothing of it is readable on the way."""
    fb.need_root("packet sockets")
    pcap, flow_list = lab.traffic(20000, 1000)
    want = fb.truth_of(flow_list)
    pair = fb.Pair(lab, key=lab.secret())
    sniffer = fb.Sniffer(pair.port)
    pair.start().meter(pcap)
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)
    fb.check(all(p["encrypted"] for p in pair.probe.do("show peers")), "a peer is not encrypted")
    readable(sniffer)


def a_key_later(lab):
    """The wrong key is replaced at run time; the probe is not touched."""
    good, bad = lab.secret("a.key"), lab.secret("b.key")
    pcap, flow_list = lab.traffic(4000, 300)
    want = fb.truth_of(flow_list)
    pair = fb.Pair(lab, publish=f"key_file={good}", subscribe=f"key_file={bad}")
    pair.start(ready=False)
    lab.wait(lambda: pair.collector.endpoint("in")["why"], "the refusal")
    pair.collector.do("detach", "in")
    pair.collector.attach(pair.subscribe.replace(bad, good))
    pair.ready()
    pair.meter(pcap)
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)


def bad_key_files(lab):
    """Weak, readable or missing key files are refused at attach, and nothing is attached."""
    node = lab.node("n")
    weak, loose = lab.path("weak.key"), lab.secret("loose.key")
    with open(weak, "w", encoding="ascii") as f:
        f.write("secret\n")
    os.chmod(weak, 0o600)
    os.chmod(loose, 0o644)
    for path in (weak, loose, lab.path("missing.key")):
        _, final = node.ask("attach", "publish", f"tcp://127.0.0.1:{lab.port()}",
                            f"key_file={path}")
        fb.check(final["code"] >= 4000, f"{path} was taken: {final}")
        fb.check(os.path.basename(path) in final["text"], f"does not name the file: {final}")
    _, final = node.ask("attach", "publish", f"tcp://*:{lab.port()}")
    fb.check(final["code"] >= 4000 and "key" in final["text"],
             f"a bind beyond this host without a key: {final}")
    fb.equal("endpoints", node.do("show endpoints"), [])


if __name__ == "__main__":
    fb.main(wrong_key, wrong_key_push, no_key_at_collector, no_key_at_probe, right_key_is_secret,
            a_key_later, bad_key_files)
