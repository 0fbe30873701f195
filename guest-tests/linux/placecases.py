# SPDX-License-Identifier: Apache-2.0
"""Where a machine really lies on the host, against the plan it was given."""
import glob
import json
import os
import re
import subprocess

import guestvm
from devicecases import MIB, finish, linux
from guestvm import Vm, ctl

PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_on_host(pid):
    """{virtual node: {host node: bytes}} of guest memory that is there."""
    found = {}
    with open(f"/proc/{pid}/numa_maps", encoding="ascii") as f:
        for line in f:
            name = re.search(r"file=/memfd:guest-ram-(\d+)", line)
            if name:
                on = found.setdefault(int(name[1]), {})
                for host, pages in re.findall(r" N(\d+)=(\d+)", line):
                    on[int(host)] = on.get(int(host), 0) + int(pages) * PAGE
    return found


def threads_on_host(pid):
    """{thread's name: CPUs it may run on}"""
    found = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(task + "/status", encoding="utf-8") as f:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        found[fields["Name"]] = fields["Cpus_allowed_list"]
    return found


def place(tap, kernel, _folder):
    """host= against the order of the nodes: memory and vCPUs lie where the plan says."""
    options = ["--node", "cpus=0,memory=192M,host=1", "--node", "cpus=1,memory=256M,host=0"]
    done = subprocess.run([guestvm.PROGRAM, "plan", "--json", *options], check=True, text=True,
                          stdout=subprocess.PIPE)
    plan = json.loads(done.stdout)["plan"]
    nodes = {n["id"]: {int(n["host"]): n["memory"]} for n in plan["nodes"]}
    tap.same(nodes, {0: {1: 192 * MIB}, 1: {0: 256 * MIB}}, "place: the plan follows host=")
    with Vm(tap, "place", linux(kernel, "demo", "--prealloc", *options)) as vm:
        vm.expect(rb"^### init\r?\n")
        tap.same(ctl("place", "pause")[0], 0, "place: pause")
        tap.same(memory_on_host(vm.child.pid), nodes, "place: all memory is on its host node")
        threads = threads_on_host(vm.child.pid)
        for vcpu in plan["vcpus"]:
            host = plan["nodes"][vcpu["node"]]["host"]
            with open(f"/sys/devices/system/node/node{host}/cpulist", encoding="ascii") as f:
                tap.same(vcpu["host_cpus"], f.read().strip(),
                         f"place: vCPU {vcpu['id']} is planned on its node's CPUs")
            tap.same(threads.get(f"vcpu{vcpu['id']}"), vcpu["host_cpus"],
                     f"place: the thread of vCPU {vcpu['id']} may run there only")
        tap.same(ctl("place", "stop")[0], 0, "place: ctl stop")
        finish(tap, vm, 4, "ctl stop")
