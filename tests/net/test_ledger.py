#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The two ledgers: every loss has a name where it happened, at both ends, and it adds up always.

Every other test asks for the ledgers when it ends (fb.Lab); here they are asked for without a pause
while things go wrong."""
import os
import signal
import subprocess
import threading
import time

import fb


class Sampler:
    """Asks a node for its ledger again and again; each answer must add up."""

    def __init__(self, *nodes):
        self.nodes, self.counts, self.fault, self.stop = nodes, [0] * len(nodes), None, False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True)
                        for i in range(len(nodes))]
        for t in self.threads:
            t.start()

    def run(self, i):
        while not self.stop and self.fault is None:
            try:
                if self.nodes[i].can_answer():
                    self.nodes[i].ledger()
                    self.counts[i] += 1
            except Exception as e:             # pylint: disable=broad-except
                if self.nodes[i].can_answer():  # else it was stopped while it was asked
                    self.fault = e
            time.sleep(0.002)

    def end(self, at_least):
        self.stop = True
        for t in self.threads:
            t.join()
        if self.fault is not None:
            raise self.fault
        fb.check(min(self.counts) >= at_least, f"only {self.counts} snapshots")
        return self.counts


def reasons(node):
    """What `explain drops` says, by cause; each names an option or a remedy."""
    rows = node.do("explain drops")
    fb.check(rows == sorted(rows, key=lambda r: -r["lost"]), f"not by size: {rows}")
    for r in rows:
        fb.check(r["lost"] == 0 or (r["why"] in r["text"] and r["advice"] in r["text"]),
                 f"words: {r}")
    return {r["cause"]: r for r in rows}


def told(collector, stage, endpoint="in"):
    """A stage of the probe as the collector knows it."""
    return collector.stage(endpoint, stage, told=True)


def at_rest(pair):
    """Nothing is under way: what passed was acknowledged or is lost by name."""
    def quiet():
        subs = pair.subscriptions()
        return subs and all(s["queued"] == s["in_flight"] == 0 for s in subs)
    pair.lab.wait(quiet, "nothing to be under way")


def stuck_pipe(lab, name):
    """A pipe whose reader does not read: (path, descriptor that keeps it open)."""
    path = lab.path(name)
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lab.undo.append(lambda: os.close(fd))
    return path


def nothing_lost(lab):
    """All is well: says so. And the table for people has every stage."""
    pcap, flow_list = lab.traffic(20000, 1000)
    n = sum(fb.truth_of(flow_list).values())
    pair = fb.Pair(lab, subscribe="filter='proto tcp'", json_options="filter='dst port 443'")
    pair.start()
    pair.meter(pcap)
    pair.settled()
    passed = pair.probe.stage("hub", "filter")
    fb.check(passed["in"] == n and 0 < passed["filtered"] < n, f"{passed}")
    fb.equal("received", pair.collector.stage("in", "receive")["out"], passed["out"])
    # what the probe says of it comes with its next heartbeat
    lab.wait(lambda: told(pair.collector, "wire")["out"] == passed["out"], "the probe's ledger")
    fb.equal("the probe's filter", told(pair.collector, "filter")["filtered"], passed["filtered"])
    fb.equal("its packets", told(pair.collector, "decode")["in"], 20000)
    lab.wait(lambda: pair.collector.stage("file", "write")["held"] == 0, "the file")
    written = pair.collector.stage("file", "write")
    fb.equal("lines", fb.count_lines(pair.out), written["out"])
    fb.equal("filtered there", pair.collector.stage("file", "filter")["filtered"],
             passed["out"] - written["out"])
    for node in (pair.probe, pair.collector):
        rows = node.do("explain drops")
        fb.equal("reasons", [r["text"] for r in rows], ["nothing was lost"])
        text = lab.run(fb.program("flowctl"), "-s", node.socket, "show", "ledger").stdout
        fb.check(text.count("balanced: ") >= 5 and "OFF BY" not in text, text)
    fb.equal("unknown name", pair.probe.ask("show ledger", "hubb")[1]["code"], 4040)


def live(lab, capture, publish, **kw):
    """A probe that captures a cable, and a collector: (pair, function that sends frames)."""
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.veth(a, "10.97.1.1/24", b, "10.97.1.2/24", "lan")
    pair = fb.Pair(lab, publish=publish, **kw)
    for node in (pair.probe, pair.collector):
        node.ns = b
    pair.probe.attached.append(f"capture lan name=lan app=off {capture}")
    pair.start()

    def blast(seconds, flows, octets=60, pps=None):
        out = lab.run("ip", "netns", "exec", a, fb.program("blast"), "lan", seconds, flows, octets,
                      *([pps] if pps else [])).stdout
        return int(out.split()[0])
    return pair, blast


def overload(lab):
    """More than the capture ring holds, more flows than the pool: dropped by name, at both ends,
    and both equations hold in each of hundreds of snapshots meanwhile."""
    pair, blast = live(lab, "ring=64K max_flows=512 idle=1s", "max_delay=50ms")
    sampler = Sampler(pair.probe, pair.collector)
    sent = 0
    # until the kernel has dropped some and we have looked often enough: how soon depends on who
    # gets the processor
    for _ in range(12):
        sent += blast(1, 30000)
        if pair.probe.stage("lan", "kernel")["lost"] > 100 and min(sampler.counts) >= 200:
            break
    n = sampler.end(200)
    lab.wait(lambda: pair.probe.stage("lan", "meter")["held"] == 0, "the flows to end")
    kernel = lab.wait(lambda: next((k for k in [pair.probe.stage("lan", "kernel")]
                                    if k["in"] >= sent), None), "the drops to be counted")
    fb.check(kernel["losses"]["pkt_dropped_kernel"] > 0, f"no drops: {kernel}")
    fb.check(sent <= kernel["in"] <= sent + 200, f"{kernel['in']} arrived, {sent} were sent")
    fb.check(pair.probe.counters("lan")["flow_ended_resources"] > 0, "the pool was never full")
    pair.settled()
    mine = reasons(pair.probe)["pkt_dropped_kernel"]
    fb.check(mine["lost"] == kernel["lost"] and mine["of"] == kernel["in"] and mine["since"] and
             "raise ring" in mine["text"] and mine["last_second"] is not None, f"{mine}")
    problems = pair.probe.do("status")[0]["problems"]
    fb.check(any(mine["why"] in p and mine["advice"] in p for p in problems), f"{problems}")
    lab.wait(lambda: told(pair.collector, "kernel")["lost"] == kernel["lost"],
             "the collector to hear of the drops")
    fb.equal("seen", told(pair.collector, "decode")["in"], kernel["out"])
    there = reasons(pair.collector)["pkt_dropped_kernel"]
    fb.check(there["node"] == "probe" and there["lost"] == kernel["lost"], f"{there}")
    print(f"        {sent} packets, {kernel['lost']} dropped, snapshots {n}")


def outputs_too_slow(lab):
    """Outputs that do not write: the queue of one overflows, the batches of the meter run out; then
    the collector stops reading until the ring is full, and hears of it with the cause."""
    pair, blast = live(lab, "max_flows=512 idle=1s max_batches=16 batch_delay=20ms",
                       "max_delay=50ms ring=1M window=64K codec=none")
    pair.probe.attach(f"json {stuck_pipe(lab, 'one')} name=stuck queue=4")
    sampler = Sampler(pair.probe, pair.collector)

    def until_lost(endpoint, stage):
        """Send until that stage has lost something."""
        return lab.wait(lambda: blast(0.5, 30000, pps=60000) and next(
            (r for r in [pair.probe.stage(endpoint, stage)] if r["lost"]), None),
            f"{endpoint} to lose at {stage}", 60)
    queue = until_lost("stuck", "queue")
    fb.equal("its name", queue["losses"], {"flow_lost_queue": queue["lost"]})
    fb.equal("lost before the meter's batches", pair.probe.stage("lan", "batches")["lost"], 0)
    pair.probe.do("detach", "stuck")
    pair.probe.attach(f"json {stuck_pipe(lab, 'two')} name=stuck queue=64")
    batches = until_lost("lan", "batches")
    fb.equal("its name", list(batches["losses"]), ["flow_lost_batch"])
    pair.probe.do("detach", "stuck")
    pair.settled()
    pair.collector.process.send_signal(signal.SIGSTOP)
    ring = until_lost("hub", "ring")
    fb.equal("its name", ring["losses"], {"ring_full": ring["lost"]})
    pair.collector.process.send_signal(signal.SIGCONT)
    lab.wait(lambda: pair.probe.stage("lan", "meter")["held"] == 0, "the flows to end")
    time.sleep(0.3)     # the last batch on its way to the link
    at_rest(pair)
    n = sampler.end(100)
    ring, wire = pair.probe.stage("hub", "ring"), pair.probe.stage("hub", "wire")
    there = pair.collector.stage("in", "announced")
    fb.equal("announced", there["losses"], {"ring_full": ring["lost"]})
    fb.equal("nobody knows how many", there["unknown"], 0)
    fb.equal("decoded", pair.collector.stage("in", "decode", told=False)["out"], wire["out"])
    fb.equal("passed", pair.probe.stage("hub", "filter")["out"], wire["out"] + ring["lost"])
    mine, there = reasons(pair.probe), reasons(pair.collector)
    fb.check({"flow_lost_batch", "flow_lost_ring"} <= set(mine), f"{set(mine)}")
    fb.check("max_batches" in mine["flow_lost_batch"]["advice"], f"{mine}")
    fb.check(there["ring_full"]["node"] == "probe" and "raise ring" in there["ring_full"]["text"],
             f"{there}")
    fb.check(pair.collector.lines("flows before they were sent: ring full at the probe"), "the log")
    print(f"        lost {queue['lost']} in a queue, {batches['lost']} without a batch, "
          f"{ring['lost']} in the ring; snapshots {n}")


def disk_full(lab):
    """A file on a full disk: what could not be written is named, what is there are whole lines."""
    fb.need_root("mounts")
    disk = lab.path("disk")
    os.mkdir(disk)
    p = lab.run("mount", "-t", "tmpfs", "-o", "size=256k", "none", disk, status=None)
    if p.returncode != 0:
        raise fb.Skip(f"no tmpfs here: {p.stderr.strip()}")
    lab.undo.append(lambda: subprocess.run(["umount", "-l", disk], check=False))
    pcap, flow_list = lab.traffic(20000, 2000)
    node = lab.node("node", f"json {disk}/out.json name=file flush=50ms")
    node.attach(f"pcap {pcap} name=pcap {fb.NO_TIMEOUTS}")
    lab.wait(lambda: node.ended("pcap"), "the end of the file")
    lab.wait(lambda: node.stage("file", "write")["held"] == 0, "the last write")
    write = node.stage("file", "write")
    fb.check(write["losses"]["flow_lost_write"] > 0 and write["out"] > 0, f"{write}")
    fb.equal("all", write["in"], sum(fb.truth_of(flow_list).values()))
    fb.equal("whole lines", len(list(fb.records(disk + "/out.json"))), write["out"])
    why = reasons(node)["flow_lost_write"]
    fb.check(why["lost"] == write["lost"] and "space on the disk" in why["text"], f"{why}")
    fb.check("No space left" in node.endpoint("file")["why"], node.endpoint("file")["why"])


class Damage(fb.Proxy):
    """Turns one octet of the body of frames around, @left times."""
    left = 0

    def copy(self, x, y):
        try:
            while data := bytearray(x.recv(65536)):
                at = data.find(b"FBF1")
                if self.left > 0 and 0 <= at < len(data) - 60:
                    data[at + 50] ^= 0xFF
                    self.left -= 1
                y.sendall(data)
        except OSError:
            pass
        super().copy(x, y)


def damaged_frames(lab):
    """Frames that are damaged on the way: lost in decode, by name, acknowledged all the same."""
    pcaps = [lab.traffic(6000, 400, "--seed", str(50 + i), name=f"t{i}")[0] for i in range(3)]
    port = lab.port()
    proxy = Damage(lab, port)
    pair = fb.Pair(lab, port=port)
    pair.collector.attached[-1] = pair.subscribe.replace(str(port), str(proxy.port))
    pair.start()
    pair.meter(pcaps[0], "one")
    pair.settled()
    proxy.left = 1
    pair.meter(pcaps[1], "two")
    pair.settled()
    pair.meter(pcaps[2], "three")
    pair.settled()
    fb.equal("frames still to damage", proxy.left, 0)
    decode = pair.collector.stage("in", "decode", told=False)
    fb.check(0 < decode["losses"]["flow_lost_decode"] < decode["out"], f"{decode}")
    fb.equal("acknowledged", pair.probe.stage("hub", "wire")["out"], decode["in"])
    fb.check("same version" in reasons(pair.collector)["flow_lost_decode"]["text"], "advice")
    lab.wait(lambda: fb.count_lines(pair.out) == decode["out"], "the rest in the file")


overload.limit = outputs_too_slow.limit = 150
if __name__ == "__main__":
    fb.main(nothing_lost, overload, outputs_too_slow, disk_full, damaged_frames)
