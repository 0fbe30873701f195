# SPDX-License-Identifier: Apache-2.0
"""The access counter's page: what the plugin must know of the machine, and QEMU's options for it.

The layout is that of accesses.h, up to the counts, which are zero at the start.
"""
import os
import re
import struct
import subprocess

import rigkernel
from rigkernel import RigError

MAGIC = 0x31544E434D454D52
MAX_NODES, MAX_CPUS = 128, 256
PAGE_BYTES = 2 << 20
LOCAL, DEFAULT = 10, 20  # distances: the diagonal, and what nobody named


def wanted(args):
    return args.count_accesses or args.distance_delay is not None


def node_ranges(sizes):
    """(start, end) of each node's memory in the plugin interface's numbers.

    QEMU 7.2 adds up three offsets: of a memory block among all blocks, of the block in the board's
    RAM, and of the byte in the block. Node blocks come first, one after the other, so the first two
    are equal: no two nodes overlap, and the hole below 4 GiB does not occur.
    """
    at = 0
    for size in sizes:
        yield 2 * at, 2 * at + size
        at += size


def page(spec):
    """The constant beginning of the page."""
    def words(values, room):
        values = list(values)
        return struct.pack(f"<{room}Q", *values, *([0] * (room - len(values))))

    ranges = list(node_ranges(spec.node_sizes()))
    node_of = {}
    for node in range(spec.nodes):
        first, count = spec.node_cpus(node)
        node_of.update((cpu, node) for cpu in range(first, first + count))
    out = words([MAGIC, spec.cpus, spec.nodes], 8)
    out += words((r[0] for r in ranges), MAX_NODES) + words((r[1] for r in ranges), MAX_NODES)
    out += words((node_of[cpu] for cpu in range(spec.cpus)), MAX_CPUS)
    for a in range(spec.nodes):
        out += words((LOCAL if a == b else (spec.distances or {}).get((a, b), DEFAULT)
                      for b in range(spec.nodes)), MAX_NODES)
    return out


def check_qemu(qemu):
    """Other versions number memory in other ways; counts would be wrong without a word."""
    said = subprocess.run([qemu, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) != (7, 2):
        raise RigError("counting accesses needs QEMU 7.2, this is " +
                       (found[0] if found else "another"))


def open_page(spec, qemu):
    """A memory file with the page of this machine."""
    plugin = plugin_path()
    if not os.path.exists(plugin):
        raise RigError(f"{plugin} is missing: make guests")
    check_qemu(qemu)
    fd = os.memfd_create("rig-accesses", 0)
    os.ftruncate(fd, PAGE_BYTES)
    os.pwrite(fd, page(spec), 0)
    return fd


def plugin_path():
    return os.path.join(rigkernel.build_dir(), "guest-tests/rig/accesses.so")


def qemu_args(fd):
    """The plugin, and the page as a device's memory inside. To stand behind the nodes' memory."""
    path = f"/proc/self/fd/{fd}"
    return ["-plugin", f"{plugin_path()},page={path}",
            "-object", f"memory-backend-file,id=accesses,mem-path={path},share=on,"
                       f"size={PAGE_BYTES}",
            "-device", "ivshmem-plain,memdev=accesses"]
