# SPDX-License-Identifier: Apache-2.0
"""When KVM flushed remote TLBs of a machine, by the host's trace: before its mover moved the first
page, and from then on.

KVM's own count for the machine (debugfs) is what both must add up to, else nothing is told. Kprobes
are the host kernel's, in a trace instance of their own.
"""
import contextlib
import glob
import os
import re
import subprocess

from benchvmm import Failed

TRACE = "/sys/kernel/tracing"
ROOM = f"{TRACE}/instances/nvbench"
PROBES = {"flush": "p:nvbench/flush kvm_flush_remote_tlbs",
          "kicked": "r:nvbench/kicked kvm_make_all_cpus_request_except did=$retval:u8"}
SLACK = 4  # flushes that may fall between reading the count and the trace


def read(path):
    with open(path, encoding="ascii", errors="replace") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def append(path, text):
    """Without looking for the file's end, which tracefs refuses."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def told(pid, done):
    """KVM's count for the machine of PID: of flushes done, which reached a CPU, or asked for."""
    name = "remote_tlb_flush" if done else "remote_tlb_flush_requests"
    found = glob.glob(f"/sys/kernel/debug/kvm/{pid}-*/{name}")
    if not found:
        raise Failed("KVM does not count flushes of remote TLBs")
    return int(read(found[0]))


def split(trace, done):
    """(flushes before the first page moved, from then on) of the lines of a trace."""
    event = re.compile(r": kicked: \(kvm_flush_remote_tlbs\+.* did=1" if done else r": flush: ")
    first = re.compile(r": sys_(?:move_pages|mremap)\(")
    counts, moving = [0, 0], False
    for line in trace.splitlines():
        moving = moving or first.search(line) is not None
        if event.search(line):
            counts[moving] += 1
    if not moving:
        raise Failed("the trace shows no system call of the thread that moves")
    return tuple(counts)


class Watch:
    def __init__(self, pid):
        self.pid = pid
        self.before = {done: told(pid, done) for done in (False, True)}

    def count(self, done):
        """Flushes of all since: {"before": n, "moving": n}. Where the trace does not show all that
        were done, those that were asked for, which are no fewer."""
        trace = read(f"{ROOM}/trace")
        for which in (True, False) if done else (False,):
            all_of = told(self.pid, which) - self.before[which]
            before, moving = split(trace, which)
            if abs(before + moving - all_of) <= SLACK:
                return {"before": before, "moving": all_of - before, "done": which}
        raise Failed(f"the trace has {before + moving} flushes, and KVM counts {all_of}")


@contextlib.contextmanager
def watch(pid, thread, addresses):
    """Yields a Watch of the machine of PID, whose THREAD moves what is mapped from, to ADDRESSES."""
    first, end = addresses
    calls = {"mremap": f"common_pid == {thread} && addr >= 0x{first} && addr < 0x{end}",
             "move_pages": f"common_pid == {thread} && nodes != 0"}
    if not os.path.isdir(f"{TRACE}/events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACE], check=True)
    if not os.path.isdir(f"{TRACE}/events/syscalls/sys_enter_move_pages"):
        raise Failed("the host's kernel does not trace system calls")
    for name, probe in PROBES.items():
        if not os.path.isdir(f"{TRACE}/events/nvbench/{name}"):
            append(f"{TRACE}/kprobe_events", probe + "\n")
    os.makedirs(ROOM, exist_ok=True)
    events = [f"{ROOM}/events/syscalls/sys_enter_{name}" for name in calls] + \
        [f"{ROOM}/events/nvbench/{name}" for name in PROBES]
    try:
        for name, which in calls.items():
            write(f"{ROOM}/events/syscalls/sys_enter_{name}/filter", which)
        for event in events:
            write(f"{event}/enable", "1")
        yield Watch(pid)
    finally:
        for event in events:
            write(f"{event}/enable", "0")
        os.rmdir(ROOM)
