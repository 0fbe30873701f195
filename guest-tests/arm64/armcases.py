# SPDX-License-Identifier: Apache-2.0
"""The cases of test-features. Each takes TAP and a kernel, some a folder of their own."""
import gzip
import os
import shutil
import subprocess

import ballooncases
import guestvm
import movecases
import pagingcases
from ballooncases import do, finish, given, until
from guestvm import CONSOLE, PROGRAM, Vm, ctl
from memorycases import MIB, counted, maps

INITRD = os.path.join(guestvm.BUILD, "guest/initrd-memory.zst")


def guest(tap, kernel, name, test, *options, **how):
    """A Linux guest of two nodes with a CPU each, on host nodes 0 and 1."""
    return Vm(tap, name, [
        "--kernel", kernel, "--initrd", INITRD, "--cmdline",
        f"console={CONSOLE} quiet loglevel=1 panic=-1 nv.test={test}", "--cpus", "2",
        "--node", "cpus=0,memory=256M,host=0", "--node", "cpus=1,memory=256M,host=1",
        "--distance", "0-1=40", *options], **how)


def at_home(tap, vm, homes, name):
    """By our count and by the kernel's, every page is on these host nodes."""
    want = {n: [h] for n, h in homes.items()}
    tap.same({n: sorted(h) for n, h in counted(vm).items()}, want,
             f"{name}: every page is on its host node")
    tap.same({n: sorted(h) for n, h in maps(vm)[0].items()}, want,
             f"{name}: the kernel has the same")


def memory(tap, kernel):
    """Counted, moved, evicted and brought back, given back by a balloon."""
    with guest(tap, kernel, "memory", "balloon", "--balloon", "--pager", "on") as vm:
        vm.asked("next")
        do(vm, "fill")
        at_home(tap, vm, {0: 0, 1: 1}, "ctl memory")
        code, end = movecases.move(vm, "vnode=1", "host=3")
        tap.same((code, end["state"]), (0, "arrived"), "ctl move: it comes to its end")
        at_home(tap, vm, {0: 0, 1: 3}, "ctl move")
        do(vm, "check after a move")
        gone = pagingcases.evict(vm, 1)
        tap.point(gone["evicted"] * 4096 > 100 * MIB and gone["pager"]["lost"] == 0,
                  "ctl evict: memory goes", gone)
        do(vm, "check after an eviction")
        tap.point(pagingcases.pager(vm, 1)["filled"] > 0, "ctl evict: what is touched comes back",
                  pagingcases.pager(vm, 1))
        size = 128 * MIB
        ballooncases.balloon(vm, f"target={size}")
        ballooncases.holds(vm, size)
        tap.same(sum(given(vm, "ballooned").values()) + sum(given(vm, "kept").values()), size,
                 "ctl balloon: all of it is given back")
        do(vm, "check with a balloon")
        ballooncases.balloon(vm, "target=0")
        ballooncases.holds(vm, 0)
        do(vm, "check without a balloon")
        finish(tap, vm)


def life(tap, kernel):
    """Pauses, a reset from outside, no power button, a stop; a reset by the guest ends another."""
    with guest(tap, kernel, "life", "balloon", "--cpu-max", "80%", may_reset=True) as vm:
        vm.asked("next")
        tap.same(ctl("life", "pause")[0], 0, "life: pause")
        tap.same(ctl("life", "status")[1]["state"], "paused", "life: paused")
        tap.same(ctl("life", "resume")[0], 0, "life: resume")
        do(vm, "check after a pause")
        code, said = ctl("life", "power")
        tap.point(code != 0 and "power" in str(said), "life: there is no power button", (code, said))
        tap.same(ctl("life", "reset")[0], 0, "life: ctl reset")
        vm.expect(rb"^### init\r?\n")
        vm.asked("next")
        tap.same(ctl("life", "status")[1]["resets"], 1, "life: one reset is counted")
        tap.same(ctl("life", "stop")[0], 0, "life: ctl stop")
        vm.wait()
    tap.same(guestvm.leftovers(), [], "life: nothing is left")
    packed = "/tmp/Image.gz"  # the same kernel as others ship it
    with open(kernel, "rb") as raw, gzip.open(packed, "wb", 1) as out:
        shutil.copyfileobj(raw, out)
    with guest(tap, packed, "again", "none nv.end=reset", may_reset=True) as vm:
        vm.expect(rb"^### init\r?\n")
        vm.expect(rb"^### init\r?\n")
        until("a reset to be counted",
              lambda: (s := ctl("again", "status"))[0] == 0 and s[1]["resets"] >= 1)
        tap.point(True, "life: a guest resets itself (PSCI) and boots again")
        vm.child.kill()
        vm.wait()
    tap.same(guestvm.leftovers(), [], "life: nothing is left of one that was killed")


def is_refused(tap, name, words, *options):
    done = subprocess.run([PROGRAM, "run", *options], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=guestvm.PATIENCE)
    tap.point(done.returncode in (1, 2) and words in done.stderr and done.stdout == "" and
              len(done.stderr.strip().splitlines()) == 1, f"refused: {name}", done)


def refused(tap, kernel, folder):
    """What arm64 does not do is said before anything starts."""
    other = os.path.join(folder, "bzImage")
    with open(other, "wb") as f:
        f.write(bytes(0x202) + b"HdrS" + bytes(8192))
    is_refused(tap, "an x86 kernel", "x86", "--kernel", other)
    is_refused(tap, "memory to be added", "a device tree cannot tell", "--kernel", kernel, "--node",
               "cpus=0,memory=256M,hotplug=2G", "--node", "cpus=1,memory=256M", "--cpus", "2")
    is_refused(tap, "CPU features", "feature", "--kernel", kernel, "--cpu-feature", "pmu=off")
    is_refused(tap, "more memory than addresses reach", "address", "--kernel", kernel, "--memory",
               "1000T")
    tap.same(guestvm.leftovers(), [], "refused: nothing is left")
