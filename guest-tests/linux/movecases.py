# SPDX-License-Identifier: Apache-2.0
"""The cases of test-move. Each takes TAP, a kernel and its ground; pools are left as found."""
import contextlib
import glob
import json
import os
import re
import subprocess
import time
import typing

import guestvm
import memorycases
from ground import FOUR, ids
from guestvm import PROGRAM, Vm, ctl
from memorycases import KIB, MIB, agree, counted, machine, maps, pool, pool_of, policy_of, to_bytes

NODES = "/sys/devices/system/node"


def command(vm, *words):
    return [PROGRAM, "ctl", "--json", vm.name, "move", *words]


def move(vm, *words):
    """(exit status, last answer) of a move, followed to its end."""
    done = subprocess.run(command(vm, *words), capture_output=True, text=True, check=False,
                          timeout=guestvm.PATIENCE)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"state": done.stderr}


def status(vm):
    return ctl(vm.name, "move")[1]


def wait_for(vm, ready, what):
    end = time.monotonic() + guestvm.PATIENCE
    while not ready(now := status(vm)):
        if time.monotonic() > end:
            raise guestvm.Trouble(f"{vm.name}: waited for {what}: {now}")
        time.sleep(0.05)
    return now


def on_its_way(vm, at_least):
    """Wait until AT_LEAST bytes of a move that was begun are over there."""
    wait_for(vm, lambda s: s["state"] == "moving" and s["moved"] >= at_least, "some of it")


@contextlib.contextmanager
def moving(vm, *words):
    """A move that goes on beside; yields a function that waits for its end."""
    with subprocess.Popen(command(vm, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as child:
        def end():
            out, err = child.communicate(timeout=guestvm.PATIENCE)
            return child.returncode, json.loads(out) if out else {"state": err}
        try:
            yield end
        finally:
            if child.poll() is None:
                child.kill()


def homes(vm, node):
    """{host node: bytes} of a virtual node by the kernel, and by us the same."""
    return maps(vm)[0].get(node, {})


def one(tap, kernel, ground, name, options, kind, pages, policy):
    """A machine of two nodes, the second of which moves to the last node: all its pages are of KIND,
    before and after."""
    first, *_, last = ground.nodes
    with machine(tap, kernel, "--node", f"memory=32M,cpus=0,host={first}", "--node", options,
                 *ground.far()) as vm:
        strangers = sum(n for h, n in to_bytes(counted(vm)[1]).items() if h == last)
        code, end = move(vm, "vnode=1", f"host={last}")
        tap.same((code, end["state"], end["left"], end["split"]), (0, "arrived", 0, 0),
                 f"{name}: it arrives whole")
        mine, words = agree(tap, vm, name)
        tap.same(end["moved"], to_bytes(mine[1])[last] - strangers,
                 f"{name}: every page was moved that was elsewhere")
        tap.same(mine[1], {last: {**dict.fromkeys(memorycases.SIZES, 0), kind: pages}},
                 f"{name}: pages are what they were, on the other node")
        tap.same(words[1], {policy}, f"{name}: the policy is the new node's")
        tap.same(ctl(vm.name, "memory")[1]["nodes"][1]["backings"][0]["host"], str(last),
                 f"{name}: ctl memory knows the new home")


def kinds(tap, kernel, ground=FOUR):
    """All kinds of pages and policies."""
    _a, b, c, d = ground.nodes
    for name, options, kind, pages, policy in (
            ("thp", f"memory=64M,cpus=1,host={b},prealloc", "pages_2m", 32, "bind"),
            ("4K", f"memory=32M,cpus=1,host={c},prealloc,pages=4K", "pages_4k", 8192, "bind"),
            ("set aside", f"memory=32M,cpus=1,host={b},reserve,pages=4K", "pages_4k", 8192, "bind"),
            ("interleaved", f"memory=64M,cpus=1,host={ids(ground.nodes)},prealloc,policy=interleave",
             "pages_2m", 32, "bind"),
            ("preferred", f"memory=32M,cpus=1,host={b},prealloc,policy=preferred", "pages_2m", 16,
             "prefer (many)")):
        one(tap, kernel, ground, name, options, kind, pages, f"{policy}:{d}")
    with pool_of(tap, 2048, {b: 16, d: 20}) as there:
        if there:
            one(tap, kernel, ground, "2M", f"memory=32M,cpus=1,host={b},prealloc,pages=2M", "pages_2m",
                16, f"bind:{d}")
            tap.same(pool(b, 2048, what="free_hugepages") + pool(d, 2048, what="free_hugepages"),
                     36, "2M: all pages are back in their pools afterwards")


def giant_moves(tap, kernel, ground=FOUR):
    """A page of 1 GiB goes where there is a free one, and nowhere else. For a host with room."""
    _a, b, c, d = ground.nodes
    with pool_of(tap, 1048576, {b: 1, d: 1}) as there:
        if not there:
            return
        with machine(tap, kernel, "--node",
                     f"memory=1088M,cpus=0,host={d},pages=1G:1G+thp,prealloc") as vm:
            code, end = move(vm, "vnode=0", f"host={c}")
            tap.same((code, end["state"], end["why"]),
                     (1, "returned", f"host node {c} has no room for more"),
                     "1G: without a free page there it goes back")
            tap.same(to_bytes(agree(tap, vm, "1G, back")[0][0]), {d: 1088 * MIB},
                     "1G: all is where it was")
            code, end = move(vm, "vnode=0", f"host={b}")
            tap.same((code, end["state"], end["moved"], end["left"]),
                     (0, "arrived", 1088 * MIB, 0), "1G: with one it arrives")
            tap.same(agree(tap, vm, "1G, there")[0][0],
                     {b: {"pages_4k": 0, "pages_2m": 32, "pages_1g": 1}},
                     "1G: it is one page still, and so is the rest")
            tap.same((pool(b, 1048576, what="free_hugepages"), pool(d, 1048576, what="free_hugepages")),
                     (0, 1), "1G: the pools know")


def says(tap, vm, words, want, name):
    done = subprocess.run([PROGRAM, "ctl", vm.name, "move", *words], capture_output=True, text=True,
                          check=False, timeout=guestvm.PATIENCE)
    tap.same((done.returncode, done.stderr.strip()), (1, f"numavisor: {vm.name}: {want}"), name)


def refused(tap, kernel, ground=FOUR):
    """What cannot be moved is refused with a sentence, and nothing changes."""
    _a, b, c, d = ground.nodes
    with machine(tap, kernel, "--node", f"memory=32M,cpus=0,host={b},prealloc", "--node",
                 "cpus=1") as vm:
        tap.same(status(vm), {"state": "none"}, "refused: no move yet")
        says(tap, vm, ["vnode=2", f"host={d}"], "there is no virtual node 2 (0 to 1)",
             "refused: no such node")
        says(tap, vm, ["vnode=1", f"host={d}"], "virtual node 1 has no memory",
             "refused: a node without memory")
        says(tap, vm, ["vnode=0", f"host={2 * d + 3}"],
             f"there is no host node {2 * d + 3}, or it is not this machine's to use",
             "refused: no such host node")
        says(tap, vm, ["cancel"], "no node is being moved", "refused: nothing to cancel")
        ctl(vm.name, "pause")
        says(tap, vm, ["vnode=0", f"host={d}"], "the machine is paused", "refused: a paused machine")
        ctl(vm.name, "resume")
        with moving(vm, "vnode=0", f"host={c}", "--rate", "4M/s") as end:
            wait_for(vm, lambda s: s["state"] == "moving", "a move")
            says(tap, vm, ["vnode=0", f"host={d}"], "virtual node 0 is being moved",
                 "refused: a second move")
            move(vm, "cancel")
            end()
        tap.same(homes(vm, 0), {b: 32 * MIB}, "refused: all is where it was")


def ledger(vm):
    code, answer = ctl(vm.name, "ledger")
    if code != 0:
        raise guestvm.Trouble(f"ctl ledger: {answer}")
    return answer


def promises(tap, kernel, ground=FOUR):
    """The ledger: what the guest was told of distances, kept, broken by force, and kept again.

    For a first and a second node that are 20 apart, and CPUs on all of them.
    """
    a, b, _c, d = ground.nodes
    far = distance(a, d)
    with machine(tap, kernel, "--node", f"memory=32M,cpus=0,host={a},prealloc", "--node",
                 f"memory=32M,cpus=1,host={b},prealloc", "--pin", "dedicated") as vm:
        kept = ledger(vm)
        tap.same((kept["broken"], kept["inversions"], kept["worst"]["real"]), ([], 0, 20),
                 "ledger: everything is kept")
        tap.same([(n["home"], n["resident"], n["share"], n["forced"]) for n in kept["nodes"]],
                 [(str(a), 32 * MIB, 1.0, False), (str(b), 32 * MIB, 1.0, False)],
                 "ledger: every page is at home")
        says(tap, vm, ["vnode=1", f"host={d}"], f"virtual node 1 would be {far} from node 0, and the "
             "guest was told 20: say --force to break that", "ledger: a move that breaks it is refused")
        tap.same(ledger(vm), kept, "ledger: a move that is refused changes nothing")
        tap.same(move(vm, "vnode=1", f"host={d}", "--force")[1]["state"], "arrived",
                 "ledger: by force it is made")
        now = wait_for(vm, lambda s: s["vcpus_there"] == s["vcpus"], "vCPUs to follow")
        tap.same((now["widened"], thread(vm, "vcpu1")[0]), (False, cpus_of(d)),
                 "ledger: its dedicated CPU is one of the new node")
        broken = ledger(vm)
        tap.same((len(broken["broken"]), broken["worst"]["real"], broken["nodes"][1]["forced"]),
                 (2, far, True), "ledger: it says so")
        tap.same(broken["nodes"][1]["share"], 1.0, "ledger: memory is at its new home")
        drawn(tap, vm, far)
        tap.same(move(vm, "vnode=1", f"host={b}")[1]["state"], "arrived",
                 "ledger: back again it needs no force")
        tap.same(ledger(vm), kept, "ledger: and is as it was")
        says(tap, vm, ["vnode=1", f"host={a}"], "node 1: 1 CPUs of their own are wanted, its host "
             "nodes have 0 left: say --force to have them share all CPUs there",
             "dedicated: no CPU is given twice")
        tap.same(move(vm, "vnode=1", f"host={a}", "--force")[1]["state"], "arrived",
                 "dedicated: by force it is")
        now = wait_for(vm, lambda s: s["vcpus_there"] == s["vcpus"], "vCPUs to share")
        tap.same((now["widened"], thread(vm, "vcpu1")[0]), (True, cpus_of(a)),
                 "dedicated: and the answer says so")
        tap.same(move(vm, "vnode=1", f"host={b}")[1]["state"], "arrived", "dedicated: away again")
        tap.same((status(vm)["widened"], thread(vm, "vcpu1")[0]), (False, cpus_of(b)),
                 "dedicated: it has a CPU of its own again")
    orders(tap, kernel, ground)


def drawn(tap, vm, far):
    """The broken ledger for people: in words and as a picture."""
    svg = f"/tmp/{vm.name}.svg"
    done = subprocess.run([PROGRAM, "ctl", vm.name, "ledger", "--svg", svg], text=True,
                          capture_output=True, check=False)
    tap.point(f"broken: from node 0 to node 1, told 20, real {far}\n" in done.stdout,
              "ledger: to people, too", done.stdout + done.stderr)
    with open(svg, encoding="utf-8") as f:
        tap.point(f"{far} / 20" in f.read(), "ledger: and in the picture")
    os.unlink(svg)


def orders(tap, kernel, ground):
    """The ledger counts orders that turn round; seen from the first three nodes none is at first."""
    a, b, c, d = ground.nodes
    near, beyond = ground.farthest + 10, ground.farthest + 20
    with machine(tap, kernel, "--node", f"memory=32M,cpus=0,host={a}", "--node",
                 f"memory=32M,cpus=1,host={b}", "--node", f"memory=32M,cpus=2,host={c}", "--distance",
                 f"0-1={near}", "--distance", f"0-2={beyond}", "--distance", f"1-2={beyond}") as vm:
        tap.same(ledger(vm)["inversions"], 0, "ledger: no inversions")
        tap.same(move(vm, "vnode=1", f"host={d}")[1]["state"], "arrived", "ledger: within all bounds")
        turned = ledger(vm)
        tap.same((turned["broken"], turned["inversions"]), ([], 2),
                 "ledger: an order that is turned round")


def resets(tap, kernel, ground=FOUR):
    """A reset in the middle of a move: memory is new, and arrives."""
    a, b, c, d = ground.nodes
    asked = bool(cpus_of(c)) or not cpus_of(b)  # without CPUs here and there it prefers memory alone
    with machine(tap, kernel, "--node", f"memory=64M,cpus=0,host={b},prealloc", "--node",
                 f"memory=32M,cpus=1,host={a}", *ground.far()) as vm:
        with moving(vm, "vnode=0", f"host={c}", "--rate", "32M/s") as end:
            on_its_way(vm, 8 * MIB)
            tap.same(ctl(vm.name, "reset")[0], 0, "reset: in the middle")
            tap.same(end()[1]["state"], "arrived", "reset: the move arrives")
        tap.same(homes(vm, 0), {c: 64 * MIB}, "reset: all memory is on the new node")
        now = wait_for(vm, lambda s: s["vcpus_there"] == s["vcpus"], "vCPUs to follow")
        tap.same(now["vcpus"], int(asked), "reset: the vCPU is told")
        prefers = thread(vm, "vcpu0")[1]
        tap.point(prefers and all(re.fullmatch(f"prefer.*:{c if asked else b}", p) for p in prefers),
                  "reset: and takes page tables from there", prefers)
        tap.same(ctl(vm.name, "reset")[0], 0, "reset: afterwards")
        mine, words = agree(tap, vm, "reset")
        tap.same((to_bytes(mine[0]), words[0]), ({c: 64 * MIB}, {f"bind:{c}"}),
                 "reset: memory is taken from the new node")
        with moving(vm, "vnode=0", f"host={d}", "--rate", "4M/s"):
            on_its_way(vm, 2 * MIB)
            tap.same(ctl(vm.name, "stop")[0], 0, "reset: stopped in the middle of another move")
            tap.same(vm.wait(), 4, "reset: it ends as it should")


def distance(a, b):
    with open(f"{NODES}/node{a}/distance", encoding="ascii") as f:
        return int(f.read().split()[b])


def cpus_of(node):
    with open(f"{NODES}/node{node}/cpulist", encoding="ascii") as f:
        return f.read().strip()


def thread(vm, name):
    """(allowed CPUs, policies of the heap) of a thread."""
    for task in glob.glob(f"/proc/{vm.child.pid}/task/*"):
        with open(task + "/comm", encoding="ascii") as f:
            if f.read().strip() != name:
                continue
        with open(task + "/status", encoding="ascii") as f:
            cpus = re.search(r"^Cpus_allowed_list:\s*(\S+)", f.read(), re.M)[1]
        with open(task + "/numa_maps", encoding="ascii") as f:
            return cpus, {policy_of(line) for line in f if " heap" in line}
    raise guestvm.Trouble(f"{vm.name}: no thread {name}")


def page_tables(node):
    """KiB of second-level page tables on a host node; None where the kernel does not count them."""
    with open(f"{NODES}/node{node}/meminfo", encoding="ascii") as f:
        found = re.search(r"SecPageTables:\s*(\d+) kB", f.read())
    return int(found[1]) if found else None


def remote_flushes(vm):
    """KVM's count."""
    return ctl(vm.name, "stats")[1]["kvm"].get("remote_tlb_flush", 0)


def zones(node):
    """What the kernel says of each zone of a host node: {"free": pages, "min", "low", "lists"}. Lists
    are those of free pages that CPUs keep for themselves."""
    with open("/proc/zoneinfo", encoding="ascii") as f:
        parts = re.split(r"^(?=Node \d+, zone)", f.read(), flags=re.M)
    for part in parts:
        found = re.search(r"pages free +(\d+)\n.*?^ +min +(\d+)\n +low +(\d+)\n", part, re.M | re.S)
        if part.startswith(f"Node {node}, ") and found:
            yield {"free": int(found[1]), "min": int(found[2]), "low": int(found[3]),
                   "lists": sum(map(int, re.findall(r"^ +count: +(\d+)", part, re.M)))}


def room_at_once(node):
    """Bytes that are a host node's to give without effort: free above the low watermarks."""
    return sum(max(0, z["free"] - z["low"]) for z in zones(node)) * 4 * KIB


def room_at_most(node):
    """Bytes that can be had of a host node: also what is below the low watermarks, on lists of CPUs
    and in caches that give way."""
    with open(f"{NODES}/node{node}/meminfo", encoding="ascii") as f:
        caches = sum(int(kib) for kib in re.findall(
            r"(?:ctive\(file\)|SReclaimable):\s*(\d+) kB", f.read())) * KIB
    return sum(max(0, z["free"] + z["lists"] - z["min"]) for z in zones(node)) * 4 * KIB + caches


@contextlib.contextmanager
def steady_reserve():
    """A host whose kernel keeps back the same all the time: lists of CPUs are short, and watermarks
    do not rise for a while after memory was in pieces."""
    words = {"percpu_pagelist_high_fraction": "10000", "watermark_boost_factor": "0"}
    before = {}
    try:
        for name, word in words.items():
            with open(f"/proc/sys/vm/{name}", "r+", encoding="ascii") as f:
                before[name] = f.read()
                f.write(word)
        yield
    finally:
        for name, word in before.items():
            with open(f"/proc/sys/vm/{name}", "w", encoding="ascii") as f:
                f.write(word)


class Load(typing.NamedTuple):
    """What a guest does with its second node, in MiB: the guest's script has the rest."""
    memory: int = 224  # that the node has
    data: int = 24  # copied and compared without end; twice as much lies beside

    def least(self):
        """Bytes that are there at least."""
        return 2 * self.data * MIB

    def part(self):
        """Bytes of a move under way: a third of a second's."""
        return self.data // 3 * MIB

    def rate(self):
        return f"{2 * (self.data // 3)}M/s"

    def room(self):
        """Bytes left free on a target that is to be too full."""
        return self.data * 5 // 3 * MIB

    def part_room(self):
        """Bytes free at once on a target that is to take a part of it; the move finds more."""
        return self.data * MIB

    def flushes(self):
        """How many flushes of remote TLBs a move may take at most: an extent of 2 MiB is looked at
        twice, carried off, closed and given back, and what the kernel does beside is not much."""
        return 8 * (self.memory // 2) + 64


def check(vm, name):
    """Have the guest look at its memory; the verdict is one of its points."""
    vm.send(name.encode() + b"\n")
    vm.asked("next")


def whole(tap, vm, load, host, name):
    """All of node 1 is on HOST, by both judges."""
    ctl(vm.name, "pause")
    mine, words = agree(tap, vm, name)
    ctl(vm.name, "resume")
    tap.same((sorted(mine[1]), words[1]), ([host], {f"bind:{host}"}), f"{name}: all is on {host}")
    tap.point(sum(to_bytes(mine[1]).values()) >= load.least(), f"{name}: and it is there", mine)


def arrives(tap, vm, load, ground):
    """The plain move, and what follows memory."""
    d = ground.nodes[3]
    before, flushes = page_tables(d), remote_flushes(vm)
    code, end = move(vm, "vnode=1", f"host={d}")
    flushes = remote_flushes(vm) - flushes
    print(f"# {flushes} remote TLB flushes for {end['moved'] // KIB} KiB", flush=True)
    tap.point(flushes <= load.flushes(),
              "linux: remote TLBs are flushed by the extent, not by the page", f"{flushes} flushes, {end}")
    tap.same((code, end["state"], end["left"]), (0, "arrived", 0), "linux: it arrives under load")
    tap.point(0 < end["hot"] <= load.memory * MIB, "linux: what is in use was found, and went first",
              end)
    check(vm, "after a move")
    whole(tap, vm, load, d, "linux")
    follows(tap, vm, ground, before)


def follows(tap, vm, ground, before):
    """Threads and page tables are on the new node; if it has no CPUs, where they were."""
    a, b, _c, d = ground.nodes
    there = d if cpus_of(d) else b
    now = wait_for(vm, lambda s: s["vcpus_there"] == s["vcpus"], "vCPUs to follow")
    tap.same(now["vcpus"], 1 if there == d else 0, "linux: the node's vCPU follows to where CPUs are")
    cpus, policies = thread(vm, "vcpu1")
    tap.same(cpus, cpus_of(there), "linux: it runs on the right node's CPUs")
    tap.point(policies and all(re.fullmatch(f"prefer.*:{there}", p) for p in policies),
              "linux: it takes page tables from there", policies)
    tap.same(thread(vm, "vcpu0")[0], cpus_of(a), "linux: the other one stays")
    tap.same(thread(vm, "io0")[0], cpus_of(there), "linux: so does the node's I/O thread")
    if before is None:
        tap.point(True, "linux: page tables # SKIP this kernel does not count SecPageTables")
    elif there == d:
        tap.point(page_tables(d) > before, "linux: second-level page tables are on the new node",
                  f"{before} KiB before, {page_tables(d)} KiB after")
    else:
        tap.point(page_tables(b) > page_tables(d), "linux: second-level page tables stay, too",
                  f"{page_tables(b)} KiB there, {page_tables(d)} KiB on the new node")


def cancels(tap, vm, load, ground):
    """Cancelled, it goes back, or stays if told so."""
    _a, _b, c, d = ground.nodes
    with moving(vm, "vnode=1", f"host={c}", "--rate", load.rate()) as end:
        on_its_way(vm, load.part())
        code, said = move(vm, "cancel")
        tap.same((code, said["state"], said["moved"]), (0, "returned", 0), "cancel: it goes back")
        tap.same(end()[0], 1, "cancel: who moved it hears of a failure")
    whole(tap, vm, load, d, "cancel")
    check(vm, "after a cancelled move")
    with moving(vm, "vnode=1", f"host={c}", "--rate", load.rate()) as end:
        on_its_way(vm, load.part())
        code, said = move(vm, "cancel", "--stay")
        tap.same((code, said["state"]), (0, "half-way"), "cancel --stay: it stays half-way")
        end()
    tap.same((sorted(homes(vm, 1)), maps(vm)[1][1]), ([c, d], {f"bind:{ids([c, d])}"}),
             "cancel --stay: on both nodes, bound to both")
    check(vm, "half-way")


def pauses(tap, vm, load, ground):
    """A pause holds a move."""
    _a, _b, c, _d = ground.nodes
    with moving(vm, "vnode=1", f"host={c}", "--rate", load.rate()) as end:
        on_its_way(vm, load.part())
        ctl(vm.name, "pause")
        first = status(vm)
        time.sleep(1)
        tap.same((status(vm)["moved"], first["held"]), (first["moved"], True),
                 "pause: the move stands still")
        ctl(vm.name, "resume")
        tap.same(end()[1]["state"], "arrived", "pause: it arrives afterwards")
    whole(tap, vm, load, c, "pause")
    check(vm, "after a pause in a move")


def crowd(node, room):
    """Have a pool take a host node's memory but for ROOM bytes: pages (wanted, got). Anew when others
    have given something back meanwhile."""
    take = got = 0
    for _ in range(5):
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")
        more = (room_at_most(node) - room) // (2 * MIB)
        if more < 2:
            break
        take = got + more
        got = pool(node, 2048, take)
    return take, got


def vacate(node, room, pages):
    """Have a pool of PAGES give back what it takes for ROOM bytes to be free; how many are then."""
    while (free := room_at_once(node)) < room and pages > 0:
        pages = max(0, pages - max(1, (room - free) // (2 * MIB)))
        pool(node, 2048, pages)
    return free


def fills(tap, vm, load, ground):
    """A target without room for all of it. Pages of a pool take the room quickly."""
    _a, b, c, _d = ground.nodes
    take, got = crowd(b, load.room())
    left = room_at_most(b)
    tap.point(left < load.least(), "full: the host node has little room left",
              f"{left} bytes can be had, {got} of {take} huge pages were taken, {list(zones(b))}")
    try:
        code, said = move(vm, "vnode=1", f"host={b}")
        tap.same((code, said["state"], said["moved"]), (1, "returned", 0), "full: it goes back")
        tap.same(said["why"], f"host node {b} has no room for more", "full: and says why")
        whole(tap, vm, load, c, "full")
        check(vm, "after a target was full")
        room = vacate(b, load.part_room(), got)
        code, said = move(vm, "vnode=1", f"host={b}", "--stay")
        print(f"# {left // MIB} MiB could be had, then {room // MIB} at once: {said}", flush=True)
        tap.same((code, said["state"]), (1, "half-way"), "full --stay: it stays half-way")
        tap.same((sorted(homes(vm, 1)), maps(vm)[1][1]), ([b, c], {f"bind:{ids([b, c])}"}),
                 "full --stay: on both nodes, bound to both")
        check(vm, "half-way to a full target")
    finally:
        pool(b, 2048, 0)
    tap.same(move(vm, "vnode=1", f"host={b}")[1]["state"], "arrived", "full: with room it arrives")
    whole(tap, vm, load, b, "full, with room")
    check(vm, "after all")


def linux(tap, kernel, ground=FOUR, load=Load()):
    """A Linux guest that writes, reads and compares its memory all the time."""
    a, b, _c, _d = ground.nodes
    initrd = os.path.join(guestvm.BUILD, "guest/initrd-move.zst")
    with steady_reserve(), Vm(tap, "move", [
            "--kernel", kernel, "--initrd", initrd, "--cmdline",
            f"console={guestvm.CONSOLE} quiet panic=-1 nv.test=move nv.data={load.data}", "--cpus", "2", "--node",
            f"cpus=0,memory=256M,host={a}", "--node", f"cpus=1,memory={load.memory}M,host={b}", "--rng",
            "node=1", *ground.far()]) as vm:
        vm.asked("next")
        for part in (arrives, cancels, pauses, fills):
            part(tap, vm, load, ground)
        vm.send(b"end\n")
        copies = int(vm.expect(rb"^### copies (\d+)\r?\n")[1])
        tap.point(copies > 1, "linux: copies went on to the end", copies)
        tap.same(vm.wait(), 0, "linux: it ends by itself")
