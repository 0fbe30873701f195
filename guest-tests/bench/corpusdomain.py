# SPDX-License-Identifier: Apache-2.0
"""The memory corpus in a trust domain: each guest's pages in a store of its own, a service that brings
them together, and all memory that this takes: stores with their tables, words of pages, segments, the
service itself.
"""
import contextlib
import glob
import json
import os
import subprocess
import tempfile

from benchvmm import Failed

BUILD = os.environ.get("BUILD", "build")
LIMIT_S = 1800


@contextlib.contextmanager
def service():
    """A host service of our own: (its process, its socket)."""
    with tempfile.TemporaryDirectory(prefix="domain-") as folder:
        socket = os.path.join(folder, "socket")
        child = subprocess.Popen([os.path.join(BUILD, "numavisord"), "--foreground", "--socket",
                                  socket], stdout=subprocess.PIPE, text=True)
        try:
            child.stdout.readline()
            yield child, socket
        finally:
            child.terminate()
            child.communicate(timeout=30)


def own_memory(pid):
    """Bytes that are this process's alone, segments not among them."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        kib = [line.split()[1] for line in f if line.startswith("Anonymous:")]
    return int(kib[0]) * 1024


def segments(pid):
    """Bytes of the memory files that it has open, each once."""
    files = {}
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(fd).startswith("/memfd:"):
                st = os.stat(fd)
                files[st.st_ino] = st.st_blocks * 512
    return sum(files.values())


def cpu_us(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return sum(map(int, words[11:13])) * 1e6 / os.sysconf("SC_CLK_TCK")


def together(paths):
    """What the program of that name tells, and `all_bytes`: all that it takes, for a page of all;
    `service_us`: the service's CPU time, for one that is not zeroes."""
    with service() as (numavisord, socket), subprocess.Popen(
            [os.path.join(BUILD, "bench", "together"), socket, *paths], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True) as child:
        line = child.stdout.readline()
        if not line:
            raise Failed(f"together ended with status {child.wait(LIMIT_S)}")
        got = json.loads(line)
        beside = own_memory(numavisord.pid) + segments(numavisord.pid)
        got["service_us"] = cpu_us(numavisord.pid) / got["used"]
        got["all_bytes"] = got["bytes"] + got["word_bytes"] + beside / got["pages"]
        got["beside"] = beside
        child.stdin.close()
    return got
