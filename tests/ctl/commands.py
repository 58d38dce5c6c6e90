#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every row of commands.def against a running flowbusd, as text and as JSON.

usage: commands.py FLOWBUSD FLOWCTL SOURCE-TREE

Three daemons: a probe that publishes (its input is made of loopback packets sent here, when capture
is permitted), a collector that subscribes to it, and none at all. The keys of every command's JSON
are written down in KEYS: programs read them, so a change here is a change of the interface.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

FLOWBUSD, FLOWCTL, TREE = (os.path.abspath(a) for a in sys.argv[1:4])
ROOT = os.geteuid() == 0
failures = []

ENDPOINT = ["name", "type", "direction", "address", "state", "since", "for_s", "why", "ended",
            "from_file", "packets", "flows", "lost_packets", "lost_flows"]
CHANGED = ["name", "type", "state", "why"]
KEYS = {
    "status": ["name", "version", "role", "pid", "started", "uptime_s", "endpoints", "your_role",
               "memory_bytes", "clients", "last_second", "problems", "reload_pending_s"],
    "attach": CHANGED, "set": CHANGED + ["probes"], "enable": CHANGED, "disable": CHANGED, "detach": ["name"],
    "show endpoints": ENDPOINT,
    "show peers": ["endpoint", "role", "name", "state", "why", "since", "addresses", "seen",
                   "our_seen", "interface", "speed_bps", "packets_per_s", "bits_per_s",
                   "drops_per_s", "drops_kernel", "drops_if", "drops_own", "flows_active", "second", "uptime_s",
                   "version", "clock_offset_us", "clock", "rtt_us", "lag_us", "encrypted", "verified",
                   "key", "node_id", "flows", "frames", "bytes", "lost_flows", "behind", "twice",
                   "loop"],
    "show subscriptions": ["endpoint", "peer", "filter", "fields", "codec", "channel", "shared",
                           "parked", "offered", "filtered", "passed", "acked", "in_flight",
                           "queued", "spooled", "lost", "seq_next", "seq_acked", "bytes_raw",
                           "bytes_sent", "lag_us", "filter_ns", "ratio", "filter_ns_per_flow",
                           "seq_first", "old_channel", "old_last", "change", "refused"],
    "show ledger": ["node", "endpoint", "peer", "ledger", "kind", "stage", "unit", "in", "out",
                    "held", "filtered", "lost", "losses", "unknown", "told", "told_us", "away",
                    "balanced", "difference", "what"],
    "explain drops": ["node", "endpoint", "cause", "lost", "unit", "at_least", "of", "share",
                      "last_second", "since", "why", "advice", "text"],
    "show counters": ["endpoint", "counter", "value", "unit", "kind", "text"],
    "show fields": ["field", "number", "type", "unit", "base", "derived", "text"],
    "show options": ["owner", "option", "type", "default", "range", "live", "text"],
    "show types": ["type", "direction", "text"],
    "show config": ["text"],
    "watch stats": ["second", "probe", "interface", "packets", "bits", "drops_kernel", "drops_if",
                    "drops_own", "non_ip", "malformed", "flows_active", "flows_new", "flows_ended",
                    "late_us", "apps", "clock_offset_us", "rtt_us", "lag_us"],
    "watch events": ["time", "event"],
    "filter check": ["canonical", "all", "fields"],
    "filter explain": ["text"],
    "key trust": ["name", "changed"], "key revoke": ["name", "keys"], "key token": ["text"],
    "key list": ["name", "kind", "fingerprint", "public", "up", "expires_s"],
    "filter test": ["filter", "asked_s", "span_s", "complete", "time", "seen", "matched", "missed",
                    "encoded", "frames", "bytes_raw", "bytes", "history_bytes", "history_flows",
                    "share", "bytes_per_s", "codec", "scaled", "rows"],
    "save": ["saved", "file"], "reload": ["changed", "pending_s"], "log": ["level"], "help": ["text"],
}


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED", what)


class Daemon:
    """A flowbusd with a directory of its own."""

    def __init__(self, top, name, conf):
        self.dir = pathlib.Path(top) / name
        (self.dir / "out").mkdir(parents=True)
        for d in (self.dir, self.dir / "out"):
            d.chmod(0o755)
        self.sock = str(self.dir / "sock")
        self.conf = self.dir / "flowbus.conf"
        self.conf.write_text(
            f'daemon = {{ name = "{name}"; state_dir = "{self.dir}"; control = "{self.sock}"; '
            f'output_dirs = "{self.dir}/out"; control_group = "users"; }};\n{conf}\n')
        self.log = open(self.dir / "log", "w")
        self.proc = subprocess.Popen([FLOWBUSD, "-c", str(self.conf)], stderr=self.log,
                                     cwd=self.dir)
        for _ in range(200):
            if os.path.exists(self.sock) and self.ctl("status")[0] == 0:
                return
            if self.proc.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"{name} did not start:\n" + (self.dir / "log").read_text())

    def ctl(self, *args, user=None, cwd=None):
        cmd = [FLOWCTL, "--socket", self.sock, "--timeout", "10", *args]
        if user:
            cmd = ["setpriv", "--reuid=65534", "--regid=65534",
                   "--groups=" + user if user != "-" else "--clear-groups", *cmd]
        r = subprocess.run(cmd, capture_output=True, text=True, timeout=60, cwd=cwd or self.dir)
        return r.returncode, r.stdout, r.stderr

    def json(self, *args, **kw):
        rc, out, _ = self.ctl("--json", *args, **kw)
        return rc, json.loads(out)

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        check(self.proc.wait(20) == 0, "exit status of the daemon")


def table():
    text = (pathlib.Path(TREE) / "include/flowbus/commands.def").read_text()
    rows = re.findall(r'^COMMAND\((\w+),\s*"([^"]+)",\s*"([^"]*)",\s*(\w+),\s*(\w+)', text, re.M)
    return [dict(zip(("id", "words", "arguments", "role", "shape"), r)) for r in rows]


# A right call of every command; {} is the daemon's directory.
CALLS = {
    "attach": ["json", "{}/out/a.jsonl", "name=a"], "set": ["a", "flush=2s"],
    "disable": ["a"], "enable": ["a"], "detach": ["a", "--drain"],
    "show_endpoints": [], "show_peers": [], "show_counters": ["--all"], "show_options": ["json"],
    "filter_check": ["app http and total_bytes > 1M"], "filter_explain": ["dst port 80"],
    "key_trust": ["peer1", "(what key_pairs makes)"], "key_token": ["peer2", "--for", "5m"], "key_revoke": ["peer1"],
    "filter_test": ["proto udp", "--last", "30s"],
    "log": ["notice"], "help": ["attach", "json"],
    "watch_stats": ["--count", "1"], "watch_flows": ["--count", "1"],
    "watch_events": ["--count", "1"],
}


def poke():
    """Something to meter and something to log."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(20000, 20010):
        s.sendto(b"x" * 100, ("127.0.0.1", port))
    s.close()


def stream(d, args):
    """Run a watch in the background and make things happen until it ends."""
    p = subprocess.Popen([FLOWCTL, "--socket", d.sock, "--timeout", "20", *args],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for i in range(100):
        poke()
        d.ctl("attach", "json", f"{d.dir}/out/e.jsonl", "name=e")
        d.ctl("detach", "e")
        if p.poll() is not None:
            break
        time.sleep(0.1)
    out, err = p.communicate(timeout=25)
    return p.returncode, out, err


def every_command(probe, collector):
    for c in table():
        words = c["words"].split()
        d = collector if c["id"] == "show_peers" else probe
        args = [a.replace("{}", str(d.dir)) for a in CALLS.get(c["id"], [])]
        if c["shape"] == "STREAM":
            if not ROOT and c["id"] != "watch_events":
                continue
            rc, out, err = stream(d, words + args)
            check(rc == 0 and len(out.splitlines()) == 2, f"{c['words']} text: {rc} {out} {err}")
            rc, out, err = stream(d, ["--json"] + words + args)
            check(rc == 0, f"{c['words']} json: {rc} {err}")
            row = json.loads(out)
            if c["id"] == "watch_flows":
                check({"src_addr", "dst_port", "bytes"} <= set(row), f"flow keys: {sorted(row)}")
            else:
                check(list(row) == KEYS[c["words"]], f"{c['words']} keys: {list(row)}")
            continue
        rc, all_ = d.json(*words, *args)
        check(rc == 0 and all_["code"] == 1000, f"{c['words']} json: {rc} {all_}")
        check(list(all_)[:3] == ["rows", "code", "text"], f"{c['words']}: {list(all_)}")
        rows = all_["rows"]
        check(len(rows) > 0, f"{c['words']}: no rows")
        if c["shape"] in ("OBJECT", "TEXT"):
            check(len(rows) == 1, f"{c['words']}: {len(rows)} rows")
        for row in rows:
            check(list(row) == KEYS[c["words"]], f"{c['words']} keys: {list(row)}")
        if c["id"] == "key_revoke":
            check(d.ctl("key", "trust", *CALLS["key_trust"])[0] == 0, "undo key revoke")
        if c["id"] in ("attach", "detach"):  # as text the other way round, so that both happen
            undo = ["detach", "a"] if c["id"] == "attach" else \
                ["attach", "json", f"{d.dir}/out/a.jsonl", "name=a"]
            check(d.ctl(*undo)[0] == 0, f"undo {c['words']}")
        rc, out, err = d.ctl(*words, *args)
        check(rc == 0 and err == "" and out.strip() != "", f"{c['words']} text: {rc} {out} {err}")
        check("\033" not in out, f"{c['words']}: colours in a pipe")
        if c["id"] == "detach":  # the rows below use it
            d.ctl("attach", *CALLS["attach"][:1], f"{d.dir}/out/a.jsonl", "name=a")


def refusals(d):
    for rc, args in [(4, ["detach", "nothing"]), (2, ["detach"]), (2, ["status", "x"]),
                     (2, ["stauts"]), (2, ["s"]), (2, ["show"]), (2, ["filter", "check", "proto zzz"]),
                     (2, ["set", "hub", "max_peers=0"]), (2, ["set", "hub", "max_pers=1"]),
                     (1, ["set", "hub", "heartbeat=9s"]), (4, ["show", "endpoints", "nothing"]),
                     (1, ["attach", "json", "/etc/flowbus-test.jsonl"]),
                     (1, ["attach", "json", "../x.jsonl"]), (2, ["attach", "jsn", "x"]),
                     (1, ["attach", "publish", "tcp://127.0.0.1:{port}", "name=hub"]),
                     (2, ["log", "loud"]), (2, ["--timeout", "x", "status"]),
                     (4, ["help", "nothing"]),
                     (1, ["key", "trust", "x", "fbp1-nonsense"]), (2, ["key", "trust", "x"]),
                     (4, ["key", "revoke", "nobody"]), (2, ["key", "token", "x", "--for", "0s"]),
                     (4, ["key", "token", "x", "hub"]), (2, ["watch", "stats", "--count", "x"]),
                     (5, ["--timeout", "0.3", "watch", "flows", "src port 1 and dst port 1"])]:
        args = [a.format(port=PORT) for a in args]
        got, out, err = d.ctl(*args)
        check(got == rc, f"{args}: exit {got}, not {rc}: {err}")
        check(err.startswith("flowctl: ") and out == "", f"{args}: out {out!r} err {err!r}")
    rc, all_ = d.json("detach", "nothing")
    check(rc == 4 and all_["code"] == 4040 and all_["rows"] == [], f"json error: {all_}")
    rc, all_ = d.json("filter", "check", "proto tcp andd")
    check(all_["line"] == 1 and all_["col"] == 11 and "^" in all_["text"], f"place: {all_}")


def words_and_paths(d):
    for short in (["sta"], ["sh", "peers"], ["sh", "e"], ["fi", "c", "app http"]):
        check(d.ctl(*short)[0] == 0, f"short {short}")
    check(d.ctl("show", "peers", "--json")[1].startswith('{"rows":'), "options behind the words")
    rc, _, err = d.ctl("attach", "json", "rel.jsonl", "name=rel", cwd=d.dir / "out")
    check(rc == 0 and (d.dir / "out/rel.jsonl").exists(), f"relative path: {err}")
    d.ctl("detach", "rel")
    rc, out, _ = d.ctl("complete", "attach", "")
    check(rc == 0 and "capture" in out.split(), "complete types")
    check(d.ctl("complete", "sh")[1].split() == ["show"], "complete commands")
    check("hub" in d.ctl("complete", "detach", "")[1].split(), "complete names")
    check("codec=zlib" in d.ctl("complete", "set", "hub", "codec=")[1].split(), "complete choices")
    check("--drain" in d.ctl("complete", "detach", "-")[1].split(), "complete flags")


def roles(d):
    """The table's role column with real users: nobody, and nobody in the control group."""
    if not ROOT or shutil.which("setpriv") is None:
        print("roles: skipped, they need root and setpriv")
        return
    os.chmod(d.sock, 0o666)
    for user, role in (("-", "VIEW"), ("100", "OPERATE")):
        rank = ["VIEW", "OPERATE", "ADMIN"]
        for c in table():
            if c["shape"] == "STREAM":
                continue
            args = [a.replace("{}", str(d.dir)) for a in CALLS.get(c["id"], [])]
            if c["id"] == "attach":  # this one an operator may
                args = ["subscribe", "tcp://127.0.0.1:9?connect", "name=a"]
            if c["id"] == "set":
                args = ["a", "max_peers=7"]
            rc, all_ = d.json(*c["words"].split(), *args, user=user)
            allowed = rank.index(role) >= rank.index(c["role"])
            denied = all_["code"] == 4030
            check(denied != allowed, f"{c['words']} as {role}: {all_['code']} {all_['text']}")
            check(not denied or rc == 1, f"{c['words']} as {role}: exit {rc}")
    rc, all_ = d.json("attach", "json", f"{d.dir}/out/z.jsonl", user="100")
    check(all_["code"] == 4030, "an operator may not name files")
    check(d.json("status", user="-")[1]["rows"][0]["your_role"] == "view", "role of nobody")
    check("uid 65534" in (d.dir / "log").read_text(), "changes are logged with the uid")
    os.chmod(d.sock, 0o600)
    check(d.ctl("status", user="-")[0] == 1, "exit status without permission")


def saved(top, d):
    """What was attached and saved is there after a restart."""
    d.ctl("attach", "json", f"{d.dir}/out/kept.jsonl", "name=kept", "filter=app http")
    check(d.ctl("save")[0] == 0, "save")
    text = (d.dir / "endpoints.conf").read_text()
    check('"kept"' in text and "app http" in text, f"endpoints.conf: {text}")
    d.stop()
    check(not os.path.exists(d.sock), "the socket is gone")
    check(d.ctl("status")[0] == 3, "exit status without a daemon")
    check(d.ctl("help")[0] == 0, "help without a daemon")
    check("key secret [FILE]" in d.ctl("help", "key", "secret")[1], "help on a local command")
    d.proc = subprocess.Popen([FLOWBUSD, "-c", str(d.conf)], stderr=d.log, cwd=d.dir)
    for _ in range(100):
        if d.ctl("status")[0] == 0:
            break
        time.sleep(0.05)
    check("kept" in [r["name"] for r in d.json("show", "endpoints")[1]["rows"]], "kept is back")
    second = subprocess.run([FLOWBUSD, "-c", str(d.conf)], capture_output=True, text=True,
                            timeout=20)
    check(second.returncode != 0 and d.ctl("status")[0] == 0, "a second daemon is refused")
    d.proc.kill()
    d.proc.wait()
    check(d.ctl("status")[0] == 3, "exit status with a stale socket")
    d.proc = subprocess.Popen([FLOWBUSD, "-c", str(d.conf)], stderr=d.log, cwd=d.dir)
    for _ in range(100):
        if d.ctl("status")[0] == 0:
            break
        time.sleep(0.05)
    check(d.ctl("status")[0] == 0, "a stale socket is replaced")


def keys(top):
    path = os.path.join(top, "link.key")
    run = lambda *a: subprocess.run([FLOWCTL, "key", "secret", *a], capture_output=True, text=True)
    check(run(path).returncode == 0, "key secret FILE")
    text = open(path).read()
    check(re.fullmatch(r"fbs1-[a-z2-7]{32}\n", text) is not None, f"secret: {text!r}")
    check(os.stat(path).st_mode & 0o777 == 0o600, "mode of the secret")
    r = run(path)
    check(r.returncode == 1 and "exists" in r.stderr and open(path).read() == text, "no overwrite")
    check(run().stdout != text, "secrets differ")
    return path


def key_pairs(top):
    """A node's own key: made once, shown without its secret; its path."""
    path = os.path.join(top, "node.key")
    run = lambda *a: subprocess.run([FLOWCTL, *a], capture_output=True, text=True)
    made = run("key", "new", path)
    check(made.returncode == 0 and re.fullmatch(
        r"public {7}(fbp1-[a-z2-7]{56})\nfingerprint {2}SHA256:([a-z2-7]{4}-){4}[a-z2-7]{4}\n",
        made.stdout) is not None, f"key new: {made.stdout!r} {made.stderr!r}")
    text = open(path).read()
    check(re.search(r"^fbk1-[a-z2-7]{56}$", text, re.M) is not None, "private key")
    check(os.stat(path).st_mode & 0o777 == 0o600, "mode of a private key")
    r = run("key", "new", path)
    check(r.returncode == 1 and "exists" in r.stderr and open(path).read() == text, "no overwrite")
    check(run("key", "show", path).stdout == made.stdout, "key show of a private key")
    CALLS["key_trust"][1] = made.stdout.split()[1]
    with open(path + ".pub", "w") as f:
        f.write(made.stdout.split()[1] + "\n")
    check(run("key", "show", path + ".pub").stdout == made.stdout, "key show of a public key")
    row = json.loads(run("--json", "key", "show", path).stdout)["rows"][0]
    check(list(row) == ["kind", "public", "fingerprint", "expires"], f"key show keys: {row}")
    for bad in (text.strip()[:-1], text.strip()[:-1] + "0", "hello", ""):
        with open(path + ".bad", "w") as f:
            f.write(bad)
        r = run("key", "show", path + ".bad")
        check(r.returncode == 1 and r.stdout == "", f"key show of {bad[-8:]!r}: {r}")
    for words in (["key", "new"], ["key", "show"], ["key", "show", path, "x"]):
        check(run(*words).returncode == 2, f"usage of {words}")
    check("identity" in run("help", "key", "new").stdout, "help on key new")
    return path


def main():
    global PORT
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        PORT = s.getsockname()[1]
    top = tempfile.mkdtemp(prefix="flowbus-ctl-")
    os.chmod(top, 0o755)
    key, own = keys(top), key_pairs(top)
    lan = '{ name = "lan"; type = "capture"; address = "lo"; idle = "100ms"; active = "1s"; },' \
        if ROOT else ""
    probe = Daemon(top, "probe", f'endpoints = ( {lan} {{ name = "hub"; type = "publish"; '
                   f'address = "tcp://127.0.0.1:{PORT}"; key_file = "{key}"; }},'
                   '{ name = "own"; type = "publish"; address = "tcp://127.0.0.1:*?bind"; '
                   f'identity = "{own}"; }} );')
    collector = Daemon(top, "collector", 'endpoints = ( { name = "in"; type = "subscribe"; '
                       f'address = "tcp://127.0.0.1:{PORT}?connect"; key_file = "{key}"; }} );')
    try:
        for _ in range(100):
            if probe.json("show", "subscriptions")[1]["rows"]:
                break
            time.sleep(0.1)
        every_command(probe, collector)
        refusals(probe)
        words_and_paths(probe)
        roles(probe)
        saved(top, probe)
        collector.stop()
        probe.stop()
    finally:
        for d in (probe, collector):
            if d.proc.poll() is None:
                d.proc.kill()
    if failures:
        print(f"{len(failures)} failed; logs in {top}")
        return 1
    shutil.rmtree(top)
    print("all commands passed")
    return 0


sys.exit(main())
