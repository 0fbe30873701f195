# SPDX-License-Identifier: Apache-2.0
"""Sessions of the lab, from guest-tests/lab/sessions: what is typed, and what has to come of it."""
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("BUILD", "build")))
TRIES, LOST = 3, 121
EMULATED = "the lab runs on an emulated host"


class Step:
    """One command line: the status it ends with, and what its output has, in this order."""

    def __init__(self, line, *said, status=0):
        self.line, self.said, self.status = line, said, status


class Session:
    """PACKAGES are Debian's, beside what building needs."""

    def __init__(self, name, title, packages, before, after, *steps):
        self.name, self.title, self.packages = name, title, packages
        self.before, self.after, self.steps = before, after, steps


SESSIONS = [
    Session(
        "autonuma", "Does AutoNUMA bring memory to its user?", ["python3", "numactl"],
        "The kernel's automatic balancing moves pages to the node whose CPUs use them. `autonuma` "
        "takes memory on one node, goes on on another, and looks where it is.",
        "Without balancing nothing moves, with it all of it comes. A scheduler or a policy of "
        "one's own is tried in the same way: `--kernel` takes another kernel, `--cmdline` its "
        "parameters.",
        Step("numavisor lab --topology 2-socket -- ./autonuma",
             r"taken on CPU 4: 32 MiB on node 1", r"without balancing: 32 MiB on node 1",
             r"with balancing: 32 MiB on node 0")),
    Session(
        "hbm", "Does an allocator find the fast memory?", ["libmemkind0", "python3", "numactl"],
        "memkind is an allocator for machines with several kinds of memory: by what the firmware "
        "says of bandwidths it looks for high-bandwidth memory near each CPU. `hbm` calls it.",
        "Here the library takes the wrong memory, and without a word: whatever has more than 200 "
        "GB/s counts as high bandwidth, and a socket's DDR5 has 250 here. With the limit raised "
        "each socket's CPUs get their own HBM. The bandwidths are the preset's, as the "
        "guest's HMAT has them.",
        Step("numavisor lab --topology hbm-ddr -- ./hbm",
             r"on CPU 0, node 0: malloc took \[0\], hbw_malloc \[0\]",
             r"on CPU 2, node 1: malloc took \[1\], hbw_malloc \[1\]", status=2),
        Step("MEMKIND_HBW_THRESHOLD=500000 numavisor lab --topology hbm-ddr -- ./hbm",
             r"on CPU 0, node 0: malloc took \[0\], hbw_malloc \[2\]",
             r"on CPU 2, node 1: malloc took \[1\], hbw_malloc \[3\]")),
    Session(
        "expander", "What does a program see of a CXL expander?",
        ["numactl", "gcc", "libc6-dev"],
        "A memory expander is a node without CPUs, far from all of them. It is told by three "
        "things: its list of CPUs is empty, its distances are the largest, and latency and "
        "bandwidth stand in sysfs.",
        "Nothing can run there, and memory can be had. The node is only described as slow, so what "
        "a program decides is tried here; `--slow` makes it wait as well (see [lab.md](lab.md)).",
        Step("cc -D_GNU_SOURCE -o held held.c"),
        Step("numavisor lab --topology cxl-expander -- ./expander",
             r"node 0: CPUs 0-1, read latency 110 ns, .* distances 10 21 28",
             r"node 2: CPUs none, read latency 250 ns, read bandwidth 20480 MB/s",
             r"\$ numactl --cpunodebind=2 true", r"Invalid argument",
             r"16 MiB on node 2")),
    Session(
        "policies", "Which policy puts memory where?", ["numactl", "gcc", "libc6-dev"],
        "Four nodes with a CPU each. `held` takes 16 MiB and says where they are, once for each of "
        "numactl's policies; `policies` calls it.",
        "What the options say is what is seen. Nodes 0 to 3 of this machine need not be anywhere "
        "in the computer that it runs on.",
        Step("cc -D_GNU_SOURCE -o held held.c"),
        Step("numavisor lab --topology asymmetric -- ./policies",
             r"=1 --localalloc ./held\n16 MiB on node 1",
             r"=1 --membind=3 ./held\n16 MiB on node 3",
             r"=1 --preferred=0 ./held\n16 MiB on node 0",
             r"--interleave=0,2 ./held\n8 MiB on node 0, 8 MiB on node 2",
             r"=all ./held\n4 MiB on node 0, 4 MiB on node 1, 4 MiB on node 2, 4 MiB on node 3")),
    Session(
        "memoryless", "Does my server start where a node has no memory?", ["gcc", "libc6-dev"],
        "`pools.c` does what many servers do at their start: a pool of memory for each node, nodes "
        "being 0 to the highest one. That works on the machine that it was written on.",
        "Here the mistake hides, in the lab it shows: node 0 has CPUs and no memory, so there is "
        "nothing to bind to. Asked for the nodes with memory, the same program starts on both. In "
        "CI the first of the two labs is the test: its status is the program's.",
        Step("cc -D_GNU_SOURCE -o pools pools.c"),
        Step("./pools", r"pool of node 0: memory of node 0"),
        Step("numavisor lab --topology memoryless -- ./pools",
             r"pools: node 0: mbind: Invalid argument", status=1),
        Step("numavisor lab --topology memoryless -- ./pools --ask",
             r"pool of node 0: memory of node 1", r"pool of node 2: memory of node 2")),
]


def missing(session):
    """The packages of SESSION that this machine has not."""
    return [p for p in session.packages if subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}", p], capture_output=True,
        check=False).stdout != b"install ok installed"]


class Done:
    """A step that was run: its status, what it said, and whether on an emulated host."""

    def __init__(self, status, said):
        lines = said.splitlines(keepends=True)
        self.status = status
        self.emulated = any(EMULATED in line for line in lines)
        self.said = "".join(line for line in lines if EMULATED not in line)

    def wrong(self, step):
        """Why it is not as STEP has it, or None."""
        at = 0
        if self.status != step.status:
            return f"status {self.status} instead of {step.status}\n{self.said[-2000:]}"
        for wanted in step.said:
            found = re.compile(wanted).search(self.said, at)
            if not found:
                return f"no {wanted!r} in\n{self.said[-2000:]}"
            at = found.end()
        return None


def run_step(step, folder, seconds):
    """Again where the emulated host was lost."""
    env = os.environ | {"PATH": f"{BUILD}:{os.environ['PATH']}:/usr/lib/qemu"}
    for left in reversed(range(TRIES)):
        try:
            done = subprocess.run(["bash", "-c", step.line], cwd=folder, env=env, timeout=seconds,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            done = Done(done.returncode, done.stdout.decode(errors="replace"))
        except subprocess.TimeoutExpired as e:
            done = Done(LOST, f"out of time\n{(e.stdout or b'').decode(errors='replace')}")
        if done.status != LOST or not left:
            return done
        print(f"# again: {done.said[-300:]!r}", flush=True)


def run(session, seconds=600):
    """Yields each step of SESSION and how it was done, typed in a copy of the folder. SECONDS bound
    each."""
    with tempfile.TemporaryDirectory(prefix="sessions-") as folder:
        shutil.copytree(os.path.join(HERE, "sessions"), folder, dirs_exist_ok=True)
        os.chmod(folder, 0o755)
        for step in session.steps:
            yield step, run_step(step, folder, seconds)
