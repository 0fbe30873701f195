# SPDX-License-Identifier: Apache-2.0
"""What Linux on arm64 shows of a plan, and how it names things there; see check-topology.

It learns of the plan from a device tree: nodes keep their numbers, dies and complexes are clusters
that count from 0 in their socket, cores count from 0 in their cluster. Level 1 caches are each
CPU's own for this kernel, and there is no word for latencies, bandwidths, initiators and
memory-side caches.
"""
from dump import parse_list

NAME = "arm64"
LOG_BEGINS = "Booting Linux on physical CPU"
HAS_HMAT = False
MEMORY_SLACK = 0
CPU_LISTS = {"core": ("core_cpus_list", "thread_siblings_list"),
             "cluster": ("cluster_cpus_list",),
             "socket": ("package_cpus_list", "core_siblings_list")}


def node_numbers(plan, _dump):
    return {n["id"]: n["id"] for n in plan["nodes"]}


def mpidr(number):
    """The affinity fields that KVM gives vCPU NUMBER, as the tree's reg has them."""
    return number & 15 | (number >> 4 & 255) << 8 | number >> 12 << 16


def numbers(plan, dump):
    regs = dump.matching(r"/sys/devices/system/cpu/cpu\d+/of_node/reg$")
    got = [int(regs.get(f"/sys/devices/system/cpu/cpu{v['id']}/of_node/reg", "-1"), 16)
           for v in plan["vcpus"]]
    return "MPIDRs", got, [mpidr(v["id"]) for v in plan["vcpus"]]


def cluster(v):
    return v["socket"], v["die"], v["complex"]


def groups(plan):
    found = {}
    for v in plan["vcpus"]:
        found.setdefault(cluster(v), []).append(v["id"])
    return {**plan["groups"], "cluster": [",".join(map(str, g)) for g in found.values()]}


def ranks(keys):
    """{key: its number among those with the same parent}, keys in rising order."""
    count, out = {}, {}
    for key in sorted(set(keys)):
        out[key] = count.get(key[0], 0)
        count[key[0]] = out[key] + 1
    return out


def places(plan, _dump):
    sockets = ranks(((), v["socket"]) for v in plan["vcpus"])
    clusters = ranks(((v["socket"],), v["die"], v["complex"]) for v in plan["vcpus"])
    cores = ranks((cluster(v), v["core"]) for v in plan["vcpus"])
    return {v["id"]: {"physical_package_id": sockets[(), v["socket"]],
                      "cluster_id": clusters[(v["socket"],), v["die"], v["complex"]],
                      "core_id": cores[cluster(v), v["core"]]} for v in plan["vcpus"]}


def cache_groups(plan, cache):
    if cache["level"] == 1:
        return [[v["id"]] for v in plan["vcpus"]]
    return [parse_list(g) for g in cache["groups"]]


def untold(plan, _dump, level):
    """CLIDR_EL1 names levels of caches by itself, and KVM of Linux 6.1 lets nobody write it."""
    return level not in [c["level"] for c in plan["caches"]]


def forgiven(plan, line):
    """Kernels before 6.6 complain of threads in any machine whose clusters are not smaller than
    what shares its last cache (mended by "Make cluster topology span at least SMT CPUs")."""
    threads = len(plan["groups"]["core"]) < len(plan["vcpus"])
    return threads and line.startswith("BUG: arch topology borken")
