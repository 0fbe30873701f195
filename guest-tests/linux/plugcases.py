# SPDX-License-Identifier: Apache-2.0
"""Memory that is plugged into virtual nodes and out: a case of test-memory."""
import json
import os
import signal
import subprocess

import guestvm
from ballooncases import HOMES, at_home, do, finish, holds, resident, until
from guestvm import Vm, ctl
from memorycases import MIB
from pagingcases import evict, pager

GUEST_BYTES = 256 * MIB
PATIENT = ("--patience", "150")  # one block may take that long in an emulated host


def sizes(vm):
    """[KiB of node 0, of node 1] as the guest's kernel tells."""
    return [int(x) for x in vm.expect(rb"^### size (\d+) (\d+)\r?\n").groups()]


def boots(vm):
    """The nodes' sizes before a driver changes them, when the guest waits for orders."""
    found = sizes(vm)
    sizes(vm)
    vm.asked("next")
    return found


def again(vm, word):
    """Have the guest do something; its nodes' sizes then."""
    vm.send(word.encode() + b"\n")
    found = sizes(vm)
    vm.asked("next")
    return found


def grown(now, before, size):
    """NOW, if node 1 has SIZE bytes more than BEFORE; else nothing."""
    return now if (now[1] - before[1]) * 1024 == size else None


def grow(tap, vm, size, plugged):
    """Node 1 takes SIZE bytes, all of them."""
    status, said = ctl(vm.name, "grow", "node=1", f"by={size // MIB}M", *PATIENT)
    good = isinstance(said, dict) and (said["delivered"], said["plugged"]) == (size, plugged)
    tap.point(status == 0 and good, f"plug: grow by {size // MIB} MiB", said)


def shrink(tap, vm, size):
    """Node 1 gives SIZE bytes up, by plugging them out; what the host has of them back."""
    status, said = ctl(vm.name, "shrink", "node=1", f"by={size // MIB}M", *PATIENT)
    good = isinstance(said, dict) and (said["given"], said["virtio-mem"]["given"]) == (size, size)
    tap.point(status == 0 and good, f"plug: shrink by {size // MIB} MiB", said)
    return said["delivered"] if good else 0


def grows(tap, vm, before):
    """Node 1 gets memory, on its host node."""
    grow(tap, vm, 512 * MIB, 512 * MIB)
    # The last block is plugged in a moment before the guest's kernel has it online.
    after = until("memory that comes online", lambda: grown(again(vm, "look"), before, 512 * MIB))
    tap.same(after[0], before[0], "plug: the guest's node 1 has all of it, node 0 nothing")
    again(vm, "check, grown")
    do(vm, "fill")
    there = at_home(tap, vm, "plug: full")
    tap.point(there[1] > 400 * MIB, "plug: what was written is there", there)


def holds_back_interrupts(pid):
    """Whether process PID has SIGINT blocked."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        blocked = next(line for line in f if line.startswith("SigBlk:"))
    return int(blocked.split()[1], 16) >> (signal.SIGINT - 1) & 1


def interrupts(tap, vm):
    """A guest that stands gives nothing; who does not want to wait for it is asked for no more."""
    tap.same(ctl(vm.name, "pause")[0], 0, "plug: pause")
    with subprocess.Popen([guestvm.PROGRAM, "ctl", "--json", vm.name, "shrink", "node=1", "by=128M",
                           *PATIENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        until("ctl that waits", lambda: holds_back_interrupts(child.pid))
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=guestvm.PATIENCE)
    said = json.loads(out)
    tap.point((child.returncode, said["cancelled"], said["given"], said["delivered"]) ==
              (1, True, 0, 0), "plug: an interrupted shrink", f"{said} {err.decode()}")
    tap.same(ctl(vm.name, "resume")[0], 0, "plug: resume")
    again(vm, "check, not shrunk")
    there = {n["id"]: n.get("plugged") for n in ctl(vm.name, "memory")[1]["nodes"]}
    tap.same(there, {0: None, 1: 512 * MIB}, "plug: it stays as large as it is")


def shrinks(tap, vm, before):
    """It gives memory back, which the host then has."""
    do(vm, "free")
    back = shrink(tap, vm, 384 * MIB)
    tap.point(64 * MIB < back <= 384 * MIB, "plug: what was written is back, and no more", back)
    left = resident(vm)
    tap.point(left[1] <= GUEST_BYTES + 128 * MIB, "plug: the host has it back", left)
    shrink(tap, vm, 128 * MIB)
    left = resident(vm)
    tap.point(left[1] <= GUEST_BYTES, "plug: all of it", left)
    tap.same(again(vm, "check, shrunk"), before, "plug: the guest's nodes are as they were")


def inflates(tap, vm):
    """Memory that node 1 started with comes by the balloon, as far as the guest takes it from there."""
    do(vm, "touch")
    filled = resident(vm)
    status, said = ctl(vm.name, "shrink", "node=1", "by=64M", *PATIENT)
    part = said["balloon"]
    # A part of a huge page that somebody comes to just then stays, and is told.
    tap.point(said["virtio-mem"]["given"] == 0 and part["kept"] < 16 * MIB
              and part["given"] + part["others"] + part["kept"] == 64 * MIB,
              "plug: the balloon is asked for what is missing, and no more",
              f"{said}\n{ctl(vm.name, 'balloon')}")
    tap.same(status, 0 if part["given"] == 64 * MIB else 1, "plug: the status says whether it did")
    tap.point(part["delivered"] <= part["given"], "plug: the host has no more than was given", said)
    tap.point(part["delivered"] < 16 * MIB or resident(vm)[1] < filled[1],
              "plug: and that is missing at the node", f"{filled} before, {resident(vm)} now")
    tap.same(ctl(vm.name, "balloon", "target=0")[0], 0, "plug: the balloon is emptied")
    holds(vm, 0)
    again(vm, "check, with a balloon")


def refuses(tap, vm):
    """What cannot be is told."""
    for words, why in ((("grow", "node=1", "by=4G"), "has room for 2 GiB more"),
                       (("grow", "node=1", "by=100M"), "not a multiple of 128 MiB"),
                       (("grow", "node=0", "by=128M"), "virtual node 0 has no room")):
        status, said = ctl(vm.name, *words)
        tap.point(status == 1 and why in said, f"plug: refused: {why}", said)


def pages(tap, vm, before):
    """Memory that is plugged in goes away and comes back as other memory does; plugged out, it is
    neither there nor away."""
    grow(tap, vm, 256 * MIB, 256 * MIB)
    until("memory that comes online", lambda: grown(again(vm, "look"), before, 256 * MIB))
    again(vm, "keep")
    gone = evict(vm, 1)
    tap.point(gone["evicted"] >= 32 * MIB and gone["why"] == "", "plug: memory of the node is away",
              gone)
    again(vm, "check, come back")
    evict(vm, 1)
    there, away = resident(vm)[1], pager(vm, 1)["away"]
    back = shrink(tap, vm, 256 * MIB)
    now = pager(vm, 1)
    print(f"# {there} there and {away} away; {back} delivered, {resident(vm)[1]} there and "
          f"{now['away']} away, {now['dropped']} dropped", flush=True)
    tap.point(resident(vm)[1] + now["away"] <= GUEST_BYTES, "plug: what went is not away, either",
              (resident(vm), now))
    tap.same(now["lost"], 0, "plug: nothing is lost")
    tap.same(again(vm, "check, plugged out"), before, "plug: the guest's nodes are as they were again")
    do(vm, "free")


def starts_over(tap, vm):
    """After a reset nothing is plugged in; the next driver plugs in what is asked for."""
    grow(tap, vm, 256 * MIB, 256 * MIB)
    tap.same(ctl(vm.name, "reset")[0], 0, "plug: reset")
    after = resident(vm)
    tap.point(after[1] <= GUEST_BYTES, "plug: a reset takes it all out", after)
    before = boots(vm)  # another kernel, which may lie elsewhere
    until("memory that is plugged in again", lambda: grown(again(vm, "look"), before, 256 * MIB))


def plugged(tap, kernel):
    """A Linux guest whose node 1 grows and shrinks; the pager has nothing to do until late."""
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-memory.zst")
    with Vm(tap, "plug", [
            "--kernel", kernel, "--initrd", initrd, "--cmdline",
            f"console={guestvm.CONSOLE} quiet panic=-1 memhp_default_state=online_movable nv.test=plug",
            "--cpus", "2", "--pager", "on", "--balloon", "size=0",
            "--node", f"cpus=0,memory=256M,host={HOMES[0]}",
            "--node", f"cpus=1,memory=256M,host={HOMES[1]},hotplug=2G"]) as vm:
        before = boots(vm)
        grows(tap, vm, before)
        interrupts(tap, vm)
        shrinks(tap, vm, before)
        inflates(tap, vm)
        refuses(tap, vm)
        pages(tap, vm, before)
        starts_over(tap, vm)
        finish(tap, vm)
