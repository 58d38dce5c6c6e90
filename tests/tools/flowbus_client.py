#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""flowbus_client.py - a subscriber of the flowbus link, written from daemon/link/README.md.

    flowbus_client.py tcp://127.0.0.1:5556 --filter 'app http' --key link.key

prints each flow as a line of JSON, as the daemon's own `json` output does with time=us. With ?bind
behind the address it listens and probes connect to it. It shares no code with the daemon: frames are
read by frame.py, numbers of messages, items and fields come from the documents (wiredoc.py).
Needs python3-zmq."""
import argparse
import contextlib
import hashlib
import json
import os
import signal
import sys
import time

import zmq
import zmq.utils.monitor
from zmq.utils import z85

import frame
from wiredoc import CODECS, FIELDS, ITEMS, MESSAGES

VERSION = 1
MESSAGE_NAMES = {number: name for name, (number, _, _) in MESSAGES.items()}
ITEM_NAMES = {tag: name for name, (tag, _, _) in ITEMS.items()}
FIELD_NUMBERS = {name: number for number, (name, _) in FIELDS.items()}
PROBE = FIELD_NUMBERS["probe"]
ACK_FRAMES, ACK_SECONDS, WELCOME_SECONDS, HEARTBEAT = 16, 1.0, 5.0, 2.0


class Bad(Exception):
    """A message that is damaged."""


# ---- messages

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def encode(name, me, peer, /, **items):
    number, must, may = MESSAGES[name]
    out = b"FL" + bytes([VERSION, number]) + me.to_bytes(8, "little") + peer.to_bytes(8, "little")
    for item, value in items.items():
        assert item in must + may, (name, item)
        tag, kind, most = ITEMS[item]
        if kind == "U":
            value &= (1 << 64) - 1
            value = value.to_bytes((value.bit_length() + 7) // 8, "little")
        out += bytes([tag]) + varint(len(value[:most])) + value[:most]
    assert all(item in items for item in must), name
    return out


def decode(data):
    """(name, sender's session, receiver's session, items); None for a message not known here."""
    if len(data) < 20 or len(data) > 16384 or data[:2] != b"FL":
        raise Bad("header")
    me, peer = int.from_bytes(data[4:12], "little"), int.from_bytes(data[12:20], "little")
    if data[2] != VERSION or data[3] not in MESSAGE_NAMES:
        return None, me, peer, {}
    name, items, c = MESSAGE_NAMES[data[3]], {}, frame.Cursor(data[20:])
    while c.at < len(c.data):
        tag = c.u(1)
        value = c.take(c.varint())
        if tag not in ITEM_NAMES:
            continue
        _, kind, most = ITEMS[ITEM_NAMES[tag]]
        if len(value) > most or ITEM_NAMES[tag] in items:
            raise Bad(f"item {tag}")
        items[ITEM_NAMES[tag]] = int.from_bytes(value, "little") if kind == "U" else value
    if not all(item in items for item in MESSAGES[name][1]):
        raise Bad(f"{name} lacks an item")
    return name, me, peer, items


def signed(v):
    return v - (1 << 64) if v >> 63 else v


def words(value):
    return "".join(chr(b) if 32 <= b < 127 else "?" for b in value)


def applications(packed):
    c, out = frame.Cursor(packed), []
    while c.at < len(packed):
        name = words(c.take(c.varint()))
        out.append({"app": name, "flows": c.varint(), "bytes": c.varint()})
    return out


# ---- keys

def keys_of(path):
    """(binding side's public key, its secret, connecting side's public key, its secret)"""
    with open(path, "rb") as f:
        secret = f.readline().rstrip(b"\n").strip(b" \t\r")
    raw = hashlib.scrypt(secret, salt=b"flowbus-link-1", n=1 << 15, r=8, p=1, maxmem=64 << 20,
                         dklen=64)
    a, b = z85.encode(raw[:32]), z85.encode(raw[32:])
    return zmq.curve_public(a), a, zmq.curve_public(b), b


class OnlyKey:
    """For the ZAP handler: who has the connecting side's key may come in."""

    def __init__(self, public):
        self.public = z85.decode(public)

    def callback(self, domain, key):
        return key == self.public or z85.decode(key) == self.public


# ---- one peer

class Inbox:
    """One channel: where we are in it."""

    def __init__(self, n, window):
        self.received = self.acked = n - 1
        self.window, self.jump, self.octets, self.due = window, n, 0, None


class Peer:
    def __init__(self, rid, me):
        self.rid, self.me, self.peer, self.up = rid, me, 0, False
        self.born = self.heard = self.ping_due = time.monotonic()
        self.ident, self.name, self.seen, self.inboxes, self.current = None, "", "", {}, None
        self.clock = []                                 # (time there and back, offset)


class Client:
    """A subscriber; call poll() until you have what you want.

    on_flow(record), on_second(statistics) are called with what comes; `log` with what happened."""

    def __init__(self, address, on_flow, key=None, name="python", end="client", node_id=None,
                 filter="", fields=None, codec=None, on_second=None, log=None):
        self.address, _, how = address.partition("?")
        self.bind = how == "bind"
        self.on_flow, self.on_second, self.log = on_flow, on_second, log or (lambda text: None)
        self.keys = keys_of(key) if key else None
        self.name, self.end = name.encode(), end.encode()
        self.node_id = node_id or int.from_bytes(os.urandom(8), "little") | 1
        self.filter, self.fields, self.codec = filter, fields, codec
        self.positions, self.peers = {}, {}             # by (node id, end); by routing id
        self.hold = False                               # do not acknowledge: for tests
        self.refused = None
        self.sock, self.retry, self.pause = None, 0.0, 0.2
        self.gaps, self.n = [], dict.fromkeys(
            ("flows", "frames", "bad", "repeated", "missing", "lost", "resets", "sessions",
             "resumed", "stale", "pongs", "stats", "damaged"), 0)
        self.context, self.auth = zmq.Context(), None
        if self.bind:
            self.open()

    # -- the socket

    def open(self):
        self.sock = s = self.context.socket(zmq.ROUTER if self.bind else zmq.DEALER)
        s.linger, s.sndhwm, s.rcvhwm = 200, 64, 4096
        s.handshake_ivl, s.heartbeat_ivl, s.heartbeat_timeout = 5000, 2000, 4000
        if self.bind:
            self.check_keys()
            s.zap_domain = b"flowbus"
        else:
            s.reconnect_ivl = 3600 * 1000               # we do that, with a new socket
        if self.keys and self.bind:
            s.curve_server, s.curve_secretkey = True, self.keys[1]
        elif self.keys:
            s.curve_serverkey, s.curve_publickey, s.curve_secretkey = (self.keys[0], self.keys[2],
                                                                       self.keys[3])
        self.monitor = s.get_monitor_socket()
        if self.bind:
            s.bind(self.address)
        else:
            s.connect(self.address)
        self.opened = time.monotonic()

    def check_keys(self):
        from zmq.auth.thread import ThreadAuthenticator
        self.auth = ThreadAuthenticator(self.context)
        self.auth.start()
        if self.keys:
            self.auth.configure_curve_callback("flowbus", OnlyKey(self.keys[2]))

    def shut(self, why):
        """The connecting side's connection is of no use: try again later, with a new socket."""
        if self.bind:
            return
        self.log(f"down: {why}")
        for rid in list(self.peers):
            self.forget(rid)
        self.sock.disable_monitor()
        self.monitor.close(0)
        self.sock.close()
        self.sock, self.retry = None, time.monotonic() + self.pause

    def forget(self, rid):
        p = self.peers.pop(rid)
        if p.current is not None:
            self.positions[p.ident] = (p.current, p.inboxes[p.current].received)

    def close(self):
        for p in list(self.peers.values()):
            if p.up:
                self.ack(p, True)
                self.send(p, "BYE", text=b"the program ends")
        if self.sock is not None:
            self.sock.disable_monitor()
            self.monitor.close(0)
            self.sock.close()
            self.sock = None
        if self.auth is not None:
            self.auth.stop()
        self.context.term()

    def put(self, rid, data):
        with contextlib.suppress(zmq.Again):            # full: it comes again, or we are cut off
            self.sock.send_multipart(([rid] if self.bind else []) + [data], zmq.DONTWAIT)

    def send(self, p, name, /, **items):
        self.put(p.rid, encode(name, p.me, p.peer, **items))

    # -- sessions

    def who(self):
        return {"role": 2, "node_id": self.node_id, "end": self.end, "name": self.name,
                "version": b"python", "started": int(time.time() * 1e6)}

    def hello(self):
        p = self.peers[b""] = Peer(b"", self.number())
        self.send(p, "HELLO", proto_min=VERSION, proto_max=VERSION, **self.who())

    @staticmethod
    def number():
        return int.from_bytes(os.urandom(8), "little") or 1

    def on_hello(self, rid, sender, items):
        if rid in self.peers:
            self.forget(rid)
        p = self.peers[rid] = Peer(rid, self.number())
        p.peer = sender
        if items["role"] != 1 or not items["proto_min"] <= VERSION <= items["proto_max"]:
            self.send(p, "REFUSED", code=20, text=b"this side subscribes, in protocol version 1")
            del self.peers[rid]
            return
        ident = (items["node_id"], items["end"])
        for other in [r for r, q in self.peers.items() if r != rid and q.ident == ident]:
            self.forget(other)                          # simple: the newer one is it
        self.send(p, "WELCOME", protocol=VERSION, **self.who())
        self.begin(p, items)

    def begin(self, p, items):
        p.up, p.ident, p.name = True, (items["node_id"], items["end"]), words(items["name"])
        p.seen = words(items.get("seen", b""))
        self.n["sessions"] += 1
        self.pause = 0.2
        self.log(f"up: {p.name}")
        self.subscribe(p)

    def subscribe(self, p):
        wish = {"sub": 1, "stats": int(self.on_second is not None)}
        if self.filter:
            wish["filter"] = self.filter.encode()
        if self.fields:
            wish["fields"] = b"".join(FIELD_NUMBERS[f].to_bytes(2, "little") for f in self.fields)
        if self.codec is not None:
            wish["codec"] = CODECS[self.codec]
        if p.ident in self.positions:
            wish["resume_channel"], wish["resume_seq"] = self.positions[p.ident]
        self.send(p, "SUBSCRIBE", **wish)

    def change(self, filter):
        """Another filter, without a new session."""
        self.filter, self.positions = filter, {}
        for p in self.peers.values():
            if p.up:
                self.subscribe(p)

    # -- what comes

    def receive(self, parts):
        rid = parts.pop(0) if self.bind else b""
        p, now = self.peers.get(rid), time.monotonic()
        try:
            name, sender, to, items = decode(parts[0])
            if len(parts) != (2 if name == "BATCH" else 1):
                raise Bad("parts")
        except (Bad, frame.Bad, IndexError):
            self.n["damaged"] += 1
            return
        if self.bind and name == "HELLO":
            self.on_hello(rid, sender, items)
        elif p is not None and name == "RESET" and to == p.me:
            self.on_reset(p, now)
        elif p is not None and not p.up and to == p.me and name == "WELCOME":
            p.peer, p.heard = sender, now
            self.begin(p, items)
        elif p is not None and not p.up and to == p.me and name == "REFUSED":
            self.refused = words(items["text"])
            self.pause = 5.0
            self.shut(f"refused: {self.refused}")
        elif p is None or not p.up or (sender, to) != (p.peer, p.me):
            self.n["stale"] += 1
            if name != "RESET":
                self.put(rid, encode("RESET", to, sender))
        elif name is not None:
            p.heard = now
            getattr(self, "on_" + name.lower(), self.ignore)(p, items, *parts[1:])

    def ignore(self, p, items, *rest):
        self.n["damaged"] += 1

    def on_reset(self, p, now):
        self.n["resets"] += 1
        young = now - p.born < 1.0
        self.forget(p.rid)
        if self.bind:
            return
        if young:
            self.shut("the other side keeps forgetting the session")
        else:
            self.hello()

    def on_bye(self, p, items):
        self.forget(p.rid)
        self.shut("BYE: " + words(items.get("text", b"")))

    def on_host(self, p, items):
        p.name = words(items["name"])

    def on_ping(self, p, items):
        now = int(time.time() * 1e6)
        self.send(p, "PONG", echo_time=items["time"], echo_mono=items["mono"], recv=now, time=now)

    def on_pong(self, p, items):
        self.n["pongs"] += 1
        now, mono = int(time.time() * 1e6), time.monotonic_ns() // 1000
        held = items["time"] - items["recv"]
        there = signed(items["recv"]) - signed(items["echo_time"])
        back = signed(items["time"]) - now
        p.clock = (p.clock + [(mono - items["echo_mono"] - held, (there + back) // 2)])[-8:]

    def on_subscribed(self, p, items):
        channel, n = items["channel"], items["next"]
        box = p.inboxes.get(channel)
        if box is None:
            box = p.inboxes[channel] = Inbox(n, items.get("window") or 2 << 20)
            before, seq = self.positions.get(p.ident, (None, 0))
            if before == channel:
                box.received = box.acked = max(n - 1, seq)
        elif n > box.received:
            box.jump = n
        p.current = channel
        self.refused = None
        self.n["resumed"] += items.get("resumed", 0)
        self.log(f"subscribed: {items.get('filter', b'').decode()!r} from {n}")

    def on_refused(self, p, items):
        where = f" (line {items['line']}, column {items['col']})" if "line" in items else ""
        self.refused = words(items["text"]) + where
        self.log(f"refused: {self.refused}")

    def on_batch(self, p, items, body):
        box = p.inboxes.get(items["channel"])
        if box is None or items["flows"] > frame.MAX_ROWS:
            self.n["damaged"] += 1
            return
        if items["seq"] <= box.received:
            self.repeated(box, items["seq"])
            return
        if items["seq"] != box.received + 1 and items["seq"] != box.jump:
            self.n["missing"] += items["seq"] - box.received - 1
        try:
            rows, columns = frame.decode(body)
            if rows != items["flows"]:
                raise frame.Bad("other number of flows")
        except (frame.Bad, frame.Unknown):
            self.n["bad"] += 1
            self.n["lost"] += items["flows"]
        else:
            self.take(p, rows, columns)
        self.done(p, box, items["seq"], len(body))

    def take(self, p, rows, columns):
        whose = columns.setdefault(PROBE, [None] * rows)
        columns[PROBE] = [(p.name.encode(), 0) if x is None else x for x in whose]
        self.n["frames"] += 1
        self.n["flows"] += rows
        for i in range(rows):
            self.on_flow(frame.row_dict(columns, i))

    def on_gap(self, p, items):
        box = p.inboxes.get(items["channel"])
        if box is None or items["to"] < items["from"]:
            self.n["damaged"] += 1
        elif items["to"] <= box.received:
            self.repeated(box, items["to"])
        else:
            if items["from"] != box.received + 1:
                self.n["missing"] += items["from"] - box.received - 1
            self.gaps.append((items["from"], items["to"], items["flows"], items["bytes"]))
            self.n["lost"] += items["flows"]
            self.done(p, box, items["to"], 0)

    def on_stats(self, p, items):
        out = {k: v for k, v in items.items() if isinstance(v, int)}
        out["interface"] = words(items.get("interface", b""))
        out["probe"] = words(items["probe"]) if "probe" in items else p.name
        try:
            out["apps"] = applications(items.get("apps", b""))
        except frame.Bad:
            self.n["damaged"] += 1
        else:
            self.n["stats"] += 1
            if self.on_second is not None:
                self.on_second(out)

    # -- acknowledging, and time

    def done(self, p, box, seq, octets):
        box.received = seq
        box.octets += octets
        box.due = box.due or time.monotonic() + ACK_SECONDS
        self.ack(p, False)

    def repeated(self, box, seq):
        """The publisher does not know that we have it."""
        self.n["repeated"] += 1
        box.acked = min(box.acked, seq - 1)
        box.due = box.due or time.monotonic() + ACK_SECONDS

    def ack(self, p, all_of_it):
        now = time.monotonic()
        for channel, box in p.inboxes.items():
            n = box.received - box.acked
            if self.hold or n == 0 or not (all_of_it or n >= ACK_FRAMES or now >= box.due or
                                           box.octets >= box.window // 4):
                continue
            self.send(p, "ACK", channel=channel, seq=box.received)
            box.acked, box.octets, box.due = box.received, 0, None

    def ping(self, p):
        self.send(p, "PING", time=int(time.time() * 1e6), mono=time.monotonic_ns() // 1000)
        p.ping_due = time.monotonic() + HEARTBEAT

    def tick(self, now):
        for p in list(self.peers.values()):
            if p.up and now > p.heard + 4 * HEARTBEAT or not p.up and now > p.born + WELCOME_SECONDS:
                self.forget(p.rid)
                self.shut("silent")
                if not self.bind:
                    return
                continue
            if p.up and now >= p.ping_due:
                self.ping(p)
            self.ack(p, False)
        if not self.bind and not self.peers and now > self.opened + 2 * WELCOME_SECONDS:
            self.shut("no connection")

    def events(self):
        while self.sock is not None and self.monitor.poll(0):
            event = zmq.utils.monitor.recv_monitor_message(self.monitor)["event"]
            if self.bind:
                continue
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.hello()
            elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_AUTH,
                           zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                           zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
                while self.sock.poll(0):                # what was said last
                    self.receive(self.sock.recv_multipart())
                    if self.sock is None:
                        return
                self.shut("connection lost")
            elif event == zmq.EVENT_CLOSED:
                self.shut("no connection")

    def poll(self, seconds=0.05):
        """Handle what is there, waiting at most @seconds for something."""
        end = time.monotonic() + seconds
        if self.sock is None:
            if time.monotonic() < self.retry:
                time.sleep(max(0, min(end, self.retry) - time.monotonic()))
                return
            self.open()
        poller = zmq.Poller()
        poller.register(self.sock, zmq.POLLIN)
        poller.register(self.monitor, zmq.POLLIN)
        poller.poll(max(0, (end - time.monotonic()) * 1000))
        self.events()
        for _ in range(64):
            if self.sock is None or not self.sock.poll(0):
                break
            self.receive(self.sock.recv_multipart())
        if self.sock is not None:
            self.tick(time.monotonic())

    def until(self, condition, seconds, what="something"):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s for {what}")
            self.poll()


# ---- the program

def arguments():
    a = argparse.ArgumentParser(description="Subscribe to a flowbus probe and print its flows.")
    a.add_argument("address", help="tcp://HOST:PORT to connect to, tcp://ADDRESS:PORT?bind to listen")
    a.add_argument("--filter", default="", help="which flows (default: all)")
    a.add_argument("--fields", help="names of fields, with commas (default: all)")
    a.add_argument("--codec", choices=sorted(CODECS), help="default: the probe's choice")
    a.add_argument("--key", help="file with the shared secret of the link")
    a.add_argument("--name", default="python", help="of this node")
    a.add_argument("--stats", action="store_true", help="also print one-second statistics")
    a.add_argument("--count", type=int, help="end after so many flows")
    a.add_argument("--summary", action="store_true", help="at the end, a line of numbers on stderr")
    return a.parse_args()


def main():
    args = arguments()
    fields = args.fields.split(",") if args.fields else None
    unknown = [f for f in fields or () if f not in FIELD_NUMBERS]
    if unknown:
        sys.exit(f"there is no field {unknown[0]}")
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(1))

    def show(record):
        print(json.dumps(record, ensure_ascii=False))
    client = Client(args.address, show, args.key, args.name, filter=args.filter, fields=fields,
                    codec=args.codec, log=lambda text: print(text, file=sys.stderr, flush=True),
                    on_second=(lambda s: show({"stats": s})) if args.stats else None)
    while not stop and client.n["flows"] < (args.count or sys.maxsize):
        client.poll(0.2)
        sys.stdout.flush()
    client.close()
    if args.summary:
        print(json.dumps({**client.n, "gaps": client.gaps}), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
