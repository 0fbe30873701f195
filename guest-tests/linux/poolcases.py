# SPDX-License-Identifier: Apache-2.0
"""The case of test-move about pages from a pool that a guest works on while they move."""
import os

import guestvm
from guestvm import Vm, ctl
from memorycases import MIB, agree, pool, pool_of, to_bytes
from movecases import move
from pagingcases import check
from placecases import threads_on_host
from schedcases import host_cpus, until

PAGES = 112  # of 2 MiB: all of virtual node 1


def there(tap, vm, host, name):
    """All of node 1 is on HOST in pages of 2 MiB, by both judges."""
    ctl(vm.name, "pause")
    mine, words = agree(tap, vm, name)
    ctl(vm.name, "resume")
    tap.same((sorted(mine[1]), words[1]), ([host], {f"bind:{host}"}), f"{name}: all is on {host}")
    kinds = mine[1].get(host, {})
    tap.same((kinds.get("pages_4k"), kinds.get("pages_1g")), (0, 0), f"{name}: pages stay huge")
    tap.same(to_bytes(mine[1]).get(host), PAGES * 2 * MIB, f"{name}: and none is lost")


def pools_busy(tap, kernel):
    """A Linux guest that copies and compares all the time, on pages of 2 MiB that go and come."""
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-move.zst")
    with pool_of(tap, 2048, {1: PAGES, 3: PAGES}) as has:
        if not has:
            return
        with Vm(tap, "pools", ["--kernel", kernel, "--initrd", initrd, "--cmdline",
                               f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=move", "--cpus", "2", "--node",
                               "cpus=0,memory=256M,host=0", "--node",
                               "cpus=1,memory=224M,host=1,pages=2M,prealloc", "--rng", "node=1",
                               "--distance", "0-1=40"]) as vm:
            vm.asked("next")
            for host in (3, 1):
                code, end = move(vm, "vnode=1", f"host={host}")
                tap.same((code, end["state"], end.get("left"), end.get("split")),
                         (0, "arrived", 0, 0), f"pools, busy: all arrives on {host}")
                there(tap, vm, host, f"pools, busy: on {host}")
                until(f"the vCPU to follow to {host}", lambda cpus=host_cpus(host):
                      threads_on_host(vm.child.pid)["vcpu1"] == cpus)
                check(vm, f"on {host}")
            vm.send(b"end\n")
            copies = int(vm.expect(rb"^### copies (\d+)\r?\n")[1])
            tap.point(copies > 1, "pools, busy: copies went on to the end", copies)
            tap.same(vm.wait(), 0, "pools, busy: it ends by itself")
        tap.same([pool(n, 2048, what="free_hugepages") for n in (1, 3)], [PAGES, PAGES],
                 "pools, busy: all pages are back in their pools afterwards")
