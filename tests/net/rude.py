# SPDX-License-Identifier: Apache-2.0
"""A subscriber with bad manners: just enough of the link's protocol to take frames (in clear text)
and then not to behave. daemon/link/README.md is the protocol."""
import os
import select
import socket
import struct
import threading
import time

HELLO, WELCOME, SUBSCRIBE, SUBSCRIBED, BATCH, ACK, PING, PONG = 1, 2, 3, 4, 7, 8, 11, 12
ROLE, PROTO_MIN, PROTO_MAX, NODE_ID, END, NAME, SUB, FILTER, CHANNEL, SEQ = \
    1, 2, 3, 4, 5, 6, 13, 14, 20, 21
TIME, MONO, ECHO_TIME, ECHO_MONO, RECV = 31, 32, 33, 34, 35


def encode(kind, me, peer, items):
    out = struct.pack("<2sBBQQ", b"FL", 1, kind, me, peer)
    for tag, v in items.items():
        if isinstance(v, int):
            v = v.to_bytes(8, "little").rstrip(b"\0")
        else:
            v = v.encode()
        n, size = len(v), b""
        while n >= 128:
            size += bytes([n & 127 | 128])
            n >>= 7
        out += bytes([tag]) + size + bytes([n]) + v
    return out


def decode(data):
    kind, me, items, at = data[3], struct.unpack_from("<Q", data, 4)[0], {}, 20
    while at < len(data):
        tag, n, shift, at = data[at], 0, 0, at + 1
        while True:
            b, at = data[at], at + 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                break
        items[tag], at = data[at:at + n], at + n
    return kind, me, items


def readable(s):
    return bool(select.select([s], [], [], 0.05)[0])


class Client:
    """Subscribes to everything at 127.0.0.1:@port and counts frames in the background. The
    transport, ZMTP 3 without encryption, is spoken here too: no library behaves for it.

    @ack: acknowledge what comes; @node: its node id, None for a random one; @wait: return only
    when it has its subscription or so many seconds have passed."""

    def __init__(self, port, name, ack=True, node=None, wait=0.0):
        self.name, self.ack, self.frames, self.up, self.done = name, ack, 0, False, False
        self.node = node or int.from_bytes(os.urandom(8), "little") | 1
        self.me, self.peer = int.from_bytes(os.urandom(8), "little") | 1, 0
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + wait
        while not self.up and self.thread.is_alive() and time.monotonic() < end:
            time.sleep(0.005)

    def put(self, flags, body):
        size = struct.pack("!BB", flags, len(body)) if len(body) < 256 else \
            struct.pack("!BQ", flags | 2, len(body))
        self.socket.sendall(size + body)

    def send(self, kind, items):
        self.put(0, encode(kind, self.me, self.peer, items))

    def take(self, n):
        data = bytearray()
        while len(data) < n:
            while not readable(self.socket):
                if self.done:
                    raise EOFError
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def get(self):
        """(flags, body) of one ZMTP frame."""
        flags = self.take(1)[0]
        n = struct.unpack("!Q", self.take(8))[0] if flags & 2 else self.take(1)[0]
        return flags, self.take(n)

    def run(self):
        try:
            self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(16 + 32))
            self.take(64)
            self.put(4, b"\5READY\x0bSocket-Type\0\0\0\6DEALER\x08Identity\0\0\0\0")
            self.send(HELLO, {ROLE: 2, PROTO_MIN: 1, PROTO_MAX: 1, NODE_ID: self.node, END: "in",
                              NAME: self.name})
            while not self.done:
                flags, body = self.get()
                if flags & 4:
                    if body.startswith(b"\4PING"):
                        self.put(4, b"\4PONG" + body[7:])
                    continue
                self.message(body)
                while flags & 1:
                    flags, _ = self.get()
        except (EOFError, OSError):
            pass

    def message(self, body):
        kind, sender, items = decode(body)
        if kind == WELCOME:
            self.peer = sender
            self.send(SUBSCRIBE, {SUB: 1})
        elif kind == SUBSCRIBED:
            self.up = True
        elif kind == BATCH:
            self.frames += 1
            if self.ack:
                self.send(ACK, {CHANNEL: int.from_bytes(items[CHANNEL], "little"),
                                SEQ: int.from_bytes(items[SEQ], "little")})
        elif kind == PING:
            now = int(time.time() * 1e6)
            self.send(PONG, {TIME: now, ECHO_TIME: int.from_bytes(items[TIME], "little"),
                             ECHO_MONO: int.from_bytes(items[MONO], "little"), RECV: now})

    def stop(self):
        self.done = True
        self.thread.join()
        self.socket.close()
