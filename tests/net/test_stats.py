#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One-second statistics and what a collector knows about its probes, whatever the flow timeouts."""
import datetime
import os

import fb

CLIENT = """
import socket, sys, time, urllib.request
server, n = sys.argv[1], int(sys.argv[2])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(n):
    with urllib.request.urlopen(f"http://{server}/page{i % 3}", timeout=5) as f:
        f.read()
    u.sendto(b"x" * 100, (server, 9))
    time.sleep(float(sys.argv[3]))
"""
SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello " * 100)
    def log_message(self, *a):
        pass
http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()
"""


def when(row):
    return datetime.datetime.fromisoformat(row["second"].replace("Z", "+00:00"))


def seconds_of_a_file(lab):
    """With timeouts of 5 minutes no flow ends, and every second is told, at both ends, exactly."""
    packets = 50000
    pcap, flow_list = lab.traffic(packets, 500, "--pps", "10000")
    pair = fb.Pair(lab).start()
    here, there = fb.Watch(pair.probe, "watch stats"), fb.Watch(pair.collector, "watch stats")
    pair.probe.attach(f"pcap {pcap} name=slow pace=real active=5m idle=5m tcp_end=5m")
    lab.wait(lambda: len(there.rows) >= 4, "four seconds at the collector", 20)
    fb.equal("records while it runs", fb.count_lines(pair.out), 0)
    lab.wait(lambda: pair.probe.ended("slow"), "the end of the capture")
    want = fb.truth_of(flow_list)
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows", fb.flows_of(pair.out), want)
    total = pair.probe.counters("slow")
    lab.wait(lambda: sum(r["packets"] for r in there.rows) >= packets, "the last second")
    for name, rows in (("probe", here.stop()), ("collector", there.stop())):
        fb.equal(f"{name}: packets of all seconds", sum(r["packets"] for r in rows), packets)
        fb.equal(f"{name}: bits of all seconds", sum(r["bits"] for r in rows),
                 total["pkt_bytes"] * 8)
        fb.equal(f"{name}: flows ended", sum(r["flows_ended"] for r in rows), sum(want.values()))
        fb.equal(f"{name}: flows begun", sum(r["flows_new"] for r in rows), sum(want.values()))
        fb.equal(f"{name}: drops", sum(r["drops_own"] + r["drops_kernel"] for r in rows), 0)
        times = [when(r) for r in rows]
        fb.check(all((b - a).total_seconds() == 1 for a, b in zip(times, times[1:])),
                 f"{name}: the seconds are {times}")
        fb.check(max(r["flows_active"] for r in rows) > 400, f"{name}: too few active flows")
    fb.equal("whose seconds", {r["probe"] for r in there.rows}, {"probe"})
    fb.equal("seconds of both", [(r["second"], r["packets"]) for r in there.rows],
             [(r["second"], r["packets"]) for r in here.rows])


def not_asked_for(lab):
    """A collector with stats=no gets none."""
    pcap, flow_list = lab.traffic(20000, 500, "--pps", "10000")
    pair = fb.Pair(lab, subscribe="stats=no").start()
    pair.meter(pcap)
    pair.arrived(sum(fb.truth_of(flow_list).values()))
    fb.equal("statistics", pair.collector.counters("in")["stats_in"], 0)


def live_probe_behind_a_router(lab):
    """A live capture in one namespace, a collector in another that the probe connects to (push
    mode): exactly the HTTP flows, seconds without gaps, and all that `show peers` tells."""
    client, office, centre = (lab.namespace(x) for x in ("c", "o", "z"))
    lab.veth(client, "10.98.1.2/24", office, "10.98.1.1/24", "lan")
    lab.veth(office, "10.98.2.1/24", centre, "10.98.2.2/24", "wan")
    key, port = lab.secret(), 5556
    out = lab.path("http.json")
    collector = lab.node(
        "collector", f"subscribe tcp://*:{port} name=in filter='app http' key_file={key}",
        f"json {out} name=file time=us flush=50ms", ns=centre)
    probe = lab.node("probe", f"publish tcp://10.98.2.2:{port} name=hub max_delay=100ms "
                     f"retry_min=200ms retry_max=1s key_file={key}",
                     "capture lan name=lan active=5m idle=1s tcp_end=200ms", ns=office)
    lab.wait(lambda: [s for s in probe.do("show subscriptions") if s["peer"]], "the subscription")
    lab.spawn(["ip", "netns", "exec", office, "python3", "-c", SERVER])
    # asked over its loopback, which is not captured
    lab.wait(lambda: lab.run("ip", "netns", "exec", office, "python3", "-c",
                             "import socket; socket.create_connection(('127.0.0.1', 80), 1)",
                             status=None).returncode == 0, "the HTTP server")
    watch = fb.Watch(collector, "watch stats")
    n = 60
    lab.run("ip", "netns", "exec", client, "python3", "-c", CLIENT, "10.98.1.1", n, 0.08)
    peer = collector.do("show peers")[0]
    lab.wait(lambda: fb.count_lines(out) >= n, f"{n} HTTP flows")
    fb.time.sleep(1.5)
    flows = list(fb.records(out))
    fb.equal("HTTP flows", len(flows), n)
    fb.equal("applications", {f["app"] for f in flows}, {"http"})
    fb.equal("hosts", {f["http_host"] for f in flows}, {"10.98.1.1"})
    fb.equal("paths", {f["http_url"] for f in flows}, {"/page0", "/page1", "/page2"})
    fb.equal("initiators", {f["src_addr"] for f in flows}, {"10.98.1.2"})
    fb.equal("probes", {f["probe"] for f in flows}, {"probe"})
    rows = [r for r in watch.stop() if r["packets"]]
    fb.check(len(rows) >= 4, f"{len(rows)} seconds with packets")
    times = [when(r) for r in rows]
    fb.check(all((b - a).total_seconds() == 1 for a, b in zip(times, times[1:])),
             f"the seconds are {times}")
    seen = probe.counters("lan")
    fb.equal("packets dropped", seen["pkt_dropped_kernel"] + seen["pkt_dropped_if"], 0)
    fb.check(sum(r["packets"] for r in rows) <= seen["pkt_seen"], "more packets than were seen")
    fb.equal("interface", peer["interface"], "lan")
    fb.equal("name", peer["name"], "probe")
    fb.equal("state", peer["state"], "up")
    fb.check(peer["seen"].startswith("10.98.2.1"), f"seen from {peer['seen']}")
    fb.check({"10.98.1.1", "10.98.2.1"} <= set(peer["addresses"]), f"{peer['addresses']}")
    fb.check(peer["speed_bps"] > 0 and peer["packets_per_s"] > 0 and peer["bits_per_s"] > 0 and
             peer["flows_active"] > 0, f"rates: {peer}")
    fb.check(abs(peer["clock_offset_us"]) < 500000 and 0 < peer["rtt_us"] < 1000000, f"{peer}")
    fb.check(peer["encrypted"] and peer["version"] and 0 < peer["uptime_s"] < 600, f"{peer}")
    sees = probe.do("show peers")[0]["our_seen"]
    fb.check(sees.startswith("10.98.2.1"), f"the probe learns its public address: {sees}")
    probe.stop()
    collector.stop()


if __name__ == "__main__":
    os.environ.pop("http_proxy", None)
    fb.main(seconds_of_a_file, not_asked_for, live_probe_behind_a_router)
