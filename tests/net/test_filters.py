#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Filters run at the probe: each collector gets exactly its own flows, and nothing else leaves.

What a collector must get is computed here, in Python, from the unfiltered records of a local run
over the same capture; records are compared whole.
"""
import collections
import ipaddress
import json

import fb

TEN = ipaddress.ip_network("10.0.0.0/9")


def port(r):
    return {r.get("src_port", 0), r.get("dst_port", 0)}


FILTERS = {
    "app http": lambda r: r.get("app") == "http",
    "proto udp and total_bytes > 500": lambda r: r["proto"] == 17 and
        r["bytes"] + r.get("rev_bytes", 0) > 500,
    "port 443 and not src net 10.0.0.0/9": lambda r: 443 in port(r) and not (
        ":" not in r["src_addr"] and ipaddress.ip_address(r["src_addr"]) in TEN),
    'server_name "*.site.example" or rev_packets = 0': lambda r: (
        r.get("http_host") or r.get("tls_sni") or r.get("dns_query") or ""
        ).endswith(".site.example") or r.get("rev_packets") == 0,
}


def local(lab, pcap):
    """All records of a capture, written by a local run."""
    path = lab.path("local.json")
    lab.once(f"pcap {pcap} {fb.NO_TIMEOUTS}", f"json {path} time=us")
    return path


def wanted(path, keep):
    seen = collections.Counter()
    for r in fb.records(path):
        if keep(r):
            r.pop("probe", None)
            seen[json.dumps(r, sort_keys=True)] += 1
    return seen


def own_flows_each(lab):
    """Four collectors with four filters on one probe, attached at run time."""
    pcap, _ = lab.traffic(80000, 4000)
    truth = local(lab, pcap)
    port = lab.port()
    probe = lab.node("probe", f"publish tcp://127.0.0.1:{port} name=hub max_delay=100ms")
    for i, expr in enumerate(FILTERS):
        node = lab.node(f"c{i}", f"json {lab.path(f'out{i}.json')} name=file time=us flush=50ms")
        node.attach(f"subscribe tcp://127.0.0.1:{port} name=in filter='{expr}'")

    def subs():
        return [s for s in probe.do("show subscriptions") if s["peer"]]
    lab.wait(lambda: len(subs()) == len(FILTERS), "the subscriptions")
    probe.attach(f"pcap {pcap} name=traffic {fb.NO_TIMEOUTS}")
    lab.wait(lambda: probe.ended("traffic"), "the end of the capture", 60)
    total = fb.count_lines(truth)
    for i, (expr, keep) in enumerate(FILTERS.items()):
        out, want = lab.path(f"out{i}.json"), wanted(truth, keep)
        n = sum(want.values())
        fb.check(0 < n < total, f"'{expr}' keeps {n} of {total} records: a poor test")
        lab.wait(lambda: fb.count_lines(out) >= n, f"{n} records of '{expr}'", 30)
    lab.wait(lambda: all(s["queued"] == 0 and s["acked"] == s["passed"] for s in subs()),
             "all acknowledged")
    for i, (expr, keep) in enumerate(FILTERS.items()):
        want = wanted(truth, keep)
        n = sum(want.values())
        fb.same_multiset(f"'{expr}'", fb.whole(lab.path(f"out{i}.json"), ["probe"]), want)
        row = next(s for s in subs() if s["peer"] == f"c{i}")
        fb.equal(f"offered to '{expr}'", row["offered"], total)
        fb.equal(f"passed by '{expr}'", row["passed"], n)
        fb.equal(f"filtered by '{expr}'", row["filtered"], total - n)
    for n in lab.nodes:
        n.stop()


def local_output_filter(lab):
    """The filters of JSON outputs: the same records as the same filters over the link."""
    pcap, _ = lab.traffic(40000, 3000)
    truth = local(lab, pcap)
    outs = [lab.path(f"o{i}.json") for i in range(len(FILTERS))]
    lab.once(f"pcap {pcap} {fb.NO_TIMEOUTS}",
             *(f"json {o} time=us filter='{expr}'" for o, expr in zip(outs, FILTERS)))
    for o, (expr, keep) in zip(outs, FILTERS.items()):
        want = wanted(truth, keep)
        fb.check(0 < sum(want.values()) < fb.count_lines(truth), f"'{expr}' is a poor test")
        fb.same_multiset(f"'{expr}'", fb.whole(o, ["probe"]), want)


def fields(lab):
    """Only the fields that were asked for cross the link."""
    pcap, _ = lab.traffic(5000, 300)
    truth = local(lab, pcap)
    names = ("src_addr", "dst_addr", "bytes", "app")
    pair = fb.Pair(lab, subscribe="fields=" + ",".join(names)).start()
    pair.meter(pcap)
    pair.arrived(fb.count_lines(truth))
    want = collections.Counter(json.dumps({k: r[k] for k in names if k in r}, sort_keys=True)
                               for r in fb.records(truth))
    fb.same_multiset("records of four fields", fb.whole(pair.out), want)


def narrow_on_the_wire(lab):
    """A capture of the unencrypted link: other flows' names never cross, and few octets do."""
    fb.need_root("packet sockets")
    pcap, _ = lab.traffic(60000, 4000)
    truth = local(lab, pcap)
    keep = FILTERS["app http"]
    n, total = sum(wanted(truth, keep).values()), fb.count_lines(truth)
    sizes = {}
    for expr, expected in (("", total), ("app http", n)):
        lab.nodes.clear()
        pair = fb.Pair(lab, publish="encryption=none codec=none", subscribe="encryption=none " +
                       (f"filter='{expr}'" if expr else ""))
        sniffer = fb.Sniffer(pair.port)
        pair.start().meter(pcap)
        pair.arrived(expected)
        pair.collector.stop()
        pair.probe.stop()
        payload = sniffer.stop().payload()
        fb.os.unlink(pair.out)
        sizes[expr] = len(payload)
        seen = {name: payload.count(name) for name in
                (b".site.example", b".tls.example", b".dns.example", b"gen_traffic/1.0")}
        fb.check(seen[b".site.example"] > 0, "the link is unreadable: the test proves nothing")
        others = (b".tls.example", b".dns.example")
        for name in others:
            if expr:
                fb.equal(f"{name.decode()} on a link for 'app http'", seen[name], 0)
            else:
                fb.check(seen[name] > 0, f"{name.decode()} should be on the unfiltered link")
    print(f"        {total} flows: {sizes['']} octets on the link; {n} of 'app http': "
          f"{sizes['app http']}")
    share = n / total
    fb.check(sizes["app http"] < sizes[""] * (share + 0.25),
             f"{sizes} octets for a share of {share:.2f} of the flows")


narrow_on_the_wire.limit = 150
if __name__ == "__main__":
    fb.main(own_flows_each, local_output_filter, fields, narrow_on_the_wire)
