#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wiredoc.py - the tables of daemon/link/README.md and daemon/batch/README.md.

    wiredoc.py --check      compare them with the tables the daemon is compiled from

frame.py and flowbus_client.py take their numbers from here and nowhere else: what the documents do
not say, they do not know."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def rows(text, head):
    """Cells of the table whose first line begins with @head."""
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith(head):
            break
    next(lines)
    out = []
    for line in lines:
        if not line.startswith("|"):
            break
        out.append([c.strip() for c in line.strip("|").split("|")])
    return out


def words(text):
    return [w.strip() for w in text.split(",") if w.strip()]


LINK, BATCH = read("daemon", "link", "README.md"), read("daemon", "batch", "README.md")

# item: (tag, kind, most octets); message: (number, items it must have, items it may have)
ITEMS = {r[1]: (int(r[0]), r[2], int(r[3])) for r in rows(LINK, "| tag | item | kind | most |")}
MESSAGES = {}
for _r in rows(LINK, "| number | message | from |"):
    _must, _, _may = _r[3].replace("; second part: the frame", "").partition(";")
    MESSAGES[_r[1]] = (int(_r[0]), words(_must), words(_may))

# field number: (name, type); (field, number): name; bit: letter; encoding: name; codec: name
FIELDS = {int(n): (name, kind) for n, name, kind in
          re.findall(r"`(\d+) (\w+)` ([A-Z0-9]+)", BATCH[BATCH.index("## Fields"):])}
_types = {r[0]: r[1] for r in rows(BATCH, "| type | value |")}
ENUMS = {(field, int(n)): name for field, values in re.findall(r"`(\w+)`: ([^;|]+)", _types["ENUM"])
         for n, name in re.findall(r"(\d+) (\w+)", values)}
BITS = {int(n): letter for n, letter in re.findall(r"(\d+) ([A-Z])\b", _types["BITS"])}
ENCODINGS = {int(n): name for n, name in
             re.findall(r"^\| (\d+) ([a-z ]+) \|", BATCH[BATCH.index("## Sequences"):], re.M)}
CODECS = {name: int(n) for n, name in re.findall(
    r"(\d) (\w+)", next(r[2] for r in rows(BATCH, "| at | size |") if "codec" in r[2]))}


# ---- the same from the sources

def differences(what, document, source):
    return [f"{what}: {k}: the document says {document.get(k, 'nothing')}, "
            f"the source {source.get(k, 'nothing')}"
            for k in sorted({*document, *source}, key=str) if document.get(k) != source.get(k)]


def source_messages():
    text = re.sub(r"/\*.*?\*/", "", read("daemon", "link", "msg.def"), flags=re.S)
    items = {n: (int(t), k, int(most)) for t, n, k, most in
             re.findall(r"^ITEM\((\d+),\s*(\w+),\s*([UT]),\s*(\d+)\)", text, re.M)}
    messages = {n: (int(i), sorted(re.findall(r"N\((\w+)\)", need))) for i, n, need in
                re.findall(r"^MESSAGE\((\d+),\s*(\w+),\s*(.*)\)$", text, re.M)}
    return items, messages


def source_encodings():
    text = read("daemon", "batch", "frame_priv.h")
    return {int(n): name for name, n in re.findall(r"\bENC_(\w+) = (\d+)", text)}


ENC_WORDS = {"CONSTANT": "constant", "PLAIN": "plain", "PACKED": "packed", "PLANES": "planes",
             "MAGNITUDE": "magnitude", "DELTA": "delta", "REF": "reference", "DICT": "dictionary",
             "CACHE": "cache", "TEXT": "texts", "TEXT_DICT": "text dictionary", "ADDR": "addresses",
             "ADDR_DICT": "address dictionary"}


def check():
    include = ("include", "flowbus")
    items, messages = source_messages()
    fields = {int(n): (name, kind) for n, name, kind, flags in
              re.findall(r"^FIELD\((\d+),\s*(\w+),\s*(\w+),(.*?),\s*\"", read(*include, "fields.def"),
                         re.M) if "DERIVED" not in flags}
    enums = {(f, int(n)): name for f, n, name in
             re.findall(r'^EVAL\((\w+), (\d+), \w+, "(\w+)"\)', read(*include, "enums.def"), re.M)}
    bits = {int(n): x for n, x in
            re.findall(r"^BIT\((\d+), \w+, '(.)'\)", read(*include, "bits.def"), re.M)}
    codecs = {n.lower(): int(i) for n, i in
              re.findall(r"\bFRAME_(NONE|\w+) = (\d+)", re.search(
                  r"enum frame_codec \{(.*?)\}", read("daemon", "batch", "frame.h"), re.S)[1])}
    encodings = {n: ENC_WORDS.get(w, w) for n, w in source_encodings().items()}
    sizes = {"items": items, "messages": messages, "fields": fields, "encodings": encodings,
             "enums": enums, "bits": bits, "codecs": codecs}
    bad = [f"no {k} found in the sources" for k, v in sizes.items() if not v]
    bad += differences("item", ITEMS, items)
    bad += differences("message", {k: (n, sorted(must)) for k, (n, must, _) in MESSAGES.items()},
                       messages)
    bad += [f"message {k}: no item {i}" for k, (_, must, may) in MESSAGES.items()
            for i in must + may if i not in ITEMS]
    for what, document, source in (("field", FIELDS, fields), ("value", ENUMS, enums),
                                   ("bit", BITS, bits), ("encoding", ENCODINGS, encodings),
                                   ("codec", CODECS, codecs)):
        bad += differences(what, document, source)
    print("\n".join(bad) if bad else
          "the documents agree: " + ", ".join(f"{len(v)} {k}" for k, v in sizes.items()))
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        sys.exit(__doc__)
    sys.exit(check())
