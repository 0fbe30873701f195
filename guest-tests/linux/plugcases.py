# SPDX-License-Identifier: Apache-2.0
"""Memory that is plugged into virtual nodes and out: a case of test-memory."""
import os

import guestvm
from ballooncases import HOMES, at_home, do, finish, resident, until
from guestvm import Vm, ctl
from memorycases import MIB

GUEST_BYTES = 256 * MIB


def sizes(vm):
    """[KiB of node 0, of node 1] as the guest's kernel tells."""
    return [int(x) for x in vm.expect(rb"^### size (\d+) (\d+)\r?\n").groups()]


def again(vm, word):
    """Have the guest do something; its nodes' sizes then."""
    vm.send(word.encode() + b"\n")
    found = sizes(vm)
    vm.asked("next")
    return found


def grown(now, before, size):
    """NOW, if node 1 has SIZE bytes more than BEFORE; else nothing."""
    return now if (now[1] - before[1]) * 1024 == size else None


def plug(tap, vm, action, size, plugged):
    """Grow or shrink node 1 by SIZE: all of it is delivered."""
    status, said = ctl(vm.name, action, "node=1", f"by={size // MIB}M")
    good = isinstance(said, dict) and (said["delivered"], said["plugged"]) == (size, plugged)
    tap.point(status == 0 and good, f"plug: {action} by {size // MIB} MiB", said)


def grows(tap, vm, before):
    """Node 1 gets memory, on its host node."""
    plug(tap, vm, "grow", 512 * MIB, 512 * MIB)
    # The last block is plugged in a moment before the guest's kernel has it online.
    after = until("memory that comes online", lambda: grown(again(vm, "look"), before, 512 * MIB))
    tap.same(after[0], before[0], "plug: the guest's node 1 has all of it, node 0 nothing")
    again(vm, "check, grown")
    do(vm, "fill")
    there = at_home(tap, vm, "plug: full")
    tap.point(there[1] > 400 * MIB, "plug: what was written is there", there)


def shrinks(tap, vm, before):
    """It gives memory back, which the host then has."""
    do(vm, "free")
    plug(tap, vm, "shrink", 384 * MIB, 128 * MIB)
    left = resident(vm)
    tap.point(left[1] <= GUEST_BYTES + 128 * MIB, "plug: the host has it back", left)
    plug(tap, vm, "shrink", 128 * MIB, 0)
    left = resident(vm)
    tap.point(left[1] <= GUEST_BYTES, "plug: all of it", left)
    tap.same(again(vm, "check, shrunk"), before, "plug: the guest's nodes are as they were")


def refuses(tap, vm):
    """What cannot be is told."""
    for words, why in ((("shrink", "node=1", "by=128M"), "only 0 B are plugged into"),
                       (("grow", "node=1", "by=4G"), "has room for 2 GiB more"),
                       (("grow", "node=1", "by=100M"), "not a multiple of 128 MiB"),
                       (("grow", "node=0", "by=128M"), "virtual node 0 has no room")):
        status, said = ctl(vm.name, *words)
        tap.point(status == 1 and why in said, f"plug: refused: {why}", said)


def starts_over(tap, vm, before):
    """After a reset nothing is plugged in; the next driver plugs in what is asked for."""
    plug(tap, vm, "grow", 256 * MIB, 256 * MIB)
    tap.same(ctl(vm.name, "reset")[0], 0, "plug: reset")
    after = resident(vm)
    tap.point(after[1] <= GUEST_BYTES, "plug: a reset takes it all out", after)
    sizes(vm)
    vm.asked("next")
    until("memory that is plugged in again",
          lambda: again(vm, "look")[1] - before[1] == 256 * 1024)


def plugged(tap, kernel):
    """A Linux guest whose node 1 grows and shrinks."""
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-memory.zst")
    with Vm(tap, "plug", [
            "--kernel", kernel, "--initrd", initrd, "--cmdline",
            "console=ttyS0 quiet panic=-1 memhp_default_state=online_movable nv.test=plug",
            "--cpus", "2", "--balloon", "size=0", "--node", f"cpus=0,memory=256M,host={HOMES[0]}",
            "--node", f"cpus=1,memory=256M,host={HOMES[1]},hotplug=2G"]) as vm:
        before = sizes(vm)
        vm.asked("next")
        grows(tap, vm, before)
        shrinks(tap, vm, before)
        refuses(tap, vm)
        starts_over(tap, vm, before)
        finish(tap, vm)
