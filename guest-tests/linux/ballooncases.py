# SPDX-License-Identifier: Apache-2.0
"""Memory that guests give back: cases of test-memory. Each takes TAP and a kernel."""
import os
import tempfile
import time

import guestvm
import memorycases
from guestvm import Vm, ctl
from memorycases import MIB, agree, to_bytes

HOMES = {0: 2, 1: 1}  # host nodes of the guest's two


def balloon(vm, *words):
    """Answer of ctl NAME balloon."""
    status, answer = ctl(vm.name, "balloon", *words)
    if status != 0:
        raise guestvm.Trouble(f"ctl balloon: {answer}")
    return answer


def given(vm, kind):
    """{virtual node: bytes} of a KIND as ctl NAME memory tells."""
    return {n["id"]: n[kind] for n in ctl(vm.name, "memory")[1]["nodes"]}


def resident(vm):
    """{virtual node: bytes} of host memory, by the size of its files."""
    return {n["id"]: n["resident"] for n in ctl(vm.name, "status")[1]["nodes"]}


def until(what, ready):
    """Wait until READY() is true; what it was then."""
    end = time.monotonic() + guestvm.PATIENCE
    while not (found := ready()):
        if time.monotonic() > end:
            raise guestvm.OutOfTime(f"waited for {what}")
        time.sleep(0.2)
    return found


def holds(vm, size):
    """Wait until the guest says that SIZE bytes are in the balloon."""
    until(f"a balloon of {size} bytes", lambda: balloon(vm)["told"] == size)


def linux(tap, kernel, name, *options, pages="4K"):
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-memory.zst")
    return Vm(tap, name, [
        "--kernel", kernel, "--initrd", initrd, "--cmdline",
        f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=balloon", "--cpus", "2", "--node",
        f"cpus=0,memory=256M,host={HOMES[0]},pages={pages}", "--node",
        f"cpus=1,memory=256M,host={HOMES[1]},pages={pages}", *options])


def do(vm, word):
    """Have the guest do something."""
    vm.send(word.encode() + b"\n")
    vm.asked("next")


def finish(tap, vm):
    """The guest ends by itself."""
    vm.send(b"end\n")
    tap.same(vm.wait(), 0, f"{vm.name}: power off")


def at_home(tap, vm, name):
    """Both judges agree on every page, and each is on its node's host node."""
    tap.same(ctl(vm.name, "pause")[0], 0, f"{name}: pause")
    mine, _policy = agree(tap, vm, name)
    tap.same({n: list(h) for n, h in mine.items()}, {n: [h] for n, h in HOMES.items()},
             f"{name}: every page is at home")
    tap.same(ctl(vm.name, "resume")[0], 0, f"{name}: resume")
    return {n: to_bytes(h)[HOMES[n]] for n, h in mine.items()}


def inflates(tap, vm):
    """What goes into the balloon leaves the host, node by node; what comes out is taken anew."""
    size = 256 * MIB
    do(vm, "fill")
    before = resident(vm)
    tap.point(sum(before.values()) > 320 * MIB, "balloon: the guest has touched its memory", before)
    tap.same(balloon(vm, f"target={size}")["target"], size, "balloon: a target is taken")
    holds(vm, size)
    after = at_home(tap, vm, "balloon: full")
    there, kept = given(vm, "ballooned"), given(vm, "kept")
    tap.same(sum(there.values()) + sum(kept.values()), size, "balloon: every page is accounted for")
    tap.point(sum(kept.values()) < 4 * MIB, "balloon: next to nothing of it is kept", kept)
    tap.point(all(there.values()), "balloon: both nodes gave", there)
    tap.point(all(after[n] + there[n] <= 256 * MIB for n in HOMES),
              "balloon: what a node gave is not there", f"{after} there, {there} given")
    tap.point(sum(before.values()) - sum(after.values()) > 160 * MIB,
              "balloon: the host has its memory back", f"{before} before, {after} after")
    do(vm, "check full balloon")
    balloon(vm, "target=0")
    holds(vm, 0)
    tap.same(sum(given(vm, "ballooned").values()), 0, "balloon: empty")
    do(vm, "fill")
    filled = at_home(tap, vm, "balloon: filled again")
    tap.point(sum(filled.values()) > 320 * MIB, "balloon: the guest has its memory again", filled)
    do(vm, "check empty balloon")


def out_of_memory(tap, vm):
    """A guest that runs out of memory takes some of the balloon."""
    stats = balloon(vm)["stats"]["values"]
    tap.point(0 < stats["free"] < stats["total"] < 512 * MIB, "balloon: statistics", stats)
    size = (stats["free"] - 24 * MIB) // 4096 * 4096
    balloon(vm, f"target={size}")
    holds(vm, size)
    do(vm, "oom")
    do(vm, "check after it ran out of memory")


def starts_over(tap, vm):
    """After a reset nothing is ballooned, and the target is as it was."""
    balloon(vm, f"target={64 * MIB}")
    holds(vm, 64 * MIB)
    tap.same(ctl(vm.name, "reset")[0], 0, "balloon: reset")
    tap.same((sum(given(vm, "ballooned").values()), balloon(vm)["driver"]), (0, False),
             "balloon: after a reset nothing is in it")
    vm.asked("next")
    holds(vm, 64 * MIB)
    tap.same(sum(given(vm, k)[n] for k in ("ballooned", "kept") for n in HOMES), 64 * MIB,
             "balloon: the next driver fills it again")


def away(vm):
    """{virtual node: bytes} that the pager keeps."""
    return {n["id"]: n["pager"]["away"] for n in ctl(vm.name, "memory")[1]["nodes"]}


def evict(tap, vm, name, least):
    """Half of each node goes to the store, LEAST bytes of all together; what does."""
    for node in HOMES:
        tap.same(ctl(vm.name, "evict", f"node={node}", f"by={128 * MIB}")[0], 0,
                 f"{name}: evict of node {node}")
    there = away(vm)
    tap.point(sum(there.values()) >= least, f"{name}: memory is away", there)
    return there


def paged(tap, kernel):
    """Memory that is away and given back, and memory in the balloon that nobody brings back."""
    size = 256 * MIB
    with linux(tap, kernel, "paged", "--balloon", "reporting=off", "--pager", "on") as vm:
        vm.asked("next")
        do(vm, "fill")
        before = evict(tap, vm, "paged", 64 * MIB)
        balloon(vm, f"target={size}")
        holds(vm, size)
        there, kept, left = given(vm, "ballooned"), given(vm, "kept"), away(vm)
        tap.same(sum(there.values()) + sum(kept.values()), size, "paged: every page is accounted for")
        tap.point(sum(kept.values()) < 4 * MIB, "paged: next to nothing of it is kept", kept)
        tap.point(sum(left.values()) < sum(before.values()), "paged: copies of it are dropped",
                  f"{before} away before, {left} now")
        after = resident(vm)
        tap.point(all(after[n] + there[n] + left[n] <= 256 * MIB for n in HOMES),
                  "paged: no page is counted twice", f"{after} there, {there} given, {left} away")
        do(vm, "check full balloon")
        evict(tap, vm, "paged, full", MIB)
        do(vm, "check full balloon, evicted")
        tap.point(sum(given(vm, "kept").values()) < 4 * MIB, "paged: the balloon stays empty inside",
                  given(vm, "kept"))
        balloon(vm, "target=0")
        holds(vm, 0)
        do(vm, "fill")
        do(vm, "check empty balloon")
        starts_over(tap, vm)
        tap.same(ctl(vm.name, "stop")[0], 0, "paged: stop")
        vm.wait()


def ballooned(tap, kernel):
    """A Linux guest whose balloon is filled and emptied."""
    with linux(tap, kernel, "balloon", "--balloon", "reporting=off") as vm:
        vm.asked("next")
        inflates(tap, vm)
        out_of_memory(tap, vm)
        starts_over(tap, vm)
        tap.same(ctl(vm.name, "stop")[0], 0, "balloon: stop")
        vm.wait()


def reported(tap, kernel):
    """What a guest has free, and the cache of a disk that it drops, goes by itself."""
    with tempfile.NamedTemporaryFile() as disk:
        disk.truncate(96 * MIB)
        with linux(tap, kernel, "reports", "--balloon", "size=0,stats=1", "--disk",
                   disk.name) as vm:
            vm.asked("next")
            do(vm, "fill")
            until("reports of what was freed",
                  lambda: all(v >= 96 * MIB for v in given(vm, "reported").values()))
            do(vm, "read")
            before = resident(vm)
            do(vm, "drop")
            until("reports of the cache",
                  lambda: sum(resident(vm).values()) < sum(before.values()) - 64 * MIB)
            after = at_home(tap, vm, "reports")
            free = given(vm, "reported")
            tap.point(all(after[n] + free[n] <= 256 * MIB for n in HOMES),
                      "reports: what was reported is not there", f"{after} there, {free} reported")
            tap.point(balloon(vm)["stats"]["count"] > 2, "reports: statistics come by themselves")
            do(vm, "check after reports")
            finish(tap, vm)


def reported_pools(tap, kernel):
    """Pages of 2 MiB go back to their pools, whole ones alone."""
    with memorycases.pool_of(tap, 2048, {1: 140, 2: 140}) as there:
        if not there:
            return

        def free():
            return sum(memorycases.pool(n, 2048, what="free_hugepages") for n in (1, 2))

        with linux(tap, kernel, "pools", "--balloon", "size=0", pages="2M") as vm:
            vm.asked("next")
            do(vm, "fill")
            until("reports of whole pages", lambda: free() > 24 + 80)
            at_home(tap, vm, "pools")
            balloon(vm, f"target={64 * MIB}")
            holds(vm, 64 * MIB)
            given_now = (given(vm, "ballooned"), given(vm, "kept"))
            tap.same(sum(sum(g.values()) for g in given_now), 64 * MIB,
                     "pools: every page is accounted for")
            tap.same([v % (2 * MIB) for v in resident(vm).values()], [0, 0],
                     "pools: only whole pages are there or not")
            do(vm, "check pools")
            finish(tap, vm)
        tap.same(free(), 280, "pools: all pages are back in their pools afterwards")
