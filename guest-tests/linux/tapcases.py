# SPDX-License-Identifier: Apache-2.0
"""A guest whose network the host's kernel serves (vhost-net), while its memory comes and goes."""
import glob
import os
import subprocess
import threading

import guestvm
import peers
from devicecases import MIB, finish, linux
from guestvm import PROGRAM, Vm, ctl
from pagingcases import evict, pager

TAP = "nvtest5"
BYTES = 4 * MIB


def workers(vm):
    """The kernel's threads that serve its rings, each named after the thread that asked for it."""
    names = [f"vhost-{tid}\n" for tid in os.listdir(f"/proc/{vm.child.pid}/task")]
    found = 0
    for path in glob.glob("/proc/[0-9]*/task/*/comm"):
        try:
            with open(path, encoding="utf-8") as f:
                found += f.read() in names
        except OSError:
            pass
    return found


def talk(tap, vm, name, meanwhile=None):
    """Bytes both ways at once, compared; MEANWHILE runs while they flow. The guest asks again."""
    server = peers.Server(("0.0.0.0", 7201), BYTES)
    vm.send(f"talk {name}\n".encode())
    vm.expect(rb"^(not )?ok - " + name.encode() + rb": ping")
    if meanwhile:
        meanwhile(server)
    peers.compare(tap, vm, name, server)
    vm.asked("next")


def listen():
    subprocess.run(["ip", "addr", "add", "10.0.11.1/24", "dev", TAP], check=True)


def all_goes(tap, vm):
    """All memory of both nodes is taken away, again and again, while data flows."""
    done = []

    def go_on(server):
        while server.thread.is_alive():
            done.append([evict(vm, node) for node in (0, 1)])
            server.thread.join(2)  # time to do something with what came back

    before = [pager(vm, node)["filled"] for node in (0, 1)]
    talk(tap, vm, "evicted", go_on)
    filled = [pager(vm, node)["filled"] - before[node] for node in (0, 1)]
    print(f"# {len(done)} rounds, pages back: {filled}", flush=True)
    tap.point(done and all(g["why"] == "" for both in done for g in both),
              "vhost: memory of both nodes goes while data flows", done)
    tap.point(sum(g["evicted"] for both in done for g in both) * 4096 > 16 * MIB,
              "vhost: much of it", done)
    tap.point(min(filled) > 0, "vhost: what is touched comes back", filled)
    tap.same([pager(vm, node)["lost"] for node in (0, 1)], [0, 0], "vhost: nothing is lost")


def held(tap, vm):
    """Pauses and a move of a node while data flows and memory goes."""
    states = []

    def disturb(_server):
        mover = threading.Thread(target=lambda: states.append(subprocess.run(
            [PROGRAM, "ctl", vm.name, "move", "vnode=1", "host=0", "--force"], capture_output=True,
            text=True, timeout=guestvm.PATIENCE, check=False).returncode))
        mover.start()
        for _ in range(3):
            states.append(ctl(vm.name, "pause")[0])
            states.append(ctl(vm.name, "resume")[0])
        mover.join()
        evict(vm, 1)

    talk(tap, vm, "disturbed", disturb)
    tap.same(states, [0] * 7, "vhost: three pauses and a move meanwhile")


def told(tap, kernel):
    """Each reason why the kernel cannot serve is one sentence."""
    options = ["--kernel", kernel, "--memory", "64M", "--net", f"tap={TAP},vhost=on"]
    node = "/dev/vhost-net"
    if not os.path.exists(node):
        done = subprocess.run([PROGRAM, "run", *options], capture_output=True, text=True, check=False)
        tap.same((done.returncode, done.stderr), (
            1, "numavisor: devices: --net: open /dev/vhost-net (kernel module vhost_net): "
            "No such file or directory\n"), "vhost: without the module")
    subprocess.run(["modprobe", "vhost_net"], check=True)
    os.chmod("/dev/net/tun", 0o666)
    os.chmod("/dev/kvm", 0o666)
    os.chmod(node, 0o600)
    subprocess.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap", "user", "1000"], check=True)
    done = subprocess.run([PROGRAM, "run", *options], capture_output=True, text=True, check=False,
                          user=1000, group=1000, extra_groups=[])
    tap.same((done.returncode, done.stderr), (
        1, "numavisor: devices: --net: open /dev/vhost-net: Permission denied\n"), "vhost: without the right")
    subprocess.run(["ip", "link", "del", TAP], check=True)
    done = subprocess.run([PROGRAM, "check"], capture_output=True, text=True, check=False)
    tap.point("/dev/vhost-net can be opened" in done.stdout, "vhost: check tells", done.stdout)


def vhost(tap, kernel, _folder):
    """Evicted, paused, moved, started anew by the driver, reset by the guest, all while data flows."""
    told(tap, kernel)
    with Vm(tap, "vhost", linux(
            kernel, "vhost", "--node", "cpus=0,memory=192M,host=0,hotplug=2G", "--node",
            "cpus=1,memory=192M,host=1", "--pager", "on", "--net",
            f"tap={TAP},queues=2,vhost=on,node=1,mac=52:54:00:00:00:0b"), may_reset=True) as vm:
        vm.asked("next")
        listen()
        talk(tap, vm, "first")
        tap.same(workers(vm), 2, "vhost: the kernel serves two pairs")
        all_goes(tap, vm)
        held(tap, vm)
        vm.send(b"again\n")
        vm.asked("unbound")
        tap.same(workers(vm), 0, "vhost: nobody serves without a driver")
        vm.go()
        vm.asked("next")
        talk(tap, vm, "restarted")
        vm.send(b"reset\n")
        vm.expect(rb"^### init\r?\n")
        vm.asked("next")
        talk(tap, vm, "reset", lambda _server: evict(vm, 1))
        tap.same(workers(vm), 2, "vhost: the kernel serves two pairs after a reset")
        vm.send(b"end\n")
        finish(tap, vm, 0, "power off", taps=[TAP])
