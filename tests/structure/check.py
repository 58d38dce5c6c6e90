#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the tree that a compiler does not check.

    check.py CHECK ...      run the named checks (none: list them)

Files are those git tracks or would track; without git, everything outside build directories.
Each difference is one line: file, line, what is wrong.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What a directory may include, besides itself and include/flowbus; arrows are followed.
LAYERS = {
    "daemon/base": [],
    "daemon/schema": ["daemon/base"],
    "daemon/batch": ["daemon/schema"],
    "daemon/conf": ["daemon/schema"],
    "daemon/wire": ["daemon/schema", "daemon/batch"],
    "daemon/filter": ["daemon/batch"],
    "daemon/flow": ["daemon/wire", "daemon/batch", "daemon/conf"],
    "daemon/enrich": ["daemon/batch", "daemon/conf"],
    "daemon/script": ["daemon/filter", "daemon/conf"],
    "daemon/link": ["daemon/batch", "daemon/filter", "daemon/conf"],
    "daemon/input": ["daemon/wire", "daemon/flow", "daemon/link", "daemon/conf"],
    "daemon/output": ["daemon/wire", "daemon/filter", "daemon/link", "daemon/conf"],
    "daemon/engine": ["daemon/script", "daemon/enrich", "daemon/input", "daemon/output"],
    "daemon/control": ["daemon/engine"],
    "daemon": ["daemon/control", "daemon/engine"],
    "ctl": ["daemon/base"],
}
TOP_REQUIRED = {"CMakeLists.txt", "README.md", "LICENSE", "daemon", "ctl", "include", "packaging",
                "tests", "conf.d", ".ci"}
TOP_OPTIONAL = {"lua", ".gitignore", ".gitattributes", ".clang-format", ".clang-tidy",
                ".editorconfig"}
BANNED = r"\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atoll|gets|alloca)\s*\("
MAX_LINES, MAX_FUNCTION, MAX_COLUMNS, MAX_README, MAX_CMAKE = 1000, 120, 100, 200, 150


def files():
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout.split("\n")
        names = [n for n in out if n]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for base, dirs, here in os.walk(ROOT):
            dirs[:] = [d for d in dirs if not d.startswith("build") and d not in
                       (".git", "__pycache__")]
            names += [os.path.relpath(os.path.join(base, n), ROOT) for n in here]
    return sorted(n for n in names if os.path.isfile(os.path.join(ROOT, n)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def is_text(name):
    with open(os.path.join(ROOT, name), "rb") as f:
        return b"\0" not in f.read(8192)


def is_input(name):
    """Test inputs: bytes made to be odd."""
    return name.startswith(("tests/fuzz/corpus/", "tests/conf/")) or name.endswith(
        (".pcap", ".pcapng", ".bin"))


def code_only(text):
    """C without comments and without the insides of literals; line numbers stay."""
    def blank(m):
        s = m.group(0)
        return "\n" * s.count("\n") if s[0] == "/" else s[0] + s[0]
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text,
                  flags=re.S)


def c_files(*under):
    return [n for n in files() if n.endswith((".c", ".h")) and n.startswith(under or ("",))]


def allowed_for(where, seen=None):
    seen = set() if seen is None else seen
    for d in LAYERS[where]:
        if d not in seen:
            seen.add(d)
            allowed_for(d, seen)
    return seen


def check_layers():
    """Includes point down the tree."""
    bad = []
    for name in c_files("daemon/", "ctl/"):
        where = os.path.dirname(name)
        if where not in LAYERS:
            bad.append(f"{name}: directory {where} is not in the table of layers")
            continue
        may = allowed_for(where) | {where}
        for i, line in enumerate(read(name).split("\n"), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if m is None or m.group(1).startswith("flowbus/"):
                continue
            target = m.group(1)
            if "/" not in target and os.path.exists(os.path.join(ROOT, where, target)):
                target = where + "/" + target       # a list of rows beside the source
            elif not target.startswith("ctl/"):
                target = "daemon/" + target
            if not os.path.exists(os.path.join(ROOT, target)):
                bad.append(f"{name}:{i}: {m.group(1)} is not in the tree")
            elif os.path.dirname(target) not in may:
                bad.append(f"{name}:{i}: {where} may not include {target}")
            elif target.endswith("_priv.h") and os.path.dirname(target) != where:
                bad.append(f"{name}:{i}: {target} is private to its directory")
    return bad


def check_size():
    """No file over 1000 lines, no function over 120."""
    bad = []
    for name in files():
        if is_input(name) or name == "LICENSE" or not is_text(name):
            continue
        lines = read(name).split("\n")
        limit = {"README.md": MAX_README, "CMakeLists.txt": MAX_CMAKE}.get(name, MAX_LINES)
        if len(lines) - 1 > limit:
            bad.append(f"{name}: {len(lines) - 1} lines, at most {limit}")
        if not name.endswith((".c", ".h")):
            continue
        start = None
        for i, line in enumerate(lines, 1):
            if line == "{":
                start = i
            elif line == "}" and start is not None:
                if i - start - 1 > MAX_FUNCTION:
                    bad.append(f"{name}:{start}: {i - start - 1} lines in a function, at most "
                               f"{MAX_FUNCTION}")
                start = None
    return bad


def check_columns():
    """No line of C over 100 columns; tabs count as four, as most people here set them."""
    bad = []
    for name in c_files():
        for i, line in enumerate(read(name).split("\n"), 1):
            if len(line.expandtabs(4)) > MAX_COLUMNS:
                bad.append(f"{name}:{i}: {len(line.expandtabs(4))} columns, at most {MAX_COLUMNS}")
    return bad


def check_licence():
    """An SPDX line at the head of every source, script and configuration file."""
    bad = []
    kinds = (".c", ".h", ".def", ".py", ".sh", ".conf", ".supp", ".in", ".lua")
    for name in files():
        if is_input(name) or not is_text(name):
            continue
        text = read(name)
        if not (name.endswith(kinds) or os.path.basename(name) == "CMakeLists.txt" or
                text.startswith("#!")):
            continue
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.split("\n")[:3]):
            bad.append(f"{name}: no SPDX line at its head")
    return bad


def check_style():
    """Banned functions, typedefs of structs and enums, include guards."""
    bad, guards = [], {}
    for name in c_files():
        text = read(name)
        code = code_only(text)
        for i, line in enumerate(code.split("\n"), 1):
            m = re.search(BANNED, line)
            if m:
                bad.append(f"{name}:{i}: {m.group(1)} is banned")
            if re.match(r"\s*typedef\s+(struct|enum|union)\s*(\w+\s*)?(\{|\w+\s*;|$)", line):
                bad.append(f"{name}:{i}: typedef of a struct, enum or union")
        if name.endswith(".h") and "_impl" not in name:
            m = re.search(r"^#ifndef (\w+_H)\n#define \1\n", text, re.M)
            if m is None:
                bad.append(f"{name}: no include guard")
            elif guards.setdefault(m.group(1), name) != name:
                bad.append(f"{name}: the guard {m.group(1)} is also that of {guards[m.group(1)]}")
    return bad


def check_words():
    """Nothing left undone."""
    words = ["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK", "for " "now", "not yet imple" "mented"]
    pattern = re.compile(r"(?<!\w)(" + "|".join(words) + r")(?!\w)")
    bad = []
    for name in files():
        if is_input(name) or name == "LICENSE" or not is_text(name):
            continue
        for i, line in enumerate(read(name).split("\n"), 1):
            m = pattern.search(line)
            if m and not re.search(r"XX" r"XX|mktemp", line):
                bad.append(f"{name}:{i}: '{m.group(1)}'")
    return bad


def check_top():
    """The top level is what the README's map says."""
    top = {n.split("/")[0] for n in files()}
    bad = [f"{n}: missing at the top level" for n in sorted(TOP_REQUIRED - top)]
    return bad + [f"{n}: not of the top level" for n in sorted(top - TOP_REQUIRED - TOP_OPTIONAL)]


def rows(table, macro):
    """[(line number, argument texts)] of a .def file; strings unquoted."""
    found = []
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), read(table), flags=re.S)
    for i, line in enumerate(text.split("\n"), 1):
        m = re.match(macro + r"\((.*)\)\s*\\?\s*$", line.strip())
        if m:
            args = re.findall(r'"((?:\\.|[^"\\])*)"|([^,"\s][^,"]*)', m.group(1))
            found.append((i, [(a or b).strip() for a, b in args]))
    return found


def sources(*under):
    return "\n".join(code_keep_strings(read(n)) for n in c_files(*under))


def code_keep_strings(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def check_tables():
    """Every row of a table is explained, and used."""
    bad, t = [], "include/flowbus/"
    daemon = sources("daemon/", "ctl/")
    def say(table, line, text):
        bad.append(f"{t}{table}:{line}: {text}")
    def explained(table, line, name, text, least=10):
        if len(text) < least:
            say(table, line, f"{name} is not explained")
    for line, a in rows(t + "fields.def", "FIELD"):
        explained("fields.def", line, a[1], a[-1])
    for line, a in rows(t + "counters.def", "COUNTER"):
        explained("counters.def", line, a[0], a[-1])
        if not re.search(r"\bC_%s\b" % a[0], daemon):
            say("counters.def", line, f"{a[0]} is never counted")
    for line, a in rows(t + "errors.def", "ERR"):
        explained("errors.def", line, a[0], a[-1], 4)
    for line, a in rows(t + "options.def", "OPTION"):
        explained("options.def", line, a[1], a[-1])
        if f'"{a[1]}"' not in daemon:
            say("options.def", line, f"nothing reads {a[0]}.{a[1]}")
    for line, a in rows(t + "commands.def", "COMMAND"):
        explained("commands.def", line, a[0], re.findall(r'"([^"]*)"', read(
            t + "commands.def").split("\n")[line - 1])[2])
    return bad


def check_shipped():
    """Every option of an endpoint type appears in conf.d, where people look for it."""
    shipped = "\n".join(read(n) for n in files() if n.startswith("conf.d/"))
    bad = []
    for line, a in rows("include/flowbus/options.def", "OPTION"):
        if not re.search(r"\b%s\s*=" % re.escape(a[1]), shipped):
            bad.append(f"include/flowbus/options.def:{line}: {a[1]} is in no file of conf.d")
    return bad


def readme_commands():
    """[(line number, command)] of the indented and fenced examples."""
    found, fenced = [], False
    for i, line in enumerate(read("README.md").split("\n"), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            found.append((i, line.strip()))
        for code in [] if fenced else re.findall(r"`([^`]+)`", line):
            found.append((i, code))
    return found


def check_readme():
    """What README.md names exists: commands, programs, directories, endpoint options."""
    bad = []
    if "README.md" not in files():
        return ["README.md: missing"]
    commands = [re.findall(r'"([^"]*)"', line)[0] for line in
                read("include/flowbus/commands.def").split("\n") if line.startswith("COMMAND(")]
    local = ("key secret", "key new", "key show", "help")
    options = {}
    for _, a in rows("include/flowbus/options.def", "OPTION"):
        options.setdefault(a[0], set()).add(a[1])
    text = read("include/flowbus/options.def")
    for owners, macro in ((("capture", "pcap"), "METER"), (("publish", "subscribe"), "LINK")):
        body = re.search(r"#define %s\(owner\)(.*?)\n%s\(" % (macro, macro), text, re.S).group(1)
        for name in re.findall(r"OPTION\(owner, (\w+),", body):
            for owner in owners:
                options.setdefault(owner, set()).add(name)
    for i, cmd in readme_commands():
        for m in re.finditer(r"(?:^|[\s'\"])((?:packaging|tests|conf\.d|daemon|include|ctl|lua|"
                             r"\.ci)/[\w./*-]*)", cmd):
            path = m.group(1).rstrip(".*")
            if not os.path.exists(os.path.join(ROOT, path)):
                bad.append(f"README.md:{i}: {path} does not exist")
        m = re.match(r"(?:\S*/)?flowctl (?:-s \S+ |--\S+ )*(.*)", cmd)
        if m and not any(m.group(1).startswith(c) for c in (*commands, *local)):
            bad.append(f"README.md:{i}: no command '{m.group(1)}'")
        for m in re.finditer(r"(?:--attach '|flowctl attach )(\w+) (.*)", cmd):
            kind, rest = m.group(1), m.group(2)
            if kind not in options:
                bad.append(f"README.md:{i}: no endpoint type {kind}")
                continue
            rest = re.split(r"' --attach '", rest)[0]
            quoted = re.sub(r"\"[^\"]*\"|(?<==)'[^']*'", "", rest)
            for name in re.findall(r"\s([a-z_]+)=", quoted):
                if name not in options[kind] | {"name"}:
                    bad.append(f"README.md:{i}: {kind} has no option {name}")
    return bad


def check_net_list():
    """Every test of tests/net is known to ctest, and the other way round."""
    bad, listed = [], set()
    for name, cases in re.findall(r"^net_test\((\w+)([^)]*)\)", read("tests/net/CMakeLists.txt"),
                                  re.M):
        listed |= {(name, c) for c in re.sub(r"LABEL \w+", "", cases).split()
                   if c.islower()}
    found = set()
    for name in files():
        m = re.match(r"tests/net/test_(\w+)\.py$", name)
        if m:
            main = re.search(r"fb\.main\(([\w\s,]*?)(, limit=\d+)?\)", read(name)).group(1)
            found |= {(m.group(1), c) for c in re.findall(r"\w+", main)}
    bad += [f"tests/net/test_{n}.py: {c} is not in tests/net/CMakeLists.txt"
            for n, c in sorted(found - listed)]
    return bad + [f"tests/net/CMakeLists.txt: there is no test {n} {c}"
                  for n, c in sorted(listed - found)]


CHECKS = {n[len("check_"):]: f for n, f in list(globals().items()) if n.startswith("check_")}


def main():
    names = sys.argv[1:]
    if not names or any(n not in CHECKS for n in names):
        for n, f in CHECKS.items():
            print(f"{n:10} {f.__doc__}")
        return 2
    status = 0
    for n in names:
        bad = CHECKS[n]()
        for line in bad:
            print(line)
        print(f"{n}: {len(bad)} differences" if bad else f"{n}: good")
        status |= bool(bad)
    return status


if __name__ == "__main__":
    sys.exit(main())
