#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""frame.py - a second decoder of flowbus frames, written from daemon/batch/README.md.

    frame.py FILE...                 print each frame's flows, one JSON object a line
    frame.py --check FRAME JSONL ... compare frames with what the daemon's decoder printed

Needs only Python's standard library, and libzstd.so.1 for frames compressed by zstd. It is meant to
be read beside the README and is slow. Fields, names and types are the README's."""
import ctypes
import ipaddress
import json
import re
import struct
import sys
import zlib

from wiredoc import BITS, ENUMS, FIELDS

M64 = (1 << 64) - 1
MUL = 0x9E3779B97F4A7C15
MAX_ROWS, MAX_RAW, MAX_TEXT, MAX_DEPTH = 4096, 8 << 20, 1024, 4


class Bad(Exception):
    """The frame is malformed."""


class Unknown(Exception):
    """A column in a coding that this program does not know."""


def crc_table():
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        yield i


CRC_TABLE = list(crc_table())


def crc32c(data):
    crc, table = 0xFFFFFFFF, CRC_TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def unzlib(data, raw):
    z = zlib.decompressobj()
    try:
        out = z.decompress(data, raw + 1)
    except zlib.error as e:
        raise Bad(f"compression: {e}") from None
    if not z.eof or z.unused_data:
        raise Bad("compression")
    return out


def unzstd(data, raw, lib=[]):                          # pylint: disable=dangerous-default-value
    """One zstd frame that uses all of @data, by libzstd's own functions."""
    if not lib:
        lib.append(ctypes.CDLL("libzstd.so.1"))
        for f in (lib[0].ZSTD_findFrameCompressedSize, lib[0].ZSTD_decompress):
            f.restype = ctypes.c_size_t
        lib[0].ZSTD_findFrameCompressedSize.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
        lib[0].ZSTD_decompress.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                           ctypes.c_size_t)
    if lib[0].ZSTD_findFrameCompressedSize(data, len(data)) != len(data):
        raise Bad("compression")
    out = ctypes.create_string_buffer(raw or 1)
    if lib[0].ZSTD_decompress(out, raw, data, len(data)) != raw:
        raise Bad("compression")
    return out.raw[:raw]


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Bad("data ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def u(self, width):
        return int.from_bytes(self.take(width), "little")

    def varint(self):
        v = shift = 0
        while True:
            byte = self.u(1)
            v |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return v
            if shift > 63:
                raise Bad("number too long")


def unzigzag(z):
    return z >> 1 ^ (-(z & 1) & M64)


def extra_bits(c):
    return 0 if c < 8 else (c - 8) // 4 + 1


def get_bits(data, widths):
    acc, out = int.from_bytes(data, "little"), []
    for width in widths:
        out.append(acc & ((1 << width) - 1))
        acc >>= width
    return out


def by_mode(mode, values):
    if mode > 2:
        raise Bad("unknown mode")
    return [unzigzag(v) if mode == 0 else v if mode == 1 else -v & M64 for v in values]


def reference(frame, rows, number):
    """The numbers of an earlier column that has one in every row; an address counts as 4 or 6."""
    kind = FIELDS.get(number, ("", ""))[1]
    if rows == 0 or number not in frame or kind == "TEXT" or None in frame[number]:
        raise Unknown("reference to field %d" % number)
    if kind != "ADDR":
        return frame[number]
    return [4 if a[:12] == bytes(10) + b"\xff\xff" else 6 for a in frame[number]]


def seq(c, enc, n, depth, frame, rows):
    """n numbers of coding enc. rows is n when there is one for every row of the frame, else 0."""
    if depth > MAX_DEPTH:
        raise Bad("nested too deep")
    if enc == 0:
        return [c.u(8)] * n
    if enc == 1:
        width = c.u(1)
        if not 1 <= width <= 8:
            raise Bad("width")
        return [c.u(width) for _ in range(n)]
    if enc == 2:
        base, width = c.u(8), c.u(1)
        if width > 64:
            raise Bad("width")
        return [base + v & M64 for v in get_bits(c.take((n * width + 7) // 8), [width] * n)]
    if enc == 3:
        base, planes = c.u(8), c.u(1)
        if not 1 <= planes <= 8:
            raise Bad("planes")
        data = [c.take(n) for _ in range(planes)]
        return [base + int.from_bytes(bytes(p[i] for p in data), "big") & M64 for i in range(n)]
    if enc == 4:
        classes = c.take(n)
        widths = [extra_bits(k) for k in classes]
        if max(classes, default=0) > 251:
            raise Bad("class")
        low = get_bits(c.take((sum(widths) + 7) // 8), widths)
        return [k if k < 8 else (4 + (k - 8) % 4 << w) + v for k, w, v in zip(classes, widths, low)]
    if enc == 5:
        first, mode = c.u(8), c.u(1)
        if n == 0:
            raise Bad("differences of nothing")
        out = [first]
        for d in by_mode(mode, nested(c, n - 1, depth + 1, frame, 0)):
            out.append(out[-1] + d & M64)
        return out
    if enc == 6:
        number, mode = c.u(2), c.u(1)
        ref = reference(frame, rows, number)
        return [r + d & M64 for r, d in zip(ref, by_mode(mode, nested(c, n, depth + 1, frame, 0)))]
    if enc == 7:
        k = c.varint()
        if k > n or depth >= MAX_DEPTH:
            raise Bad("dictionary")
        entries = nested(c, k, depth + 1, frame, 0)
        index = nested(c, n, depth + 1, frame, 0)
        if max(index, default=-1) >= k:
            raise Bad("index")
        return [entries[i] for i in index]
    if enc == 8:
        return cache(c, n, depth, frame, rows)
    raise Unknown("encoding %d" % enc)


def cache(c, n, depth, frame, rows):
    bits, n_refs = c.u(1), c.u(1)
    if bits > 12 or n_refs > 3 or depth >= MAX_DEPTH:
        raise Bad("cache")
    refs = [reference(frame, rows, c.u(2)) for _ in range(n_refs)]
    symbols = c.take(n)
    if max(symbols, default=0) > 4:
        raise Bad("symbol")
    misses = iter(nested(c, symbols.count(4), depth + 1, frame, 0))
    slots, out = [[0] * 4 for _ in range(1 << bits)], []
    for i, k in enumerate(symbols):
        h = 0
        for ref in refs:
            h = (h ^ ref[i]) * MUL & M64
        ways = slots[h >> 64 - bits if bits else 0]
        v = next(misses) if k == 4 else ways[k]
        if v >= 1 << 32:
            raise Bad("cached number")
        del ways[min(k, 3)]
        ways.insert(0, v)
        out.append(v)
    return out


def nested(c, n, depth, frame, rows):
    return seq(c, c.u(1), n, depth, frame, rows)


def texts(c, k, frame):
    out = []
    for x in nested(c, k, 1, frame, 0):
        if x >> 1 > MAX_TEXT:
            raise Bad("text too long")
        out.append((x & 1, x >> 1))
    return [(c.take(n), cut) for cut, n in out]


def addrs(c, k, frame, rows):
    high = nested(c, k, 1, frame, rows)
    zero = iter(nested(c, high.count(0), 1, frame, 0))
    rest = iter(nested(c, k - high.count(0), 1, frame, 0))
    return [struct.pack(">QQ", h, next(rest) if h else next(zero)) for h in high]


def column(c, enc, kind, n, frame, rows):
    if kind not in ("TEXT", "ADDR"):
        width = {"U8": 8, "ENUM": 8, "U16": 16, "BITS": 16, "U32": 32, "MAC": 48}.get(kind, 64)
        out = seq(c, enc, n, 0, frame, rows)
        if max(out, default=0) >> width:
            raise Bad("number too large")
        return out
    plain = {"TEXT": 16, "ADDR": 18}[kind]
    if enc not in (plain, plain + 1):
        raise Unknown("encoding %d" % enc)
    k = n if enc == plain else c.varint()
    if k > n:
        raise Bad("dictionary")
    values = texts(c, k, frame) if kind == "TEXT" else addrs(c, k, frame, rows if enc == plain else 0)
    if enc == plain:
        return values
    index = nested(c, n, 1, frame, rows if kind == "TEXT" else 0)
    if max(index, default=-1) >= k:
        raise Bad("index")
    return [values[i] for i in index]


def decode(data):
    """The frame's rows and {field number: values}, None where absent."""
    if len(data) < 40:
        raise Bad("shorter than a header")
    magic, version, codec, columns, rows, raw, body, crc = struct.unpack("<4sBBHIIII", data[:24])
    if magic != b"FBF1" or version != 1 or rows > MAX_ROWS or raw > MAX_RAW or body != len(data) - 40:
        raise Bad("header")
    if crc32c(data[:20] + data[24:]) != crc:
        raise Bad("checksum")
    if codec not in (0, 1, 2):
        raise Unknown("codec %d" % codec)
    payload = (bytes, unzlib, unzstd)[codec](data[40:], *[raw] * (codec > 0))
    if len(payload) != raw:
        raise Bad("raw length")
    c, frame = Cursor(payload), {}
    for _ in range(columns):
        number, enc, flags, length = struct.unpack("<HBBI", c.take(8))
        one = Cursor(c.take(length))
        if number not in FIELDS or flags & ~1:
            continue
        if number in frame:
            raise Bad("a column comes twice")
        try:
            frame[number] = get_column(one, enc, flags, FIELDS[number][1], rows, frame)
        except Unknown:
            continue
        if one.at != length:
            raise Bad("bytes left over in a column")
    if c.at != raw:
        raise Bad("bytes left over")
    return rows, frame


def get_column(c, enc, flags, kind, rows, frame):
    if not flags & 1:
        return column(c, enc, kind, rows, frame, rows)
    bitmap = int.from_bytes(c.take((rows + 7) // 8), "little")
    if bitmap >> rows:
        raise Bad("presence of rows that are not there")
    values = iter(column(c, enc, kind, bin(bitmap).count("1"), frame, 0))
    return [next(values) if bitmap >> i & 1 else None for i in range(rows)]


def readable(number, v):
    name, kind = FIELDS[number]
    if kind == "ADDR":
        a = ipaddress.IPv6Address(v)
        return str(a.ipv4_mapped or a)
    if kind in ("TIME", "SPAN"):
        v -= (1 << 64) if v >> 63 else 0
        return v if kind == "TIME" else v / 1000000   # a span is printed as seconds
    if kind == "MAC":
        return ":".join("%02x" % b for b in v.to_bytes(6, "big"))
    if kind == "ENUM":
        return ENUMS.get((name, v), v)
    if kind == "BITS":
        return "".join(BITS[i] for i in sorted(BITS, reverse=True) if v >> i & 1)
    if kind == "TEXT":
        return v[0].replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return v


def row_dict(frame, i):
    """A record as the daemon writes it as JSON, with times in microseconds."""
    there = [n for n in sorted(frame) if frame[n][i] is not None]
    out = {FIELDS[n][0]: readable(n, frame[n][i]) for n in there}
    cut = [FIELDS[n][0] for n in there if FIELDS[n][1] == "TEXT" and frame[n][i][1]]
    return {**out, "cut": cut} if cut else out


def text_bytes(s):
    """What the daemon wrote as JSON text, as bytes: \\xHH is a byte, two backslashes are one."""
    out = b""
    for part in re.findall(r"\\x[0-9a-f]{2}|\\\\|[^\\]+", s):
        if part.startswith("\\x"):
            out += bytes([int(part[2:], 16)])
        else:
            out += b"\\" if part == "\\\\" else part.encode()
    return out


def same(number, v, printed):
    kind = FIELDS[number][1]
    if kind == "TEXT":
        return v[0] == text_bytes(printed)
    if kind == "ADDR":
        a = ipaddress.ip_address(printed)
        return v == (a.packed if a.version == 6 else bytes(10) + b"\xff\xff" + a.packed)
    return readable(number, v) == printed


def check(path, printed):
    rows, frame = decode(open(path, "rb").read())
    lines = [json.loads(x) for x in open(printed, encoding="utf-8").read().split("\n") if x]
    if len(lines) != rows:
        return "%s: %d rows, %d lines" % (path, rows, len(lines))
    for i, line in enumerate(lines):
        cut = sorted(FIELDS[n][0] for n in frame
                     if FIELDS[n][1] == "TEXT" and frame[n][i] is not None and frame[n][i][1])
        if sorted(line.pop("cut", [])) != cut:
            return "%s: row %d: cut %s" % (path, i, cut)
        mine = {FIELDS[n][0]: n for n in frame if frame[n][i] is not None}
        if sorted(mine) != sorted(line):
            return "%s: row %d: other fields" % (path, i)
        for name, n in mine.items():
            if not same(n, frame[n][i], line[name]):
                return "%s: row %d: %s is %r, not %r" % (path, i, name, frame[n][i], line[name])
    return None


def main(args):
    if args and args[0] == "--check":
        pairs = list(zip(args[1::2], args[2::2]))
        wrong = [w for w in (check(*p) for p in pairs) if w]
        print("\n".join(wrong) if wrong else "%d frames agree" % len(pairs))
        return 1 if wrong or not pairs else 0
    for path in args:
        rows, frame = decode(open(path, "rb").read())
        for i in range(rows):
            print(json.dumps(row_dict(frame, i)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
