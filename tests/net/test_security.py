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


CAUSES = (("wrong", "key_file={a}", "key_file={b}", "the keys differ", "the keys differ"),
          ("nosub", "key_file={a}", "", "the other side is not encrypted", "the other side is encrypted"),
          ("nopub", "", "key_file={a}", "the other side is encrypted", "the other side is not encrypted"),
          ("clearsub", "key_file={a}", "encryption=none", "the other side is not encrypted",
           "the other side is encrypted"),
          ("clearpub", "encryption=none", "key_file={a}", "the other side is encrypted",
           "the other side is not encrypted"))
BINDS = (("any", "*:{port}"), ("zero", "0.0.0.0:{port}"), ("host", "127.0.0.1:{port}?bind"))


def every_way(lab, round_):
    """Each cause, each spelling of the bound address, either side bound: (name, attach line of
    the probe, of the collector, what each must say)."""
    keys = {"a": lab.secret(f"a{round_}.key"), "b": lab.secret(f"b{round_}.key")}
    for cause, pub, sub, at_pub, at_sub in CAUSES:
        for bind, address in BINDS:
            for push in (False, True):
                name = f"{cause}-{bind}-{'push' if push else 'poll'}"
                there = address.format(port=lab.port())
                here = "127.0.0.1:" + there.split(":")[1].split("?")[0] + "?connect"
                if "key" not in (sub if push else pub) and bind != "host":
                    clear = "encryption=none"       # a wildcard without a key must be written out
                else:
                    clear = ""
                lines = []
                for kind, key, binds in (("publish", pub, not push), ("subscribe", sub, push)):
                    lines.append(f"{kind} tcp://{there if binds else here} name={name} " +
                                 key.format(**keys) +
                                 (f" {clear}" if binds and clear not in key else ""))
                yield name, lines[0], lines[1], at_pub, at_sub


def one_line_each(lab, probe_first, round_=0):
    """With the options as they are by default the second try is half a minute away: the first one
    must be enough for one line and one reason at both ends, and no other line."""
    ways = list(every_way(lab, round_))
    probe = lab.node(f"probe{round_}", *[w[1] for w in ways], start=False)
    collector = lab.node(f"collector{round_}", *[w[2] for w in ways], start=False)
    for node in (probe, collector) if probe_first else (collector, probe):
        node.start()
        fb.time.sleep(1)
    wrong = []

    def look():
        wrong.clear()
        for node, at in ((probe, 3), (collector, 4)):
            rows = {r["name"]: r for r in node.do("show endpoints")}
            for way in ways:
                row = rows[way[0]]
                if way[at] not in row["why"] or row["state"] != "degraded":
                    wrong.append(f"{node.name} {way[0]}: {row['state']}: {row['why']!r}")
        return not wrong
    try:
        lab.wait(look, "every reason", 15 if probe_first else 45)
    except fb.Failed:
        raise fb.Failed("\n".join(wrong)) from None
    fb.time.sleep(3)
    fb.check(look(), "\n".join(wrong))
    for node, at in ((probe, 3), (collector, 4)):
        for way in ways:
            lines = [x for x in node.lines(f" {way[0]}: ") if "no connection" not in x and
                     "attached" not in x]
            if len(lines) != 1 or way[at] not in lines[0] or "127.0.0.1" not in lines[0]:
                wrong.append(f"{node.name} {way[0]}: not one line that names it: {lines}")
    fb.check(not wrong, "\n".join(wrong))
    for node in (probe, collector):
        node.stop()


def one_line_each_probe_first(lab):
    for round_ in range(3):
        one_line_each(lab, True, round_)


def one_line_each_collector_first(lab):
    one_line_each(lab, False)


one_line_each_probe_first.limit = one_line_each_collector_first.limit = 300


if __name__ == "__main__":
    fb.main(wrong_key, wrong_key_push, no_key_at_collector, no_key_at_probe, right_key_is_secret,
            a_key_later, bad_key_files, one_line_each_probe_first,
            one_line_each_collector_first)
