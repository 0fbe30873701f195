# SPDX-License-Identifier: Apache-2.0
"""The cases of test-move about memory that is taken away and comes back."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

import guestvm
import suite
from guestvm import PATIENCE, PROGRAM, Trouble, Vm, ctl
from memorycases import KIB, MIB, counted
from placecases import threads_on_host
from schedcases import host_cpus, until

ROUNDS = 4 if suite.ALL in os.environ else 2
DISK = "/dev/rig-disk0"  # the emulated host's own
LOST = 5  # exit status, see numavisor(1)


def evict(vm, node, size="1G"):
    """The answer, when it is over."""
    done = subprocess.run([PROGRAM, "ctl", "--json", vm.name, "evict", f"node={node}", f"by={size}"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        raise Trouble(f"evict: {done.stderr}")
    return json.loads(done.stdout)


def pager(vm, node):
    return ctl(vm.name, "memory")[1]["nodes"][node]["pager"]


def check(vm, name):
    """Have the guest look at its memory; the verdict is one of its points."""
    vm.send(name.encode() + b"\n")
    vm.asked("next")


def asynchronous(vm):
    """How often KVM told the guest that a page is there which a program was made to wait for."""
    vm.send(b"async\n")
    n = int(vm.expect(rb"^### async (\d+)\r?\n")[1])
    vm.asked("next")
    return n


def at_home(tap, vm, name):
    """Every page that is there lies on the host node that its virtual node is bound to."""
    mine = counted(vm)
    tap.same({n: sorted(h) for n, h in mine.items()}, {0: [0], 1: [1]}, f"{name}: all is at home")


def huge_from_the_start(tap, vm):
    """The host gives memory files no huge pages by itself: the guest has them nevertheless."""
    with open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", encoding="ascii") as f:
        choice = f.read().strip()
    with open(f"/proc/{vm.child.pid}/smaps", encoding="ascii", errors="replace") as f:
        memory = re.findall(r"/memfd:.*\n(?:[A-Z]\w+: .*\n)*?Rss: +(\d+) kB\n"
                            r"(?:[A-Z]\w+: .*\n)*?ShmemPmdMapped: +(\d+) kB\n", f.read())
    there, huge = (sum(int(m[i]) for m in memory) for i in (0, 1))
    nodes = [pager(vm, node) for node in (0, 1)]
    how = [{key: n[key] for key in ("first_touches", "taken", "mended")} for n in nodes]
    print(f"# {choice}: of {there >> 10} MiB {huge >> 10} in huge pages: {how}", flush=True)
    tap.point("[never]" in choice and huge >= 0.8 * there > 0,
              "paging: memory is in huge pages from the start", (choice, there, huge))
    tap.point(0 < sum(n["first_touches"] for n in nodes) < there // 4 / 16,
              "paging: touched by extents", how)
    tap.same([(n["evicted"], n["samples"]) for n in nodes], [(0, 0)] * 2,
             "paging: and nobody looks at it before any is to go")


def rounds(tap, vm):
    """All of it goes, again and again, while the guest copies and compares; other programs of its run
    while one waits for what is away."""
    before = asynchronous(vm)
    for i in range(ROUNDS):
        gone = [evict(vm, node) for node in (0, 1)]
        tap.point(all(g["evicted"] > 0 and g["why"] == "" for g in gone),
                  f"paging: round {i}: memory of both nodes goes", gone)
        check(vm, f"after eviction {i}")
        at_home(tap, vm, f"paging: round {i}")
    first = evict(vm, 1)["pager"]
    print(f"# node 1: {first}", flush=True)
    tap.point(first["evicted"] * 4 * KIB >= 100 * MIB, "paging: all of it has gone", first)
    tap.point(first["store"] < first["away"], "paging: it takes less room than it gives", first)
    tap.same(first["lost"], 0, "paging: nothing is lost")
    check(vm, "at the end of the rounds")
    tap.point(pager(vm, 1)["filled"] > 0, "paging: what is touched comes back", pager(vm, 1))
    after = asynchronous(vm)
    print(f"# pages told of: {before}, then {after}", flush=True)
    if not guestvm.ARM64:  # whose KVM has none
        tap.point(after > before, "paging: the guest takes asynchronous page faults", (before, after))


def golden_file(tap, folder):
    """Of the program that the guest runs, and of what fills the most of its memory."""
    known, path = os.path.join(folder, "known"), os.path.join(folder, "known.golden")
    with open(known, "wb") as f:
        f.write(b"U" * 4 * KIB)
    for argv, says in ((["add", known, shutil.which("busybox"), "--as", path], known + ".golden"),
                       (["verify", path], "are as they were")):
        done = subprocess.run([PROGRAM, "golden", *argv], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        tap.point(done.returncode == 0 and says in done.stdout, f"paging: golden {argv[0]}", done)
    return path


def golden(tap, vm):
    """What the golden file has takes no room, and is what comes back."""
    now, file = evict(vm, 1)["pager"], ctl(vm.name, "memory")[1]["golden"]
    print(f"# golden: {file}", flush=True)
    tap.point(now["golden"] >= 40 * MIB and now["golden_objects"] > 100,
              "paging: what is in the golden file is found there", now)
    tap.point(now["golden_objects"] <= file["pages"], "paging: each page of it once", (now, file))
    check(vm, "that the golden file has")
    tap.point(pager(vm, 1)["golden"] < now["golden"], "paging: it comes back from there", pager(vm, 1))


def toward_a_target(tap, vm):
    """What is used least goes by itself; how far that goes is the guest's."""
    before = pager(vm, 1)
    subprocess.run([PROGRAM, "ctl", vm.name, "target", "node=1", "size=32M"], timeout=PATIENCE,
                   check=True)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        check(vm, "on the way to a target")
        now = pager(vm, 1)
        if now["evicted"] >= before["evicted"] + 2048 and now["filled"] > before["filled"]:
            break
    print(f"# node 1: {now}", flush=True)
    tap.point(now["evicted"] >= before["evicted"] + 2048, "paging: 8 MiB and more go by themselves", now)
    tap.point(now["rounds"] > 1 and now["look_cpu_ns"] > 0, "paging: it was looked what is in use", now)
    tap.same(now["looks_by"], "rwp" if now["samples_protected"] else "zap",
             "paging: and in which way is told")
    tap.same((now["lost"], now["target_error"]), (0, ""), "paging: nothing is lost on the way")
    subprocess.run([PROGRAM, "ctl", vm.name, "target", "node=1", "size=all"], timeout=PATIENCE,
                   check=True)
    check(vm, "without a target")
    at_home(tap, vm, "paging: with a target")


def held(tap, vm):
    """A pause in the midst."""
    ends = []
    start = pager(vm, 1)["evicted"]
    worker = threading.Thread(target=lambda: ends.append(evict(vm, 1)))
    worker.start()
    until("pages to go", lambda: not worker.is_alive() or pager(vm, 1)["evicted"] > start)
    tap.same(ctl(vm.name, "pause")[0], 0, "paging: a pause in the midst")
    before = pager(vm, 1)["evicted"]
    tap.same(pager(vm, 1)["evicted"], before, "paging: nothing goes meanwhile")
    tap.same(ctl(vm.name, "resume")[0], 0, "paging: it goes on")
    worker.join()
    tap.same([end["why"] for end in ends], [""], "paging: it comes to its end after a pause")
    check(vm, "after a pause")


def stores(vm):
    """{host node that a store is bound to: {host node: pages}}, by the kernel."""
    found = {}
    with open(f"/proc/{vm.child.pid}/numa_maps", encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[1].startswith("bind:") and not any(w.startswith("file=") for w in words):
                there = found.setdefault(int(words[1][5:]), {})
                for node, pages in re.findall(r" N(\d+)=(\d+)", line):
                    there[int(node)] = there.get(int(node), 0) + int(pages)
    return found


def kept_on(tap, vm, nodes, name):
    """What is kept is on NODES; a page may be in use when it is to move, but not many."""
    found = stores(vm)
    tap.same(sorted(found), nodes, f"{name}: memory for it is bound to its nodes")
    tap.point(all(n in p and p[n] >= 0.98 * sum(p.values()) for n, p in found.items()),
              f"{name}: what is kept is there", found)


def fault_thread(vm, node):
    return threads_on_host(vm.child.pid)[f"fault{node}"]


def moved(tap, vm):
    """A node that moves while memory of it is away."""
    kept_on(tap, vm, [0, 1], "paging: before a move")
    evict(vm, 1, "64M")
    done = subprocess.run([PROGRAM, "ctl", "--json", vm.name, "move", "vnode=1", "host=2", "--force"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    tap.same((done.returncode, json.loads(done.stdout)["state"]), (0, "arrived"),
             "paging: a node moves while some of it is away")
    until("the fault thread to follow", lambda: fault_thread(vm, 1) == host_cpus(2))
    tap.same(fault_thread(vm, 0), host_cpus(0), "paging: only its fault thread goes along")
    kept_on(tap, vm, [0, 2], "paging: after a move")
    check(vm, "after a move")
    gone = evict(vm, 1)
    tap.point(gone["evicted"] > 0 and gone["why"] == "", "paging: memory goes on going", gone)
    kept_on(tap, vm, [0, 2], "paging: after another eviction")
    check(vm, "after another eviction")
    mine = counted(vm)
    tap.same(sorted(mine[1]), [2], "paging: what comes back is on its new node")


def paging(tap, kernel):
    """A Linux guest that writes, reads and compares its memory all the time."""
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-move.zst")
    with tempfile.TemporaryDirectory() as folder, \
            Vm(tap, "paging", ["--kernel", kernel, "--initrd", initrd, "--cmdline",
                               f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=move", "--cpus", "2", "--node",
                               "cpus=0,memory=256M,host=0", "--node",
                               "cpus=1,memory=224M,host=1", "--rng", "node=1", "--pager", "on",
                               "--pager-budget", "20%", "--golden",
                               golden_file(tap, folder)]) as vm:
        vm.asked("next")
        huge_from_the_start(tap, vm)
        rounds(tap, vm)
        golden(tap, vm)
        toward_a_target(tap, vm)
        held(tap, vm)
        moved(tap, vm)
        vm.send(b"end\n")
        copies = int(vm.expect(rb"^### copies (\d+)\r?\n")[1])
        tap.point(copies > 1, "paging: copies went on to the end", copies)
        tap.same(vm.wait(), 0, "paging: it ends by itself")


def swap(vm):
    return ctl(vm.name, "memory")[1]["swap"]


def all_gone(vm):
    """Both nodes' memory, as far as it is not in use; what the host says of the second."""
    return [evict(vm, node) for node in (0, 1)][1]["pager"]


def there_and_back(tap, vm):
    """What has no room in memory goes to the disk, and comes from there."""
    gone = all_gone(vm)
    tap.same((gone["lost"], swap(vm)["error"]), (0, ""), "swapped: all goes well")
    check(vm, "after going to the disk")
    at_home(tap, vm, "swapped: come back")
    now = swap(vm)
    print(f"# {now}", flush=True)
    tap.point(now["written"] >= 8 * MIB and now["read"] > 0, "swapped: pages went to the disk and came back",
              now)


def spoil(vm):
    """Change what is on the disk, wherever the machine wrote."""
    size = min(swap(vm)["written"], swap(vm)["size"])
    with open(DISK, "r+b", buffering=0) as f:
        f.seek(4 * KIB)
        for _ in range(0, size, MIB):
            f.write(os.urandom(MIB))
        os.fsync(f.fileno())


def swapped(tap, kernel):
    """Memory that goes on to a disk; when that is changed the guest ends that owns it, no other one."""
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-move.zst")
    with Vm(tap, "swapped", ["--kernel", kernel, "--initrd", initrd, "--cmdline",
                             f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=move", "--cpus", "2", "--node",
                             "cpus=0,memory=256M,host=0", "--node",
                             "cpus=1,memory=224M,host=1", "--rng", "node=1", "--pager", "on",
                             "--pager-store", "16M", "--pager-swap", DISK]) as vm:
        vm.asked("next")
        there_and_back(tap, vm)
        all_gone(vm)
        spoil(vm)
        with contextlib.suppress(BrokenPipeError):  # it may have touched one by itself
            os.write(vm.child.stdin.fileno(), b"after the disk was changed\n")
        tap.same(vm.wait(), LOST, "swapped: a guest that lost a page ends with a status of its own")
        tap.point("was changed in the swap file" in vm.error_text(), "swapped: it is said why",
                  vm.error_text())
