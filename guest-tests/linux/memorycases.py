# SPDX-License-Identifier: Apache-2.0
"""The cases of test-memory. Each takes TAP, a kernel and its ground; pools are left as found."""
import contextlib
import glob
import json
import os
import re
import subprocess
import time

import guestvm
from ground import FOUR, ids
from guestvm import PROGRAM, Vm, ctl

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = {"pages_4k": 4 * KIB, "pages_2m": 2 * MIB, "pages_1g": GIB}


def pool(node, size_kib, count=None, what="nr_hugepages"):
    """Make a pool COUNT pages large, or read it. The number it has then."""
    path = f"/sys/devices/system/node/node{node}/hugepages/hugepages-{size_kib}kB/{what}"
    if count is not None:
        with open(path, "w", encoding="ascii") as f:
            f.write(str(count))
    with open(path, encoding="ascii") as f:
        return int(f.read())


@contextlib.contextmanager
def pool_of(tap, size_kib, counts):
    """Pools of {node: pages}, gone afterwards. Yields whether the host has so many, or skips."""
    try:
        there = all(pool(node, size_kib, n) == n for node, n in counts.items())
        if not there:
            tap.point(True, f"pages of {size_kib} KiB # SKIP the host has not so much in one piece")
        yield there
    finally:
        for node in counts:
            pool(node, size_kib, 0)


@contextlib.contextmanager
def machine(tap, kernel, *options):
    """A machine that is up: its first instruction halts it, so its memory stays as it is."""
    with Vm(tap, "memory", ["--kernel", kernel, "--console", "none", *options]) as vm:
        end = time.monotonic() + guestvm.PATIENCE
        while ctl(vm.name, "status")[0] != 0:
            if vm.child.poll() is not None or time.monotonic() > end:
                raise guestvm.Trouble(f"{' '.join(options)}: it does not run: {vm.error_text()}")
            time.sleep(0.05)
        yield vm
        ctl(vm.name, "stop")
        vm.wait()


def counted(vm):
    """{virtual node: {host node: {"pages_4k": n, ...}}} as ctl memory tells."""
    status, answer = ctl(vm.name, "memory")
    if status != 0:
        raise guestvm.Trouble(f"ctl memory: {answer}")
    found = {}
    for node in answer["nodes"]:
        hosts = found.setdefault(node["id"], {})
        for backing in node["backings"]:
            for where in backing["where"]:
                kinds = hosts.setdefault(where["host"], dict.fromkeys(SIZES, 0))
                for kind in SIZES:
                    kinds[kind] += where[kind]
    return found


def to_bytes(hosts):
    return {h: sum(n * SIZES[k] for k, n in kinds.items()) for h, kinds in hosts.items()}


def policy_of(line):
    """The second word of a line of numa_maps, which may have a space: "prefer (many):1"."""
    return re.match(r"\S+ (\S+(?: \(\w+\)\S*)?)", line)[1]


def maps(vm):
    """({virtual node: {host node: bytes}}, {virtual node: policies}) as the kernel tells."""
    found, words = {}, {}
    with open(f"/proc/{vm.child.pid}/numa_maps", encoding="ascii") as f:
        for line in f:
            name = re.search(r"guest-ram-(\d+)", line)
            if not name:
                continue
            node = int(name[1])
            size = int(re.search(r"kernelpagesize_kB=(\d+)|$", line)[1] or 4) * KIB
            words.setdefault(node, set()).add(policy_of(line))
            for host, pages in re.findall(r" N(\d+)=(\d+)", line):
                hosts = found.setdefault(node, {})
                hosts[int(host)] = hosts.get(int(host), 0) + int(pages) * size
    return found, words


def agree(tap, vm, name):
    """Both judges say the same; what they say."""
    mine = counted(vm)
    kernels, words = maps(vm)
    tap.same({n: to_bytes(h) for n, h in mine.items() if h}, kernels,
             f"{name}: ctl memory and the kernel agree")
    return mine, words


def kinds_of(hosts, kind):
    """{host: pages} where all pages are of KIND, else None."""
    if any(n for kinds in hosts.values() for k, n in kinds.items() if k != kind):
        return None
    return {h: kinds[kind] for h, kinds in hosts.items()}


def one(tap, kernel, name, options, kind, want, policy):
    """A machine of one node: its pages are all of KIND, and WANT of them on each host node."""
    with machine(tap, kernel, "--node", options) as vm:
        mine, words = agree(tap, vm, name)
        tap.same(kinds_of(mine[0], kind), want, f"{name}: pages are where they belong")
        tap.same(words[0], policy, f"{name}: the kernel knows the policy")


def policies(tap, kernel, ground=FOUR):
    """Every policy, with memory taken at the start."""
    a, b, c, d = ground.nodes
    one(tap, kernel, "bind", f"memory=64M,host={c},prealloc", "pages_2m", {c: 32}, {f"bind:{c}"})
    one(tap, kernel, "bind, small pages", f"memory=32M,host={d},prealloc,pages=4K", "pages_4k",
        {d: 8192}, {f"bind:{d}"})
    one(tap, kernel, "preferred", f"memory=64M,host={b},prealloc,policy=preferred", "pages_2m",
        {b: 32}, {f"prefer (many):{b}"})
    one(tap, kernel, "interleave, small pages",
        f"memory=64M,host={ids(ground.nodes)},prealloc,policy=interleave,pages=4K", "pages_4k",
        {a: 4096, b: 4096, c: 4096, d: 4096}, {f"interleave:{ids(ground.nodes)}"})
    one(tap, kernel, "interleave, huge pages",
        f"memory=64M,host={ids(ground.nodes)},prealloc,policy=interleave,pages=thp", "pages_2m",
        {a: 8, b: 8, c: 8, d: 8}, {f"bind:{n}" for n in ground.nodes})
    one(tap, kernel, "weighted", f"memory=64M,host={ids([a, c])},prealloc,"
        "policy=weighted-interleave,weights=3:1", "pages_2m", {a: 24, c: 8},
        {f"bind:{a}", f"bind:{c}"})
    one(tap, kernel, "auto", f"memory=32M,host={ids([b, d])},prealloc,policy=auto", "pages_2m",
        {b: 8, d: 8}, {f"bind:{b}", f"bind:{d}"})


def unbound(tap, kernel, ground=FOUR):
    """Memory that nobody asked to be bound is not."""
    last = ground.nodes[3]
    with machine(tap, kernel, "--memory", "64M") as vm:
        tap.same(maps(vm)[1], {0: {"default"}}, "unbound: no policy where none is asked for")
    with machine(tap, kernel, "--memory", "64M", "--policy", "local") as vm:
        tap.same(maps(vm)[1], {0: {"local"}}, "unbound: policy=local")
    with machine(tap, kernel, "--node", "memory=64M,cpus=0", "--node",
                 f"memory=64M,cpus=1,host={last},prealloc") as vm:
        mine, policy = agree(tap, vm, "unbound beside bound")
        tap.same(policy, {0: {"local"}, 1: {f"bind:{last}"}},
                 "unbound beside bound: it does not follow the other's threads")
        tap.same(kinds_of(mine[1], "pages_2m"), {last: 32},
                 "unbound beside bound: the bound one is")


def pools_of(tap, kernel, name, options, want):
    with machine(tap, kernel, "--node", options) as vm:
        mine, _policy = agree(tap, vm, name)
        tap.same(mine[0], want, f"{name}: pages are what they should be, where they should be")


def kinds(small=0, huge=0, giant=0):
    return {"pages_4k": small, "pages_2m": huge, "pages_1g": giant}


def pools(tap, kernel, ground=FOUR):
    """Pages of 2 MiB from pools, alone and mixed."""
    _a, b, c, _d = ground.nodes
    with pool_of(tap, 2048, {b: 40, c: 40}) as there:
        if not there:
            return
        pools_of(tap, kernel, "2M", f"memory=64M,host={b},prealloc,pages=2M", {b: kinds(huge=32)})
        pools_of(tap, kernel, "2M, interleaved",
                 f"memory=64M,host={ids([b, c])},prealloc,pages=2M,policy=interleave",
                 {b: kinds(huge=16), c: kinds(huge=16)})
        pools_of(tap, kernel, "2M and 4K", f"memory=64M,host={c},prealloc,pages=2M:32M+4K",
                 {c: kinds(small=8192, huge=16)})
        tap.same((pool(b, 2048, what="free_hugepages"), pool(c, 2048, what="free_hugepages")),
                 (40, 40), "2M: all pages are back in their pools afterwards")


def giant(tap, kernel, ground=FOUR):
    """A page of 1 GiB, which KVM maps whole. A second one is not there."""
    last = ground.nodes[3]
    with pool_of(tap, 1048576, {last: 1}) as there:
        if not there:
            return
        tap.same(refused("--node", f"memory=2G,host={last},pages=1G"),
                 (2, f"numavisor: --node 0: 2 pages of 1G are wanted, host node {last} has 1 free"),
                 "1G: two are too many")
        with machine(tap, kernel, "--node",
                     f"memory=1088M,host={last},pages=1G:1G+thp,prealloc") as vm:
            mine, _policy = agree(tap, vm, "1G")
            tap.same(mine[0], {last: kinds(huge=32, giant=1)}, "1G: one page, the rest behind it")
            tap.same(ctl(vm.name, "stats")[1]["kvm"].get("pages_1g"), 1, "1G: KVM maps it whole")


def refused(*options):
    done = subprocess.run([PROGRAM, "plan", *options], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


def shortages(tap, kernel, ground=FOUR):
    """Too small pools are found before anything starts, and named."""
    a, b, _c, d = ground.nodes
    with pool_of(tap, 2048, {b: 8}) as there:
        if not there:
            return
        tap.same(refused("--node", f"memory=64M,host={b},pages=2M"),
                 (2, f"numavisor: --node 0: 32 pages of 2M are wanted, host node {b} has 8 free"),
                 "shortage: on one node")
        tap.same(refused("--node", f"memory=64M,cpus=0,host={ids([a, b])},pages=2M", "--node",
                         f"memory=16M,cpus=1,host={b},pages=2M"),
                 (2, f"numavisor: --node 0: 32 pages of 2M are wanted, host node {a} has 0, host node "
                  f"{b} has 0 free"), "shortage: what another node takes is counted")
        done = subprocess.run([PROGRAM, "run", "--kernel", kernel, "--memory", "64M", "--pages",
                               "2M"], capture_output=True, text=True, check=False)
        tap.same(done.returncode, 2, "shortage: run refuses, too")
        tap.same(refused("--node", f"memory=1G,host={d},pages=1G"),
                 (2, f"numavisor: --node 0: 1 pages of 1G are wanted, host node {d} has 0 free"),
                 "shortage: of a page of 1 GiB")
        code, said = refused("--node", f"memory=64G,host={b},prealloc")
        tap.same(code, 2, "shortage: of memory")
        tap.point("--node 0" in said and f"host={b} " in said, "shortage: of memory, named", said)


def plan(*options):
    done = subprocess.run([PROGRAM, "plan", "--json", *options], capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout)["plan"]


def fallbacks(tap, kernel, ground=FOUR):
    """What may give way does, in the order given; the plan says so, and the run is like it."""
    _a, b, c, _d = ground.nodes
    with pool_of(tap, 2048, {b: 8, c: 32}) as there:
        if not there:
            return
        node = ["--node", f"memory=64M,host={b},pages=2M,prealloc"]
        cases = (("pages", {b: kinds(huge=32)}, "in pages of thp instead of 2M"),
                 ("policy", {b: kinds(huge=8), c: kinds(huge=24)}, f"prefers host node {b}"),
                 ("host,pages", {c: kinds(huge=32)}, f"is on host node {c}"))
        for word, want, note in cases:
            options = [*node, "--fallback", word]
            notes = plan(*options)["notes"]
            tap.point(any(note in n for n in notes), f"fallback {word}: the plan says so", notes)
            with machine(tap, kernel, *options) as vm:
                mine, _policy = agree(tap, vm, f"fallback {word}")
                tap.same(mine[0], want, f"fallback {word}: pages are there")
                tap.point(note in vm.error_text(), f"fallback {word}: run says so, too",
                          vm.error_text())


def set_aside(tap, kernel, ground=FOUR):
    """reserve takes nothing and keeps it from others."""
    _a, b, c, _d = ground.nodes
    with pool_of(tap, 2048, {b: 40}) as there:
        if there:
            with machine(tap, kernel, "--node", f"memory=64M,host={b},pages=2M,reserve") as vm:
                backing = ctl(vm.name, "memory")[1]["nodes"][0]["backings"][0]
                tap.same(backing["present"] + backing["reserved"], 64 * MIB, "reserve: 2M")
                with open("/proc/meminfo", encoding="ascii") as f:
                    held = int(re.search(r"HugePages_Rsvd: *(\d+)", f.read())[1])
                tap.same(held * 2 * MIB, backing["reserved"], "reserve: the kernel holds them")
                agree(tap, vm, "reserve 2M")
    with machine(tap, kernel, "--node", f"memory=64M,host={c},pages=4K,reserve") as vm:
        backing = ctl(vm.name, "memory")[1]["nodes"][0]["backings"][0]
        tap.same(backing["present"] + backing["reserved"], 64 * MIB, "reserve: normal memory")
        tap.point(backing["reserved"] > 32 * MIB, "reserve: untouched", backing)
        tap.same(ctl(vm.name, "status")[1]["nodes"][0]["resident"], 64 * MIB,
                 "reserve: it is taken")


def resets(tap, kernel, ground=FOUR):
    """After a reset all is as before."""
    a, b, c, d = ground.nodes
    with pool_of(tap, 2048, {b: 32}) as there:
        if not there:
            return
        with machine(tap, kernel, "--node", f"memory=64M,cpus=0,host={b},pages=2M,prealloc", "--node",
                     f"memory=64M,cpus=1,host={ids([a, d])},policy=weighted-interleave,weights=1:3,"
                     "prealloc", "--node", f"memory=32M,cpus=2,host={c},reserve") as vm:
            before = agree(tap, vm, "before a reset")
            tap.same(before[0][1], {a: kinds(huge=8), d: kinds(huge=24)}, "before a reset: weights")
            tap.same(ctl(vm.name, "reset")[0], 0, "reset")
            after = agree(tap, vm, "after a reset")
            tap.same((after[0][0], after[0][1], after[1]), (before[0][0], before[0][1], before[1]),
                     "after a reset: pages and policies are as before")
            status = ctl(vm.name, "status")[1]["nodes"]
            tap.same([n["resident"] for n in status], [64 * MIB, 64 * MIB, 32 * MIB],
                     "after a reset: all is taken again")


def loads(tap, kernel, ground=FOUR):
    """What the loader writes is at home, in pages of either kind, also when it is written anew."""
    home = ground.nodes[2]
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-memory.zst")
    for pages, kind in (("4K", "pages_4k"), ("thp", "pages_2m")):
        with machine(tap, kernel, "--initrd", initrd, "--node",
                     f"memory=64M,host={home},pages={pages}") as vm:
            for when in ("at the start", "after a reset"):
                hosts = counted(vm)[0]
                tap.same(list(hosts), [home], f"loads: {pages}: {when}: every page is at home")
                tap.point(hosts[home][kind] * SIZES[kind] >= os.path.getsize(initrd) // 2,
                          f"loads: {pages}: {when}: the kind that was asked for", hosts)
                tap.point(to_bytes(hosts)[home] >= os.path.getsize(initrd),
                          f"loads: {pages}: {when}: all of it", hosts)
                if when == "at the start":
                    tap.same(ctl(vm.name, "reset")[0], 0, f"loads: {pages}: reset")


def threads(tap, kernel, ground=FOUR):
    """vCPU threads prefer their home; others, and those without one, do not."""
    home = ground.nodes[2]
    with machine(tap, kernel, "--node", f"memory=64M,cpus=0,host={home}", "--node",
                 "memory=64M,cpus=1") as vm:
        seen = {}
        for task in glob.glob(f"/proc/{vm.child.pid}/task/*"):
            with open(task + "/comm", encoding="ascii") as f:
                name = f.read().strip()
            with open(task + "/numa_maps", encoding="ascii") as f:
                seen[name] = {policy_of(line) for line in f if " heap" in line}
        tap.point(all(re.fullmatch(f"prefer.*:{home}", p) for p in seen["vcpu0"]) and seen["vcpu0"],
                  "threads: a vCPU prefers its node's host node", seen)
        tap.same(seen["vcpu1"], {"default"}, "threads: one without host node does not")
        tap.same(seen["numavisor"], {"default"}, "threads: nor does the main thread")


def linux(tap, kernel, ground=FOUR):
    """A Linux guest that touches memory itself: all of it is at home, after a reset, too."""
    _a, b, c, _d = ground.nodes
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-memory.zst")
    with Vm(tap, "linux", ["--kernel", kernel, "--initrd", initrd, "--cmdline",
                           f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=memory", "--cpus", "2", "--node",
                           f"cpus=0,memory=256M,host={c}", "--node",
                           f"cpus=1,memory=256M,host={b}"]) as vm:
        for boot in ("first boot", "after a reset"):
            vm.asked("filled")
            tap.point(sum(to_bytes(counted(vm)[0]).values()) >= 64 * MIB,
                      f"linux: {boot}: counted while it runs")
            tap.same(ctl(vm.name, "pause")[0], 0, f"linux: {boot}: pause")
            mine, _policy = agree(tap, vm, f"linux: {boot}")
            tap.same({n: list(h) for n, h in mine.items()}, {0: [c], 1: [b]},
                     f"linux: {boot}: every page is at home")
            tap.point(all(sum(to_bytes(h).values()) >= 64 * MIB for h in mine.values()),
                      f"linux: {boot}: what it wrote is there", mine)
            tap.same(ctl(vm.name, "resume")[0], 0, f"linux: {boot}: resume")
            if boot == "first boot":
                tap.same(ctl(vm.name, "reset")[0], 0, "linux: reset")
        tap.same(ctl(vm.name, "stop")[0], 0, "linux: stop")
        vm.wait()
