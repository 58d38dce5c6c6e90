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


def confirm(lab):
    """A reload that cuts the operator and a collector off goes back by itself: endpoints of files
    and of run time are as they were, and flows come again. Confirmed it stays."""
    first, list_a = lab.traffic(3000, 200, "--seed", "1", name="a")
    second, list_b = lab.traffic(3000, 200, "--seed", "2", "--start", "1700100000", name="b")
    conf, port, out = lab.path("flowbus.conf"), lab.port(), lab.path("out.json")

    def write(text):
        with open(conf, "w", encoding="ascii") as f:
            f.write("endpoints = ( %s );\n" % text)
    hub = '{ name = "hub"; type = "publish"; address = "tcp://127.0.0.1:%d"; max_delay = "100ms"; }'
    extra = '{ name = "extra"; type = "json"; address = "%s"; }' % lab.path("extra.json")
    write(hub % port + ", " + extra)
    probe = lab.node("probe", conf=conf)
    collector = lab.node("collector", f"json {out} name=file time=us flush=50ms",
                         f"subscribe tcp://127.0.0.1:{port}?connect name=in retry_min=200ms "
                         "retry_max=400ms heartbeat=500ms")

    def listed():
        probe_rows = probe.do("show endpoints")
        config = probe.do("show config")[0]["text"]
        return sorted((e["name"], e["type"], e["address"], e["state"], e["from_file"])
                      for e in probe_rows), sorted(config.replace(",", "").splitlines())

    def meter(pcap, name):
        probe.attach(f"pcap {pcap} name={name} {fb.NO_TIMEOUTS}")
        lab.wait(lambda: probe.ended(name), "the file")
        probe.do("detach", name)
    lab.wait(lambda: probe.do("show subscriptions"), "the collector")
    meter(first, "a")
    lab.wait(lambda: fb.count_lines(out) >= sum(fb.truth_of(list_a).values()), "flows")
    probe.attach(f"json {lab.path('mine.json')} name=mine flush=2s")
    probe.do("set", "extra", "flush=3s")
    before = listed()
    # another port for the hub, extra is gone, a new one: and the operator's connection is lost
    write(hub % lab.port() + ', { name = "new"; type = "json"; address = "%s"; }'
          % lab.path("new.json"))
    with probe.connect() as s:
        s.sendall(b'{"cmd":"reload","args":["--confirm","2"]}\n')
        lab.wait(lambda: listed() != before, "the reload")
    fb.equal("endpoints", [e[0] for e in listed()[0]], ["hub", "mine", "new"])
    status = probe.do("status")[0]
    fb.check(0 < status["reload_pending_s"] <= 2 and
             any("not confirmed" in p for p in status["problems"]), f"{status}")
    for words in (["reload"], ["reload", "--confirm", "9"], ["save"]):
        _, final = probe.ask(*words)
        fb.check(final["code"] == 4091 and "--confirmed" in final["text"], f"{words}: {final}")
    probe.attach(f"json {lab.path('meanwhile.json')} name=meanwhile")
    lab.wait(lambda: not collector.do("show peers", "in")[0]["state"] == "up", "the cut")
    lab.wait(lambda: probe.do("status")[0]["reload_pending_s"] is None, "the undo", 6)
    fb.equal("endpoints after the undo", listed(), before)
    fb.check(probe.lines("not confirmed in time, undone"), "the log says nothing")
    lab.wait(lambda: probe.do("show subscriptions"), "the collector again")
    meter(second, "b")
    want = fb.truth_of(list_a) + fb.truth_of(list_b)
    lab.wait(lambda: fb.count_lines(out) >= sum(want.values()), "flows after the undo")
    fb.same_multiset("flows", fb.flows_of(out), want)
    # undone at once; confirmed; neither when nothing is pending
    fb.check(probe.do("reload", "--confirm=60s")[0]["pending_s"] > 50, "pending")
    probe.do("reload", "--undo")
    fb.equal("endpoints after --undo", listed(), before)
    probe.do("reload", "--confirm", "1")
    fb.equal("confirmed", probe.do("reload", "--confirmed"), [{"changed": 0, "pending_s": None}])
    fb.time.sleep(1.2)
    fb.equal("endpoints when confirmed", [e[0] for e in listed()[0]], ["hub", "mine", "new"])
    for flag in ("--undo", "--confirmed"):
        fb.equal(flag, probe.ask("reload", flag)[1]["code"], 4040)
    for bad in (["--confirm", "0"], ["--confirm", "x"], ["--confirm"], ["--confirm", "5", "--undo"]):
        fb.check(4000 <= probe.ask("reload", *bad)[1]["code"] < 4010, f"{bad}")
    # a broken file leaves nothing pending
    write("{ nonsense")
    fb.check(probe.ask("reload", "--confirm", "60")[1]["code"] == 4001, "a broken file")
    fb.equal("pending", probe.do("status")[0]["reload_pending_s"], None)


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
    fb.main(save_and_restart, reload, confirm, change_filter, disable_and_enable, atomic_attach)
