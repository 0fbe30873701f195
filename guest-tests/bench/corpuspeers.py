# SPDX-License-Identifier: Apache-2.0
"""The other side of the memory corpus: zram with LZ4 and KSM of this machine's kernel, as root.

A zram device is made, used and taken away again; KSM's settings are put back. Where the kernel has
no zram, or who runs this may not make one, a guest of Debian's kernel in emulation says what pages
take, and nothing says how long that takes.
"""
import contextlib
import json
import os
import subprocess
import time

import benchvmm
import rigkernel
from benchvmm import Failed, Running

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", "build")
MIB = 1 << 20
LIMIT_S = 600
CONTROL = "/sys/class/zram-control"
KSM_PATH = "/sys/kernel/mm/ksm"
# What a page takes beside its bytes, as Linux 6.18 allocates it: a slot of zram's table (seen in
# /proc/vmallocinfo); zsmalloc's handle of what is not all the same; KSM's item for each page that it
# looks at (sizes in /sys/kernel/slab).
ZRAM_SLOT, ZRAM_HANDLE, KSM_ITEM = 16, 8, 64


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip()


def write(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(str(value))


def favour():
    """Have the scheduler prefer what is measured, either side alike, to what else runs here."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


# --- zram -----------------------------------------------------------------------------------------

@contextlib.contextmanager
def zram_device(size):
    """A device of SIZE bytes on LZ4: (its path, its folder in /sys)."""
    try:
        number = read(CONTROL + "/hot_add")
    except OSError as e:
        raise Failed(f"no zram on this machine: {e}") from None
    sys_path = f"/sys/block/zram{number}"
    try:
        write(sys_path + "/comp_algorithm", "lz4")
        write(sys_path + "/disksize", size)
        yield f"/dev/zram{number}", sys_path
    finally:
        write(sys_path + "/reset", 1)
        write(CONTROL + "/hot_remove", number)


def native_bytes(paths):
    size = sum(map(os.path.getsize, paths))
    with zram_device(size) as (device, sys_path):
        with open(device, "wb") as out:
            for path in paths:
                with open(path, "rb") as f:
                    while data := f.read(MIB):
                        out.write(data)
            out.flush()
            os.fsync(out.fileno())
        stat = read(sys_path + "/mm_stat").split()
    return size, stat


def emulated_bytes(paths):
    joined = os.path.join(BUILD, "bench", "corpus", "zram.disk")
    initrd = os.path.join(BUILD, "guest", "initrd-zram.zst")
    os.makedirs(os.path.dirname(initrd), exist_ok=True)
    subprocess.run([os.path.join(HERE, "../linux/mkinitrd"), initrd, "--module", "zram", "--module",
                    "lz4", "--add", os.path.join(HERE, "guest", "zram") + ":/tests/zram"], check=True)
    subprocess.run(["bash", "-c", 'cat "$@" | cp --sparse=always /dev/stdin "$0"', joined, *paths],
                   check=True)
    size = os.path.getsize(joined)
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-accel", "tcg", "-cpu", "max", "-M", "q35", "-m", f"{size // MIB + 512}M",
            "-kernel", rigkernel.find(None).vmlinuz, "-initrd", initrd, "-serial", "stdio",
            "-append", f"{benchvmm.CMDLINE} nv.test=zram", "-drive",
            f"file={joined},format=raw,if=none,id=d,readonly=on", "-device", "virtio-blk-pci,drive=d"]
    try:
        with Running(argv) as vm:
            return size, vm.wait_for("@@ mm_stat", LIMIT_S)[1].split("mm_stat")[1].split()
    finally:
        os.unlink(joined)


def zram_bytes(paths):
    """Bytes that zram takes for the pages of files, whole, without its table and handles."""
    try:
        size, stat = native_bytes(paths)
    except (Failed, OSError):
        size, stat = emulated_bytes(paths)
    if int(stat[0]) != size:
        raise Failed(f"zram took {stat[0]} bytes of {size}")
    return int(stat[2])


def swap_off(device):
    """What others have in it comes back, which fails while one of them is at its cgroup's limit."""
    end = time.monotonic() + LIMIT_S
    while True:
        done = subprocess.run([rigkernel.need("swapoff", "mount"), device], check=False,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            return
        if time.monotonic() > end:
            raise Failed(f"this machine goes on swapping to {device}: {done.stderr.strip()}")
        time.sleep(1)


@contextlib.contextmanager
def zram_swap(size):
    """Have this machine swap to a zram device, and to nothing else."""
    if len(read("/proc/swaps").splitlines()) > 1:
        raise Failed("this machine swaps already")
    with zram_device(size) as (device, sys_path):
        subprocess.run([rigkernel.need("mkswap", "util-linux"), "-q", device], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([rigkernel.need("swapon", "mount"), device], check=True)
        try:
            yield sys_path
        finally:
            swap_off(device)


def pageout(what, touches, paths):
    done = subprocess.run([os.path.join(BUILD, "bench", "pageout"), what, str(touches), *paths],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def swapped(what, touches, paths):
    """What pageout tells of memory that goes to zram and comes back; WHAT: who touches it."""
    with zram_swap(sum(map(os.path.getsize, paths)) + 64 * MIB):
        return pageout(what, touches, paths)


# --- KSM ------------------------------------------------------------------------------------------

def ksmd():
    """The number of the kernel's thread."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if read(f"/proc/{pid}/comm") == "ksmd":
                return int(pid)
        except OSError:
            continue
    raise Failed("there is no ksmd")


def ksmd_cpu():
    stat = read(f"/proc/{ksmd()}/stat").rsplit(")", 1)[1].split()
    return sum(map(int, stat[11:13])) / os.sysconf("SC_CLK_TCK")


def setting(name, value=None):
    if value is not None:
        write(os.path.join(KSM_PATH, name), value)
    return read(os.path.join(KSM_PATH, name))


def in_ksm(pid):
    """(pages of a process that KSM looks at, those that have no frame of their own)"""
    stat = dict(line.split() for line in read(f"/proc/{pid}/ksm_stat").splitlines()
                if len(line.split()) == 2)
    return int(stat["ksm_rmap_items"]), int(stat["ksm_merging_pages"]) + int(stat["ksm_zero_pages"])


def share(pid):
    """The part of a process in all pages that KSM looks at: its time is for others', too."""
    seen = {}
    for other in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, KeyError):
            seen[int(other)] = in_ksm(other)[0]
    return seen[pid] / max(1, sum(seen.values()))


def settle(pid, pages):
    """Have KSM go around until two rounds found less than a thousandth. Returns (pages merged, its
    CPU seconds until the last round that found more)."""
    then, scans = ksmd_cpu(), int(setting("full_scans"))
    end, last, same, used = time.monotonic() + LIMIT_S, 0, 0, 0
    while same < 2:
        time.sleep(0.05)
        if time.monotonic() > end:
            raise Failed("KSM does not come to an end")
        if int(setting("full_scans")) == scans:
            continue
        scans = int(setting("full_scans"))
        now = in_ksm(pid)[1]
        if now > last + pages / 1000:
            same, used = 0, (ksmd_cpu() - then) * share(pid)
        elif now > 0:
            same += 1
        last = now
    return last, used


def ksm(replay, paths, pages):
    """Merge what is not zeroes in files: as settle(). Settings of the host's are put back."""
    want = {"pages_to_scan": "20000", "sleep_millisecs": "0", "use_zero_pages": "1", "run": "1"}
    was = {name: setting(name) for name in want}
    priority = os.getpriority(os.PRIO_PROCESS, ksmd())
    child = subprocess.Popen([replay, "hold", *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        os.setpriority(os.PRIO_PROCESS, ksmd(), os.getpriority(os.PRIO_PROCESS, 0))
        for name, value in want.items():
            setting(name, value)
        return settle(child.pid, pages)
    finally:
        for name in ("pages_to_scan", "sleep_millisecs", "use_zero_pages", "run"):
            setting(name, was[name])
        os.setpriority(os.PRIO_PROCESS, ksmd(), priority)
        child.kill()
        child.wait()
