# SPDX-License-Identifier: Apache-2.0
"""A second, independent reader of captures: pcap and pcapng files, and the outermost IP header.

packets(path) yields (time in microseconds, Ip or None) of every packet in the order of the file.
None: no IP header, or one that breaks its rules. Written for clarity, not for speed.
"""
import struct
from collections import namedtuple

Ip = namedtuple("Ip", "proto src dst sport dport length tcp_flags fragment")
PORT_PROTOS = {6, 17, 33, 132, 136}


class Unreadable(Exception):
    """The file ends early or is not a capture."""


def packets(path):
    with open(path, "rb") as f:
        data = f.read()
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        source = pcapng(data)
    else:
        source = pcap(data)
    for ts_us, link, frame, wire in source:
        try:
            yield ts_us, outer(link, frame, wire)
        except (IndexError, struct.error):
            yield ts_us, None


def pcap(data):
    kinds = {b"\xd4\xc3\xb2\xa1": ("<", 1), b"\xa1\xb2\xc3\xd4": (">", 1),
             b"\x4d\x3c\xb2\xa1": ("<", 1000), b"\xa1\xb2\x3c\x4d": (">", 1000)}
    if data[:4] not in kinds or len(data) < 24:
        raise Unreadable("not a capture")
    order, div = kinds[data[:4]]
    major, minor = struct.unpack_from(order + "HH", data, 4)
    link = struct.unpack_from(order + "I", data, 20)[0] & 0x0FFFFFFF
    if major != 2 or minor > 4:
        raise Unreadable(f"pcap version {major}.{minor}")
    at = 24
    while at + 16 <= len(data):
        sec, frac, cap, wire = struct.unpack_from(order + "IIII", data, at)
        if minor < 3 or (minor == 3 and cap > wire):     # the lengths were swapped in old files
            cap, wire = wire, cap
        at += 16
        if at + cap > len(data):
            raise Unreadable("ends inside a packet")
        yield sec * 1000000 + frac // div, link, data[at:at + cap], wire
        at += cap
    if at != len(data):
        raise Unreadable("trailing bytes")


def pcapng(data):
    at, order, interfaces = 0, "<", []
    while at + 12 <= len(data):
        if data[at:at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            raise Unreadable("bad block")
        body = data[at + 8:at + size - 4]
        at += size
        if kind == 1:
            interfaces.append(interface(order, body))
        elif kind in (2, 6):
            number = struct.unpack_from(order + ("I" if kind == 6 else "H"), body, 0)[0]
            hi, lo, cap, wire = struct.unpack_from(order + "IIII", body, 4)
            link, per_second, offset = interfaces[number]
            units = hi << 32 | lo
            yield (units * 1000000 // per_second + offset * 1000000, link, body[20:20 + cap], wire)
        elif kind == 3:
            raise Unreadable("packets without times")


def interface(order, body):
    link, per_second, offset, at = struct.unpack_from(order + "H", body, 0)[0], 10 ** 6, 0, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4:at + 4 + size]
        if code == 0:
            break
        if code == 9:
            per_second = 2 ** (value[0] & 127) if value[0] & 128 else 10 ** value[0]
        elif code == 14:
            offset = struct.unpack(order + "q", value)[0]
        at += 4 + (size + 3) // 4 * 4
    return link, per_second, offset


def u16(d, o):
    return d[o] << 8 | d[o + 1]


def u32(d, o):
    return u16(d, o) << 16 | u16(d, o + 2)


def outer(link, d, wire):
    """The outermost IP header of a frame, or None."""
    if link == 1:
        return by_type(d, 14, wire, u16(d, 12))
    if link in (12, 14, 101, 228, 229):
        return by_version(d, 0, wire, {228: 4, 229: 6}.get(link))
    if link in (0, 108):
        family = int.from_bytes(d[:4], "big" if link == 108 or not (d[0] or d[1]) else "little")
        return ip(d, 4, wire, 4) if family == 2 else (
            ip(d, 4, wire, 6) if family in (10, 24, 28, 30) else None)
    if link == 113:
        return by_type(d, 16, wire, u16(d, 14))
    if link == 276:
        return by_type(d, 20, wire, u16(d, 0))
    if link in (9, 50):
        return ppp(d, 2 if d[0] == 0xFF and d[1] == 3 else 0, wire)
    if link == 104:
        return by_type(d, 4, wire, u16(d, 2))
    if link == 239:
        at = 4
        while at + 4 <= len(d):
            size, kind = struct.unpack_from("<HH", d, at)
            if size < 4:
                return None
            if kind == 9:
                return ip(d, at + 4, wire, 4 if d[0] == 2 else 6)
            at += (size + 3) & ~3
        return None
    raise Unreadable(f"link type {link}")


def by_type(d, o, wire, kind):
    while kind in (0x8100, 0x88A8, 0x9100, 0x9200):
        kind, o = u16(d, o + 2), o + 4
    if kind == 0x0800:
        return ip(d, o, wire, 4)
    if kind == 0x86DD:
        return ip(d, o, wire, 6)
    if kind in (0x8847, 0x8848):
        return mpls(d, o, wire)
    if kind == 0x8864:
        return ppp(d, o + 6, wire)
    if kind <= 1500 and d[o:o + 3] == b"\xaa\xaa\x03" and d[o + 3:o + 6] == b"\0\0\0":
        return by_type(d, o + 8, wire, u16(d, o + 6)) if u16(d, o + 6) > 1500 else None
    return None


def ppp(d, o, wire):
    kind, o = (d[o], o + 1) if d[o] & 1 else (u16(d, o), o + 2)
    if kind in (0x281, 0x283):
        return mpls(d, o, wire)
    return ip(d, o, wire, {0x21: 4, 0x57: 6}[kind]) if kind in (0x21, 0x57) else None


def mpls(d, o, wire):
    while not u32(d, o) & 0x100:
        o += 4
    return by_version(d, o + 4, wire, None)


def by_version(d, o, wire, wanted):
    version = d[o] >> 4
    return ip(d, o, wire, version) if version in (4, 6) and wanted in (None, version) else None


def ip(d, o, wire, version):
    if o + (20 if version == 4 else 40) > len(d) or d[o] >> 4 != version:
        return None
    if version == 4:
        header, length = (d[o] & 15) * 4, u16(d, o + 2)
        if header < 20 or o + header > len(d) or 0 < length < header:
            return None
        length = length or wire - o
        fragment, more = (u16(d, o + 6) & 0x1FFF) * 8, bool(d[o + 6] & 0x20)
        proto, src, dst, at = d[o + 9], d[o + 12:o + 16], d[o + 16:o + 20], o + header
    else:
        length, src, dst = 40 + u16(d, o + 4), d[o + 8:o + 24], d[o + 24:o + 40]
        proto, at, fragment, more, length = extensions(d, o, length)
    end = min(len(d), o + length)
    sport = dport = flags = 0
    if not fragment and proto in PORT_PROTOS and at + 4 <= end:
        sport, dport = u16(d, at), u16(d, at + 2)
        if proto == 6 and at + 14 <= end:
            flags = u16(d, at + 12) & 0x1FF
    return Ip(proto, src, dst, sport, dport, length, flags, bool(fragment or more))


def extensions(d, o, length):
    proto, at, fragment, more = d[o + 6], o + 40, 0, False
    while proto in (0, 43, 44, 51, 60):
        if at + 8 > len(d) or (at + 8 > o + length and length > 40):
            break
        if proto == 44:
            fragment, more = u16(d, at + 2) & 0xFFF8, bool(d[at + 3] & 1)
            proto, at = d[at], at + 8
            if fragment:
                break
            continue
        size = (d[at + 1] + 2) * 4 if proto == 51 else (d[at + 1] + 1) * 8
        if proto == 0 and length == 40 and size == 8 and d[at + 2] == 0xC2 and d[at + 3] == 4:
            length = 40 + u32(d, at + 4)
        proto, at = d[at], at + size
    return proto, at, fragment, more, length
