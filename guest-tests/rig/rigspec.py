# SPDX-License-Identifier: Apache-2.0
"""What the emulated host looks like: nodes, CPUs, memory, distances, as QEMU arguments. Pure."""
import os
import re

from rigkernel import RigError

MIB = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30, "T": 1 << 40}


def size(text):
    match = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if not match:
        raise ValueError(text)
    return int(match.group(1)) * UNITS[match.group(2)]


def default_cpus(nodes):
    return max(2, min(nodes, 2 * (os.cpu_count() or 1)))


def named_distances(name, n):
    hops = {
        "full": lambda a, b: 20,
        "ring": lambda a, b: 10 + 10 * min(abs(a - b), n - abs(a - b)),
        "line": lambda a, b: 10 + 10 * abs(a - b),
        "pairs": lambda a, b: 12 if a // 2 == b // 2 else 21,
        "cube": lambda a, b: 10 + 10 * bin(a ^ b).count("1"),
    }.get(name)
    if hops is None:
        return None
    return {(a, b): min(hops(a, b), 254) for a in range(n) for b in range(n) if a != b}


def distances(text, n):
    """All distances off the diagonal for TEXT, or None when none were asked for."""
    if text is None:
        return None
    table = named_distances(text, n)
    if table is not None:
        return table
    given = {}
    for item in text.split(","):
        match = re.fullmatch(r"(\d+)-(\d+)=(\d+)", item)
        if not match:
            raise RigError(f"--distances: '{item}' is neither A-B=D nor a known name")
        a, b, d = (int(x) for x in match.groups())
        if a >= n or b >= n or a == b:
            raise RigError(f"--distances: '{item}' must name two different nodes below {n}")
        if not 10 < d < 255:
            raise RigError(f"--distances: '{item}': a distance lies between 11 and 254")
        if (a, b) in given:
            raise RigError(f"--distances: {a}-{b} is given twice")
        given[(a, b)] = d
    return {(a, b): given.get((a, b), given.get((b, a), 20))
            for a in range(n) for b in range(n) if a != b}


def given_sizes(items, n):
    """{node: bytes} for items NODE=SIZE."""
    given = {}
    for item in items:
        match = re.fullmatch(r"(\d+)=(\d+[KMGT]?)", item)
        if not match:
            raise RigError(f"--node-memory: '{item}' is not NODE=SIZE")
        node, memory = int(match[1]), size(match[2])
        if node >= n or node in given:
            raise RigError(f"--node-memory: '{item}' must name a node below {n}, and once")
        if memory < 32 * MIB or memory % (2 * MIB):
            raise RigError(f"--node-memory: '{item}': at least 32M, in whole 2M")
        given[node] = memory
    return given


class Spec:
    def __init__(self, args):
        self.shared = args.root is not None  # file servers map the memory
        self.nodes = 4 if args.nodes is None else args.nodes
        if not 1 <= self.nodes <= 128:
            raise RigError("--nodes: QEMU makes 1 to 128 nodes")
        self.cpus = default_cpus(self.nodes) if args.cpus is None else args.cpus
        if not 1 <= self.cpus <= 255:
            raise RigError("--cpus: the emulated interrupt controller takes 1 to 255 CPUs")
        self.memory = args.memory or max(4 << 30, self.nodes * 64 * MIB)
        if self.memory < self.nodes * 32 * MIB or self.memory < 512 * MIB:
            raise RigError("--memory: at least 512M, and 32M for each node")
        self.given_sizes = given_sizes(args.node_memory, self.nodes)
        self.distances = distances(args.distances, self.nodes)

    def node_cpus(self, node):
        """(first, count) of a node's CPUs; with fewer CPUs than nodes the last nodes have none.

        The first ones, because Linux numbers nodes in the order in which it meets them, and it
        meets all CPUs before any memory: a node without CPUs between others would be renumbered.
        """
        if self.cpus < self.nodes:
            return node, 1 if node < self.cpus else 0
        first = -(-node * self.cpus // self.nodes)
        return first, -(-(node + 1) * self.cpus // self.nodes) - first

    def sockets(self):
        """One socket per node where CPUs divide evenly, else one per CPU: no cache spans nodes."""
        return self.nodes if self.cpus % self.nodes == 0 else self.cpus

    def node_sizes(self):
        """Bytes of each node: whole 2 MiB pages; the first node takes the rest.

        A node that was given a size of its own has that instead of its share.
        """
        share = self.memory // self.nodes // (2 * MIB) * 2 * MIB
        first = self.memory // (2 * MIB) * 2 * MIB - share * (self.nodes - 1)
        shares = [first] + [share] * (self.nodes - 1)
        return [self.given_sizes.get(node, shares[node]) for node in range(self.nodes)]

    def qemu_args(self):
        sizes = self.node_sizes()
        out = ["-m", f"{sum(sizes) // MIB}M",
               "-smp", f"{self.cpus},sockets={self.sockets()},"
                       f"cores={self.cpus // self.sockets()},threads=1"]
        for node, ram in enumerate(sizes):
            kind = "memfd,share=on" if self.shared else "ram"
            out += ["-object", f"memory-backend-{kind},id=mem{node},size={ram // MIB}M"]
            cpu, count = self.node_cpus(node)
            cpus = f",cpus={cpu}-{cpu + count - 1}" if count else ""
            out += ["-numa", f"node,nodeid={node},memdev=mem{node}{cpus}"]
        for (a, b), d in (self.distances or {}).items():
            out += ["-numa", f"dist,src={a},dst={b},val={d}"]
        return out
