# SPDX-License-Identifier: Apache-2.0
"""CPUs that come before the guest listens, during a reset, and as their node's only ones."""
import subprocess
import time

import guestvm
from devicecases import finish, linux
from guestvm import Vm, ctl

PATIENT = ("--patience", str(int(guestvm.PATIENCE)))
# Node 1 has no memory, and no CPU but one that comes later.
MACHINE = ("--node", "cpus=0,2,memory=384M,hotplug-cpus=2", "--node", "cpus=1,hotplug-cpus=1")


def begin(vm):
    """The machine answers; its guest has hardly begun."""
    end = time.monotonic() + guestvm.PATIENCE
    while ctl(vm.name, "status")[0] != 0:
        if vm.child.poll() is not None or time.monotonic() > end:
            raise guestvm.Trouble(f"{vm.name} does not answer\n{vm.last_words()}")
        time.sleep(0.1)


def add(vm, cpu):
    """The running program that plugs CPU in."""
    return subprocess.Popen([guestvm.PROGRAM, "ctl", vm.name, "cpu", "add", f"cpu={cpu}", *PATIENT],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def there(vm):
    """How many CPUs the machine says that the guest has."""
    return ctl(vm.name, "status")[1]["vcpus_there"]


def sees(tap, vm, want, when):
    match = vm.expect(rb"^### has ([^\r\n]*)\r?\n")
    vm.asked("next")
    tap.same(match[1].decode(), want, f"cpus: the guest's CPUs, their nodes and all nodes, {when}")


def cpus(tap, kernel, _folder):
    with Vm(tap, "cpus", linux(kernel, "cpus", *MACHINE), may_reset=True) as vm:
        begin(vm)
        first = add(vm, 1)
        while there(vm) < 2:
            time.sleep(0.1)
        ctl(vm.name, "reset")
        _, err = first.communicate(timeout=guestvm.PATIENCE)
        tap.point(first.returncode == 1 and "CPU 1 was taken away again" in err,
                  "cpus: a reset takes one away, and who waits for it is told", err)
        tap.same(there(vm), 1, "cpus: the status counts those that are there")
        early = add(vm, 1)
        out, err = early.communicate(timeout=guestvm.PATIENCE)
        tap.point(early.returncode == 0 and "CPU 1 of virtual node 1 is plugged in\n" in out,
                  "cpus: one that came before the guest listened is noted when it does", out + err)
        sees(tap, vm, "0 of 0 nodes 0", "with one that is not in use")
        vm.send(b"online 1\n")
        sees(tap, vm, "0-1 of 0-1 nodes 0-1", "with one in use")
        status, said = ctl(vm.name, "cpu", "remove", "node=1", *PATIENT)
        tap.point(status == 0, "cpus: the last one of a node without memory is given up", said)
        vm.go()
        sees(tap, vm, "0 of 0 nodes 0", "without it")
        status, said = ctl(vm.name, "cpu", "add", "node=1", *PATIENT)
        tap.point(status == 0, "cpus: and comes again", said)
        vm.send(b"online 1\n")
        sees(tap, vm, "0-1 of 0-1 nodes 0-1", "with it again")
        vm.send(b"end\n")
        finish(tap, vm, 0, "power off")
