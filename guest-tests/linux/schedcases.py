# SPDX-License-Identifier: Apache-2.0
"""The cases of test-sched: what a machine gets of the host's CPUs, told by the host's kernel.

Each takes TAP, a kernel that only spins, and Linux. Times are those of the emulated host; only
shares and counts are judged.
"""
import contextlib
import glob
import json
import os
import signal
import subprocess
import time

import guestvm
from devicecases import linux
from guestvm import PROGRAM, Vm, ctl
from movecases import move
from placecases import threads_on_host

CGROUPS = "/sys/fs/cgroup"


def read(*path):
    with open(os.path.join(*path), encoding="ascii") as f:
        return f.read().strip()


def groups():
    return glob.glob(CGROUPS + "/**/numavisor-*", recursive=True)


def until(what, ready):
    """Wait until READY is true; its value."""
    end = time.monotonic() + guestvm.PATIENCE
    while not (value := ready()):
        if time.monotonic() > end:
            raise guestvm.OutOfTime(f"waited for {what}")
        time.sleep(0.1)
    return value


def host_cpus(node):
    return read(f"/sys/devices/system/node/node{node}/cpulist")


@contextlib.contextmanager
def machine(tap, name, kernel, *options):
    """A machine that is up."""
    with Vm(tap, name, ["--kernel", kernel, "--console", "none", *options]) as vm:
        def up():
            if vm.child.poll() is not None:
                raise guestvm.Trouble(f"{name} does not run: {vm.error_text()}")
            return ctl(name, "status")[0] == 0
        until(f"{name} to run", up)
        yield vm
        ctl(name, "stop")
        vm.wait()


def on_node(node, cpus=1):
    """Options of a small machine on one host node."""
    return ["--node", f"cpus=0-{cpus - 1},memory=64M,host={node}"]


def refused(*options, program="run"):
    """What numavisor says to options that it does not take."""
    done = subprocess.run([PROGRAM, program, *options], capture_output=True, text=True,
                          timeout=guestvm.PATIENCE, check=False)
    return done.returncode, done.stderr.strip()


def gone(tap, name, group):
    left = []
    for _ in range(100):
        left = [g for g in groups() if g == group]
        if not left:
            break
        time.sleep(0.1)
    tap.same(left, [], f"{name}: its cgroup is gone")


def limit(tap, spin, _linux):
    """--cpu-max: the kernel throttles all threads of the machine, and only them."""
    with machine(tap, "limit", spin, *on_node(0), "--rng", "--cpu-max", "20%",
                 "--cpu-weight", "250") as vm:
        share = ctl("limit", "status")[1]["cpu_share"]
        group = share["cgroup"]
        tap.same((share["weight"], share["max"]), (250, 0.2), "limit: status tells what was asked for")
        tap.same(read(group, "cpu.max"), "20000 100000", "limit: cpu.max is 20 %")
        tap.same(read(group, "cpu.weight"), "250", "limit: cpu.weight is as asked for")
        inside = {read("/proc", p, "comm").split("-")[0] for p in read(group, "cgroup.procs").split()}
        tap.same(inside, {"numavisor", "kvm"}, "limit: the machine and KVM's thread for it are in it")
        inside = {read(t, "cgroup") for t in glob.glob(f"/proc/{vm.child.pid}/task/*")}
        tap.same(inside, {"0::" + group[len(CGROUPS):]}, "limit: with all its threads")

        def throttled():
            cpu = ctl("limit", "stats")[1]["cpu"]
            return cpu if cpu["nr_throttled"] >= 10 else None
        cpu = until("the machine to be throttled", throttled)
        tap.point(cpu["nr_throttled"] * 2 >= cpu["nr_periods"], "limit: it is throttled all the time",
                  cpu)
        used = cpu["usage_usec"] / (cpu["nr_periods"] * 100000)
        tap.point(used < 0.4, "limit: it uses no more", f"{used} of a CPU")
    gone(tap, "limit: after ctl stop", group)


def ends(tap, spin, _linux):
    """However a machine ends, its group goes."""
    for how in (signal.SIGKILL, signal.SIGTERM):
        with machine(tap, "ends", spin, *on_node(0), "--cpu-max", "50%") as vm:
            group = ctl("ends", "status")[1]["cpu_share"]["cgroup"]
            tap.same(os.path.isdir(group), True, f"ends: {how.name}: there is a group")
            vm.child.send_signal(how)
            vm.wait()
            gone(tap, f"ends: {how.name}", group)
    status, said = refused("--kernel", "/dev/null", "--console", "none", "--cpu-max", "50%")
    tap.point(status != 0 and said, "ends: a kernel that is none does not start", said)
    gone(tap, "ends: a start that fails", (groups() or [""])[0])
    tap.same(groups(), [], "ends: no group is left")


def usage(*names):
    return [ctl(n, "stats")[1]["cpu"]["usage_usec"] for n in names]


def compete(a, b):
    """The part that machine A has of what both use."""
    before = usage(a, b)
    until("CPU time", lambda: sum(usage(a, b)) - sum(before) > 3000000)
    after = usage(a, b)
    used = [y - x for x, y in zip(before, after)]
    return used[0] / sum(used)


def weight(tap, spin, _linux):
    """Two machines on one CPU share it by their weights."""
    with machine(tap, "light", spin, *on_node(0), "--cpu-weight", "100"):
        with machine(tap, "heavy", spin, *on_node(0), "--cpu-weight", "400"):
            part = compete("heavy", "light")
            tap.point(0.65 < part < 0.95, "weight: 400 beside 100 gets four fifths", part)


def reserve(tap, spin, _linux):
    """A floor holds against any weight, and is not given away twice."""
    with machine(tap, "floor", spin, *on_node(0), "--cpu-reserve", "50%"):
        with machine(tap, "heavy", spin, *on_node(0), "--cpu-weight", "1000"):
            part = compete("floor", "heavy")
            tap.point(part > 0.42, "reserve: half of a CPU is kept against a weight of 1000", part)
            want = ("numavisor: --cpu-reserve: host node 0 has 1 CPUs, 0.5 of them are reserved by "
                    "other machines (floor 0.5), and 0.6 more would be")
            more = [*on_node(0), "--cpu-reserve", "0.6"]
            tap.same(refused(*more, program="plan"), (2, want), "reserve: plan refuses too much")
            tap.same(refused("--kernel", spin, "--console", "none", *more), (2, want),
                     "reserve: run refuses the same")
            with machine(tap, "plain", spin, *on_node(0)):
                tap.point("cgroup" in ctl("plain", "status")[1]["cpu_share"],
                          "reserve: who asks for nothing is weighed as well")
                part = compete("floor", "plain")
                tap.point(part > 0.75, "reserve: and gets least beside the two", part)
            with machine(tap, "second", spin, *on_node(1), "--cpu-reserve", "100%"):
                tap.point(True, "reserve: another node has room")
    tap.same(groups(), [], "reserve: no group is left")


def reserve_moves(tap, spin, _linux):
    """A floor goes along with a node only where there is room, and weights follow it."""
    with machine(tap, "floor", spin, *on_node(0), "--cpu-reserve", "50%") as vm, \
            machine(tap, "heavy", spin, *on_node(1), "--cpu-weight", "1000"):
        with machine(tap, "wall", spin, *on_node(1), "--cpu-reserve", "0.6"):
            want = ("--cpu-reserve: host node 1 has 1 CPUs, 0.6 of them are reserved by other "
                    "machines (wall 0.6), and 0.5 more would be")
            for forced in ((), ("--force",)):
                status, said = move(vm, "vnode=0", "host=1", *forced)
                tap.point(status != 0 and want in said["state"],
                          "reserve moves: no move to where there is no room", said)
            tap.same(threads_on_host(vm.child.pid)["vcpu0"], host_cpus(0),
                     "reserve moves: it stays where it is")
        tap.same(move(vm, "vnode=0", "host=1")[0], 0, "reserve moves: where there is room it goes")
        part = compete("floor", "heavy")
        tap.point(part > 0.42, "reserve moves: its floor holds there, too", part)
        share = ctl("floor", "status")[1]["cpu_share"]
        tap.same(str(share["weight"]), read(share["cgroup"], "cpu.weight"),
                 "reserve moves: status tells the weight of now")
        tap.same(refused(*on_node(0), "--cpu-reserve", "1", program="plan"), (0, ""),
                 "reserve moves: where it was, all can be reserved")
        tap.same(refused(*on_node(1), "--cpu-reserve", "0.6", program="plan")[0], 2,
                 "reserve moves: where it is, no more than is left")
    tap.same(groups(), [], "reserve moves: no group is left")


BARE = ["unshare", "--mount", "sh", "-c", f"umount {CGROUPS}; exec \"$@\"", "sh", PROGRAM]
WHY = ": there is no cgroup of version 2"


@contextlib.contextmanager
def bare_machine(name, kernel, *options):
    """A machine that has no cgroup: its process, and what it says in the end."""
    said = []
    with subprocess.Popen([*BARE, "run", "--name", name, "--kernel", kernel, "--console", "none",
                           *options], stderr=subprocess.PIPE, text=True) as child:
        try:
            until(f"{name} to run", lambda: child.poll() is not None or ctl(name, "status")[0] == 0)
            yield child, said
            ctl(name, "stop")
            said += child.communicate(timeout=guestvm.PATIENCE)[1].splitlines()
        finally:
            child.kill()


def cpu_ticks(child):
    return sum(int(x) for x in read("/proc", str(child.pid), "stat").rpartition(")")[2].split()[11:13])


def nice_of(child):
    """Of all threads that there still are."""
    values = set()
    for task in glob.glob(f"/proc/{child.pid}/task/*"):
        with contextlib.suppress(OSError):
            values.add(int(read(task, "stat").rpartition(")")[2].split()[16]))
    return values


def without(tap, spin, _linux):
    """No cgroup: the same thread by thread, each with one line."""
    done = subprocess.run([*BARE, "check", "--json"], stdout=subprocess.PIPE, text=True,
                          timeout=guestvm.PATIENCE, check=False)
    found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}["cpu-cgroup"]
    tap.same((found["verdict"], found["what"].endswith(WHY)), ("limited", True),
             "without: check says so")
    with bare_machine("light", spin, *on_node(0), "--cpu-weight", "50") as (child, said):
        tap.same(nice_of(child), {3}, "without: a weight of 50 is nice 3, for every thread")
        tap.same(ctl("light", "status")[1]["cpu_share"], {"nice": 3}, "without: status tells")
    tap.same(said[:1], ["numavisor: --cpu-weight 50 becomes nice 3" + WHY],
             "without: a weight has its line")
    with bare_machine("limited", spin, *on_node(0, 2), "--rng", "--cpu-max", "20%") as (child, said):
        def throttled():
            cpu = ctl("limited", "stats")[1]["cpu"]
            return cpu if cpu["nr_throttled"] >= 20 else None
        first = ctl("limited", "stats")[1]["cpu"]
        cpu = until("the machine to be held", throttled)
        tap.same(ctl("limited", "status")[1]["cpu_share"]["max"], 0.2,
                 "without: status tells the limit")
        used = ((cpu["usage_usec"] - first["usage_usec"]) /
                (100000 * max(cpu["nr_periods"] - first["nr_periods"], 1)))
        tap.point(used < 0.4, "without: the machine keeps its limit itself", f"{used} of a CPU")
        ticks = cpu_ticks(child)
        ctl("limited", "pause")
        ctl("limited", "resume")
        tap.same(ctl("limited", "reset")[0], 0, "without: a limited machine is paused and reset")
        until("it to run on", lambda: cpu_ticks(child) > ticks + 20)
    tap.same(said[:1], ["numavisor: --cpu-max is kept by the machine itself" + WHY],
             "without: a limit has its line")


@contextlib.contextmanager
def host_swap():
    """The host swaps, into memory."""
    subprocess.run(["modprobe", "brd", "rd_nr=1", "rd_size=32768"], check=True)
    for argv in (["mkswap", "/dev/ram0"], ["swapon", "/dev/ram0"]):
        subprocess.run(["busybox", *argv], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run(["busybox", "swapoff", "/dev/ram0"], check=True)


def swap(tap, spin, _linux):
    """Who pages his guest keeps the host from doing it, or is told."""
    with host_swap():
        done = subprocess.run([PROGRAM, "check", "--json"], stdout=subprocess.PIPE, text=True,
                              timeout=guestvm.PATIENCE, check=False)
        found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}["swap"]
        tap.same((found["verdict"], "MemorySwapMax=0" in found["advice"]), ("limited", True),
                 "swap: check says so")
        with machine(tap, "kept", spin, *on_node(0), "--pager", "on") as vm:
            group = ctl("kept", "status")[1]["cpu_share"]["cgroup"]
            tap.same(read(group, "memory.swap.max"), "0", "swap: memory of a paged machine is kept")
            tap.same(vm.error_text(), "", "swap: which is nothing to tell")
        gone(tap, "swap", group)
        with machine(tap, "plain", spin, *on_node(0)):
            tap.same(groups(), [], "swap: who does not page has no group for it")
        with bare_machine("reached", spin, *on_node(0), "--pager", "on") as (_child, said):
            pass
        tap.point(said and said[0].startswith("numavisor: the host has swap") and
                  said[0].endswith(WHY), "swap: without a group there is a line", said)
    with bare_machine("safe", spin, *on_node(0), "--pager", "on") as (_child, said):
        pass
    tap.same([s for s in said if "swap" in s], [], "swap: and none where there is no swap")


def without_reserve(tap, spin, _linux):
    """No cgroup: nice values keep floors, of whoever comes, and where nodes move."""
    def part(a, b):
        before = cpu_ticks(a), cpu_ticks(b)
        until("CPU time", lambda: cpu_ticks(a) + cpu_ticks(b) - sum(before) > 300)
        used = cpu_ticks(a) - before[0], cpu_ticks(b) - before[1]
        return used[0] / sum(used)
    with bare_machine("heavy", spin, *on_node(0), "--cpu-weight", "100") as (heavy, _), \
            bare_machine("floor", spin, *on_node(0), "--cpu-reserve", "75%") as (floor, said):
        tap.same((nice_of(floor), nice_of(heavy)), ({0}, {9}),
                 "without reserve: who was there steps back, all threads")
        got = part(floor, heavy)
        tap.point(got > 0.72, "without reserve: three quarters of a CPU are kept", got)
        with bare_machine("plain", spin, *on_node(0)) as (plain, plain_said):
            tap.point(min(nice_of(plain)) > 5, "without reserve: who asks for nothing steps back as well",
                      nice_of(plain))
            got = part(floor, plain)
            tap.point(got > 0.8, "without reserve: the floor holds beside two", got)
        tap.point(plain_said and plain_said[0].endswith(WHY) and
                  "which makes this one nice" in plain_said[0], "without reserve: he is told",
                  plain_said)
        with bare_machine("away", spin, *on_node(1), "--cpu-weight", "100") as (away, _):
            status, said_move = ctl("floor", "move", "vnode=0", "host=1")
            tap.same(status, 0, f"without reserve: it moves {said_move}")
            until("the others to step back",
                  lambda: min(nice_of(away)) > 5 and threads_on_host(floor.pid)["vcpu0"] == host_cpus(1))
            got = part(floor, away)
            tap.point(got > 0.72, "without reserve: its floor holds there, too", got)
    tap.point(said[0].startswith("numavisor: --cpu-reserve is kept by nice values") and
              said[0].endswith(" 0 for this machine" + WHY), "without reserve: a floor has its line", said[:1])


def threads(tap, spin, _linux):
    """I/O threads run on the CPUs of the node that they serve; plan, status and kernel agree."""
    options = ["--node", "cpus=0,memory=64M,host=1", "--node", "cpus=1,memory=64M,host=0",
               "--rng", "node=1", "--vsock", "cid=5,socket=/tmp/threads.vsock,node=0",
               "--io-threads", "2"]
    done = subprocess.run([PROGRAM, "plan", "--json", *options], check=True, text=True,
                          stdout=subprocess.PIPE)
    plan = {t["name"]: t["host_cpus"] for t in json.loads(done.stdout)["plan"]["threads"]}
    both = ",".join(host_cpus(n) for n in (0, 1))
    with machine(tap, "threads", spin, *options) as vm:
        there = threads_on_host(vm.child.pid)
        status = {t["name"]: t["host_cpus"] for t in ctl("threads", "status")[1]["threads"]}
        tap.same(status, plan, "threads: status tells the plan")
        tap.same({n: there[n] for n in ("io0", "io1")}, {n: plan[n] for n in ("io0", "io1")},
                 "threads: the kernel keeps them there")
        tap.same(sorted(plan[n] for n in ("io0", "io1")), sorted(both.split(",")),
                 "threads: each is near its device")


def neighbours(tap, spin, _linux):
    """A machine is placed beside the others, and as many nodes as the host suggests."""
    def planned(*options):
        done = subprocess.run([PROGRAM, "plan", "--json", *options], check=True, text=True,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)
    alone = planned("--cpus", "1", "--memory", "64M", "--pin", "node")
    tap.same(alone["plan"]["vcpus"][0]["host_cpus"], host_cpus(0), "neighbours: alone on node 0")
    with machine(tap, "first", spin, *on_node(0)) as first:
        plan = planned("--cpus", "1", "--memory", "64M", "--pin", "node")["plan"]
        tap.same(plan["vcpus"][0]["host_cpus"], host_cpus(1), "neighbours: beside one on node 1")
        tap.same([n for n in plan["notes"] if "beside" in n],
                 ["Places are chosen beside 1 other machine of yours, which wants 1 CPUs."],
                 "neighbours: the plan says so")
        with machine(tap, "next", spin, "--cpus", "1", "--memory", "64M", "--pin", "node") as vm:
            tap.same(threads_on_host(vm.child.pid)["vcpu0"], host_cpus(1),
                     "neighbours: the machine is there")
        # It moves away, and says so.
        tap.same(move(first, "vnode=0", "host=1")[0], 0, "neighbours: the first one moves to node 1")
        plan = planned("--cpus", "1", "--memory", "64M", "--pin", "node")["plan"]
        tap.same(plan["vcpus"][0]["host_cpus"], host_cpus(0), "neighbours: which makes room on node 0")
    sized = planned("--cpus", "2", "--memory", "64M", "--vnuma", "auto")
    tap.same((sized["vnuma"], [v["host_cpus"] for v in sized["plan"]["vcpus"]]),
             (2, [host_cpus(0), host_cpus(1)]), "neighbours: two vCPUs are two nodes here")


def polls(vm):
    return sum(v["kvm"].get("halt_attempted_poll", 0) for v in ctl(vm.name, "stats")[1]["vcpus"])


def steal(tap, _spin, kernel):
    """Two busy vCPUs on one CPU: each sees what the other takes. And how long KVM may poll."""
    for poll, busy in (("0", True), ("1ms", False)):
        with Vm(tap, "steal", linux(kernel, "sched", "--node", "cpus=0-1,memory=256M,host=0",
                                    "--halt-poll", poll)) as vm:
            ticks = vm.expect(rb"^### ticks (\d+) (\d+)\r?\n")
            used, stolen = (int(x) for x in ticks.groups())
            if busy:
                tap.point(stolen > 0.2 * (used + stolen),
                          "steal: the guest sees that it has half of what it wants",
                          f"{used} ticks used, {stolen} stolen")
            vm.expect(rb"^### idle\r?\n")
            count = polls(vm)
            tap.point((count == 0) == (poll == "0"), f"steal: --halt-poll {poll}: KVM "
                      f"{'never polls' if poll == '0' else 'polls'}", f"{count} times")
            ctl("steal", "stop")
            vm.wait()


def check(tap, _spin, _linux):
    done = subprocess.run([PROGRAM, "check", "--json"], check=False, text=True,
                          stdout=subprocess.PIPE)
    found = {f["name"]: f["verdict"] for f in json.loads(done.stdout)["findings"]}
    for name in ("cpu-cgroup", "steal-time", "halt-poll"):
        tap.same(found.get(name), "ok", f"check: {name} is there")
