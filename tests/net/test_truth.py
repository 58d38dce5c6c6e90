#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ground truth over the link: what reaches the collector is what the generator made.

Packets are metered at the probe, encoded, sent, decoded and written; the records must equal the
generator's list of flows to the packet and octet, as multisets. `--full`: 5 million packets and
100,000 flows at once instead of 1 million and 20,000.
"""
import os
import sys

import fb

FULL = "--full" in sys.argv or bool(os.environ.get("FLOWBUS_FULL"))
SMALL = bool(os.environ.get("FLOWBUS_SMALL"))
PACKETS, FLOWS = (5000000, 100000) if FULL else (60000, 3000) if SMALL else (1000000, 20000)


def run(lab, push, encrypted, codec, options=()):
    key = lab.secret() if encrypted else None
    pair = fb.Pair(lab, push=push, key=key, publish=f"codec={codec} ring=256M").start()
    pcap, flow_list = lab.traffic(PACKETS, FLOWS, "--snaplen", "256", *options)
    want = fb.truth_of(flow_list)
    pair.meter(pcap, options=f"{fb.NO_TIMEOUTS} max_flows={sum(want.values()) + 64} app=native")
    pair.arrived(sum(want.values()))
    fb.same_multiset("flows over the link", fb.flows_of(pair.out), want)
    pair.settled()
    hub, sub = pair.probe.counters("hub"), pair.subscriptions()[0]
    fb.equal("flows acknowledged", sub["acked"], sum(want.values()))
    fb.equal("flows lost", sub["lost"], 0)
    print(f"        {sum(want.values())} flows of {PACKETS} packets, {sub['bytes_sent']} octets of "
          f"frames, {sub['bytes_sent'] / sum(want.values()):.1f} a flow")
    fb.check(hub["frame_bytes"] <= hub["frame_raw_bytes"], "compression made the frames larger")
    pair.collector.stop()
    pair.probe.stop()


def poll_zstd_encrypted(lab):
    run(lab, push=False, encrypted=True, codec="zstd")


def push_zlib_random_ports(lab):
    run(lab, push=True, encrypted=False, codec="zlib", options=("--random-ports", "--vlan", "20"))


poll_zstd_encrypted.limit = push_zlib_random_ports.limit = 600 if FULL else 150
if __name__ == "__main__":
    fb.main(poll_zstd_encrypted, push_zlib_random_ports)
