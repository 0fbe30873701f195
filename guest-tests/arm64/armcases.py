# SPDX-License-Identifier: Apache-2.0
"""The cases of test-features. Each takes TAP and a kernel, some a folder of their own."""
import glob
import gzip
import os
import shutil
import subprocess

import ballooncases
import guestvm
import movecases
import pagingcases
import placecases
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


def place(tap, kernel):
    """Pinned vCPUs, a ledger before and after a move, and what needs a machine with ACPI."""
    with guest(tap, kernel, "place", "balloon", "--pin", "dedicated", "--prealloc") as vm:
        vm.asked("next")
        pinned(tap, vm, {0: 0, 1: 1}, "--pin")
        kept = movecases.ledger(vm)
        tap.same((kept["broken"], [(n["home"], n["share"]) for n in kept["nodes"]]),
                 ([], [("0", 1.0), ("1", 1.0)]), "ledger: all is as the guest was told")
        code, end = movecases.move(vm, "vnode=1", "host=3")
        tap.same((code, end["state"]), (0, "arrived"), "ctl move: a pinned node comes to its end")
        movecases.wait_for(vm, lambda s: s["vcpus_there"] == s["vcpus"], "vCPUs to follow")
        pinned(tap, vm, {0: 0, 1: 3}, "after the move")
        now = movecases.ledger(vm)
        tap.same((now["nodes"][1]["home"], now["nodes"][1]["share"]), ("3", 1.0),
                 "ledger: memory is at its new home")
        says(tap, "place", "shrink: there is nothing to shrink", "(hotplug=)",
             "shrink", "node=1", "by=64M")
        says(tap, "place", "cpu: there is none to be added", "all CPUs are there", "cpu", "add",
             "cpu=1")
        do(vm, "check after a move")
        finish(tap, vm)


def pinned(tap, vm, homes, name):
    """The thread of each vCPU may run on the one CPU of its host node."""
    threads = placecases.threads_on_host(vm.child.pid)
    for vcpu, host in homes.items():
        with open(f"/sys/devices/system/node/node{host}/cpulist", encoding="ascii") as f:
            tap.same(threads.get(f"vcpu{vcpu}"), f.read().strip(), f"{name}: vCPU {vcpu} is pinned")


def says(tap, name, point, words, *action):
    code, said = ctl(name, *action)
    tap.point(code != 0 and words in str(said), point, (code, said))


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
    is_refused(tap, "CPUs to be added", "hotplug-cpus= needs ACPI", "--kernel", kernel, "--node",
               "cpus=0-1,memory=256M,hotplug-cpus=1")
    is_refused(tap, "CPU features", "feature", "--kernel", kernel, "--cpu-feature", "pmu=off")
    is_refused(tap, "more memory than addresses reach", "address", "--kernel", kernel, "--memory",
               "1000T")
    tap.same(guestvm.leftovers(), [], "refused: nothing is left")


def unit_tests():
    """Unit tests of what only arm64 has, as paths of the tree without their suffix."""
    return sorted(p[:-2] for p in glob.glob("*/**/arm64/test/test_*.c", recursive=True)
                  if not p.startswith("build/"))


def unit(tap, _kernel):
    """They cannot run where they are built, if that is another machine."""
    tap.point(len(unit_tests()) > 0, "unit: there are tests of arm64's own parts", unit_tests())
    for test in unit_tests():
        done = subprocess.run([os.path.join(guestvm.BUILD, test)], capture_output=True, text=True,
                              check=False, timeout=guestvm.PATIENCE)
        tap.point(done.returncode == 0, f"unit: {test}", done.stdout + done.stderr)


def checked(tap, name, good, words):
    """What numavisor check says of the host, where it can run guests and where it cannot."""
    done = subprocess.run([PROGRAM, "check"], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=guestvm.PATIENCE)
    tap.point((done.returncode == 0) == good and words in done.stdout, name, done)


def without_gicv3(tap, kernel):
    """KVM is there, but makes only the older interrupt controller."""
    words = "cannot give guests a GICv3"
    checked(tap, "GICv2: numavisor check says what is missing", False, words)
    is_refused(tap, "a host without GICv3", words, "--kernel", kernel, "--memory", "256M")
    tap.same(guestvm.leftovers(), [], "GICv2: nothing is left")


def without_its(tap, kernel):
    """KVM makes the ITS itself: a guest has one, with its messages, where the host has none."""
    checked(tap, "no ITS: numavisor check has nothing to say", True, "vCPUs")
    with guest(tap, kernel, "no-its", "balloon", "--balloon") as vm:
        vm.asked("next")
        ballooncases.balloon(vm, f"target={64 * MIB}")
        ballooncases.holds(vm, 64 * MIB)
        do(vm, "check with a balloon")
        finish(tap, vm)
