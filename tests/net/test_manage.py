#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Managing running daemons: live changes, reload, save and restart."""
import os

import fb


def save_and_restart(lab):
    """What was attached at run time and saved comes back; what was not saved does not."""
    pcap, flow_list = lab.traffic(6000, 400)
    want = fb.truth_of(flow_list)
    port, key, out = lab.port(), lab.secret(), lab.path("out.json")
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{port} name=hub max_delay=100ms "
                     f"key_file={key}")
    node = lab.node("collector")
    node.attach(f"subscribe tcp://127.0.0.1:{port} name=in key_file={key} retry_max=1s")
    node.attach(f"json {out} name=file flush=50ms time=us")
    fb.equal("saved", node.do("save")[0]["saved"], 2)
    node.attach(f"json {lab.path('unsaved.json')} name=unsaved")
    node.stop()
    node.start()
    fb.equal("endpoints after the restart", sorted(e["name"] for e in node.do("show endpoints")),
             ["file", "in"])
    lab.wait(lambda: [s for s in probe.do("show subscriptions") if s["peer"]], "the subscription")
    probe.attach(f"pcap {pcap} name=traffic {fb.NO_TIMEOUTS}")
    lab.wait(lambda: fb.count_lines(out) >= sum(want.values()), "the flows")
    fb.same_multiset("flows", fb.flows_of(out), want)
    # removed and saved: gone for good
    node.do("detach", "in")
    node.do("save")
    node.stop()
    node.start()
    fb.equal("endpoints after the second restart", [e["name"] for e in node.do("show endpoints")],
             ["file"])


def reload(lab):
    """Files are read again: endpoints from files follow them, others stay, errors change nothing."""
    conf, extra = lab.path("flowbus.conf"), lab.path("conf.d/50-more.conf")
    os.mkdir(lab.path("conf.d"))

    def write(path, text):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)

    def names():
        return sorted(e["name"] for e in node.do("show endpoints"))
    one = 'endpoints = ( { name = "one"; type = "json"; address = "%s"; } );\n' % lab.path("1.json")
    two = 'endpoints = ( { name = "two"; type = "json"; address = "%s"; } );\n' % lab.path("2.json")
    write(conf, one)
    node = lab.node("n", conf=conf)
    node.attach(f"json {lab.path('3.json')} name=mine")
    fb.equal("endpoints", names(), ["mine", "one"])
    write(extra, two)
    fb.equal("changed", node.do("reload")[0]["changed"], 1)
    fb.equal("endpoints", names(), ["mine", "one", "two"])
    write(extra, two.replace("address", "adress"))
    _, final = node.ask("reload")
    fb.check(final["code"] >= 4000, f"a wrong file was taken: {final}")
    told = f"{final.get('file', '')} {final.get('line', '')} {final['text']}"
    fb.check("50-more.conf" in told and "1" in told and "address" in final["text"],
             f"file, line and the nearest key: {final}")
    fb.equal("endpoints after an error", names(), ["mine", "one", "two"])
    os.unlink(extra)
    node.do("reload")
    fb.equal("endpoints after removal", names(), ["mine", "one"])
    status = lab.run(fb.program("flowbusd"), "--check", "--config", conf)
    fb.check("good" in status.stdout, status.stdout)
    write(conf, one.replace("json", "jason", 1))
    status = lab.run(fb.program("flowbusd"), "--check", "--config", conf, status=None)
    fb.check(status.returncode != 0 and "json" in status.stderr and conf in status.stderr,
             f"--check: status {status.returncode}: {status.stderr}")


def change_filter(lab):
    """A collector changes its filter while both run: no new connection, the right flows."""
    first, list_a = lab.traffic(6000, 400, "--seed", "1", name="a")
    second, list_b = lab.traffic(6000, 400, "--seed", "2", "--start", "1700100000", name="b")
    pair = fb.Pair(lab, subscribe="filter='proto tcp'").start()
    pair.meter(first, "a")
    want = fb.truth_of(list_a, lambda r: r["proto"] == "6")
    pair.arrived(sum(want.values()))
    ups = pair.probe.counters("hub")["peer_up"]
    pair.collector.do("set", "in", "filter=proto udp")
    lab.wait(lambda: any("17" in s["filter"] or "udp" in s["filter"] for s in
                         pair.subscriptions()), "the new filter at the probe")
    pair.meter(second, "b")
    want += fb.truth_of(list_b, lambda r: r["proto"] == "17")
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)
    fb.equal("sessions", pair.probe.counters("hub")["peer_up"], ups)
    _, final = pair.collector.ask("set", "in", "filter=proto nonsense and")
    fb.check(final["code"] >= 4000 and final.get("col"), f"a wrong filter was taken: {final}")
    fb.check("udp" in pair.collector.endpoint("in")["options"]["filter"], "the filter was lost")


def disable_and_enable(lab):
    """A disabled endpoint stays in the list and takes nothing; its position waits at the probe, so
    that it gets what came in between when it is enabled again."""
    first, list_a = lab.traffic(6000, 400, "--seed", "1", name="a")
    second, list_b = lab.traffic(6000, 400, "--seed", "2", "--start", "1700100000", name="b")
    pair = fb.Pair(lab).start()
    pair.collector.do("disable", "in")
    fb.equal("state", pair.collector.endpoint("in")["state"], "disabled")
    pair.meter(first, "a")
    fb.time.sleep(1)
    fb.equal("records while disabled", fb.count_lines(pair.out), 0)
    pair.collector.do("enable", "in")
    lab.wait(lambda: pair.collector.endpoint("in")["state"] == "up", "the endpoint to be up")
    pair.meter(second, "b")
    want = fb.truth_of(list_a) + fb.truth_of(list_b)
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)


def atomic_attach(lab):
    """A port in use, a name taken, a wrong option: said clearly, and nothing changes."""
    node = lab.node("n")
    port = lab.port()
    with fb.socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        _, final = node.ask("attach", "publish", f"tcp://127.0.0.1:{port}")
        fb.check(final["code"] >= 4000 and str(port) in final["text"], f"{final}")
    fb.equal("endpoints", node.do("show endpoints"), [])
    node.attach(f"publish tcp://127.0.0.1:{port} name=hub")
    for words, expected in ((["publish", f"tcp://127.0.0.1:{lab.port()}", "name=hub"], "hub"),
                            (["json", lab.path("x.json"), "filtre=app http"], "filter"),
                            (["jsn", lab.path("x.json")], "json"),
                            (["capture", "no-such-if0"], "no-such-if0"),
                            (["json", "/etc/flowbus-test.json"], "output_dirs"),
                            (["subscribe", "tcp://127.0.0.1:1", "filter=app htp and ("], "")):
        _, final = node.ask("attach", *words)
        fb.check(final["code"] >= 4000 and expected in final["text"], f"{words}: {final}")
    fb.equal("endpoints", [e["name"] for e in node.do("show endpoints")], ["hub"])


if __name__ == "__main__":
    fb.main(save_and_restart, reload, change_filter, disable_and_enable, atomic_attach)
