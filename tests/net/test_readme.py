#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples of README.md marked with <!-- test --> do what they show; so does the quickstart."""
import os
import re
import shutil

import fb


def blocks():
    with open(os.path.join(fb.ROOT, "README.md"), encoding="utf-8") as f:
        return re.findall(r"<!-- test -->\n```sh\n(.*?)```", f.read(), re.S)


def examples(lab):
    """Each block in a shell of its own, with a capture called traffic.pcap; every command succeeds."""
    lab.traffic(20000, 800, "--start", "1700000000")
    path = ":".join(os.path.dirname(fb.program(p)) for p in ("flowbusd", "flowctl"))
    env = dict(os.environ, PATH=path + ":" + os.environ["PATH"])
    found = blocks()
    fb.equal("examples", len(found), 4)
    for block in found:
        for number in ("5556", "5557"):
            block = block.replace(number, str(lab.port()))
        script = "trap 'kill $(jobs -p) 2>/dev/null || :; wait' EXIT\nset -eu\n" + block
        p = lab.run("bash", "-c", script, cwd=lab.dir, env=env, status=None)
        fb.check(p.returncode == 0, f"status {p.returncode} of\n{block}\n{p.stdout[-3000:]}{p.stderr[-3000:]}")
        if "json -" in block:
            apps = {fb.json.loads(x)["app"] for x in p.stdout.splitlines()}
            fb.equal("applications printed", apps, {"http"})
        if "http.json" in block:
            apps = {r["app"] for r in fb.records(lab.path("http.json"))}
            fb.equal("applications collected", apps, {"http"})
            fb.check("hub" in p.stdout and "collector" in p.stdout, p.stdout)
    fb.check(fb.count_lines(lab.path("big.json")) > 0, "big.json is empty")
    for r in fb.records(lab.path("names.json")):
        name = r.get("http_host") or r.get("tls_sni") or r.get("dns_query")
        fb.check(name.endswith(".example") and r["dst_port"] in (53, 80, 443), f"{r}")


def quickstart(lab):
    """packaging/quickstart with the programs just built; it leaves nothing behind."""
    fb.need_root("network namespaces")
    for tool in ("dnsmasq", "curl", "openssl", "ping"):
        if not shutil.which(tool):
            raise fb.Skip(f"{tool} is not installed (packaging/deps)")
    lab.namespace("probe")                            # are there namespaces at all?
    p = lab.run(os.path.join(fb.ROOT, "packaging/quickstart"), "--no-install", "--keep-build",
                env=dict(os.environ, FLOWBUS_BUILD=fb.BUILD), status=None)
    fb.check(p.returncode == 0, f"status {p.returncode}\n{p.stdout}{p.stderr}")
    fb.check("It works." in p.stdout, p.stdout)
    left = lab.run("ip", "netns", "list").stdout
    fb.check("fbqs-" not in left, f"namespaces left: {left}")
    fb.check(not [d for d in os.listdir("/tmp") if d.startswith("flowbus-quickstart.")],
             "directories left in /tmp")


if __name__ == "__main__":
    fb.main(examples, quickstart)
