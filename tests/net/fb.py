# SPDX-License-Identifier: Apache-2.0
"""Helpers of the tests that run real processes.

A Lab is a temporary directory, the processes started in it and a limit of time; leaving it kills
and removes everything. A Node is one flowbusd with its control socket. FLOWBUS_BUILD names the
build directory (default: build beside the sources). A test that cannot run here exits with 77.

    def test(lab):
        probe = lab.node("probe", "publish tcp://127.0.0.1:%d" % lab.port())
    fb.main(test)
"""
import collections
import contextlib
import csv
import ipaddress
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("FLOWBUS_BUILD", os.path.join(ROOT, "build")))
SLOW = float(os.environ.get("FLOWBUS_SLOW", "1"))   # sanitizers, valgrind: longer patience

TCP_BITS = {letter: 1 << i for i, letter in enumerate("FSRPAUECN")}


class Failed(Exception):
    pass


class Skip(Exception):
    pass


def program(name):
    for where in ("daemon", "ctl", "tests/gen", "tests/golden", "tests/net", ""):
        path = os.path.join(BUILD, where, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise Failed(f"no program {name} in {BUILD} (FLOWBUS_BUILD names the build directory)")


def check(ok, text):
    if not ok:
        raise Failed(text)


def equal(what, got, want):
    if got != want:
        raise Failed(f"{what}: {got!r}, expected {want!r}")


def same_multiset(what, got, want):
    """Compare two Counters and say what differs."""
    if got == want:
        return
    missing, extra = want - got, got - want
    lines = [f"{what}: {sum(got.values())} records, expected {sum(want.values())}; "
             f"{sum(missing.values())} missing, {sum(extra.values())} unexpected"]
    lines += [f"  missing    {x}" for x in list(missing)[:5]]
    lines += [f"  unexpected {x}" for x in list(extra)[:5]]
    raise Failed("\n".join(lines))


class Node:
    """One flowbusd."""

    def __init__(self, lab, name, attach, settings, conf=None, ns=None, wrap=(), args=()):
        self.lab, self.name, self.attached, self.ns = lab, name, list(attach), ns
        self.settings, self.conf, self.wrap, self.args = dict(settings), conf, list(wrap), args
        self.dir = os.path.join(lab.dir, name)
        os.makedirs(os.path.join(self.dir, "state"), exist_ok=True)
        self.socket = os.path.join(self.dir, "sock")
        self.log_file = os.path.join(self.dir, "log")
        self.process = None

    def command(self):
        inside = ["ip", "netns", "exec", self.ns] if self.ns else []
        cmd = inside + self.wrap + [program("flowbusd"), "--name", self.name, "--socket",
                                    self.socket, "--set", f"state_dir={self.dir}/state",
                                    "--set", f"output_dirs={self.lab.dir}"]
        for k, v in self.settings.items():
            cmd += ["--set", f"{k}={v}"]
        if self.conf is None and not self.attached:
            self.conf = os.path.join(self.dir, "empty.conf")
            with open(self.conf, "w", encoding="ascii") as f:
                f.write("# nothing is attached at start\n")
        if self.conf is not None:
            cmd += ["--config", self.conf]
        for a in self.attached:
            cmd += ["--attach", a]
        return cmd + list(self.args)

    def start(self, wait=True):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        with open(self.log_file, "ab") as log:
            self.process = self.lab.spawn(self.command(), stderr=log, stdout=log)
        if wait:
            self.lab.wait(lambda: self.is_up(), f"{self.name} to start", node=self)
        return self

    def is_up(self):
        check(self.process.poll() is None, f"{self.name} ended with status "
              f"{self.process.poll()}:\n{self.log()}")
        try:
            return self.ask("status")[1]["code"] == 1000
        except OSError:
            return False

    def stop(self, expect=0):
        """Ask it to end, as an operator does; its status is checked."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(30 * SLOW)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not stop:\n{self.log()}") from None
        if expect is not None:
            check(status == expect, f"{self.name} stopped with status {status}:\n{self.log()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    def lines(self, *parts):
        """Log lines that contain all parts."""
        return [x for x in self.log().split("\n") if x and all(p in x for p in parts)]

    def connect(self, timeout=20):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout * SLOW)
        s.connect(self.socket)
        return s

    def ask(self, *words):
        """(rows, final line) of one command; words[0] may hold several words."""
        cmd = words[0]
        with self.connect() as s, s.makefile("rwb") as f:
            json.loads(f.readline())
            f.write(json.dumps({"cmd": cmd, "args": list(words[1:])}).encode() + b"\n")
            f.flush()
            rows = []
            while True:
                line = f.readline()
                check(line, f"{self.name}: the control socket closed during '{cmd}'\n{self.log()}")
                x = json.loads(line)
                if "row" in x:
                    rows.append(x["row"])
                elif "code" in x:
                    return rows, x

    def do(self, *words):
        """Rows of a command that must succeed."""
        rows, final = self.ask(*words)
        check(final["code"] == 1000, f"{self.name}: {' '.join(words)}: {final}")
        return rows

    def attach(self, text):
        return self.do("attach", *split(text))

    def counters(self, endpoint):
        return {r["counter"]: r["value"] for r in self.do("show counters", endpoint, "--all")}

    def endpoint(self, name):
        return self.do("show endpoints", name)[0]

    def ledger(self):
        """Rows of `show ledger`; each stage and each equation must add up, at any moment."""
        rows = self.do("show ledger")
        for r in rows:
            where = f"{self.name}: {r['node']} {r['endpoint']} {r['peer']} {r['stage']}"
            if r["kind"] == "equation":
                check(r["balanced"] and r["in"] == r["out"], f"{where}: {r['what']}: {r}")
            else:
                check(r["in"] == r["out"] + r["held"] + r["filtered"] + r["lost"], f"{where}: {r}")
                equal(f"losses of {where}", sum(r["losses"].values()), r["lost"])
        return rows

    def stage(self, endpoint, stage, node=None, told=False):
        """The one row of a stage of one endpoint."""
        rows = [r for r in self.ledger() if r["kind"] == "stage" and r["endpoint"] == endpoint and
                r["stage"] == stage and r["told"] == told and node in (None, r["node"])]
        equal(f"rows of {endpoint} {stage} at {self.name}", len(rows), 1)
        return rows[0]

    def can_answer(self):
        """Running, and not stopped by a signal?"""
        if self.process is None or self.process.poll() is not None:
            return False
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "TtZX"

    def ended(self, name):
        """Has this file input come to its end, with everything handed on?"""
        return bool(self.endpoint(name).get("ended"))


class Watch:
    """A `watch` command read in the background; its rows so far are in .rows."""

    def __init__(self, node, *words):
        self.rows, self.node = [], node
        self.s = node.connect()
        self.s.settimeout(None)
        self.f = self.s.makefile("rwb")
        self.f.readline()
        self.f.write(json.dumps({"cmd": words[0], "args": list(words[1:])}).encode() + b"\n")
        self.f.flush()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        with contextlib.suppress(OSError, ValueError):
            for line in self.f:
                x = json.loads(line)
                if "row" in x:
                    self.rows.append(x["row"])
                check("code" not in x, f"{self.node.name}: {x}")

    def stop(self):
        with contextlib.suppress(OSError):
            self.s.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        return self.rows


def split(text):
    """Words of an --attach text: double and single quotes group."""
    import shlex
    return shlex.split(text)


class Lab:
    def __init__(self, limit):
        self.dir = tempfile.mkdtemp(prefix="flowbus-test-")
        self.processes, self.nodes, self.spaces, self.undo = [], [], [], []
        self.limit = limit * SLOW
        self.ports = set()

    def __enter__(self):
        signal.signal(signal.SIGALRM, self.too_long)
        signal.signal(signal.SIGTERM, self.too_long)
        signal.alarm(int(self.limit))
        return self

    def too_long(self, number, frame):
        raise Failed(f"stopped by signal {number}; the limit is {self.limit:.0f} s")

    def __exit__(self, kind, value, trace):
        signal.alarm(0)
        try:
            if kind is None:
                self.balanced()
        except Exception as e:
            kind = type(e)
            raise
        finally:
            self.close(kind)

    def balanced(self):
        """Whatever a test did: the ledgers of all that still run are exact."""
        for n in self.nodes:
            if n.can_answer():
                n.ledger()

    def close(self, kind):
        if kind is not None and not issubclass(kind, Skip):
            for n in self.nodes:
                print(f"--- log of {n.name}\n{n.log()[-6000:]}" if os.path.exists(n.log_file)
                      else f"--- {n.name} has no log")
        for p in self.processes:
            if p.poll() is None:
                p.kill()
        for p in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(10)
        for f in reversed(self.undo):
            with contextlib.suppress(Exception):
                f()
        for ns in self.spaces:
            subprocess.run(["ip", "netns", "del", ns], capture_output=True, check=False)
        if not os.environ.get("FLOWBUS_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def spawn(self, cmd, **kw):
        p = subprocess.Popen(cmd, stdin=kw.pop("stdin", subprocess.DEVNULL), **kw)
        self.processes.append(p)
        return p

    def run(self, *cmd, status=0, timeout=120, **kw):
        p = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, check=False,
                           timeout=timeout * SLOW, stdin=subprocess.DEVNULL, **kw)
        if status is not None and p.returncode != status:
            raise Failed(f"{' '.join(map(str, cmd))}: status {p.returncode}\n"
                         f"{p.stdout[-3000:]}{p.stderr[-3000:]}")
        return p

    def port(self):
        """A free port below the ephemeral range, so that no connection takes it meanwhile."""
        import random
        for _ in range(1000):
            port = random.randrange(20000, 32000)
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in self.ports:
                self.ports.add(port)
                return port
        raise Failed("no free port")

    def node(self, name, *attach, start=True, conf=None, ns=None, wrap=(), args=(), **settings):
        n = Node(self, name, attach, settings, conf, ns, wrap, args)
        self.nodes.append(n)
        return n.start() if start else n

    def wait(self, condition, what, timeout=20, node=None):
        end = time.monotonic() + timeout * SLOW
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise Failed(f"waited {timeout * SLOW:.0f} s for {what}" +
                             (f"\n{node.log()}" if node and not node in self.nodes else ""))
            time.sleep(0.05)

    def secret(self, name="link.key"):
        path = self.path(name)
        self.run(program("flowctl"), "key", "secret", path)
        return path

    def namespace(self, name):
        need_root("network namespaces")
        ns = f"fb{os.getpid()}{name}"
        p = self.run("ip", "netns", "add", ns, status=None)
        if p.returncode != 0:
            raise Skip(f"no network namespaces here: {p.stderr.strip()}")
        self.spaces.append(ns)
        self.run("ip", "-n", ns, "link", "set", "lo", "up")
        return ns

    def veth(self, ns_a, addr_a, ns_b, addr_b, name="eth0"):
        """A cable between two namespaces, of the same name in both."""
        self.run("ip", "-n", ns_a, "link", "add", name, "type", "veth", "peer", "name", name,
                 "netns", ns_b)
        for ns, addr in ((ns_a, addr_a), (ns_b, addr_b)):
            self.run("ip", "netns", "exec", ns, "sysctl", "-qw",
                     f"net.ipv6.conf.{name}.disable_ipv6=1", status=None)
            self.run("ip", "-n", ns, "addr", "add", addr, "dev", name)
            self.run("ip", "-n", ns, "link", "set", name, "up")

    def traffic(self, packets, flows, *options, name="traffic"):
        """A generated capture and its list of flows: (pcap path, csv path)."""
        pcap, flow_list = self.path(name + ".pcap"), self.path(name + ".csv")
        # the generator ends without freeing; what is looked for is in the daemon
        self.run(program("gen_traffic"), "--packets", packets, "--flows", flows, "--out", pcap,
                 "--flow-list", flow_list, *options,
                 env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
        return pcap, flow_list

    def once(self, *attach, status=0):
        """flowbusd --once over these endpoints."""
        cmd = [program("flowbusd"), "--once", "--set", f"state_dir={self.dir}"]
        for a in attach:
            cmd += ["--attach", a]
        return self.run(*cmd, status=status, timeout=240)


# ---- records

def records(path):
    with open(path, "rb") as f:
        for line in f:
            yield json.loads(line)


def bits(letters):
    return sum(TCP_BITS[x] for x in letters)


def whole(path, without=("probe", "interface")):
    """Counter of whole records; fields that the way adds are left out."""
    seen = collections.Counter()
    for r in records(path):
        for name in without:
            r.pop(name, None)
        seen[json.dumps(r, sort_keys=True)] += 1
    return seen


def unordered(proto, a, aport, b, bport, fwd, rev):
    """One flow, whichever end is called the source; fwd and rev: (packets, bytes, flags)."""
    a, b = (a, aport), (b, bport)
    return (proto, a, b, fwd, rev) if a <= b else (proto, b, a, rev, fwd)


def flow_of(r):
    g = r.get
    return unordered(
        int(r["proto"]), r["src_addr"], g("src_port", 0), r["dst_addr"], g("dst_port", 0),
        (r["packets"], r["bytes"], bits(g("tcp_flags", ""))),
        (g("rev_packets", 0), g("rev_bytes", 0), bits(g("rev_tcp_flags", ""))))


def flows_of(path):
    return collections.Counter(flow_of(r) for r in records(path))


def truth_of(flow_list, wanted=lambda row: True):
    """Counter of the generator's flows in the form of flow_of; @wanted: keep a row?"""
    seen = collections.Counter()
    with open(flow_list, newline="") as f:
        for row in csv.DictReader(f):
            if wanted(row):
                seen[unordered(
                    int(row["proto"]), row["client"], int(row["cport"]), row["server"],
                    int(row["sport"]),
                    (int(row["fwd_packets"]), int(row["fwd_bytes"]), int(row["fwd_tcp_flags"])),
                    (int(row["rev_packets"]), int(row["rev_bytes"]), int(row["rev_tcp_flags"])),
                )] += 1
    return seen


def count_lines(path):
    try:
        with open(path, "rb") as f:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: f.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


def canonical_address(text):
    return str(ipaddress.ip_address(text))


# ---- a probe and a collector

NO_TIMEOUTS = "active=0 idle=0 tcp_end=0"


class Pair:
    """A probe with a publish endpoint `hub` and a collector with a subscribe endpoint `in`."""

    def __init__(self, lab, publish="", subscribe="", json_options="", push=False, key=None,
                 port=None, attach_json=True, settings=None):
        self.lab, self.port = lab, port or lab.port()
        self.out = lab.path("collector.json")
        self.address = f"tcp://127.0.0.1:{self.port}"
        with_key = f" key_file={key}" if key else ""
        fast = " heartbeat=500ms retry_min=200ms retry_max=1s"
        if "max_delay" not in publish:
            publish = "max_delay=100ms " + publish
        self.publish = (f"publish {self.address}{'?connect' if push else '?bind'} name=hub"
                        f"{fast}{with_key} {publish}")
        self.subscribe = (f"subscribe {self.address}{'?bind' if push else '?connect'} name=in"
                          f"{fast}{with_key} {subscribe}")
        self.json = f"json {self.out} name=file time=us flush=50ms {json_options}"
        settings = settings or {}
        self.probe = lab.node("probe", self.publish, start=False, **settings)
        self.collector = lab.node("collector", self.json, self.subscribe, start=False, **settings)

    def start(self, ready=True):
        self.probe.start()
        self.collector.start()
        if ready:
            self.ready()
        return self

    def ready(self, n=1):
        """Wait until the probe has n subscriptions that collectors hold."""
        self.lab.wait(lambda: len(self.subscriptions()) >= n, f"{n} subscriptions at the probe")

    def subscriptions(self):
        return [s for s in self.probe.do("show subscriptions") if s["peer"]]

    def meter(self, pcap, name="pcap", options=""):
        """Meter a file at the probe and wait for its end."""
        self.probe.attach(f"pcap {pcap} name={name} {options or NO_TIMEOUTS}")
        self.lab.wait(lambda: self.probe.ended(name), f"the end of {pcap}", 120)

    def settled(self):
        """Wait until nothing is under way: all that passed was acknowledged."""
        def quiet():
            subs = self.subscriptions()
            return subs and all(s["queued"] == 0 and s["acked"] == s["passed"] for s in subs)
        self.lab.wait(quiet, "everything to be acknowledged")

    def arrived(self, n, path=None, settle=0.7):
        """Wait for n records in the file, then make sure that no more come."""
        path = path or self.out
        self.lab.wait(lambda: count_lines(path) >= n, f"{n} records in {os.path.basename(path)}, "
                      f"{count_lines(path)} so far", 60)
        time.sleep(settle)
        equal("records in " + os.path.basename(path), count_lines(path), n)


# ---- the link as somebody on the wire sees it

class Proxy:
    """A relay of TCP connections that can be cut, held up and counted."""

    def __init__(self, lab, to):
        self.to, self.lock, self.pairs, self.open = to, threading.Lock(), [], True
        self.n_bytes, self.n_connections = 0, 0
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = lab.port()
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        lab.undo.append(self.listener.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                a.close()
                continue
            b = socket.socket()
            try:
                b.connect(("127.0.0.1", self.to))
            except OSError:
                a.close()
                b.close()
                continue
            with self.lock:
                self.pairs.append((a, b))
                self.n_connections += 1
            for x, y in ((a, b), (b, a)):
                threading.Thread(target=self.copy, args=(x, y), daemon=True).start()

    def copy(self, x, y):
        with contextlib.suppress(OSError):
            while True:
                data = x.recv(65536)
                if not data:
                    break
                self.n_bytes += len(data)
                y.sendall(data)
        for s in (x, y):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self.lock:
            for pair in self.pairs:
                for s in pair:
                    with contextlib.suppress(OSError):
                        s.shutdown(socket.SHUT_RDWR)
            self.pairs = []


def need_root(why):
    if os.geteuid() != 0:
        raise Skip(f"{why} need root")


class Sniffer:
    """TCP payload of one port on one interface, as AF_PACKET shows it; payload kept per direction."""

    def __init__(self, port, interface="lo"):
        need_root("packet sockets")
        self.port, self.streams, self.n_bytes, self.dropped = port, {}, 0, 0
        self.s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)       # SO_RCVBUFFORCE
        self.only_port()
        self.s.bind((interface, 0x0003))
        self.s.settimeout(0.2)
        self.done = False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def only_port(self):
        """A classic BPF program: IPv4, TCP, and the port at either end. Others' traffic is left."""
        program = [
            (0x30, 0, 0, 0), (0x54, 0, 0, 0xF0), (0x15, 0, 8, 0x40),   # version 4
            (0x30, 0, 0, 9), (0x15, 0, 6, 6),                          # TCP
            (0xB1, 0, 0, 0),                                           # x = header length
            (0x48, 0, 0, 0), (0x15, 2, 0, self.port),                  # source port
            (0x48, 0, 0, 2), (0x15, 0, 1, self.port),                  # destination port
            (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)]
        import ctypes
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *x) for x in program))
        self.s.setsockopt(socket.SOL_SOCKET, 26, struct.pack(          # SO_ATTACH_FILTER
            "HL", len(program), ctypes.addressof(code)))

    def read(self):
        while True:
            try:
                p, where = self.s.recvfrom(1 << 17)
            except socket.timeout:
                if self.done:
                    return
                continue
            if where[2] != socket.PACKET_OUTGOING or len(p) < 40 or p[0] >> 4 != 4 or p[9] != 6:
                continue
            h = (p[0] & 15) * 4
            sport, dport, seq = struct.unpack_from("!HHI", p, h)
            if self.port not in (sport, dport):
                continue
            data = p[h + (p[h + 12] >> 4) * 4:struct.unpack_from("!H", p, 2)[0] or len(p)]
            self.n_bytes += len(data)
            if data:
                self.streams.setdefault((sport, dport), {})[seq] = data

    def stop(self):
        time.sleep(0.3)
        self.done = True
        self.thread.join()
        dropped = struct.unpack("II", self.s.getsockopt(263, 6, 8))[1]  # PACKET_STATISTICS
        self.s.close()
        check(dropped == 0, f"the packet socket lost {dropped} packets; the test proves nothing")
        return self

    def payload(self):
        """Everything that crossed, segments joined by sequence number."""
        out = []
        for parts in self.streams.values():
            first = next(iter(parts))
            order = sorted(parts, key=lambda s: (s - first + (1 << 31)) % (1 << 32))
            out.append(b"".join(parts[s] for s in order))
        return b"\n--\n".join(out)


def main(*tests, limit=120):
    """Run tests, each in a Lab of its own; the exit status is theirs."""
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")]
    status, ran = 0, 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            with Lab(getattr(test, "limit", limit)) as lab:
                test(lab)
            ran += 1
            print(f"ok      {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Skip as e:
            print(f"skipped {test.__name__}: {e}", flush=True)
            status = status or 77
        except Exception as e:                     # pylint: disable=broad-except
            if not isinstance(e, Failed):
                traceback.print_exc(file=sys.stdout)
            print(f"FAILED  {test.__name__}: {e}", flush=True)
            status = 1
    sys.exit(status)
