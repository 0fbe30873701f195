# SPDX-License-Identifier: Apache-2.0
"""The case of test-move about a page that is lost in a guest whose kernel survives machine checks."""
import os
import shutil
import subprocess
import sys

import guestvm
from guestvm import Vm, ctl
from pagingcases import DISK, evict, pager, swap

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rig"))
import rigkernel  # noqa: E402 (the modules of that folder)

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = os.path.join(guestvm.BUILD, "guest", "vmlinuz-generic")
INITRD = os.path.join(guestvm.BUILD, "guest", "initrd-generic.zst")
BLOCK = 4096
HOLD_MIB = 24
SIGBUS = 128 + 7  # a shell's status of who ended by it


def made_guest():
    """Debian's generic kernel of the cloud kernel's version, which has CONFIG_X86_MCE and
    CONFIG_MEMORY_FAILURE as that has not, and an initramfs for it. Return: whether they are there."""
    try:
        release = rigkernel.find(None).version.replace("-cloud", "")
        kernel = rigkernel.find(release)
    except rigkernel.RigError as e:
        print(f"Bail out! {e}")
        return False
    os.makedirs(os.path.dirname(KERNEL), exist_ok=True)
    shutil.copy(kernel.vmlinuz, KERNEL)
    done = subprocess.run([os.path.join(HERE, "mkinitrd"), "--kernel", release, "--add",
                           os.path.join(guestvm.BUILD, "guest", "hold") + ":tests/hold", INITRD],
                          stdout=sys.stderr, check=False)
    if done.returncode != 0:
        print("Bail out! mkinitrd failed")
    return done.returncode == 0


def spoil_one(vm):
    """Change one block of the disk, in the middle of what is in use. Return: how many are."""
    with open(DISK, "r+b", buffering=0) as f:
        f.seek(BLOCK)  # behind its header
        data = f.read(min(swap(vm)["written"], swap(vm)["size"]))
        used = [at for at in range(0, len(data), BLOCK) if any(data[at:at + BLOCK])]
        at = used[len(used) // 2]
        f.seek(BLOCK + at)
        f.write(bytes(b ^ 0x55 for b in data[at:at + BLOCK]))
        os.fsync(f.fileno())
    return len(used)


def first_dies(tap, vm):
    """All of node 1 is away, most of it the process's, and a page of it is damaged."""
    vm.expect(rb"^### held\r?\n")
    gone = evict(vm, 1)["pager"]
    used = spoil_one(vm)
    print(f"# {gone['evicted']} pages of node 1 went; {used} blocks in use; {swap(vm)}", flush=True)
    tap.point(used * BLOCK > HOLD_MIB << 19, "lost: most of what it holds is on the disk", used)
    vm.go()
    tap.same(int(vm.expect(rb"^### first (\d+)\r?\n")[1]), SIGBUS,
             "lost: the process that has the page is killed by SIGBUS")
    tap.same(pager(vm, 1)["lost"], 1, "lost: one page is lost")


def second_lives(tap, vm):
    """With all memory of the guest taken away once more."""
    vm.expect(rb"^### held\r?\n")
    gone = [evict(vm, node) for node in (0, 1)]
    tap.point(all(g["evicted"] > 0 and g["why"] == "" for g in gone),
              "lost: all of the guest's memory goes again", gone)
    vm.go()
    vm.expect(rb"^### same\r?\n")
    tap.same(int(vm.expect(rb"^### second (\d+)\r?\n")[1]), 0,
             "lost: another process after it finds what it wrote")


def lost(tap, _):
    """One process of the guest ends, and nothing else."""
    with open(DISK, "r+b", buffering=0) as f:  # nothing of another case's is to be taken for a page
        f.write(bytes(4 * HOLD_MIB << 20))
    with Vm(tap, "lost", ["--kernel", KERNEL, "--initrd", INITRD, "--cmdline",
                          f"console={guestvm.CONSOLE} quiet panic=-1 init_on_free=1 nv.test=lost "
                          f"nv.hold={HOLD_MIB}", "--cpus", "2", "--node",
                          "cpus=0,memory=256M,host=0", "--node", "cpus=1,memory=64M,host=1",
                          "--pager", "on", "--pager-store", "8M", "--pager-swap", DISK]) as vm:
        first_dies(tap, vm)
        second_lives(tap, vm)
        vm.asked("end")
        log = [w for w in vm.text.decode(errors="replace").splitlines() if w.startswith("### log")]
        print("".join(f"# {w}\n" for w in log), end="", flush=True)
        tap.point(any("SIGBUS to hold" in w for w in log) and any("Recovered" in w for w in log),
                  "lost: the kernel says which memory failed, and that it recovered", log)
        tap.same(ctl(vm.name, "status")[0], 0, "lost: the machine runs")
        vm.go()
        tap.same(vm.wait(), 0, "lost: the guest ends by itself")
