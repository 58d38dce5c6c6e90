#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A subscriber that is slow, stopped or hostile is its own problem, and only its own.

Numbered flows (load.py) cross at a steady rate to a healthy collector; another one misbehaves. The
healthy one must get every flow, as fresh as before; the meter must not be held up; the other's
lag, queue and loss show at the probe, its ring stays within bounds, and what it lost is announced.
"""
import signal
import socket
import time

import fb
import load
import rude

SMALL = bool(fb.os.environ.get("FLOWBUS_SMALL"))
RATE = 5000 if SMALL else 30000
RING = "ring=1M"
# How much older than before the newest record of the healthy one may be (95th percentile), and for
# how long one write of the generator may take: a pipe that is read takes microseconds.
OLDER, HELD_UP = 0.5 * fb.SLOW, 1.0 * fb.SLOW


class Bench(fb.Pair):
    """A probe under load, the healthy collector, and room for one more."""

    def __init__(self, lab, publish=RING, heartbeat="500ms"):
        super().__init__(lab, publish=publish, json_options="fields=src_addr,end")
        for node in (self.probe, self.collector):
            node.attached[:] = [x.replace("heartbeat=500ms", f"heartbeat={heartbeat}")
                                for x in node.attached]
        self.subscribe = self.collector.attached[-1]
        self.start()
        self.flood = load.Flood(lab, RATE, 60)
        self.probe.attach(f"pcap {self.flood.path} name=flood {load.METER}")
        lab.wait(lambda: fb.count_lines(self.out) > 0, "the first records")
        self.age = load.Age(self.out)

    def other(self, name="other", options="", port=None):
        """A second collector; its subscription shares the first one's channel."""
        text = self.subscribe
        if port is not None:
            text = text.replace(f":{self.port}", f":{port}")
        out = self.lab.path(f"{name}.json")
        node = self.lab.node(name, f"json {out} name=file {load.JSON}", f"{text} {options}")
        self.ready(2)
        return node, out

    def calm(self, seconds=3):
        """How it is while all is well; when that was."""
        time.sleep(seconds)
        self.calm_from, self.calm_to = time.monotonic() - seconds, time.monotonic()

    def disturbed(self, seconds, watch=lambda: None):
        """Let time pass while something is wrong; @watch looks at it."""
        self.bad_from = time.monotonic()
        while time.monotonic() < self.bad_from + seconds:
            load.peers_of(self.probe)
            watch()
            time.sleep(0.1)
        self.bad_to = time.monotonic()

    def row(self, peer):
        rows = load.peers_of(self.probe, peer)
        fb.equal(f"subscriptions of {peer}", len(rows), 1)
        return rows[0]

    def whole_ledger(self, peer, out):
        """What is not in its file is what the probe names lost, and what it came too late for."""
        def caught_up():
            row = self.row(peer)
            return row["acked"] + row["lost"] == row["passed"]
        self.lab.wait(caught_up, f"{peer} to catch up", 60)
        row = self.row(peer)
        late = self.row("collector")["passed"] - row["passed"]
        self.lab.wait(lambda: fb.count_lines(out) >= row["acked"], f"the file of {peer}")
        got = load.verify(out, self.flood).once(peer)
        fb.equal(f"flows missing at {peer}", got.missing, row["lost"] + late)

    def finish(self):
        """The flood ends; the healthy one has everything, in time, and nobody was held up."""
        self.flood.stop()
        self.lab.wait(lambda: self.probe.ended("flood"), "the end of the input")
        self.lab.wait(lambda: fb.count_lines(self.out) >= self.flood.end, "the healthy one's flows")
        time.sleep(0.3)
        self.age.stop()
        load.verify(self.out, self.flood).exact("the healthy collector")
        c = self.probe.counters("flood")
        fb.equal("flows metered", c["flow_ended"], self.flood.end)
        lost = {k: v for k, v in c.items() if v and ("lost" in k or k == "pkt_no_flow")}
        fb.equal("losses of the meter", lost, {})
        fb.equal("batches lost before the link", self.probe.counters("hub")["flow_lost_queue"], 0)
        calm, bad = (self.age.between(a, b) for a, b in ((self.calm_from, self.calm_to),
                                                         (self.bad_from, self.bad_to)))
        held = self.flood.held_up(self.calm_from)
        print("        records a second, their age median, 95 %%, greatest: %.0f %.2f %.2f %.2f s "
              "before, %.0f %.2f %.2f %.2f s disturbed; generator held up %.3f s"
              % (*calm, *bad, held))
        fb.check(bad[2] <= calm[2] + OLDER, f"records became older: {calm[2]:.2f} s, {bad[2]:.2f} s")
        fb.check(bad[0] >= 0.8 * calm[0], f"fewer records: {calm[0]:.0f}/s, {bad[0]:.0f}/s")
        long = [(round(t - self.bad_from, 1), round(h, 2)) for t, _, h in self.flood.log if h > 0.2]
        fb.check(held <= HELD_UP, f"the meter was held up for {held:.2f} s; seconds since the other "
                 f"misbehaves, and how long: {long}")


def stopped(lab):
    """SIGSTOP for longer than its heartbeats and ring: losses are counted, and told after SIGCONT."""
    b = Bench(lab)
    other, out = b.other()
    b.calm()
    before = load.memory_kib(b.probe.process.pid)
    other.process.send_signal(signal.SIGSTOP)
    worst = {"queued": 0, "lag_us": 0}

    def watch():
        row = b.row("other")
        worst.update({k: max(v, row[k]) for k, v in worst.items()})
    b.disturbed(7, watch)
    row = b.row("other")
    # a ring of 1 MiB and at most 2 MiB in flight
    fb.check(row["lost"] > 0, f"a ring of 1M held {row['passed']} flows: {row}")
    fb.check(worst["lag_us"] > 1000000, f"a lag of seconds is shown: {worst}")
    fb.check(worst["queued"] > 0, f"what waits is shown: {worst}")
    grown = load.memory_kib(b.probe.process.pid) - before
    fb.check(grown < 32 << 10, f"the probe grew by {grown} KiB")
    other.process.send_signal(signal.SIGCONT)
    lab.wait(lambda: b.row("other")["queued"] < RATE, "the stopped one to catch up")
    time.sleep(1)
    b.finish()
    b.whole_ledger("other", out)
    row = b.row("other")
    told = other.counters("in")
    fb.equal("flows lost as announced", told["flow_lost_gap"], row["lost"])
    fb.equal("frames missing and not announced", told["frame_missing"], 0)
    fb.check(other.lines("lost", "flows before they were sent", "probe"), "the log tells of the gap")
    fb.equal("losses of the healthy one", b.row("collector")["lost"], 0)


def slow_reader(lab):
    """Through a cable much too thin: falls behind, loses by name, stays connected."""
    b = Bench(lab, publish=f"{RING} window=256K", heartbeat="2s")
    thin = load.Throttle(lab, b.port, RATE)     # octets a second, a flow takes about seven
    other, out = b.other(port=thin.port)
    b.calm(1)
    # (the thin one was there, and behind, all the time: two halves of that must be alike)
    b.disturbed(10)
    row = b.row("other")
    fb.check(row["lost"] > 0 and row["lag_us"] > 500000, f"loss and lag of the slow one: {row}")
    downs = b.probe.counters("hub")["peer_down"]
    fb.equal("sessions lost", downs, 0)
    b.finish()
    thin.rate = 1e9
    b.whole_ledger("other", out)
    fb.equal("flows lost as announced", other.counters("in")["flow_lost_gap"],
             b.row("other")["lost"])


def never_acknowledges(lab):
    """A client that reads, answers PING and never sends ACK: a window, then nothing more."""
    b = Bench(lab, publish=f"{RING} window=128K")
    b.calm()
    client = rude.Client(b.port, "silent", ack=False)
    lab.wait(lambda: client.up, "its subscription")
    b.disturbed(7)
    row = b.row("silent")
    fb.equal("acknowledged", row["acked"], 0)
    fb.check(row["bytes_sent"] < (128 << 10) + (256 << 10), f"more than its window was sent: {row}")
    fb.check(row["lost"] > 0 and row["lag_us"] > 3000000, f"loss and lag of the silent one: {row}")
    fb.check(client.frames > 0, "it got frames")
    client.stop()
    b.finish()


def connects_again_and_again(lab):
    """Hundreds of connections: of nobody, of new nodes each time, of one node again and again."""
    b = Bench(lab, publish=f"{RING} max_peers=8 resume=60s")
    b.calm()
    pid = b.probe.process.pid
    fds, memory = load.descriptors(pid), load.memory_kib(pid)
    n = [0, 0]

    def strangers():
        with socket.create_connection(("127.0.0.1", b.port)) as s:
            if n[0] % 3:
                s.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f" if n[0] % 3 == 1 else b"GET / HTTP/1.1\r\n\r\n")
        n[0] += 1

    def nodes():
        rude.Client(b.port, f"n{n[1]}", node=None if n[1] % 2 else 77, ack=False, wait=1).stop()
        n[1] += 1

    def watch():
        for _ in range(10):
            strangers()
        for _ in range(3):
            nodes()
    b.disturbed(8, watch)
    print(f"        {n[0]} connections of strangers, {n[1]} of nodes")
    fb.check(n[0] >= 100 and n[1] >= 30, f"only {n} connections")
    rows = len(load.peers_of(b.probe))      # at most 8 peers and the positions of 8 that are gone
    fb.check(rows <= 16, f"positions are kept for {rows} peers")
    lab.wait(lambda: load.descriptors(pid) < fds + 20, f"descriptors to go back to {fds}", 30)
    grown = load.memory_kib(pid) - memory
    fb.check(grown < 96 << 10, f"the probe grew by {grown} KiB")
    b.finish()


def stuck_output(lab):
    """Nobody reads a collector's standard output: its file and its link go on."""
    pair = fb.Pair(lab, publish=RING, json_options="fields=src_addr,end",
                   subscribe="max_batches=16")
    pair.probe.start()
    r, w = fb.os.pipe()
    node = pair.collector
    node.attached.insert(1, "json - name=pipe fields=src_addr")
    with open(node.log_file, "ab") as log:
        node.process = lab.spawn(node.command(), stdout=w, stderr=log)
    fb.os.close(w)
    lab.wait(node.is_up, "the collector to start")
    pair.ready()
    flood = load.Flood(lab, RATE, 60)
    pair.probe.attach(f"pcap {flood.path} name=flood {load.METER}")
    # all batches of the input would be in its queue, and the ring at the probe would be full
    started = time.monotonic()
    lab.wait(lambda: flood.end > RATE * 8, "flows", 60)
    flood.stop()
    lab.wait(lambda: pair.probe.ended("flood"), "the end of the input")
    lab.wait(lambda: fb.count_lines(pair.out) >= flood.end, "the file's flows", 30)
    load.verify(pair.out, flood).exact("the file beside a stuck output")
    sub = load.peers_of(pair.probe)[0]
    lab.wait(lambda: load.peers_of(pair.probe)[0]["acked"] == flood.end, f"all flows acked: {sub}")
    fb.equal("sessions lost", pair.probe.counters("hub")["peer_down"], 0)
    c = node.counters("pipe")
    print(f"        {flood.end} flows in {time.monotonic() - started:.0f} s; the stuck output named "
          f"{c['flow_lost_queue']} lost")
    fb.check(c["flow_lost_queue"] > 0, f"the stuck output lost nothing: {c}")
    fb.equal("state of the stuck output", node.endpoint("pipe")["state"], "degraded")
    node.stop(expect=None)
    fb.os.close(r)


def file_waits_for_pipe(lab):
    """What is read from a file waits for a slow pipe however long it takes: nothing is lost."""
    pcap, flow_list = lab.traffic(60000, 20000)
    out = lab.path("file.json")
    p = lab.spawn([fb.program("flowbusd"), "--once", "--set", f"state_dir={lab.dir}", "--attach",
                   f"pcap {pcap} {fb.NO_TIMEOUTS} app=off max_batches=4", "--attach",
                   "json - name=pipe queue=4", "--attach", f"json {out}"],
                  stdout=fb.subprocess.PIPE, stderr=fb.subprocess.DEVNULL)
    time.sleep(4)                           # more than an output may keep what may not wait
    lines = p.stdout.read().count(b"\n")
    fb.equal("status", p.wait(), 0)
    want = sum(fb.truth_of(flow_list).values())
    fb.equal("records in the file and through the pipe", (fb.count_lines(out), lines), (want, want))


for t in (stopped, slow_reader, never_acknowledges, connects_again_and_again, stuck_output,
          file_waits_for_pipe):
    t.limit = 150
if __name__ == "__main__":
    fb.main(stopped, slow_reader, never_acknowledges, connects_again_and_again, stuck_output,
            file_waits_for_pipe)
