# SPDX-License-Identifier: Apache-2.0
"""Disk and network: all machines are booted once and then take turns, piece by piece.

A rate swings by the second, with whatever else the host does; two machines measured minutes apart
differ by that more than by what they are. So one round has every machine do the same piece of
work, one right after the other, while the others wait for their console. Round 0 is thrown away:
memory that a guest touches for the first time is no cost of a request.
"""
import json
import subprocess
import sys
import time

import benchfigures
from benchvmm import NET_VMMS, OURS, VMMS, Failed, Machine, Running

MIB = 1 << 20
NET_PIECES = (*benchfigures.NET, "pingpong")


def ip(line):
    subprocess.run(["ip", *line.split()], check=True)


def work_done(name, values):
    """(operations or MiB, how many a second) of the guest's "@@ result NAME VALUES"."""
    if name in benchfigures.BLOCK:
        field = values.split(";")
        kib, rate = (field[5], field[7]) if "read" in name else (field[46], field[48])
        done, rate = int(kib) * 1024 / benchfigures.BLOCK[name][1], float(rate)
    elif name == "pingpong":
        done, took = (float(x) for x in values.split())
        rate = done / took
    else:
        received = json.loads("{" + values + "}")
        done, rate = received["bytes"] / MIB, received["bits_per_second"] / 8 / MIB
    if done <= 0:
        raise Failed("no work was done")
    return done, rate


class Turns:
    """The machines, booted and waiting, and the host's side of their disk and networks."""

    def __init__(self, args, samples, say):
        self.args = args
        self.samples = samples
        self.say = say
        self.running = {}
        subprocess.run(["modprobe", "-a", "tun", "vhost_net"], check=True)
        # A RAM disk, so that no disk below limits or disturbs; filled, so that reads read.
        subprocess.run(["modprobe", "brd", "rd_nr=1", "rd_size=131072"], check=True)
        subprocess.run(["dd", "if=/dev/zero", "of=/dev/ram0", "bs=1M", "count=128"], check=True,
                       stderr=subprocess.DEVNULL)
        for n in range(len(NET_VMMS)):
            ip(f"tuntap add dev nvbench{n} mode tap vnet_hdr")
            ip(f"link set nvbench{n} up")
            ip(f"addr add 192.168.{177 + n}.1/24 dev nvbench{n}")
        subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
        subprocess.Popen([args.pingpong])

    def boot(self, vmm):
        """Start a machine and wait until it asks for its first piece."""
        n = list(NET_VMMS).index(vmm)
        disks = [(self.args.tools, "tools", True), ("/dev/ram0", "target", False)]
        machine = Machine(self.args.kernel, self.args.initrd,
                          f"nv.test=bench nv.what=work nv.net=192.168.{177 + n}", 512, 1,
                          disks, f"nvbench{n}")
        self.running[vmm] = Running(NET_VMMS[vmm](machine), console_in=True)
        self.running[vmm].wait_for("@@ next", self.args.limit)

    def piece(self, vmm, name):
        """(exits by kind, the guest's values) of one piece of work."""
        running = self.running[vmm]
        before = after = {}
        running.send(f"{name} {self.args.work}\n")
        values = None
        while True:
            line = running.wait_for("@@ ", self.args.limit)[1]
            word = line[line.index("@@ "):].split(" ", 3) + ["", ""]
            if word[1] == "begin":
                before = running.exits()
            elif word[1] == "end":
                after = running.exits()
            elif word[1] == "result":
                values = word[3]
            elif word[1] == "failed":
                raise Failed(line)
            elif word[1] == "next":
                return {k: after[k] - before[k] for k in after}, values

    def turn(self, vmm, name, keep):
        """One machine's piece; a machine that fails is ended, and booted anew by the next turn."""
        keys = (f"{name}-rate", f"{name}-exits")
        try:
            if vmm not in self.running:
                self.boot(vmm)
            exits, values = self.piece(vmm, name)
            done, rate = work_done(name, values)
        except (Failed, OSError, ValueError, IndexError, KeyError, AttributeError) as e:
            self.end(vmm)
            self.say(f"{vmm}: {name}: {e!r}")
            for key in keys:
                self.samples.miss(key, vmm, str(e) or type(e).__name__)
            return
        if keep:
            self.samples.add(keys[0], vmm, rate)
            self.samples.add(keys[1], vmm, exits["exits"] / done)
        self.say(f"{vmm}: {name}: {rate:.0f}/s, " +
                 ", ".join(f"{k} {v / done:.2f}" for k, v in exits.items() if v) + " per operation")

    def round(self, keep, time_is_left):
        for name in (*benchfigures.BLOCK, *NET_PIECES):
            for vmm in VMMS if name in benchfigures.BLOCK else NET_VMMS:
                if time_is_left():
                    self.turn(vmm, name, keep)

    def end(self, vmm):
        running = self.running.pop(vmm, None)
        if running is not None:
            running.end()

    def end_all(self):
        for vmm in list(self.running):
            self.end(vmm)


def measure(args, samples, say, left):
    """Rounds of all machines, until ARGS.io_runs are done or LEFT() has no second any more."""
    turns = Turns(args, samples, say)
    try:
        for run in range(args.io_runs + 1):
            began = time.monotonic()
            turns.round(run > 0, lambda: left() > args.limit)
            say(f"round {run} of {args.io_runs}: {time.monotonic() - began:.0f} s")
            sys.stderr.flush()
    finally:
        turns.end_all()
    for figure in benchfigures.IO:
        for vmm in [OURS, *benchfigures.peers_of(figure)]:
            if samples.median(figure.key, vmm) is None:
                reason = samples.reasons.get((figure.key, vmm))
                samples.miss(figure.key, vmm, reason or "the time limit of the run was near")
