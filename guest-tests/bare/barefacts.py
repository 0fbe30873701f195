# SPDX-License-Identifier: Apache-2.0
"""What guests print as facts, held against the plan (the member "plan" of plan --json).

Each check takes the facts as a dict and the plan, and yields one sentence per disagreement.
"""
import math
import re
from fractions import Fraction

GIB = 1 << 30
LEGACY_HOLE = 0x100000 - 0xa0000
CACHE_TYPES = {"Data": 1, "Instruction": 2, "Unified": 3}


def parse(output):
    """Lines "fact path=value"; a path that is said again (after a reset) overrides."""
    return dict(m.groups() for m in re.finditer(r"^fact ([^=\n]+)=(.*?)\r?$", output, re.M))


def fields(value):
    return dict(item.split(":", 1) for item in value.split(","))


def numbered(facts, pattern):
    """(match, value) of every fact whose path is like the pattern."""
    for path, value in facts.items():
        m = re.fullmatch(pattern, path)
        if m:
            yield m, value


def cpu_list(text):
    out = set()
    for part in text.split(","):
        if part:
            first, _, last = part.partition("-")
            out.update(range(int(first), int(last or first) + 1))
    return out


def shift_of(count):
    return (count - 1).bit_length()


def differs(what, got, want):
    if got != want:
        yield f"{what}: the guest has {got}, the plan {want}"


# --- ACPI ----------------------------------------------------------------------------------------

def madt(facts, plan):
    got = {int(m[1]): fields(v) for m, v in numbered(facts, r"madt\.cpu\.(\d+)")}
    yield from differs("MADT: APIC ids", sorted(got), sorted(v["apic_id"] for v in plan["vcpus"]))
    for apic_id, entry in got.items():
        if entry["enabled"] != "1":
            yield f"MADT: APIC id {apic_id} is not enabled"
        if apic_id > 254 and entry["x2"] != "1":
            yield f"MADT: APIC id {apic_id} is not in an x2APIC entry"
    uids = [e["uid"] for e in got.values()]
    if len(set(uids)) != len(uids):
        yield "MADT: a UID occurs twice"


def srat(facts, plan):
    got = {int(m[1]): int(v.split(",")[0]) for m, v in numbered(facts, r"srat\.cpu\.(\d+)")}
    yield from differs("SRAT: node of APIC ids", got,
                       {v["apic_id"]: v["node"] for v in plan["vcpus"]})
    ram, hotplug, seen = {}, {}, []
    for _, value in numbered(facts, r"srat\.mem\.(\d+)"):
        f = fields(value)
        base, size, node = int(f["base"], 16), int(f["len"], 16), int(f["pxm"])
        if f["enabled"] != "1":
            yield f"SRAT: the range at {base:#x} is not enabled"
        if f["hotplug"] == "1":
            hotplug[node] = hotplug.get(node, 0) + size
            if base % (2 * GIB) or size % (2 * GIB):
                yield f"SRAT: the hotplug window at {base:#x} is not in units of 2 GiB"
        else:
            ram[node] = ram.get(node, 0) + size + (LEGACY_HOLE if base == 0 else 0)
        if any(base < e and b < base + size for b, e in seen):
            yield f"SRAT: the range at {base:#x} overlaps another"
        seen.append((base, base + size))
    for kind, have, key in (("memory", ram, "memory"), ("hotplug window", hotplug, "hotplug")):
        want = {n["id"]: n[key] for n in plan["nodes"] if n[key]}
        yield from differs(f"SRAT: {kind} of nodes", have, want)


def slit(facts, plan):
    rows = {int(m[1]): [int(x) for x in v.split(",")]
            for m, v in numbered(facts, r"slit\.(\d+)")}
    yield from differs("SLIT", [rows.get(i) for i in range(len(plan["nodes"]))],
                       plan["distances"])


def hmat_matrix(facts, plan, name, key, unit):
    """Cells in units of @unit, rounded up to it; exact where the table's own step allows."""
    said = {(k["from"], k["to"]): math.ceil(k[key] / unit) for k in plan["links"] if k[key]}
    path = f"hmat.{name}"
    if not said:
        if f"{path}.targets" in facts:
            yield f"HMAT: {name} is there, and no link says it"
        return
    if f"{path}.targets" not in facts:
        yield f"HMAT: {name} is missing"
        return
    step = int(facts[f"{path}.unit"])
    targets = [int(x) for x in facts[f"{path}.targets"].split(",")]
    for m, value in numbered(facts, rf"hmat\.{name}\.(\d+)"):
        for to, cell in zip(targets, value.split(",")):
            want = said.pop((int(m[1]), to), 0)
            if abs(int(cell) - want) > (step / 2 if want % step else 0):
                yield f"HMAT: {name} {m[1]} to {to}: the guest has {cell}, the plan {want}"
    for pair in said:
        yield f"HMAT: {name} of the pair {pair} is missing"


def hmat(facts, plan):
    """Latency in picoseconds, bandwidth in MiB per second."""
    yield from hmat_matrix(facts, plan, "access-latency", "latency_ns", Fraction(1, 1000))
    yield from hmat_matrix(facts, plan, "access-bandwidth", "bandwidth", 1 << 20)
    memory = {int(m[1]): fields(v) for m, v in numbered(facts, r"hmat\.memory\.(\d+)")}
    caches = {(int(m[1]), int(m[2])): fields(v)
              for m, v in numbered(facts, r"hmat\.cache\.(\d+)\.(\d+)")}
    for node in plan["nodes"]:
        entry = memory.get(node["id"])
        if entry and node["initiator"] is not None and \
                (entry["valid"], int(entry["initiator"])) != ("1", node["initiator"]):
            yield f"HMAT: node {node['id']} has another initiator than {node['initiator']}"
        for c in node["mem_caches"]:
            want = (len(node["mem_caches"]) | c["level"] << 4
                    | ["none", "direct", "complex"].index(c["associativity"]) << 8
                    | ["none", "back", "through"].index(c["write"]) << 12 | c["line"] << 16)
            got = caches.pop((node["id"], c["level"]), None)
            if got is None:
                yield f"HMAT: node {node['id']} lacks its level {c['level']} memory-side cache"
                continue
            yield from differs(f"HMAT: cache of node {node['id']}",
                               (int(got["size"]), int(got["attributes"], 16)), (c["size"], want))
    for pair in caches:
        yield f"HMAT: a memory-side cache {pair} that the plan does not have"
    if (plan["links"] or any(n["mem_caches"] for n in plan["nodes"])) and not memory:
        yield "HMAT: there is none"


def mcfg(facts, plan):
    f = fields(facts.get("mcfg.0", "base:0,first:1,last:0"))
    if int(f["first"]) != 0 or int(f["last"]) < len(plan["nodes"]) - 1:
        yield f"MCFG: buses {f['first']} to {f['last']} for {len(plan['nodes'])} nodes"


def acpi(facts, plan):
    for check in (madt, srat, slit, hmat, mcfg):
        yield from check(facts, plan)


# --- CPUID ---------------------------------------------------------------------------------------

def levels(facts, apic_id, leaf):
    """Type of level -> shift, in the order of the leaf."""
    got = sorted((int(m[1]), fields(v)) for m, v in
                 numbered(facts, rf"cpu\.{apic_id}\.{leaf}\.(\d+)"))
    return [(int(f["type"]), int(f["shift"]), int(f["count"])) for _, f in got]


def cpu_levels(facts, apic_id, plan, amd):
    a = plan["apic"]
    many_dies = a["die_shift"] != a["socket_shift"]
    # Intel: each level's shift leads to the id of the level above (SDM vol. 2, CPUID 0BH, 1FH).
    want = {"0xb": [(1, a["core_shift"]), (2, a["socket_shift"])]}
    got_1f = levels(facts, apic_id, "0x1f")
    if got_1f or (many_dies and not amd):
        want["0x1f"] = [(1, a["core_shift"])] + (
            [(2, a["die_shift"]), (5, a["socket_shift"])] if many_dies
            else [(2, a["socket_shift"])])
    for leaf, pairs in want.items():
        got = levels(facts, apic_id, leaf)
        if leaf == "0x1f" and not many_dies and [t for t, _, _ in got] == [1, 2, 5]:
            pairs = [pairs[0], (2, a["die_shift"]), (5, a["socket_shift"])]
        yield from differs(f"CPUID {leaf} of APIC id {apic_id}", [g[:2] for g in got], pairs)
        for kind, shift, count in got:
            if not 1 <= count <= 1 << shift:
                yield f"CPUID {leaf} of APIC id {apic_id}: {count} CPUs in level type {kind}"
    # AMD: a level's shift leads to the id of the next one of its own kind (APM vol. 3, E.4.22).
    shifts = {1: a["core_shift"], 2: a["complex_shift"], 3: a["die_shift"], 4: a["socket_shift"]}
    for kind, shift, _ in levels(facts, apic_id, "0x80000026"):
        yield from differs(f"CPUID 0x80000026 of APIC id {apic_id}, type {kind}", shift,
                           shifts.get(kind))


def cpu_caches(facts, apic_id, plan):
    got = {}
    for _, value in numbered(facts, rf"cpu\.{apic_id}\.cache\.(\d+)"):
        f = {k: int(v) for k, v in fields(value).items()}
        got[(f["level"], f["type"])] = (f["size"], f["line"], f["ways"], shift_of(f["sharing"]))
    want = {(c["level"], CACHE_TYPES[c["type"]]):
            (c["size"], c["line"], c["ways"], c["apic_shift"]) for c in plan["caches"]}
    yield from differs(f"caches of APIC id {apic_id} (size, line, ways, shift)", got, want)


def cpuid(facts, plan):
    amd = facts.get("vendor") == "amd"
    ids = sorted(int(m[1]) for m, _ in numbered(facts, r"cpu\.(\d+)\.leaf1"))
    yield from differs("APIC ids", ids, sorted(v["apic_id"] for v in plan["vcpus"]))
    per_core = 1 << plan["apic"]["core_shift"]
    for apic_id in ids:
        yield from cpu_levels(facts, apic_id, plan, amd)
        yield from cpu_caches(facts, apic_id, plan)
        leaf = facts.get(f"cpu.{apic_id}.0x8000001e")
        if leaf and not 1 <= int(fields(leaf)["threads"]) <= per_core:
            yield f"CPUID 0x8000001E of APIC id {apic_id}: {fields(leaf)['threads']} threads"


# --- memory --------------------------------------------------------------------------------------

def memory(facts, plan):
    """All of the RAM but the legacy hole and what the tables take."""
    missing = sum(n["memory"] for n in plan["nodes"]) - int(facts.get("ram_bytes", 0))
    if not LEGACY_HOLE <= missing <= LEGACY_HOLE + (4 << 20):
        yield f"memory map: {missing} bytes fewer than the plan's memory"


def memory_whole(facts, plan):
    """Where no firmware's tables take any: the sum of the nodes' memory, to the byte."""
    yield from differs("bytes of RAM", int(facts.get("ram_bytes", 0)),
                       sum(n["memory"] for n in plan["nodes"]))


# --- the device tree -----------------------------------------------------------------------------

def cpu_reg(vcpu):
    """The affinity fields that KVM makes of a vCPU's number."""
    return (vcpu & 0xf) | (vcpu >> 4 & 0xff) << 8 | (vcpu >> 12 & 0xff) << 16


def tree(facts, plan):
    cpus = [fields(v) for _, v in sorted(numbered(facts, r"tree\.cpu\.(\d+)"),
                                         key=lambda x: int(x[0][1]))]
    yield from differs("CPUs (reg, node)", [(int(f["reg"], 16), int(f["node"])) for f in cpus],
                       [(cpu_reg(v["id"]), v["node"]) for v in plan["vcpus"]])
    ram, seen = {}, []
    for _, value in numbered(facts, r"tree\.mem\.(\d+)"):
        f = fields(value)
        base, size, node = int(f["base"], 16), int(f["len"], 16), int(f["node"])
        if any(base < e and b < base + size for b, e in seen):
            yield f"the memory at {base:#x} overlaps another"
        seen.append((base, base + size))
        ram[node] = ram.get(node, 0) + size
    yield from differs("memory of nodes", ram,
                       {n["id"]: n["memory"] for n in plan["nodes"] if n["memory"]})
    nodes = range(len(plan["nodes"]))
    rows = {int(m[1]): fields(v) for m, v in numbered(facts, r"tree\.distance\.(\d+)")}
    yield from differs("distances", [[int(rows.get(i, {}).get(str(j), 0)) for j in nodes]
                                     for i in nodes], plan["distances"])
    bridges = sorted(tuple(int(x) for x in fields(v).values())
                     for _, v in numbered(facts, r"tree\.pci\.(\d+)"))
    yield from differs("host bridges (bus, domain, node)", bridges,
                       [(n["id"],) * 3 for n in plan["nodes"]])


# --- PCI -----------------------------------------------------------------------------------------

def pci(facts, plan):
    """A host bridge on every node's bus, 64-bit BARs above 4 GiB."""
    bridges = sorted(int(m[1]) for m, v in numbered(facts, r"pci\.(\d+)\.0")
                     if fields(v)["class"] == "60000")
    yield from differs("buses with a host bridge", bridges, [n["id"] for n in plan["nodes"]])
    for m, value in numbered(facts, r"pci\.(\d+\.\d+)\.bar\.\d"):
        if int(fields(value)["base"], 16) < 4 * GIB:
            yield f"function {m[1]}: a BAR at {fields(value)['base']}"
