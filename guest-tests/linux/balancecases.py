# SPDX-License-Identifier: Apache-2.0
"""The cases of test-balance: virtual nodes move when the host changes, and only then.

Each takes TAP and a kernel that only spins. A machine is one virtual node with one busy vCPU, on a
host whose nodes have a CPU each, or none. What is waited for is counted in epochs, whose length under
emulation means nothing; an epoch is a second.
"""
import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import time

import guestvm
from guestvm import PROGRAM, ctl
from movecases import NODES, homes
from placecases import threads_on_host
from schedcases import host_cpus, machine, on_node, refused, until

MIB = 1 << 20
CPU = "/sys/devices/system/cpu"
RESIDENCY = 60 * 10 ** 9  # nanoseconds from one step to the next
STEADY = 12  # epochs in which nothing is to happen: four times as many as a step needs


def balanced(tap, name, spin, mode, *more):
    return machine(tap, name, spin, "--cpus", "1", "--memory", "64M", "--prealloc", "--balance", mode,
                   "--balance-epoch", "1s", *more)


def balance(name, *words):
    code, answer = ctl(name, "balance", *words)
    if code != 0:
        raise guestvm.Trouble(f"ctl {name} balance: {answer}")
    return answer


def epochs(name, n):
    """Wait for N epochs more; how rebalancing stands then."""
    end = balance(name)["epochs"] + n
    return until(f"{n} epochs", lambda: (now := balance(name))["epochs"] >= end and now)


def home(name):
    return balance(name)["nodes"][0]["home"]


def host_nodes():
    """{host node: CPUs that it has, as ctl balance counts them}"""
    nodes = (int(re.search(r"\d+$", path)[0]) for path in glob.glob(f"{NODES}/node[0-9]*"))
    return {n: 1.0 if host_cpus(n) else 0.0 for n in sorted(nodes)}


def next_to(node):
    """The next host node that has a CPU."""
    able = [n for n, cpus in host_nodes().items() if cpus]
    return able[(able.index(node) + 1) % len(able)]


def cpu_numbers(node):
    """{numbers} of a host node's CPUs"""
    ends = [part.split("-") for part in host_cpus(node).split(",")]
    return {n for end in ends for n in range(int(end[0]), int(end[-1]) + 1)}


@contextlib.contextmanager
def busy(node, share=1.0):
    """A process that keeps a CPU of a host node busy, for SHARE of the time.

    It goes there when it is up: starting costs seconds of a CPU on a slow host.
    """
    code = ("import os, time\n"
            f"os.sched_setaffinity(0, {cpu_numbers(node)})\n"
            "print(flush=True)\n"
            f"share = {share}\n"
            "while True:\n"
            "    end = time.monotonic() + 0.1 * share\n"
            "    while time.monotonic() < end: pass\n"
            "    if share < 1: time.sleep(0.1 * (1 - share))\n")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            yield
        finally:
            child.kill()


def whole(tap, vm, host, name):
    """Memory, vCPU and our own word are all on HOST."""
    tap.same(sorted(homes(vm, 0)), [host], f"{name}: all memory is on host node {host}")
    tap.same(threads_on_host(vm.child.pid)["vcpu0"], host_cpus(host), f"{name}: so is the vCPU")
    tap.same(home(vm.name), host, f"{name}: and ctl balance says so")


def steady(tap, spin, count=STEADY):
    """Nothing moves for COUNT epochs while nothing changes, nor in as many with noise."""
    with balanced(tap, "steady", spin, "on") as vm:
        now = epochs("steady", count)
        tap.same((now["decided"], now["moved"], now["decisions"]), (0, 0, []),
                 "steady: no decision in steady state")
        node = now["nodes"][0]
        tap.point(0.5 < node["wants"] < 1.5, "steady: the vCPU is seen to want a CPU", node)
        tap.same((node["resident"], node["at_home"], node["fixed"]), (64 * MIB, 64 * MIB, False),
                 "steady: all its memory is seen at home")
        tap.same({h["node"]: h["cpus"] for h in now["hosts"]}, host_nodes(),
                 "steady: each host node has its CPU")
        with busy(node["home"], 0.15), busy(next_to(node["home"]), 0.3):
            now = epochs("steady", count)
        tap.same((now["decided"], now["moved"]), (0, 0), "steady: no decision by noise")
        whole(tap, vm, node["home"], "steady")
        ctl("steady", "pause")
        until("epochs to be skipped", lambda: balance("steady")["skipped"] >= 3)
        ctl("steady", "resume")
        tap.same(ctl("steady", "reset")[0], 0, "steady: a reset in the middle")
        now = epochs("steady", 4)
        tap.same((now["decided"], now["nodes"][0]["at_home"], ctl("steady", "status")[1]["balance"]),
                 (0, 64 * MIB, "on"), "steady: nor after a pause and a reset")


def advise(tap, spin):
    """It says what it would do, and does nothing."""
    with balanced(tap, "advise", spin, "advise") as vm:
        at = epochs("advise", 2)["nodes"][0]["home"]
        with busy(at):
            now = until("advice", lambda: (b := balance("advise"))["decided"] and b)
            move = now["decisions"][0]["moves"][0]
            tap.same((move["vnode"], move["from"], now["decisions"][0]["advised"]), (0, at, True),
                     "advise: it would leave the busy node")
            tap.point(move["to"] != at and now["decisions"][0]["predicted"] > 0.5,
                      "advise: for one where it gains", now["decisions"])
            wanted = now["hosts"][at]["others"]
            tap.point(wanted > 0.5, "advise: since others want that node's CPU", wanted)
            epochs("advise", 4)
            whole(tap, vm, at, "advise: nothing moves")
        said = subprocess.run([PROGRAM, "ctl", "advise", "balance"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        tap.point("advise: rebalancing is advising" in said and
                  f"advised: node 0 from {at} to {move['to']}" in said, "advise: to people, too", said)
        tap.same(balance("advise", "off")["mode"], "off", "advise: it can be switched off")
        stopped = balance("advise")["epochs"]
        time.sleep(2.5)
        tap.point(balance("advise")["epochs"] <= stopped + 1, "advise: then nobody looks any more")
        tap.point(f"numavisor: balance: would move virtual node 0 from host node {at} to "
                  f"{move['to']}" in vm.error_text(), "advise: and on standard error",
                  vm.error_text())


def moves(tap, spin):
    """It leaves a busy node, says what that gained, and the trace replays."""
    trace = "/tmp/moves.trace"
    with balanced(tap, "moves", spin, "on", "--balance-trace", trace) as vm:
        at = epochs("moves", 2)["nodes"][0]["home"]
        with busy(at):
            now = until("a move", lambda: (b := balance("moves"))["moved"] and b)
            to = now["decisions"][0]["moves"][0]["to"]
            tap.point(to != at, "moves: it leaves the busy node", now["decisions"])
            now = until("its outcome",
                        lambda: (b := balance("moves"))["decisions"][0]["outcome"] != "waiting" and b)
            first = now["decisions"][0]
            tap.same((first["outcome"], first["why"], first["advised"]), ("done", "", False),
                     "moves: it arrived")
            tap.point(first["achieved"] > 0.5, "moves: and gained most of a CPU", first)
            whole(tap, vm, to, "moves")
        now = epochs("moves", STEADY)
        tap.same((now["moved"], home("moves")), (1, to),
                 "moves: it does not come back when the old node is free again")
        tap.point("balance: moving virtual node 0" in vm.error_text() and
                  "balance: the step of virtual node 0 gained" in vm.error_text(),
                  "moves: both are said on standard error", vm.error_text())
    done = subprocess.run([PROGRAM, "replay", "--json", trace], capture_output=True, text=True,
                          check=False)
    tap.same(done.returncode, 0, f"moves: the trace replays {done.stderr}")
    again = json.loads(done.stdout)["decisions"]
    tap.same([{k: d[k] for k in ("time", "moves", "predicted", "achieved", "outcome")} for d in again],
             [{k: d[k] for k in ("time", "moves", "predicted", "achieved", "outcome")}
              for d in now["decisions"]], "moves: to the same decisions and gains")
    with open(trace, encoding="ascii") as f:
        lines = [line for line in f if '"decided"' not in line]
    with open(trace, "w", encoding="ascii") as f:
        f.writelines(lines)
    done = subprocess.run([PROGRAM, "replay", trace], capture_output=True, text=True, check=False)
    tap.point(done.returncode == 1 and "the machine decided nothing before this" in done.stderr,
              "moves: a trace that says otherwise is found out", done.stderr)
    os.unlink(trace)


def given_up(tap, spin):
    """A step to where what is reserved has no room is refused, said, given up, and not tried again
    before its time."""
    name = "givenup"
    with balanced(tap, name, spin, "on", "--cpu-reserve", "50%") as vm:
        at = epochs(name, 2)["nodes"][0]["home"]
        others = [n for n, cpus in host_nodes().items() if cpus and n != at]
        walls = [w for i, n in enumerate(others) for w in ("--node", f"cpus={i},memory=32M,host={n}")]
        with machine(tap, "wall", spin, *walls, "--cpu-reserve", f"{60 * len(others)}%"), busy(at):
            ctl("wall", "pause")  # it reserves and uses nothing, so its nodes look free
            now = until("a step that is refused", lambda: (b := balance(name))["failed"] and b)
            to = now["decisions"][0]["moves"][0]["to"]
            want = (f"--cpu-reserve: host node {to} has 1 CPUs, 0.6 of them are reserved by other "
                    "machines (wall 0.6), and 0.5 more would be")
            tap.same((now["decisions"][0]["why"], now["moved"], now["moving"]), (want, 0, False),
                     "given up: the decision says why it is not carried out")
            tap.point(f"balance: virtual node 0 stays: {want}" in vm.error_text(),
                      "given up: so does standard error", vm.error_text())
            said = subprocess.run([PROGRAM, "ctl", name, "balance"], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout
            tap.point(f"stays:   node 0 from {at} to {to}" in said and want in said,
                      "given up: and ctl, to people", said)
            now = epochs(name, STEADY)
            times = [d["time"] for d in now["decisions"]]
            tap.point(all(abs(b - a) >= RESIDENCY for a, b in zip(times, times[1:])),
                      "given up: nor is it tried again at once", now["decisions"])
            whole(tap, vm, at, "given up")


def pair(tap, spin):
    """Of two nodes the crowded one moves, also where memory may be paged."""
    with machine(tap, "pair", spin, "--cpus", "2", "--memory", "128M", "--vnuma", "2", "--pager", "on",
                 "--balance", "on", "--balance-epoch", "1s") as vm:
        before = [n["home"] for n in epochs("pair", 2)["nodes"]]
        tap.same(len(set(before)), 2, "pair: each on a host node of its own")
        for node in (0, 1):
            until("the eviction", lambda n=node: ctl("pair", "evict", f"node={n}", "by=1G")[0] == 0)
        now = epochs("pair", 4)
        tap.point(sum(n["resident"] for n in now["nodes"]) < 16 * MIB,
                  "pair: what was evicted stays away however often it is looked for", now["nodes"])
        with busy(before[0]):
            now = until("a move", lambda: (b := balance("pair"))["moved"] and b)
            tap.same([m["vnode"] for m in now["decisions"][0]["moves"]], [0],
                     "pair: the crowded one moves")
            now = epochs("pair", 4)
        tap.point(now["nodes"][0]["home"] != before[0] and now["nodes"][1]["home"] == before[1],
                  "pair: and the other one stays", now["nodes"])
        tap.same(ctl("pair", "ledger")[1]["broken"], [], "pair: what the guest was told still holds")


@contextlib.contextmanager
def without(cpu):
    """The host without one of its CPUs."""
    path = f"{CPU}/cpu{cpu}/online"
    with open(path, "w", encoding="ascii") as f:
        f.write("0")
    try:
        yield
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write("1")


def offline(tap, spin):
    """A CPU goes: its vCPU runs elsewhere at once, and its node follows."""
    with machine(tap, "first", spin, *on_node(0)):
        with balanced(tap, "gone", spin, "on") as vm:
            at = epochs("gone", 2)["nodes"][0]["home"]
            tap.point(at != 0, "offline: it is not on the first node", at)
            with without(host_cpus(at)):
                now = until("the move away", lambda: (b := balance("gone"))["moved"] and b)
                tap.same(now["hosts"][at]["cpus"], 0.0, "offline: the node is seen without CPUs")
                tap.point("none of its CPUs is online, it runs on" in vm.error_text(),
                          "offline: its vCPU is put on another one at once", vm.error_text())
                to = now["decisions"][-1]["moves"][0]["to"]
                until("the epoch after it", lambda: home("gone") == to)
                whole(tap, vm, to, "offline")
                tap.same(ctl("gone", "status")[1]["state"], "running", "offline: it runs on")
            now = epochs("gone", 4)
            tap.same((now["moved"], now["hosts"][at]["cpus"]), (1, 1.0),
                     "offline: when the CPU is back it stays where it is")


def returns(tap, spin):
    """A CPU goes for a moment only: the vCPU comes back to its node without a move."""
    with machine(tap, "first", spin, *on_node(0)):
        with balanced(tap, "back", spin, "on") as vm:
            at = epochs("back", 2)["nodes"][0]["home"]
            with without(host_cpus(at)):
                until("its vCPU elsewhere",
                      lambda: "none of its CPUs is online" in vm.error_text())
            now = until("its vCPU back", lambda: "online again" in vm.error_text() and balance("back"))
            until("the kernel to say so",
                  lambda: threads_on_host(vm.child.pid)["vcpu0"] == host_cpus(now["nodes"][0]["home"]))
            tap.same(now["moved"], 0, "returns: no memory had to move")
            whole(tap, vm, at, "returns")


def refuses(tap, _spin):
    """What would have no effect, or contradict, is refused."""
    tap.same(refused("--cpus", "1", "--pin", "dedicated", "--balance", "on", program="plan"),
             (2, "numavisor: --balance on and --pin dedicated exclude each other: rebalancing weighs "
                 "CPU time, not which CPUs or caches are free"), "refuses: dedicated CPUs")
    tap.same(refused(*on_node(0), "--balance", "on", program="plan"),
             (2, "numavisor: --balance has no effect when every node says host=: such nodes stay "
                 "where they are"), "refuses: fixed nodes alone")
