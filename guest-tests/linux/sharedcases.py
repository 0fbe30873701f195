# SPDX-License-Identifier: Apache-2.0
"""The case of test-move about nodes whose memory is away, and shared in a trust domain."""
import contextlib
import os
import re
import subprocess

import guestvm
from domainservice import Service
from guestvm import PATIENCE, PROGRAM, Vm, ctl
from memorycases import counted
from pagingcases import at_home, evict, kept_on, pager
from schedcases import until

HOLD_MIB = 6
SOME = 500  # objects that two guests have alike; what they hold is three times as many


def segments(vm):
    """{host node: pages} of the domain's segments, by the kernel."""
    there = {}
    with open(f"/proc/{vm.child.pid}/numa_maps", encoding="ascii") as f:
        for line in f:
            if "file=/memfd:numavisor-domain" in line:
                for node, pages in re.findall(r" N(\d+)=(\d+)", line):
                    there[int(node)] = there.get(int(node), 0) + int(pages)
    return there


def share(vms, node):
    """Have memory of all go, and wait until both have what they hold in segments, some of them on that
    host node. It is offered when it was away for some seconds."""
    for vm in vms:
        vm.expect(rb"^### held\r?\n")
        for vnode in (0, 1):
            evict(vm, vnode)
    try:
        until("pages to be shared",
              lambda: all(pager(vm, 1)["shared_objects"] >= SOME and segments(vm).get(node, 0) > 0
                          for vm in vms))
    finally:
        for vm in vms:
            told(vm, "away")


def look(tap, vm, which, when):
    """Have it look at all that it holds."""
    vm.go()
    vm.expect(rb"^### same\r?\n")
    tap.same(int(vm.expect(b"^### " + which + rb" (\d+)\r?\n")[1]), 0,
             f"shared: {vm.name}: it is what it was {when}")


def told(vm, when):
    now = pager(vm, 1)
    print(f"# {when}: {vm.name}: shared {now['shared']} as {now['shared_objects']} objects in "
          f"{now['shared_bytes']}, away {now['away']}, store {now['store']}; segments "
          f"{segments(vm)}", flush=True)
    return now


def move(tap, vm, name):
    done = subprocess.run([PROGRAM, "ctl", vm.name, "move", "vnode=1", "host=2", "--force"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    tap.point(done.returncode == 0, f"shared: {name}", done)


def one_moves(tap, first, second):
    """What it shared stays where it is and comes back from there; the other one has it still."""
    before = told(first, "before a move")
    old = segments(first)
    tap.point(old.get(1, 0) > 0 and not set(old) - {0, 1},
              "shared: segments are on the guests' host nodes", old)
    kept_on(tap, first, [0, 1], "shared: before a move")
    move(tap, first, "a node moves whose memory is away, and shared")
    after = told(first, "after a move")
    tap.point(after["shared_objects"] >= SOME and after["away"] == before["away"],
              "shared: it is away and shared still", (before, after))
    tap.point(not set(segments(first)) - {0, 1}, "shared: segments do not move", segments(first))
    kept_on(tap, first, [0, 2], "shared: after a move")
    theirs = told(second, "beside it")
    tap.point(theirs["shared_objects"] >= SOME, "shared: the other guest's is shared still", theirs)
    look(tap, first, b"first", "after its node moved")
    tap.same(sorted(counted(first)[1]), [2], "shared: what comes back is on its new node")
    look(tap, second, b"first", "beside a guest whose node moved")
    at_home(tap, second, "shared: the other guest")


def both_moved(tap, first, second):
    """They share again, on the node where both are now."""
    move(tap, second, "the other one's node follows")
    share((first, second), 2)
    for vm in (first, second):
        tap.point(segments(vm).get(2, 0) > 0, f"shared: {vm.name}: segments are on the new node",
                  segments(vm))
        kept_on(tap, vm, [0, 2], f"shared: {vm.name}: together again")
        look(tap, vm, b"second", "when both nodes had moved")
        tap.same(sorted(counted(vm)[1]), [2], f"shared: {vm.name}: all is on its new node")


def end(tap, vm):
    now = pager(vm, 1)
    domain = ctl(vm.name, "memory")[1]["domain"]
    tap.same((now["lost"], domain["refused"]), (0, 0),
             f"shared: {vm.name}: nothing is lost, nothing was not what it was said to be")
    vm.asked("end")
    vm.go()
    tap.same(vm.wait(), 0, f"shared: {vm.name}: it ends by itself")


def shared(tap, kernel):
    """Two Linux guests in a trust domain that hold the same."""
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-move.zst")
    options = ["--kernel", kernel, "--initrd", initrd, "--cmdline",
               f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=lost nv.hold={HOLD_MIB}", "--cpus", "2",
               "--node", "cpus=0,memory=160M,host=0", "--node", "cpus=1,memory=64M,host=1",
               "--rng", "node=1", "--pager", "on", "--pager-budget", "50%", "--domain", "together"]
    with Service(), contextlib.ExitStack() as stack:
        vms = [stack.enter_context(Vm(tap, f"shared-{n}", options)) for n in ("one", "two")]
        share(vms, 1)
        one_moves(tap, *vms)
        both_moved(tap, *vms)
        for vm in vms:
            end(tap, vm)
