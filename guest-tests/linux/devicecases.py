# SPDX-License-Identifier: Apache-2.0
"""Guests that use their devices: each function runs one machine from start to end."""
import hashlib
import os
import socket
import subprocess
import sys

import guestvm
import peers
from guestvm import Vm

HERE = os.path.dirname(os.path.abspath(__file__))

MIB = 1 << 20
CMDLINE = "quiet panic=-1 nokaslr mitigations=off"
EVERY_BYTE = bytes(range(256))


INITRD = os.path.join(guestvm.BUILD, "guest/initrd-devices.zst")


def make_parts(make, *words):
    """Make the guests' programs by the command MAKE and INITRD with mkinitrd's WORDS; says whether
    that went well."""
    if not ran(make):
        return False
    programs = [os.path.join(guestvm.BUILD, "guest", p) for p in ("xcat", "outb")]
    add = [w for p in programs if os.path.exists(p)
           for w in ("--add", f"{p}:usr/bin/{os.path.basename(p)}")]
    return ran([os.path.join(HERE, "mkinitrd"), *words, *add, INITRD])


def ran(command):
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0:
        return True
    print(f"Bail out! {command[0]} failed")
    return False


def linux(kernel, test, *options, console=guestvm.CONSOLE, extra=""):
    return ["--kernel", kernel, "--initrd", INITRD, "--cmdline",
            f"console={console} {CMDLINE} nv.test={test} nv.msi={guestvm.MSI} {extra}", *options]


def sum_of(path, count):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read(count)).hexdigest()


def make_image(path, size, content=b""):
    with open(path, "wb") as f:
        f.write(content)
        f.truncate(size)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def finish(tap, vm, status, what, **left):
    """The machine ends with STATUS and leaves nothing."""
    got = vm.wait()
    tap.point(got == status, f"{vm.name}: {what}: status {status}",
              f"status {got}\n{vm.last_words()}")
    found = guestvm.leftovers(**left)
    tap.point(not found, f"{vm.name}: {what}: nothing stays behind", "\n".join(found))


def bytes_through_console(tap, vm, count):
    """Every byte value in, the same out; the guest's terminal is raw meanwhile."""
    data = (os.urandom(count - 512) + EVERY_BYTE + EVERY_BYTE[::-1])
    vm.asked("bytes")
    vm.send(data)
    vm.expect(rb"^### bytes\n")
    got = vm.take(count)
    tap.point(got == data, f"{vm.name}: console carries {count} bytes both ways",
              f"first difference at {next((i for i in range(count) if got[i] != data[i]), None)}")


def devices(tap, kernel, folder):
    """Serial console; disks, TAP, vsock, rng on two nodes; the guest powers off."""
    rw, ro, vs = (os.path.join(folder, x) for x in ("rw.img", "ro.img", "dev.vsock"))
    raw = "/dev/rig-disk0"
    make_image(rw, 64 * MIB)
    make_image(ro, 8 * MIB, os.urandom(8 * MIB))
    with Vm(tap, "devices", linux(
        kernel, "devices", "--cpus", "2", "--memory", "512M", "--vnuma", "2",
        "--disk", f"{rw},queues=2,serial=rwdisk,node=1", "--disk", f"{ro},ro,serial=rodisk",
        "--disk", f"{raw},direct,sync,serial=rawdisk", "--io-threads", "2",
        "--net", "tap=nvtest0,queues=2,node=1", "--rng", "node=1",
        "--vsock", f"cid=7,socket={vs},node=1")) as vm:
        for name, path in (("rwdisk", rw), ("rawdisk", raw)):
            vm.asked(name + "-full")
            before = os.stat(path).st_blocks
            vm.go()
            vm.asked(name + "-discarded")
            freed = (before - os.stat(path).st_blocks) * 512
            if path == rw:
                tap.point(freed >= 16 * MIB, "devices: a discard frees the image's blocks",
                          f"{freed} bytes freed")
            vm.go()
        vm.asked("net")
        servers = [peers.Server(("0.0.0.0", 7001), 4 * MIB), peers.Server(vs + "_5000", 4 * MIB)]
        subprocess.run(["ip", "addr", "add", "10.0.9.1/24", "dev", "nvtest0"], check=True)
        vm.go()
        peers.compare(tap, vm, "tap-out", servers[0])
        vm.expect(rb"^listening")
        peers.compare(tap, vm, "tap-in", peers.tcp(("10.0.9.2", 7002), 4 * MIB))
        peers.compare(tap, vm, "vsock-out", servers[1])
        vm.expect(rb"^listening")
        peers.compare(tap, vm, "vsock-in", peers.vsock(vs, 6000, 4 * MIB))
        os.unlink(vs + "_5000")
        bytes_through_console(tap, vm, 8192)
        finish(tap, vm, 0, "power off", taps=["nvtest0"], paths=[vs])
        with open(rw, "rb") as f:
            f.seek(48 * MIB)
            tap.same(f.read(), bytes(16 * MIB), "devices: the host reads zeroes after a discard")
        for name, path, count in (("rwdisk", rw, 16 * MIB), ("rodisk", ro, 8 * MIB)):
            said = [x.split()[-1] for x in vm.text.decode(errors="replace").splitlines()
                    if x.startswith(f"### sum {name} ")]
            tap.same([sum_of(path, count)], said, f"devices: {name} is the same on the host")


def usernet(tap, kernel, _folder):
    """User network and virtio console; a guest that has ports ends through the debug exit."""
    port = free_port()
    with Vm(tap, "usernet", linux(
        kernel, "usernet", "--memory", "256M", "--console", "virtio",
        "--net", f"user,hostfwd=tcp::{port}-:7004")) as vm:
        server = peers.Server(("127.0.0.1", 7003), 4 * MIB)
        peers.compare(tap, vm, "user-out", server)
        vm.expect(rb"^listening")
        peers.compare(tap, vm, "user-in", peers.tcp(("127.0.0.1", port), 4 * MIB))
        bytes_through_console(tap, vm, 65536)
        vm.expect(rb"^### end\n")
        finish(tap, vm, *((0, "power off") if guestvm.ARM64 else (37, "debug exit with 5")))
        with socket.socket() as s:
            tap.point(s.connect_ex(("127.0.0.1", port)) != 0, "usernet: the forwarded port is free")
