# SPDX-License-Identifier: Apache-2.0
"""Run one guest, talk to its console, and look for what it leaves behind."""
import glob
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time

BUILD = os.environ.get("BUILD", "build")
PROGRAM = os.path.join(BUILD, "numavisor")
PATIENCE = float(os.environ.get("GUEST_TIMEOUT", "240"))  # for one step of a guest
RUN_DIR = "/run/numavisor"
ARM64 = platform.machine() == "aarch64"  # what the guest has, as its host
CONSOLE = "ttyAMA0" if ARM64 else "ttyS0"
MSI = "ITS-MSI" if ARM64 else "PCI-MSI"  # the name in /proc/interrupts


class Trouble(Exception):
    """A guest did not do what the test waits for; says what and what its console said last."""


class OutOfTime(Trouble):
    """A guest, or a program that asks it something, did not answer in time."""


class Tap:
    """Counts and prints points."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def point(self, good, name, why=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)
        if not good:
            for line in str(why).splitlines():
                print(f"# {line}", flush=True)

    def same(self, got, want, name):
        self.point(got == want, name, f"got {got!r}, not {want!r}")


def ctl(name, action, *words):
    """Returns (exit status, answer of numavisor ctl as an object or text)."""
    try:
        done = subprocess.run([PROGRAM, "ctl", "--json", name, action, *words], capture_output=True,
                              text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise OutOfTime(f"numavisor ctl {name} {action} does not end") from None
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, done.stdout + done.stderr


def asked(vm, action, *words):
    """The answer of numavisor ctl, which is one that can be had."""
    status, said = ctl(vm.name, action, *words)
    if status != 0:
        raise Trouble(f"ctl {vm.name} {action} {' '.join(words)}: {said}\nstatus {vm.child.poll()}\n"
                      f"{vm.last_words()}")
    return said


class Vm:
    """A guest that runs. Its console is a pipe in both directions.

    A guest that resets itself unasked, which is how a triple fault looks, ends there and then.
    """

    def __init__(self, tap, name, options, may_reset=False):
        self.tap = tap
        self.name = name
        self.text = b""
        self.seen = 0  # up to here the console was waited for
        self.news = threading.Condition()
        self.errors = open(f"/tmp/{name}.err", "w+b")
        how = [] if may_reset else ["--on-reset", "exit"]
        self.child = subprocess.Popen([PROGRAM, "run", "--name", name, *how, *options],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=self.errors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """Whatever happened: the machine is gone, and what the guest judged is told."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.reader.join(10)
        for good, name, why in self.points():
            self.tap.point(good, f"{self.name}: {name}", why)
        if kind and not issubclass(kind, Trouble):
            for line in self.last_words().splitlines():
                print(f"# {line}")
        self.errors.close()

    def _read(self):
        while chunk := os.read(self.child.stdout.fileno(), 65536):
            with self.news:
                self.text += chunk
                self.news.notify_all()
            if os.environ.get("SHOW_CONSOLE"):
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
        with self.news:
            self.child.stdout.close()
            self.news.notify_all()

    def _wait(self, ready, what):
        end = time.monotonic() + PATIENCE
        with self.news:
            while (found := ready()) is None:
                left = end - time.monotonic()
                if left <= 0:
                    raise OutOfTime(f"{self.name}: waited for {what}\n{self.last_words()}")
                if self.child.stdout.closed and ready() is None:
                    raise Trouble(f"{self.name}: waited for {what}\n{self.last_words()}")
                self.news.wait(min(left, 1))
            return found

    def last_words(self):
        tail = self.text.replace(b"\r", b"")[-1500:].decode(errors="replace")
        return f"console: {tail}\nstderr: {self.error_text()}"

    def error_text(self):
        with open(self.errors.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def expect(self, pattern):
        """Wait for a pattern (bytes) behind what was waited for before; its match."""
        def ready():
            match = re.compile(pattern, re.M).search(self.text, self.seen)
            if match:
                self.seen = match.end()
            return match
        return self._wait(ready, pattern)

    def take(self, count):
        """The next bytes of the console."""
        def ready():
            if len(self.text) < self.seen + count:
                return None
            self.seen += count
            return self.text[self.seen - count:self.seen]
        return self._wait(ready, f"{count} bytes")

    def send(self, data):
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def asked(self, word):
        """Wait until the guest asks WORD; the caller answers with go()."""
        self.expect(rb"^### ask " + word.encode() + rb"\r?\n")

    def go(self):
        self.send(b"go\n")

    def swapped(self, name):
        """The (status, sum sent, sum received) that the guest tells of an exchange."""
        match = self.expect(rb"^### swap " + name.encode() + rb" (\d+) (\w+) (\w+)\r?\n")
        return tuple(x.decode() for x in match.groups())

    def wait(self):
        """The exit status; after its time has run out the guest is killed."""
        try:
            status = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise OutOfTime(f"{self.name}: it does not end\n{self.last_words()}") from None
        self.reader.join(10)
        self.child.stdin.close()
        return status

    def points(self):
        """What the guest itself judged: (good, name, why)."""
        lines = self.text.replace(b"\r", b"").decode(errors="replace").split("\n")
        for i, line in enumerate(lines):
            match = re.match(r"(not )?ok - (.*)", line)
            if match:
                why = []
                for more in lines[i + 1:]:
                    if not more.startswith("# "):
                        break
                    why.append(more[2:])
                yield not match[1], match[2], "\n".join(why)


def processes():
    """Machines, and the guards that outlive them by a moment."""
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8") as f:
                if f.read().startswith(("numavisor", "nv-guard")):
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def guest_memory():
    """Bytes that lie in memory files which some process has open or mapped."""
    total = 0
    for pid in glob.glob("/proc/[0-9]*"):
        for fd in glob.glob(f"{pid}/fd/*"):
            try:
                if os.readlink(fd).startswith("/memfd:"):
                    total += os.stat(fd).st_blocks * 512
            except OSError:
                pass
    return total


def shared_memory(folder):
    """Kernel's count of memory files' bytes, less those of the files in FOLDER."""
    with open("/proc/meminfo", encoding="utf-8") as f:
        count = int(re.search(r"^Shmem: *(\d+) kB", f.read(), re.M)[1]) * 1024
    return count - sum(os.stat(f).st_blocks * 512 for f in glob.glob(folder + "/*"))


def leftovers(taps=(), paths=()):
    """Sentences about what a machine that ended has left behind."""
    for _ in range(50):  # the guard and the kernel's own work end a moment later
        if not processes():
            break
        time.sleep(0.1)
    out = [f"process {p}" for p in processes()]
    if guest_memory():
        out.append(f"{guest_memory()} bytes in memory files")
    out += [f"socket {p}" for p in glob.glob(RUN_DIR + "/*.sock")]
    out += [f"interface {t}" for t in taps if os.path.exists(f"/sys/class/net/{t}")]
    out += [f"file {p}" for p in paths if os.path.lexists(p)]
    return out
