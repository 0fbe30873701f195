# SPDX-License-Identifier: Apache-2.0
"""A disk and a network of a guest that other processes serve, through vhost-user."""
import os
import signal
import subprocess
import sys
import time

import guestvm
import peers
from devicecases import MIB, finish, linux, make_image
from guestvm import Vm

HERE = os.path.dirname(os.path.abspath(__file__))
TAP = "nvtest1"
DISK_BYTES = 64 * MIB


class Served:
    """A back end that is killed and started again."""

    def __init__(self, path, command):
        self.path, self.command = path, command
        self.child = None

    def start(self):
        if os.path.lexists(self.path):
            os.unlink(self.path)
        self.child = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + guestvm.PATIENCE
        while not os.path.exists(self.path):
            if self.child.poll() is not None or time.monotonic() > end:
                raise guestvm.Trouble(f"{self.command[0]} does not serve: {self.child.poll()}")
            time.sleep(0.1)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


def disk(path, image):
    return Served(path, [
        "qemu-storage-daemon", "--blockdev", f"file,filename={image},node-name=disk", "--export",
        f"vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={path},writable=on,"
        "num-queues=2"])


def net(path):
    return Served(path, [sys.executable, os.path.join(HERE, "vhostnet.py"), path, TAP])


def listen():
    """The host's end of the network, which comes and goes with its back end."""
    subprocess.run(["ip", "addr", "add", "10.0.10.1/24", "dev", TAP], check=True)
    subprocess.run(["ip", "link", "set", TAP, "up"], check=True)
    return peers.Server(("0.0.0.0", 7101), MIB)


def says(tap, vm, what, name):
    """The machine does, within its time."""
    end = time.monotonic() + guestvm.PATIENCE
    while what not in vm.error_text() and time.monotonic() < end:
        time.sleep(0.1)
    tap.point(what in vm.error_text(), name, vm.error_text())


def answers(tap, vm, when):
    """The machine pauses, goes on and tells of itself: whoever serves cannot hold it up."""
    done = [guestvm.ctl(vm.name, word)[0] for word in ("pause", "resume", "status")]
    tap.same(done, [0, 0, 0], f"backends: the machine answers {when}")


def backends(tap, kernel, folder):
    """Served, lost, served again; then one that lies; what the guest wrote is in the image."""
    image, blk_path, net_path = (os.path.join(folder, x) for x in ("disk", "blk", "net"))
    make_image(image, DISK_BYTES)
    with disk(blk_path, image) as blk, net(net_path) as eth, Vm(tap, "backends", linux(
            kernel, "backends", "--cpus", "2", "--memory", "512M", "--vnuma", "2", "--vhost-user",
            f"blk,socket={blk_path},queues=2,node=1", "--vhost-user",
            f"net,socket={net_path},mac=52:54:00:12:34:56")) as vm:
        vm.asked("net")
        server = listen()
        vm.go()
        peers.compare(tap, vm, "net-first", server)
        answers(tap, vm, "while all is well")
        vm.asked("gone")
        blk.kill()
        eth.kill()
        says(tap, vm, "requests wait until it is back", "backends: a disk without work waits")
        says(tap, vm, "the link is down until it is back", "backends: a network waits")
        answers(tap, vm, "without them")
        vm.go()
        vm.asked("back")
        blk.start()
        eth.start()
        server = listen()
        vm.go()
        peers.compare(tap, vm, "net-again", server)
        vm.asked("lie")
        eth.child.send_signal(signal.SIGUSR1)
        vm.go()
        vm.asked("honest")
        answers(tap, vm, "while one lies")
        eth.kill()
        eth.start()
        server = listen()
        vm.go()
        peers.compare(tap, vm, "net-new", server)
        vm.asked("done")
        vm.go()
        vm.wait()
        blk.kill()  # they have its memory mapped
        eth.kill()
        finish(tap, vm, 0, "power off")
        told = dict(x.split()[2:4] for x in vm.text.decode(errors="replace").splitlines()
                    if x.startswith("### sum "))
    tap.same({k: part(image, int(k)) for k in ("0", "8", "16")}, told,
             "backends: the image has what the guest wrote")


def part(image, mib):
    done = subprocess.run(f"dd if={image} bs=1M skip={mib} count=8 2>/dev/null | sha256sum",
                          shell=True, check=True, capture_output=True, text=True)
    return done.stdout.split()[0]
