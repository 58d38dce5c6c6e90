#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Named keys: who has a key of its own is known by it, trusted, revoked and enrolled at run time."""
import json
import os
import shutil
import time

import fb

FAST = " heartbeat=500ms retry_min=200ms retry_max=1s"


class Key:
    """A private key file and what may be known of it."""

    def __init__(self, lab, name):
        self.path = lab.path(name + ".key")
        out = lab.run(fb.program("flowctl"), "--json", "key", "new", self.path).stdout
        row = json.loads(out)["rows"][0]
        self.public, self.print = row["public"], row["fingerprint"]
        fb.equal("mode of a private key", os.stat(self.path).st_mode & 0o7777, 0o600)
        shown = lab.run(fb.program("flowctl"), "--json", "key", "show", self.path).stdout
        fb.equal("key show", json.loads(shown)["rows"][0], row)
        with open(self.path, encoding="ascii") as f:
            self.secret = f.read().split()[-1]


def publish(port, key, more="", name="hub", bind=True):
    return (f"publish tcp://127.0.0.1:{port}{'?bind' if bind else '?connect'} name={name} "
            f"max_delay=100ms identity={key.path}{FAST} {more}")


def subscribe(port, key, more="", name="in", bind=False):
    return (f"subscribe tcp://127.0.0.1:{port}{'?bind' if bind else '?connect'} name={name} "
            f"identity={key.path}{FAST} {more}")


def json_out(path):
    return f"json {path} name=file time=us flush=50ms"


def peers(node, state="up"):
    return {p["name"] or p["seen"]: p for p in node.do("show peers") if p["state"] == state}


def up(lab, node, *names):
    lab.wait(lambda: set(names) <= set(peers(node)), f"{', '.join(names)} at {node.name}, there are "
             f"{sorted(peers(node))}", 15)


def why(lab, node, endpoint, words):
    lab.wait(lambda: words in node.endpoint(endpoint)["why"], f"'{words}' at {node.name} {endpoint}"
             f", it says {node.endpoint(endpoint)['why']!r}", 15)


def one_line(node, *words):
    lines = node.lines(*words)
    fb.check(len(lines) == 1, f"{node.name} logs {words} {len(lines)} times:\n{node.log()}")


def meter(lab, probe, name="pcap", **kw):
    """Meter a generated file at a probe; the number of its flows."""
    pcap, flow_list = lab.traffic(4000, 300, name=name, **kw)
    probe.attach(f"pcap {pcap} name={name} {fb.NO_TIMEOUTS}")
    lab.wait(lambda: probe.ended(name), "the end of the file")
    return sum(fb.truth_of(flow_list).values())


def probes_of(path):
    return {r.get("probe") for r in fb.records(path)}


def no_secrets(lab, nodes, keys):
    """No private key in a log, in the configuration or in what is saved."""
    for n in nodes:
        text = n.log() + n.do("show config")[0]["text"]
        for base, _, names in os.walk(n.dir + "/state"):
            for f in names:
                with open(os.path.join(base, f), errors="replace") as file:
                    text += file.read()
        for k in keys:
            fb.check(k.secret[5:] not in text, f"{n.name} tells a private key")


def trust_and_restart(lab):
    """Refused with a reason at both ends until both are trusted; at once then, and after restarts.
    Whatever the daemons call themselves, the names are those of the keys."""
    port, out = lab.port(), lab.path("out.json")
    kp, kc = Key(lab, "p"), Key(lab, "c")
    probe = lab.node("probe", publish(port, kp))
    collector = lab.node("collector", json_out(out), subscribe(port, kc, "peer=p1"))
    why(lab, collector, "in", "no key of p1 is trusted here")
    collector.do("key trust", "p1", kp.public)
    why(lab, probe, "hub", f"refused: its key {kc.print} is not trusted")
    why(lab, collector, "in", f"our key {kc.print} is not trusted there")
    down = peers(probe, "down")
    fb.check(len(down) == 1 and list(down)[0] == f"127.0.0.1 key {kc.print[7:16]}", f"down: {down}")
    time.sleep(1.5)                                    # several more tries, no more lines
    one_line(probe, "hub", "is not trusted")
    one_line(collector, " in: ", "is not trusted there")
    fb.check(probe.counters("hub")["peer_refused"] > 1, "refusals are not counted")
    fb.equal("records", fb.count_lines(out), 0)
    began = time.monotonic()
    fb.equal("trust", probe.do("key trust", "c1", kc.public), [{"name": "c1", "changed": True}])
    up(lab, probe, "c1")
    up(lab, collector, "p1")
    fb.check(time.monotonic() - began < 4 * fb.SLOW, "it took long to be let in")
    for node, name, key in ((probe, "c1", kc), (collector, "p1", kp)):
        row = peers(node)[name]
        fb.check(row["verified"] and row["encrypted"] and row["key"] == key.print, f"{row}")
        one_line(node, "calls itself")
        fb.equal("key list", node.do("key list"), [
            {"name": name, "kind": "key", "fingerprint": key.print, "public": key.public, "up": 1,
             "expires_s": None}])
    n = meter(lab, probe)
    lab.wait(lambda: fb.count_lines(out) >= n, f"{n} records", 20)
    fb.equal("names of probes in the records", probes_of(out), {"p1"})
    for node in (probe, collector):
        node.stop()
        node.start()
    up(lab, probe, "c1")
    up(lab, collector, "p1")
    no_secrets(lab, (probe, collector), (kp, kc))


def revoke_one(lab):
    """One of two collectors is revoked while flows pass: it is cut off and stays out, the other one
    misses nothing and never reconnects; trusted again it comes back."""
    port, outs = lab.port(), [lab.path("a.json"), lab.path("b.json")]
    kp, ka, kb = Key(lab, "p"), Key(lab, "a"), Key(lab, "b")
    probe = lab.node("probe", publish(port, kp))
    nodes = []
    for name, key, out in (("a", ka, outs[0]), ("b", kb, outs[1])):
        probe.do("key trust", name, key.public)
        nodes.append(lab.node(name, json_out(out), subscribe(port, key, "peer=p1"), start=False))
        nodes[-1].start()
        nodes[-1].do("key trust", "p1", kp.public)
    a, b = nodes
    up(lab, probe, "a", "b")
    lab.wait(lambda: len(probe.do("show subscriptions")) == 2, "two subscriptions")
    since = peers(probe)["b"]["since"]
    pcap, flow_list = lab.traffic(60000, 6000)
    probe.attach(f"pcap {pcap} name=pcap {fb.NO_TIMEOUTS}")
    fb.equal("revoke", probe.do("key revoke", "a"), [{"name": "a", "keys": 1}])
    fb.check("a" not in peers(probe), "a is still there")
    why(lab, a, "in", f"our key {ka.print} is not trusted there")
    lab.wait(lambda: any("revoked" in p["why"] for p in peers(probe, "down").values()),
             f"the reason at the probe: {peers(probe, 'down')}")
    one_line(probe, "hub", f"the key of a ({ka.print}) was revoked")
    want = fb.truth_of(flow_list)
    lab.wait(lambda: fb.count_lines(outs[1]) >= sum(want.values()), "all records at b", 30)
    fb.same_multiset("flows at b", fb.flows_of(outs[1]), want)
    fb.equal("b's session", peers(probe)["b"]["since"], since)
    fb.equal("gaps at b", b.counters("in")["flow_lost_gap"] + b.counters("in")["frame_missing"], 0)
    fb.equal("peers revoked", probe.counters("hub")["peer_revoked"], 1)
    _, final = probe.ask("key revoke", "a")
    fb.equal("revoked twice", final["code"], 4040)
    probe.stop()
    probe.start()                                      # it stays revoked
    up(lab, probe, "b")
    why(lab, a, "in", "is not trusted there")
    fb.check("a" not in peers(probe), "a came in after a restart")
    probe.do("key trust", "a", ka.public)
    up(lab, probe, "a", "b")
    # the connecting side may revoke too
    a.do("key revoke", "p1")
    why(lab, a, "in", "p1")
    lab.wait(lambda: "a" not in peers(probe), "a to be gone")
    up(lab, probe, "b")


def key_change(lab):
    """A node changes its key, first a connecting one, then a listening one: the new is trusted while
    the old still is, and taking the old back disturbs nobody."""
    port = lab.port()
    kp, kp2, kc, kc2 = (Key(lab, n) for n in ("p", "p2", "c", "c2"))
    probe = lab.node("probe", publish(port, kp))
    collector = lab.node("collector", subscribe(port, kc, "peer=p1"))
    probe.do("key trust", "c1", kc.public)
    collector.do("key trust", "p1", kp.public)
    up(lab, collector, "p1")
    probe.do("key trust", "c1", kc2.public)
    fb.equal("a third key", probe.ask("key trust", "c1", kp2.public)[1]["code"], 4005)
    fb.equal("one key, two names", probe.ask("key trust", "c2", kc2.public)[1]["code"], 4090)
    collector.do("detach", "in")
    collector.attach(subscribe(port, kc2, "peer=p1"))
    lab.wait(lambda: "c1" in peers(probe) and peers(probe)["c1"]["key"] == kc2.print, "the new key")
    since = peers(probe)["c1"]["since"]
    fb.equal("revoke", probe.do("key revoke", "c1", kc.print), [{"name": "c1", "keys": 1}])
    collector.do("key trust", "p1", kp2.public)
    time.sleep(1)
    fb.equal("the session", peers(probe)["c1"]["since"], since)
    probe.do("detach", "hub")                          # its port is free a moment later
    lab.wait(lambda: probe.ask("attach", *fb.split(publish(port, kp2)))[1]["code"] == 1000,
             "the port of the probe")
    lab.wait(lambda: "p1" in peers(collector) and peers(collector)["p1"]["key"] == kp2.print,
             "the new key of the probe")
    since = peers(collector)["p1"]["since"]
    collector.do("key revoke", "p1", kp.print)
    time.sleep(1)
    fb.equal("the session", peers(collector)["p1"]["since"], since)
    fb.equal("keys", [k["fingerprint"] for k in collector.do("key list")], [kp2.print])


def token_file(lab, node, name, file, *more):
    path = lab.path(file)
    text = node.do("key token", name, *more)[0]["text"]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text + "\n")
    shown = lab.run(fb.program("flowctl"), "key", "show", path).stdout
    fb.check(text[60:] not in shown and "expires" in shown, f"show of a token: {shown}")
    return path


def enrol(lab):
    """A probe behind NAT enrols itself: a token, one attach, and both trust each other for good. The
    same token again, from another key, is refused in words at both ends."""
    port, out = lab.port(), lab.path("out.json")
    kp, kc, kx = Key(lab, "p"), Key(lab, "c"), Key(lab, "x")
    collector = lab.node("collector", json_out(out), subscribe(port, kc, bind=True))
    probe = lab.node("probe")
    token = token_file(lab, collector, "p1", "token")
    copy = shutil.copy(token, lab.path("copy"))
    listed = collector.do("key list")
    fb.check(len(listed) == 1 and listed[0]["kind"] == "token" and
             3500 < listed[0]["expires_s"] <= 3600, f"{listed}")
    line = publish(port, kp, f"peer=hq enrol={token}", bind=False)
    probe.attach(line)
    up(lab, collector, "p1")
    up(lab, probe, "hq")
    fb.check(not os.path.exists(token), "the used token is still there")
    for node, name, key in ((collector, "p1", kp), (probe, "hq", kc)):
        fb.equal("keys", [(k["name"], k["kind"], k["fingerprint"]) for k in node.do("key list")],
                 [(name, "key", key.print)])
        one_line(node, "enrolled")
    fb.equal("enrolled", collector.counters("in")["peer_enrolled"], 1)
    fb.equal("refused", collector.counters("in")["peer_refused"], 0)
    n = meter(lab, probe)
    lab.wait(lambda: fb.count_lines(out) >= n, f"{n} records", 20)
    fb.equal("names of probes in the records", probes_of(out), {"p1"})

    thief = lab.node("thief", publish(port, kx, f"peer=hq enrol={copy}", bind=False))
    why(lab, thief, "hub", "enrolment failed: the other side knows no token that is good")
    lab.wait(lambda: collector.lines("in: ", "is not trusted; the token was used already"),
             "the reason at the collector")
    token_file(lab, collector, "p2", "other")          # one is out: now the thief may show its own
    lab.wait(lambda: collector.lines("enrolment failed: the token was used already"),
             "the used token to be told")
    why(lab, thief, "hub", "enrolment failed: the token was used already")
    thief.stop()
    collector.stop()                                   # what was enrolled stays, tokens do not
    collector.start()
    probe.stop()
    probe.attached = [line]
    probe.start()
    up(lab, collector, "p1")
    up(lab, probe, "hq")
    fb.equal("keys", [(k["name"], k["kind"]) for k in collector.do("key list")], [("p1", "key")])
    no_secrets(lab, (probe, collector), (kp, kc))


DIGITS = "abcdefghijklmnopqrstuvwxyz234567"


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def forge(token):
    """The same token with another secret and a right checksum."""
    bits = "".join(f"{DIGITS.index(c):05b}" for c in token[5:])
    raw = bytes(int(bits[i:i + 8], 2) for i in range(0, 59 * 8, 8))
    fb.equal("checksum of a token", raw[56:], crc32c(b"fbe1-" + raw[:56]).to_bytes(4, "little")[:3])
    raw = raw[:32] + os.urandom(16) + raw[48:56]
    raw += crc32c(b"fbe1-" + raw).to_bytes(4, "little")[:3]
    bits = "".join(f"{b:08b}" for b in raw) + "000"
    return "fbe1-" + "".join(DIGITS[int(bits[i:i + 5], 2)] for i in range(0, 475, 5))


def bad_tokens(lab):
    """Wrong, expired, damaged and readable tokens; a guesser is left outside and hinders nobody."""
    port = lab.port()
    kp, kc, kx = Key(lab, "p"), Key(lab, "c"), Key(lab, "x")
    collector = lab.node("collector", subscribe(port, kc, bind=True))
    fb.equal("token with a bad time", collector.ask("key token", "p1", "--for", "0s")[1]["code"], 4003)
    good = token_file(lab, collector, "p1", "good")
    with open(good, encoding="ascii") as f:
        text = f.read().strip()
    bad = lab.path("bad")
    with open(os.open(bad, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(forge(text))
    guesser = lab.node("guesser", publish(port, kx, f"peer=hq enrol={bad}", bind=False).replace(
        "retry_max=1s", "retry_max=300ms"))
    why(lab, guesser, "hub", "enrolment failed: the token is not known here")
    lab.wait(lambda: collector.lines("in: 127.0.0.1", "enrolment failed: the token is not known here"),
             "the wrong token to be told")
    lab.wait(lambda: collector.lines("too many wrong tokens from this address"), "the bound on tries")
    fb.equal("trusted", [k["kind"] for k in collector.do("key list")], ["token"])
    guesser.stop()
    # the right one from that address has to wait; a new daemon has not seen the guesser
    collector.stop()
    collector.start()
    probe = lab.node("probe", publish(port, kp, f"peer=hq enrol={good}", bind=False))
    why(lab, probe, "hub", "knows no token that is good")  # it died with the restart
    probe.do("detach", "hub")
    expired = token_file(lab, collector, "p1", "expired", "--for", "1s")
    time.sleep(1.1)
    probe.attach(publish(port, kp, f"peer=hq enrol={expired}", bind=False))
    why(lab, probe, "hub", "enrolment failed: ")
    lab.wait(lambda: collector.lines("is not trusted; the token has expired (it was for p1)"),
             "the expired token to be told")
    probe.do("detach", "hub")
    os.chmod(good, 0o644)
    with open(os.open(lab.path("cut"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(text[:-3])
    for path, words in ((good, "mode 0644"), (lab.path("cut"), "cut or damaged"),
                        (lab.path("none"), "none"), (kp.path, "not an enrolment token")):
        _, final = probe.ask("attach", *fb.split(publish(
            port, kp, f"peer=hq enrol={path}", bind=False)))
        fb.check(final["code"] >= 4000 and words in final["text"], f"{path}: {final}")
    # after all that the right way works
    again = token_file(lab, collector, "p1", "again")
    probe.attach(publish(port, kp, f"peer=hq enrol={again}", bind=False))
    up(lab, collector, "p1")


def allow_list(lab):
    """Only whom an endpoint allows comes in there; changed while it is attached."""
    port = lab.port()
    kp, ka, kb = Key(lab, "p"), Key(lab, "a"), Key(lab, "b")
    probe = lab.node("probe", publish(port, kp, "allow=a"))
    nodes = []
    for name, key in (("a", ka), ("b", kb)):
        probe.do("key trust", name, key.public)
        nodes.append(lab.node(name, subscribe(port, key, "peer=p1")))
        nodes[-1].do("key trust", "p1", kp.public)
    up(lab, probe, "a")
    why(lab, nodes[1], "in", "or not on that endpoint")
    lab.wait(lambda: probe.lines("hub", "refused: b is not allowed on this endpoint"), "the reason")
    _, final = probe.ask("key token", "c")
    fb.check(final["code"] >= 4000 and "not allowed on hub" in final["text"], f"{final}")
    since = peers(probe)["a"]["since"]
    probe.do("set", "hub", "allow=a,b")
    up(lab, probe, "a", "b")
    probe.do("set", "hub", "allow=a")
    fb.check("b" not in peers(probe), "b is still there")
    why(lab, nodes[1], "in", "or not on that endpoint")
    fb.equal("a's session", peers(probe)["a"]["since"], since)


def names_are_keys(lab):
    """A probe that calls itself like another one is shown, and named on its records, by its key; what
    it relays keeps its probe's name only where it is listed as a relay."""
    port, clear, out = lab.port(), lab.port(), lab.path("out.json")
    kr, kc = Key(lab, "r"), Key(lab, "c")
    edge = lab.node("edge", f"publish tcp://127.0.0.1:{clear}?bind name=hub max_delay=100ms")
    relay = lab.node("victim", publish(port, kr),
                     f"subscribe tcp://127.0.0.1:{clear}?connect name=in" + FAST)
    collector = lab.node("collector", json_out(out), subscribe(port, kc, "peer=r1"))
    relay.do("key trust", "c1", kc.public)
    collector.do("key trust", "r1", kr.public)
    lab.wait(lambda: len(relay.do("show subscriptions")) == 2 and edge.do("show subscriptions"),
             "the chain")
    fb.check("victim" not in peers(collector) and "r1" in peers(collector), f"{peers(collector)}")
    n = meter(lab, edge)
    lab.wait(lambda: fb.count_lines(out) >= n, f"{n} records", 20)
    fb.equal("names", probes_of(out), {"r1"})
    fb.equal("renamed", collector.counters("in")["flow_renamed"], n)
    one_line(collector, "r1 sends records of probe", "edge")
    collector.do("set", "in", "relays=x,r1")
    more = meter(lab, edge, "second")
    lab.wait(lambda: fb.count_lines(out) >= n + more, f"{more} records", 20)
    fb.equal("names", probes_of(out), {"r1", "edge"})
    fb.equal("renamed", collector.counters("in")["flow_renamed"], n)


def unsafe_and_unfit(lab):
    """Files that others can read or write, keys in the wrong place, options that do not fit."""
    port, key, peer = lab.port(), Key(lab, "k"), Key(lab, "peer")
    secret = lab.secret()
    loose = shutil.copy(key.path, lab.path("loose.key"))
    os.chmod(loose, 0o644)
    node = lab.node("n")
    at = f"tcp://127.0.0.1:{port}"
    for options, words in (
            (f"{at}?bind identity={loose}", "mode 0644"),
            (f"{at}?bind identity={secret}", "not a private key"),
            (f"{at}?bind identity={lab.path('none.key')}", "flowctl key new"),
            (f"{at}?bind key_file={key.path}", "identity="),
            (f"{at}?bind identity={key.path} key_file={secret}", "do not go together"),
            (f"{at}?bind identity={key.path} encryption=none", "do not go together"),
            (f"{at}?bind allow=x", "identity"), (f"{at}?bind identity={key.path} peer=x", "connects"),
            (f"{at}?bind identity={key.path} allow=a/b", "not a peer"),
            (f"{at}?connect identity={key.path}", "peer=NAME"),
            (f"{at}?connect identity={key.path} peer=x allow=y", "listens"),
            (f"{at}?connect identity={key.path} peer=../x", "peer=NAME")):
        _, final = node.ask("attach", "publish", *fb.split(options))
        fb.check(final["code"] >= 4000 and words in final["text"], f"{options}: {final}")
    for args, code in ((("../x", key.public), 4001), (("x", key.public[:-1]), 4032),
                       (("x", key.public[:-1] + "!"), 4032), (("x", key.secret), 4032),
                       (("x", "0" * 40), 4032)):
        fb.equal(f"trust {args[0]}", node.ask("key trust", *args)[1]["code"], code)
    fb.equal("endpoints", node.do("show endpoints"), [])
    node.do("key trust", "peer", peer.public)
    trust = os.path.join(node.dir, "state", "trust")
    fb.equal("trust directory", (os.stat(trust).st_mode & 0o777, os.listdir(trust)),
             (0o700, ["peer.pub"]))
    node.stop()
    os.chmod(os.path.join(trust, "peer.pub"), 0o666)
    node.start()
    fb.equal("keys that others may have put there", node.do("key list"), [])
    one_line(node, "peer is not trusted", "mode 0666")
    node.stop()
    os.chmod(trust, 0o777)
    node.start()
    fb.equal("open directory", node.ask("key list")[1]["code"], 4031)
    _, final = node.ask("attach", "publish", f"{at}?bind", f"identity={key.path}")
    fb.check(final["code"] == 4031 and trust in final["text"], f"{final}")


if __name__ == "__main__":
    fb.main(trust_and_restart, revoke_one, key_change, enrol, bad_tokens, allow_list,
            names_are_keys, unsafe_and_unfit)
