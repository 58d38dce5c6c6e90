#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much a live capture takes, beside others, on a veth pair between two namespaces.

    throughput.py BUILD [--octets 64] [--flows 10000] [--seconds 5] [--pps 0]

One row a program: sent and seen packets a second, lost share, CPU time of its own a packet. The
sender and the kernel's work of delivering take one core of their own. Needs root; exit 77 without.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import capture

A, B = capture.A, capture.B


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        w = f.read().rsplit(")", 1)[1].split()
    return (int(w[11]) + int(w[12])) / os.sysconf("SC_CLK_TCK")


def in_ns(*words, **kw):
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{A}", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **kw)


def flowbus(build, options):
    def start():
        return in_ns(f"{build}/tests/net/input_run", f"capture va0 {options}",
                     stdin=subprocess.PIPE)

    def stop(p):
        out, _ = p.communicate("")
        c = dict(w.split("=") for w in next(
            x for x in out.splitlines() if x.startswith("counters ")).split()[1:])
        return int(c["pkt_seen"]), int(c["pkt_dropped_kernel"])
    return start, stop


def tcpdump():
    def start():
        return in_ns("tcpdump", "-n", "-i", "va0", "-B", "16384", "-s", "256", "-w", "/dev/null")

    def stop(p):
        p.send_signal(signal.SIGINT)
        err = p.communicate()[1]
        return tuple(int(re.search(r"(\d+) packets " + w, err).group(1))
                     for w in ("captured", "dropped by kernel"))
    return start, stop


def softflowd():
    ctl = "/tmp/flowbus-throughput.ctl"

    def start():
        return in_ns("softflowd", "-d", "-i", "va0", "-n", "127.0.0.1:9", "-c", ctl, "-p",
                     "/tmp/flowbus-throughput.pid", "-m", "300000")

    def stop(p):
        text = subprocess.run(["softflowctl", "-c", ctl, "statistics"], capture_output=True,
                              text=True, check=False).stdout
        subprocess.run(["softflowctl", "-c", ctl, "exit"], capture_output=True, check=False)
        p.communicate()
        def number(what):
            m = re.search(what + r"\D*(\d+)", text)
            return int(m.group(1)) if m else 0
        return number("Packets processed"), number("dropped by libpcap")
    return start, stop


def main():
    a = argparse.ArgumentParser()
    a.add_argument("build")
    a.add_argument("--octets", type=int, default=64)
    a.add_argument("--flows", type=int, default=10000)
    a.add_argument("--seconds", type=int, default=5)
    a.add_argument("--pps", type=int, default=0)
    a.add_argument("--options", action="append", help="of capture; else a choice, and others")
    a = a.parse_args()
    if os.geteuid() != 0:
        return 77
    rows = [(f"flowbus {o}", *flowbus(a.build, o)) for o in a.options or (
        "app=off", "app=native", "app=ndpi", "app=off workers=2", "app=ndpi workers=2")]
    rows += [(n, *f()) for n, f in (("tcpdump", tcpdump), ("softflowd", softflowd))
             if shutil.which(n) and not a.options]
    print(f"{a.octets} octets, {a.flows} flows: Mpps sent, seen, lost %, ns CPU a packet seen")
    for name, start, stop in rows:
        for ns in (A, B):
            subprocess.run(["ip", "netns", "del", ns], capture_output=True, check=False)
            capture.sh("ip", "netns", "add", ns)
        try:
            capture.make_link()
            p = start()
            time.sleep(1)
            before = cpu_seconds(p.pid)
            out = subprocess.run(
                ["nsenter", f"--net=/run/netns/{B}", f"{a.build}/tests/net/blast", "vb0",
                 str(a.seconds), str(a.flows), str(a.octets), str(a.pps)], check=True,
                capture_output=True, text=True).stdout.split()
            time.sleep(0.5)
            cpu = cpu_seconds(p.pid) - before
            seen, lost = stop(p)
            sent = int(out[0])
            print(f"{name:30} {sent / float(out[1]) / 1e6:6.2f} {seen / float(out[1]) / 1e6:6.2f}"
                  f" {100 * (sent - seen) / sent:6.2f} {cpu / max(seen, 1) * 1e9:6.0f}"
                  f"   ({lost} known lost)", flush=True)
        finally:
            for ns in (A, B):
                subprocess.run(["ip", "netns", "del", ns], capture_output=True, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
