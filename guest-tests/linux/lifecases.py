# SPDX-License-Identifier: Apache-2.0
"""The life of a machine: pause, reset, power button, and every way to end it."""
import os
import signal
import subprocess
import time

import guestvm
import peers
from devicecases import MIB, finish, linux, make_image
from guestvm import Vm, ctl


def pauses(tap, vm):
    """Pause and resume while the guest writes and compares; a paused guest says nothing."""
    for n in range(3):
        vm.expect(rb"^(not )?ok - round")
        tap.same(ctl(vm.name, "pause")[0], 0, f"life: pause {n}")
        time.sleep(0.5)  # what was on its way to the console arrives
        length = len(vm.text)
        state = ctl(vm.name, "status")[1]
        time.sleep(1)
        tap.same((state["state"], len(vm.text)), ("paused", length), f"life: pause {n} holds")
        tap.same(ctl(vm.name, "resume")[0], 0, f"life: resume {n}")
    tap.same(ctl(vm.name, "status")[1]["state"], "running", "life: it runs again")


def boot(tap, vm, vs, number):
    """What every boot of guest/life does first."""
    server = peers.Server(vs + "_5000", MIB)
    vm.expect(rb"^### boot %d\r?\n" % number)
    peers.compare(tap, vm, f"vsock-{number}", server)
    os.unlink(vs + "_5000")


def life(tap, kernel, folder):
    """Pauses; a reset by the guest; a reset by the host; the power button."""
    disk, vs = os.path.join(folder, "life.img"), os.path.join(folder, "life.vsock")
    make_image(disk, 32 * MIB)
    with Vm(tap, "life", linux(
        kernel, "life", "--cpus", "2", "--memory", "512M", "--vnuma", "2",
        "--disk", f"{disk},queues=2,serial=life", "--net", "user", "--vsock",
        f"cid=9,socket={vs}"), may_reset=True) as vm:
        boot(tap, vm, vs, 0)
        pauses(tap, vm)
        vm.asked("filled")
        filled = guestvm.guest_memory()
        vm.go()
        vm.expect(rb"^### init\r?\n")
        left = guestvm.guest_memory()
        tap.point(left < filled - 100 * MIB, "life: a reset gives the guest's memory back",
                  f"{filled} bytes before, {left} after")
        boot(tap, vm, vs, 1)
        vm.expect(rb"^### idle\r?\n")
        tap.same(ctl("life", "status")[1]["resets"], 1, "life: one reset is counted")
        tap.same(ctl("life", "reset")[0], 0, "life: ctl reset")
        boot(tap, vm, vs, 2)
        vm.expect(rb"^### button\r?\n")
        time.sleep(1)
        tap.same(ctl("life", "status")[1]["resets"], 2, "life: two resets are counted")
        tap.same(ctl("life", "power")[0], 0, "life: ctl power")
        finish(tap, vm, 0, "power button", paths=[vs])


def busy(kernel, folder, interface):
    """Options of a machine that uses all its devices without end, and its vsock's path."""
    disk, vs = os.path.join(folder, "busy.img"), os.path.join(folder, "busy.vsock")
    make_image(disk, 16 * MIB)
    return linux(
        kernel, "busy", "--cpus", "2", "--memory", "256M", "--disk", f"{disk},serial=busy",
        "--net", f"tap={interface}", "--net", "user", "--rng", "--vsock", f"cid=11,socket={vs}"), vs


def ends(tap, kernel, folder):
    """SIGKILL while busy, the same name again, then stop; an existing TAP is left alone."""
    before = guestvm.shared_memory(folder)
    options, vs = busy(kernel, folder, "nvtest1")
    with Vm(tap, "busy", options) as vm:
        vm.expect(rb"^### busy\r?\n")
        tap.same(os.path.exists("/sys/class/net/nvtest1"), True, "busy: its interface exists")
        vm.child.send_signal(signal.SIGKILL)
        tap.same(vm.wait(), -signal.SIGKILL, "busy: killed")
        found = guestvm.leftovers(taps=["nvtest1"], paths=[vs])
        tap.point(not found, "busy: killed: nothing stays behind", "\n".join(found))
        more = guestvm.shared_memory(folder) - before
        tap.point(more < 16 * MIB, "busy: killed: the host has its memory back", f"{more} bytes gone")
        tap.same(ctl("busy", "status")[0], 1, "busy: killed: nobody answers")
    subprocess.run(["ip", "tuntap", "add", "dev", "nvkeep0", "mode", "tap"], check=True)
    options, vs = busy(kernel, folder, "nvkeep0")
    with Vm(tap, "busy", options) as vm:
        vm.expect(rb"^### busy\r?\n")
        tap.same(ctl("busy", "stop")[0], 0, "busy: again under the killed one's name, ctl stop")
        finish(tap, vm, 4, "ctl stop", paths=[vs])
        tap.same(os.path.exists("/sys/class/net/nvkeep0"), True, "busy: a TAP of others stays")


def early(tap, kernel, folder):
    """Signals while the guest's kernel starts."""
    options, vs = busy(kernel, folder, "nvtest2")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Vm(tap, "early", options) as vm:
            while ctl("early", "status")[0] != 0 and vm.child.poll() is None:
                time.sleep(0.1)
            vm.child.send_signal(number)
            finish(tap, vm, 4, number.name, taps=["nvtest2"], paths=[vs])


def reset_ends(tap, kernel, _folder):
    """A reset with --on-reset exit."""
    with Vm(tap, "resetting", linux(kernel, "demo", "--memory", "256M", "--on-reset", "exit",
                                   extra="nv.end=reset"), may_reset=True) as vm:
        finish(tap, vm, 3, "reset with --on-reset exit")
