# SPDX-License-Identifier: Apache-2.0
"""What Debian guests with servers start from: a disk that all of them read, an initramfs, and the
names and sums of files that they are to read."""
import hashlib
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "rig"))
import rigarch  # noqa: E402 (the modules of that folder)
import rigimage  # noqa: E402
import rigkernel  # noqa: E402
import rigroot  # noqa: E402
from rigcpio import Cpio  # noqa: E402

PACKAGES = tuple("""base-files base-passwd dash coreutils util-linux findutils sed nginx-light
    redis-server memcached postgresql""".split())
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "overlay"]
MIB = 1 << 20
BUILD = os.environ.get("BUILD", "build")
DISK = os.path.join(BUILD, "bench", "servers.ext4")  # not a part of what the emulated host sees
INITRD = os.path.join(BUILD, "guest", "initrd-servers.zst")
FILES = os.path.join(BUILD, "guest", "servers.json")
READ_BYTES = 24 * MIB  # of each guest's memory, if nothing else wants it
FILE_BYTES = range(128 << 10, 8 * MIB)  # large ones, since each costs a guest time to open


def disk(root):
    took = subprocess.run(["du", "-sk", root], stdout=subprocess.PIPE, text=True, check=True)
    size = int(took.stdout.split()[0]) * 5 // 4 + 64 * 1024
    os.makedirs(os.path.dirname(DISK), exist_ok=True)
    subprocess.run([rigkernel.need("mke2fs", "e2fsprogs"), "-q", "-F", "-t", "ext4", "-m", "0",
                    "-O", "^has_journal", "-d", root, DISK, f"{size}k"],
                   check=True, stdout=subprocess.DEVNULL)


def listed(root):
    """Files to read, [path in the guest, MD5], and the sum of md5sum's answer for all of them."""
    found, left = [], READ_BYTES
    for at, dirs, names in os.walk(os.path.join(root, "usr")):
        dirs.sort()
        for name in sorted(names):
            path = os.path.join(at, name)
            size = 0 if os.path.islink(path) else os.path.getsize(path)
            if size not in FILE_BYTES or size > left:
                continue
            left -= size
            with open(path, "rb") as f:
                found.append([path[len(root):], hashlib.md5(f.read()).hexdigest()])
    said = "".join(f"{md5}  {path}\n" for path, md5 in found)
    return {"files": found, "sum": hashlib.md5(said.encode()).hexdigest()}


def initrd(files):
    kernel = rigkernel.find(None)
    c = Cpio()
    for name in ("proc", "dev", "root", "below", "above"):
        c.folder(name)
    c.node("dev/console", 5, 1)
    c.file("bin/busybox", rigkernel.need("busybox", "busybox-static"))
    c.link("bin/sh", "busybox")
    c.file("init", os.path.join(HERE, "guest", "init"))
    for name in ("run", "nginx.conf"):
        c.file("serve/" + name, os.path.join(HERE, "guest", name))
    c.data("serve/files", "".join(path + "\n" for path, _ in files).encode())
    order = rigimage.module_order(kernel.modules, MODULES)
    for file in order:
        c.file("modules/" + os.path.basename(file), os.path.join(kernel.modules, file))
    c.data("modules/order", "".join(os.path.basename(file) + "\n" for file in order).encode())
    os.makedirs(os.path.dirname(INITRD), exist_ok=True)
    c.write(INITRD)


def make():
    """All of it, for machines of this one's architecture."""
    root = rigroot.root(rigarch.here().of(rigroot.own_suite()), "servers", PACKAGES)
    what = listed(root)
    disk(root)
    initrd(what["files"])
    with open(FILES, "w", encoding="ascii") as f:
        json.dump(what, f)
