# SPDX-License-Identifier: Apache-2.0
"""Run one guest of the table and judge it."""
import dataclasses
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import tempfile
import time

import barefacts
from barecases import ENDLESS, STOPPED, TOPOLOGIES

DISK_SECTORS = 2048
DISK_WORDS = 64
SLOW_ROUNDS, SLOW_CHARGES = 6, 20
SWAP_BYTES = 16 << 20
SWAP_BLOCK = 4096
GROWTH_KIB = 512  # what a calm and a wild run of one guest may differ by
INITRD_BYTES = 70001
MULTIPLIER = 0x9e3779b97f4a7c15  # as blk_pattern() in lib/virtio.h


def build_dir():
    return os.environ.get("BUILD", "build")


def program(build=None):
    return os.path.join(build or build_dir(), "numavisor")


def image(guest, suffix="elf", build=None):
    return os.path.join(build or build_dir(), "guest-tests/bare", f"{guest}.{suffix}")


def make_disk(path):
    """Sector 0 is zero, for guests that count boots; the others hold the pattern."""
    with open(path, "wb") as f:
        f.write(bytes(DISK_WORDS * 8))
        for sector in range(1, DISK_SECTORS):
            f.write(struct.pack(f"<{DISK_WORDS}Q", *(
                (sector << 16 | i) * MULTIPLIER & (1 << 64) - 1 for i in range(DISK_WORDS))))


def make_swap(path):
    """An empty file, or a device over it where its file system has no direct I/O: in memory, in the
    emulated host."""
    with open(path, "wb") as f:
        f.truncate(SWAP_BYTES)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
        return path
    except OSError:
        subprocess.run(["modprobe", "loop"], check=False, capture_output=True)
        done = subprocess.run(["losetup", "--find", "--show", path], check=False,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"losetup: {done.stderr.strip()}") from None
        return done.stdout.strip()


def drop_swap(path):
    if path and path.startswith("/dev/"):
        subprocess.run(["losetup", "--detach", path], check=False)


def machine_options(case, folder):
    options = case.options or TOPOLOGIES[case.where]
    if isinstance(options, dict):
        path = os.path.join(folder, "config.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(options, f)
        return ["--config", path]
    places = {"@DISK@": "disk", "@INITRD@": "initrd", "@SWAP@": "swap", "@DIR@": ""}
    places = {k: os.path.join(folder, v).rstrip("/") for k, v in places.items()}
    if any("@DISK@" in o for o in options):
        make_disk(places["@DISK@"])
    if "@SWAP@" in options:
        places["@SWAP@"] = make_swap(places["@SWAP@"])
    if "@INITRD@" in options:
        with open(places["@INITRD@"], "wb") as f:
            f.write(bytes(i & 255 for i in range(INITRD_BYTES)))
    for word, path in places.items():
        options = [o.replace(word, path) for o in options]
    return options


def plan(options):
    done = subprocess.run([program(), "plan", "--json", *options], capture_output=True,
                          text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"plan: {done.stderr.strip()}")
    return json.loads(done.stdout)["plan"]


class Run:
    """A guest that runs; its output grows in a file, so that it can be looked at meanwhile."""

    def __init__(self, case, folder, options):
        self.case = case
        self.out_path = os.path.join(folder, "out")
        self.peak_kib = 0
        self.name = f"bare-{os.getpid()}-{os.path.basename(folder)}"
        command = [program(), "run", "--name", self.name, "--kernel", image(case.guest, case.image),
                   *(["--cmdline", case.cmdline] if case.cmdline else []), *options]
        with open(self.out_path, "wb") as out, open(self.out_path + ".err", "wb") as err:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=err)

    def output(self, suffix=""):
        with open(self.out_path + suffix, encoding="utf-8", errors="replace") as f:
            return f.read()

    def order(self, sign, *words):
        """ctl NAME WORDS once the guest has said SIGN; whether it gets there is the guest's to tell."""
        end = time.monotonic() + self.case.seconds
        while sign not in self.output():
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        subprocess.run([program(), "ctl", self.name, *words], timeout=self.case.seconds, check=False,
                       capture_output=True)

    def damage(self, path):
        """Have all of its memory evicted, and blocks of its swap file changed; each of them has one
        page, since these pages do not shrink, from the middle on, for what the loader left goes first.
        Return: how many."""
        end = time.monotonic() + self.case.seconds
        while "waiting for the power button" not in self.output() and time.monotonic() < end:
            time.sleep(0.1)
        for node in ("0", "1"):
            self.ctl("evict", f"node={node}", "by=1G")
        with open(path, "r+b") as f:
            data = f.read()
            used = [at for at in range(SWAP_BLOCK, len(data), SWAP_BLOCK)  # behind its header
                    if any(data[at:at + SWAP_BLOCK])]
            chosen = used[len(used) // 2:][:self.case.damage]
            for at in chosen:
                f.seek(at)
                f.write(bytes([data[at] ^ 1]))
            f.flush()
            os.fsync(f.fileno())
        subprocess.run([program(), "ctl", self.name, "power"], timeout=self.case.seconds,
                       check=False, capture_output=True)
        return len(chosen)

    def ctl(self, *words):
        """The answer, or None when the machine is gone or refuses."""
        done = subprocess.run([program(), "ctl", self.name, *words, "--json"], timeout=60,
                              check=False, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def paged(self):
        """Have memory of both nodes go. Return: counts, by node."""
        if not self.case.target:
            answers = {n: self.ctl("evict", f"node={n}", "by=1G") for n in ("0", "1")}
            return {n: a["pager"] for n, a in answers.items() if a and "pager" in a}
        for node in ("0", "1"):
            self.ctl("target", f"node={node}", f"size={self.case.target}")
        time.sleep(0.5)
        answer = self.ctl("memory") or {"nodes": []}
        return {str(n["id"]): n["pager"] for n in answer["nodes"]}

    def saw_enough(self, counts):
        """Pages of both nodes went, and some came back. With a target nothing need go: a guest that is
        fast enough has all of its memory in use at each look, and then all of it stays."""
        if len(counts) < 2:
            return False
        if self.case.target:
            return all(n["rounds"] > 1 and (n["evicted"] or n["hot"]) for n in counts.values())
        return (all(n["evicted"] for n in counts.values()) and
                any(n["filled"] for n in counts.values()))

    def runs(self):
        return os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def evict(self):
        """Evict all while the guest does its rounds: pause it, reset it, stop it, each after a whole
        round under that. Return: per node, the last counts; none when it did not come so far."""
        end, counts, stages, seen = time.monotonic() + self.case.seconds, {}, 0, 0
        while self.runs() and time.monotonic() < end:
            counts.update(self.paged())
            rounds = self.output().count("round ")
            if not self.saw_enough(counts) or rounds < seen + 2:
                continue
            if stages == 2:
                self.ctl("stop")
                return counts
            for word in (("pause", "memory", "resume"), ("reset",))[stages]:
                self.ctl(word)
            stages, seen = stages + 1, self.output().count("round ")
        return {}

    def more_rounds(self, n):
        """What N rounds from the next but one on say; fewer when they do not come in time."""
        end, found = time.monotonic() + self.case.seconds, []
        seen = len(self.rounds()) + 1
        while len(found) < n and time.monotonic() < end and self.runs():
            time.sleep(0.05)
            found = self.rounds()[seen:]
        return found

    def rounds(self):
        return [int(m) for m in re.findall(r"^round \d+: (\d+)$", self.output(), re.M)]

    def slow(self):
        """Rounds while a node is slow, is not, and is again, and what was charged until then; stop."""
        by_turns, counts = [self.more_rounds(SLOW_ROUNDS)], None
        for word in ("off", "on"):
            counts = self.ctl("slow", word) or counts
            by_turns.append(self.more_rounds(SLOW_ROUNDS))
        self.ctl("stop")
        return by_turns, counts["nodes"][0]["charged"] if counts else 0

    def wait(self):
        """Exit status, or None when the time limit ran out; peak_kib is known then."""
        end = time.monotonic() + self.case.seconds
        pid, late = 0, False
        while pid == 0:
            pid, status, usage = os.wait4(self.child.pid, 0 if late else os.WNOHANG)
            if pid == 0 and time.monotonic() > end:
                late = True
                self.child.kill()
            elif pid == 0:
                time.sleep(0.02)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.peak_kib = usage.ru_maxrss
        return None if late else self.child.returncode


class Beside:
    """A guest that fills and checks its memory, round after round, while that is taken away, beside one
    that loses a page of its own."""

    def __init__(self, case, folder):
        case = dataclasses.replace(case, guest=case.beside, cmdline=ENDLESS, status=STOPPED, damage=0,
                                   says="round ")
        self.folder = os.path.join(folder, f"beside-{os.path.basename(folder)}")
        os.mkdir(self.folder)
        self.options = machine_options(case, self.folder)
        self.vm = Run(case, self.folder, self.options)

    def evicted(self, least):
        """Have its memory go until pages of both nodes went, some came back, and LEAST more rounds are
        done. Return: whether it came so far in its time."""
        end, counts = time.monotonic() + self.vm.case.seconds, {}
        before = self.vm.output().count("round ")
        while self.vm.runs() and time.monotonic() < end:
            counts.update(self.vm.paged())
            if self.vm.saw_enough(counts) and self.vm.output().count("round ") >= before + least:
                return True
        return False

    def problems(self, went_well):
        """It is stopped; what was wrong with it."""
        lost = [n["pager"]["lost"] for n in (self.vm.ctl("memory") or {"nodes": []})["nodes"]]
        self.vm.ctl("stop")
        status = self.vm.wait()
        for p in problems_of(self.vm.case, status, self.vm.output(), self.vm.output(".err"), []):
            yield f"beside it: {p}"
        if not went_well or lost != [0, 0]:
            yield f"beside it: {'too few' if not went_well else 'all'} rounds, lost by node: {lost}"

    def end(self):
        if self.vm.child.returncode is None:
            self.vm.child.kill()
            self.vm.child.wait()
        drop_swap(self.options[self.options.index("--pager-swap") + 1])


def problems_of_eviction(counts, output):
    if output.count("round 0\n") < 2:
        yield "it was not reset"
    if not counts:
        yield "it did not do its rounds with memory evicted on both nodes and brought back"
    for node, n in counts.items():
        if n["lost"]:
            yield f"node {node}: {n['evicted']} pages evicted, {n['lost']} lost"


def problems_of_slowness(by_turns, charged):
    """How slow it is depends on what else this machine does: a benchmark's matter."""
    if not all(by_turns):
        yield "there are no rounds"
        return
    slow, fast, again = (statistics.mean(t) for t in by_turns)
    if charged < SLOW_CHARGES:
        yield f"{charged} touches waited"
    if min(slow, again) < 1.5 * fast:
        yield f"{slow:.0f} and {again:.0f} cycles a step on a slow node, {fast:.0f} without"


def problems_of(case, status, output, errors, options):
    if status is None:
        yield f"still running after {case.seconds} s"
    elif status != case.status:
        yield f"exit status {status}, not {case.status}"
    for line in re.findall(r"^not ok.*", output, re.M):
        yield line
    if case.says and case.says not in output:
        yield f"it did not say \"{case.says}\""
    if case.facts and status == case.status:
        yield from case.facts(barefacts.parse(output), plan(options))
    if status not in (case.status, None) and errors.strip():
        yield f"numavisor: {errors.strip().splitlines()[-1]}"


def run(case):
    """(problems, skips, output): sentences of what went wrong and of what was skipped."""
    folder = tempfile.mkdtemp(prefix="bare-")
    swap = beside = None
    try:
        beside = Beside(case, folder) if case.beside else None
        went_well = beside and beside.evicted(1)
        options = machine_options(case, folder)
        swap = options[options.index("--pager-swap") + 1] if case.damage else None
        vm = Run(case, folder, options)
        if case.press_power:
            vm.order("waiting for the power button", "power")
        if case.grow:
            vm.order("waiting for memory", "grow", "node=0", f"by={case.grow}", "--patience", "5")
        damaged = vm.damage(swap) if case.damage else 0
        pages = case.evict or case.target
        counts = vm.evict() if pages else None
        slow = vm.slow() if case.slow else None
        status = vm.wait()
        output = vm.output()
        if case.calm:
            calm = Run(dataclasses.replace(case, cmdline=case.calm), folder, options)
            calm.wait()
        problems = list(problems_of(case, status, output, vm.output(".err"), options))
        if beside:
            problems += beside.problems(beside.evicted(2) and went_well)
        skips = re.findall(r"^ok .*# skip (.*)", output, re.M)
        if case.skips not in (-1, len(skips)):
            problems.append(f"{len(skips)} checks are left out, not {case.skips}")
        if slow:
            problems += problems_of_slowness(*slow)
        if damaged != case.damage:
            problems.append(f"{damaged} blocks of the swap file had something to damage")
        if pages:
            problems += problems_of_eviction(counts, output)
            output += "".join(f"# node {k}: {v}\n" for k, v in counts.items())
        if case.calm and vm.peak_kib > calm.peak_kib + GROWTH_KIB:
            problems.append(f"grew to {vm.peak_kib} KiB, with {case.calm} to {calm.peak_kib}")
        return problems, skips, output
    except (OSError, RuntimeError, subprocess.SubprocessError, ValueError, KeyError) as e:
        return [f"{type(e).__name__}: {e}"], [], ""
    finally:
        if beside:
            beside.end()
        drop_swap(swap)
        shutil.rmtree(folder, ignore_errors=True)
