# SPDX-License-Identifier: Apache-2.0
"""Guests of the memory corpus: Debian releases with kernel, systemd and servers of their own, started
in QEMU's emulation, whose memory is taken cold and after work.

Packages are unpacked by the rig's way (rigroot) into a root for each release, which becomes a disk;
corpus/init makes a system of it in the guest. What a guest writes to its disk is thrown away.
"""
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import benchvmm
import rigarch
import rigimage
import rigkernel
import rigroot
from benchvmm import Failed, Running
from rigcpio import Cpio

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", "build")
MIB = 1 << 20
LIMIT_S = 1800  # for a guest of 512 MiB to come to its next word
REFERENCE_MIB = 512  # of the guests whose memory makes a golden file: what they started from is alike
RELEASES = ("bookworm", "trixie")
SYSTEM = """linux-image-cloud-amd64 base-files base-passwd systemd systemd-sysv udev dbus bash dash
    coreutils util-linux procps grep sed mawk findutils diffutils hostname login passwd iproute2 kmod
    cron openssh-server ca-certificates perl python3""".split()
MODULES = ["virtio_pci", "virtio_blk", "ext4"]


class Kind:
    """A corpus: its name, the packages of its servers, and what its guests are: each one's role. The
    last role is that of the guests whose memory makes the golden file, one of each release."""

    def __init__(self, name, packages, roles, reference, seed):
        self.name = name
        self.packages = tuple(SYSTEM + packages.split())
        self.roles = roles
        self.reference = reference
        self.seed = seed


TUNED = Kind("corpus", "python3-django sqlite3 nginx-light postgresql redis-server memcached",
             ("web", "sql", "caches", "all"), "all", 100)
HELD_OUT = Kind("held", "libc-bin debianutils apache2 mariadb-server haproxy ruby ruby-webrick",
                ("apache", "maria"), "both", 900)


class Guest:
    """One to be captured: where from, which role, and the files of its memory."""

    def __init__(self, kind, release, role, number, mib):
        self.kind, self.release, self.role, self.mib = kind, release, role, mib
        self.seed = kind.seed + number
        self.name = f"{kind.name}-{number:02}-{release}-{role}-{mib}"
        self.cold = os.path.join(folder(), self.name + ".cold")
        self.ready = os.path.join(folder(), self.name + ".ready")


def folder():
    path = os.path.join(BUILD, "bench", "corpus")
    os.makedirs(path, exist_ok=True)
    return path


def guests(kind, count, mib):
    """(references, guests): releases take turns, so that any even number has as many of each."""
    references = [Guest(kind, release, kind.reference, i, REFERENCE_MIB)
                  for i, release in enumerate(RELEASES)]
    rest = [Guest(kind, RELEASES[i % 2], kind.roles[i // 2 % len(kind.roles)], 10 + i, mib)
            for i in range(count)]
    return references, rest


def release_root(kind, release):
    """(root of packages, its kernel)"""
    if platform.machine() != "x86_64":
        raise Failed("guests of the corpus are x86-64's, and this machine is not")
    arch = rigarch.here().of(release)
    root = rigroot.root(arch, kind.name, kind.packages)
    version = os.listdir(os.path.join(root, "usr/lib/modules"))[0]
    if not os.path.exists(os.path.join(root, "usr/lib/modules", version, "modules.dep")):
        subprocess.run([rigkernel.need("depmod", "kmod"), "-b", root, version], check=True)
    kernel = rigkernel.from_prefix(arch, root)
    if not kernel:
        raise Failed(f"the packages of {release} hold no bootable kernel")
    return root, kernel


def disk_path(kind, release):
    return os.path.join(folder(), f"{kind.name}-{release}.ext4")


def disk(kind, release, root):
    """The root as a disk, with as much room again as it takes."""
    path = disk_path(kind, release)
    listed = os.path.join(rigkernel.rig_dir(), rigarch.here().of(release).name,
                          kind.name + ".packages")
    if os.path.exists(path) and os.path.getmtime(path) >= os.path.getmtime(listed):
        return path
    took = subprocess.run(["du", "-sk", root], stdout=subprocess.PIPE, text=True, check=True)
    done = subprocess.run([rigkernel.need("mke2fs", "e2fsprogs"), "-q", "-F", "-t", "ext4", "-m", "0",
                           "-d", root, path + ".part", f"{int(took.stdout.split()[0]) * 2 + 2**20}k"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"mke2fs cannot make {path}: {done.stderr.strip()}")
    os.rename(path + ".part", path)
    return path


def initrd(kind, release, kernel):
    path = os.path.join(folder(), f"{kind.name}-{release}.initrd")
    c = Cpio()
    for name in ("proc", "dev", "root"):
        c.folder(name)
    c.node("dev/console", 5, 1)
    c.file("bin/busybox", rigkernel.need("busybox", "busybox-static"))
    c.link("bin/sh", "busybox")
    c.file("init", os.path.join(HERE, "corpus", "init"))
    for name in ("setup", "work.py", "app.py", "app.rb"):
        c.file("corpus/" + name, os.path.join(HERE, "corpus", name))
    order = rigimage.module_order(kernel.modules, MODULES)
    for file in order:
        c.file("modules/" + os.path.basename(file), os.path.join(kernel.modules, file))
    c.data("modules/order", "".join(os.path.basename(file) + "\n" for file in order).encode())
    c.write(path)
    return path


def prepared(kind, release):
    """What a machine of that release is started with."""
    root, kernel = release_root(kind, release)
    return kernel.vmlinuz, initrd(kind, release, kernel), disk(kind, release, root)


def machine(start, guest, memory):
    """QEMU's command line; the guest's memory is the file MEMORY."""
    vmlinuz, initramfs, image = start
    words = f"nv_seed={guest.seed} nv_role={guest.role} nv_mib={guest.mib}"
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-accel", "tcg,tb-size=256", "-cpu", "max,-la57", "-m", f"{guest.mib}M",
            "-object", f"memory-backend-file,id=ram,size={guest.mib}M,mem-path={memory},share=on",
            "-machine", "q35,memory-backend=ram,mem-merge=off", "-kernel", vmlinuz,
            "-initrd", initramfs, "-serial", "stdio", "-device", "virtio-rng-pci",
            "-drive", f"file={image},format=raw,if=none,id=d,snapshot=on",
            "-device", "virtio-blk-pci,drive=d", "-append",
            f"{benchvmm.CMDLINE} init_on_free=1 "
            f"systemd.firstboot=off systemd.condition_needs_update=0 systemd.getty_auto=no {words}"]


def word(vm, text, mib):
    line = vm.wait_for("@@", LIMIT_S * mib // 512)[1]  # work grows with memory
    if text not in line:
        raise Failed(line)


def copy(vm, memory, to):
    """The memory of a machine that stands still meanwhile."""
    vm.child.send_signal(signal.SIGSTOP)
    subprocess.run(["cp", "--sparse=always", memory, to + ".part"], check=True)
    vm.child.send_signal(signal.SIGCONT)


def scratch(bytes_needed):
    """Where a running guest's memory is: a disk would be written to all the time."""
    for path in ("/dev/shm", folder()):
        if os.access(path, os.W_OK) and shutil.disk_usage(path).free > 2 * bytes_needed:
            return path
    raise Failed(f"no room for memory of {bytes_needed} bytes")


def capture(guest):
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="capture.", dir=scratch(guest.mib * MIB)) as tmp:
        memory = os.path.join(tmp, "memory")
        with open(memory, "wb") as f:
            f.truncate(guest.mib * MIB)
        with Running(machine(prepared(guest.kind, guest.release), guest, memory)) as vm:
            try:
                word(vm, "@@ cold", guest.mib)
                copy(vm, memory, guest.cold)
                word(vm, "@@ ready", guest.mib)
                copy(vm, memory, guest.ready)
            except Failed as e:
                raise Failed(f"{guest.name}: {e}") from None
    os.rename(guest.cold + ".part", guest.cold)
    os.rename(guest.ready + ".part", guest.ready)
    print(f"corpus: {guest.name} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def is_captured(guest):
    return os.path.exists(guest.cold) and os.path.exists(guest.ready)


def capture_all(wanted, fresh=False):
    """Two at a time, each in a process of its own; those that are there stay, unless FRESH."""
    left = [g for g in wanted if fresh or not is_captured(g)]
    for kind, release in {(g.kind, g.release) for g in left}:
        prepared(kind, release)  # one after the other, as they share what they make
    running, failed = {}, []
    while left or running:
        while left and len(running) < 2:
            guest = left.pop(0)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    capture(guest)
                    status = 0
                except (Failed, OSError, subprocess.SubprocessError) as e:
                    print(f"corpus: {e}", file=sys.stderr, flush=True)
                finally:
                    os._exit(status)
            running[pid] = guest
        pid, status = os.wait()
        if status != 0:
            failed.append(running[pid].name)
        del running[pid]
    if failed:
        raise Failed("not captured: " + ", ".join(failed))
