# SPDX-License-Identifier: Apache-2.0
"""What Linux on x86 shows of a plan, and how it names things there; see check-topology."""
from dump import parse_list

NAME = "x86"
LOG_BEGINS = "Command line:"
HAS_HMAT = True  # latency, bandwidth, initiators and memory-side caches are told
MEMORY_SLACK = 1 << 20  # the first node lacks the hole below 1 MiB, the last the tables' pages
CPU_LISTS = {"core": ("core_cpus_list", "thread_siblings_list"), "die": ("die_cpus_list",),
             "socket": ("package_cpus_list", "core_siblings_list")}


def node_numbers(plan, dump):
    """{node of the plan: node of Linux}"""
    nid = dump.node_numbers()
    for n in plan["nodes"]:
        if len(plan["nodes"]) == 1:
            nid.setdefault(n["id"], 0)
    return nid


def numbers(plan, dump):
    """What the CPUs' own numbers are called, those that Linux has, and those of the plan."""
    return ("APIC ids", [int(x) for x in dump.values.get("cpuinfo/apicid", [])],
            [v["apic_id"] for v in plan["vcpus"]])


def groups(plan):
    return plan["groups"]


def places(plan, dump):
    """{vCPU: {name in its topology folder: number}}"""
    # On AMD a die that is alone in its socket is named by leaf 0x8000001E: by its node.
    amd = "AuthenticAMD" in dump.values.get("cpuinfo/vendor_id", [])
    lone_dies = len(plan["groups"]["die"]) == len(plan["groups"]["socket"])
    out = {}
    for v in plan["vcpus"]:
        out[v["id"]] = dict(v["linux"])
        if amd and lone_dies:
            out[v["id"]]["die_id"] = v["node"]
    return out


def cache_groups(_plan, cache):
    return [parse_list(g) for g in cache["groups"]]


def untold(_plan, _dump, _level):
    """Whether Linux may know of caches of a level that the plan does not have."""
    return False


def forgiven(_plan, _line):
    """Whether a line of trouble in the log is the kernel's own fault."""
    return False
