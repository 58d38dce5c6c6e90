#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the manual pages: NAME.in with each line `@TABLE@` replaced by what flowbusd prints.

usage: build.py FLOWBUSD OUTPUT-DIRECTORY

The tables of commands, options, fields, counters and errors come from the program itself, so a page
cannot disagree with it. `flowbusd --print TABLE.md` gives Markdown rows; here they become .TP items.
"""
import pathlib
import re
import subprocess
import sys


def roff(text):
    """Markdown of one cell to roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return "\\&" + text if text[:1] in ".'" else text


def cells(line):
    return [c.strip().replace("\0", "|") for c in line.strip().strip("|").replace("\\|", "\0").split("|")]


def items(flowbusd, table):
    """One .TP per row: the cells but the last are its tag, the last its text."""
    lines = subprocess.run([flowbusd, "--print", table + ".md"], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    rows = [cells(l) for l in lines if l.startswith("|")]
    rows = [r for r in rows if not all(re.fullmatch(r":?-+:?", c) for c in r)]
    if len(rows) < 2:
        sys.exit(f"flowbusd --print {table}.md gave no table")
    head, rows = rows[0], rows[1:]
    out = [".PP", "Columns: " + roff(", ".join(head)) + "."]
    for r in rows:
        tag = "  ".join(c for c in r[:-1] if c not in ("", "``"))
        out += [".TP", roff(tag), roff(r[-1])]
    return "\n".join(out)


def main():
    flowbusd, target = sys.argv[1], pathlib.Path(sys.argv[2])
    here = pathlib.Path(__file__).parent
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(here.glob("*.in")):
        text = re.sub(r"^@(\w+)@$", lambda m: items(flowbusd, m.group(1)), source.read_text(),
                      flags=re.M)
        (target / source.stem).write_text(text)


main()
