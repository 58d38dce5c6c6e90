# SPDX-License-Identifier: Apache-2.0
"""Numbered flows at a steady rate through real daemons, and what became of each of them.

    flood = load.Flood(lab, rate=50000, seconds=20)
    probe.attach(f"pcap {flood.path} name=flood {load.METER}")
    ...
    flood.join()
    load.verify(out, flood).exact("collector")
"""
import bisect
import os
import signal
import subprocess
import threading
import time

import fb

METER = "app=off idle=1s active=0"
# what a collector asks for and writes: the number is the source address
JSON = "fields=src_addr flush=50ms"


class Flood:
    """The generator behind a FIFO; .log holds (monotonic second, next number, longest write)."""

    def __init__(self, lab, rate, seconds, name="flood"):
        self.lab, self.rate, self.path = lab, rate, lab.path(name + ".fifo")
        os.mkfifo(self.path)
        self.log, self.gone = [], []   # gone: the first number that each next reader gets
        self.process = lab.spawn([fb.program("flood"), self.path, str(rate), str(seconds)],
                                 stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for text in self.process.stdout:
            n, at, held, gone = map(int, text.split())
            self.log.append((at / 1e6, n, held / 1e6))
            if gone:
                self.gone.append(n)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.join()

    def join(self, timeout=None):
        status = self.process.wait(timeout)
        self.thread.join()
        fb.equal("status of the generator", status, 0)
        return self

    @property
    def end(self):
        return self.log[-1][1] if self.log else 0

    def number_at(self, second):
        """The first number not yet sent at this second (at most 100 ms too high)."""
        i = bisect.bisect_left(self.log, (second,))
        return self.log[i][1] if i < len(self.log) else self.end

    def held_up(self, since=0.0):
        """The longest that the probe did not read."""
        return max((h for t, _, h in self.log if t >= since), default=0.0)

    def rate_between(self, a, b):
        return (self.number_at(b) - self.number_at(a)) / (b - a)


class Verdict:
    """What flow_check said."""

    def __init__(self, text):
        self.runs, self.doubles, number = [], [], {}
        for line in text.splitlines():
            word, *rest = line.split()
            if word == "run":
                self.runs.append(tuple(map(int, rest)))
            elif word == "double":
                self.doubles.append(tuple(map(int, rest)))
            else:
                number[word] = int(rest[0])
        self.records, self.bad = number["records"], number["bad"]
        self.unwanted, self.doubled = number["unwanted"], number["doubled"]
        self.missing = number["missing"]

    def once(self, who):
        """No half line, nothing that was not asked for, nothing twice."""
        fb.equal(f"{who}: broken lines", self.bad, 0)
        fb.equal(f"{who}: flows its filter does not want", self.unwanted, 0)
        fb.check(self.doubled == 0, f"{who}: {self.doubled} flows twice, {self.doubles}")
        return self

    def exact(self, who):
        self.once(who)
        fb.check(self.missing == 0, f"{who}: {self.missing} flows missing, {self.runs[:8]}")
        return self

    def outside(self, windows):
        """Missing flows whose number is in none of these (from, to), and the runs of them."""
        left = [(a, b, n) for a, b, n in self.runs
                if not any(lo <= a and b <= hi for lo, hi in windows)]
        return sum(n for _, _, n in left), left


def verify(path, flood, classes="yyyy"):
    """A file of records against the generator's numbers."""
    return verify_range(path, flood, classes, 0, flood.end)


def verify_range(path, flood, classes, first, end):
    """The same, but only those from @first on to before @end must be there."""
    out = subprocess.run([fb.program("flow_check"), "0", str(flood.end), classes, path, str(first),
                          str(end)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return Verdict(out)


# ---- ledgers

def ledger(who, subs):
    """Both equations of every subscription of a publisher, from one snapshot."""
    for s in subs:
        fb.equal(f"{who}: {s['peer']}: offered = filtered + passed", s["offered"],
                 s["filtered"] + s["passed"])
        fb.equal(f"{who}: {s['peer']}: passed = acked + in flight + queued + spooled + lost",
                 s["passed"],
                 sum(s[k] for k in ("acked", "in_flight", "queued", "spooled", "lost")))


def peers_of(node, peer=None):
    """Subscriptions that collectors hold at this probe; the ledger of each is checked."""
    subs = [s for s in node.do("show subscriptions") if s["peer"]]
    ledger(node.name, subs)
    return [s for s in subs if peer is None or s["peer"] == peer]


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# ---- how old is the newest record of a file?

class Age:
    """Follows a file with time=us and fields=src_addr,end; keeps how old each new record was when
    it was there: (monotonic second, records so far, age of the newest)."""

    def __init__(self, path):
        self.path, self.seen, self.done = path, [], False
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        n, rest = 0, b""
        with open(self.path, "rb") as f:
            while not self.done:
                data = f.read()
                if not data:
                    time.sleep(0.01)
                    continue
                n += data.count(b"\n")
                rest = (rest + data[-400:])[-400:]
                lines = [x for x in rest.split(b"\n")[:-1] if b'"end":' in x]
                if lines:
                    end = int(lines[-1].rsplit(b'"end":', 1)[1].split(b",")[0].rstrip(b"}"))
                    self.seen.append((time.monotonic(), n, time.time() - end / 1e6))

    def stop(self):
        self.done = True
        self.thread.join()

    def between(self, a, b):
        """(records a second, median age, 95th percentile, greatest)."""
        part = [x for x in self.seen if a <= x[0] < b]
        fb.check(len(part) > 3, f"{os.path.basename(self.path)}: {len(part)} looks at new records")
        ages = sorted(x[2] for x in part)
        rate = (part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0])
        return rate, ages[len(ages) // 2], ages[len(ages) * 95 // 100], ages[-1]


class Throttle(fb.Proxy):
    """A proxy that hands on at most so many octets a second towards the one who connected."""

    def __init__(self, lab, to, rate):
        self.rate = rate
        super().__init__(lab, to)

    def accept(self):
        self.listener.setsockopt(fb.socket.SOL_SOCKET, fb.socket.SO_SNDBUF, 65536)
        super().accept()

    def copy(self, x, y):
        slow = any(x is b for _, b in self.pairs)   # from the one we connected to
        if slow:
            x.setsockopt(fb.socket.SOL_SOCKET, fb.socket.SO_RCVBUF, 65536)
        try:
            while True:
                data = x.recv(8192 if slow else 65536)
                if not data:
                    break
                self.n_bytes += len(data)
                y.sendall(data)
                if slow:
                    time.sleep(len(data) / self.rate)
        except OSError:
            pass
        for s in (x, y):
            try:
                s.shutdown(fb.socket.SHUT_RDWR)
            except OSError:
                pass
