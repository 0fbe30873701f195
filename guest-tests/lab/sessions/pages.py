# SPDX-License-Identifier: Apache-2.0
"""Memory of this process: take it, touch it, and say which nodes it is on."""
import ctypes
import glob
import mmap
import os

PAGE = mmap.PAGESIZE


def node_of_cpu(cpu):
    (path,) = glob.glob(f"/sys/devices/system/cpu/cpu{cpu}/node[0-9]*")
    return int(path.rpartition("node")[2])


def first_cpus():
    """{node: its first CPU} of all nodes that have any."""
    found = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        found.setdefault(node_of_cpu(cpu), cpu)
    return found


class Memory:
    """Anonymous memory of @mib MiB, written once by the CPU that makes it."""

    def __init__(self, mib):
        self.len = mib << 20
        self.map = mmap.mmap(-1, self.len, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.touch()

    def touch(self):
        for at in range(0, self.len, PAGE):
            self.map[at] = 1

    def places(self):
        return places(self.start, self.len)


def places(start, length):
    """{node: pages} of the addresses from START on, by move_pages(2), which then moves nothing."""
    move_pages = ctypes.CDLL("libnuma.so.1", use_errno=True).move_pages
    count = length // PAGE
    first = -(-start // PAGE) * PAGE
    pages = (ctypes.c_void_p * count)(*range(first, first + count * PAGE, PAGE))
    status = (ctypes.c_int * count)()
    if move_pages(0, ctypes.c_ulong(count), pages, None, status, 0) != 0:
        raise OSError(ctypes.get_errno(), "move_pages")
    found = {}
    for node in status:
        if node >= 0:  # else there is no page yet
            found[node] = found.get(node, 0) + 1
    return dict(sorted(found.items()))


def told(found):
    """{node: pages} as text."""
    return ", ".join(f"{n * PAGE >> 20} MiB on node {node}" for node, n in found.items()
                     if n * PAGE >> 20) or "nowhere"
