# SPDX-License-Identifier: Apache-2.0
"""Events: a machine that changes under a command."""
import os
import re
import tempfile
import xml.etree.ElementTree

from labvm import Running, clean

MACHINE = ("--node", "cpus=0-1,memory=384M,host=0",
           "--node", "cpus=2-3,memory=384M,host=1,hotplug=2G")
# Each with what is said of it.
DONE = (
    ("at 1s offline cpu 2", r"node 1 has CPUs 3 now"),
    ("at 1s online cpu 2", r"node 1 has CPUs 2-3 now"),
    ("at 1500ms hotplug node 1 256M", r"node 1 has 6[34][0-9.]+ MiB now"),
    ("at 2s move vnode 1 to host 0", r"[1-9][0-9.]* [KMG]iB were moved to host node 0.*"),
    ("at 2s unplug node 1 128M", r"node 1 has 5[0-9.]+ MiB now"),
    ("at 3s offline cpu 3", r"node 1 has CPUs 2 now"),
)
FAILED = (
    ("at 0s offline cpu 0", r"failed: the guest's kernel has no switch for CPU 0"),
    ("at 0s unplug node 1 128M", r"failed: only 0 B are plugged in"),
    ("at 0s move vnode 1 to host 9", r"failed: .*there is no host node 9.*"),
)
LATE = ("at 900000s online cpu 3", r"failed: not reached before the command ended")
# It lasts as long as its input, and looks at the end.
LOOK = """cat
echo "cpus $(cat /sys/devices/system/cpu/online)"
echo "node $(cat /sys/devices/system/node/node1/cpulist)"
echo "memory $(awk '$3 == "MemTotal:" { print ($4 > 400000) }' /sys/devices/system/node/node1/meminfo)"
"""


def said(tap, line, event, what):
    """LINE tells of EVENT as WHAT has it."""
    tap.point(re.fullmatch(f'numavisor: event "{re.escape(event)}": (?:{what})\n', line),
              f"events: {event}", line)


def run(options, n, machine=MACHINE, look=LOOK):
    """A lab that ends when N events have been told of: how it ended, and the lines."""
    lab = Running(["sh", "-c", look], [*machine, *options])
    lines = [lab.child.stderr.readline().decode() for _ in range(n)]
    return lab.end(), lines


def junit(path):
    """What each test of the file is called, and whether it failed."""
    tests = xml.etree.ElementTree.parse(path).findall("testsuite/testcase")
    return [(t.get("name"), t.find("failure") is not None) for t in tests[1:]]


def events(tap):
    with tempfile.TemporaryDirectory(prefix="lab-test-") as folder:
        script, report = os.path.join(folder, "events"), os.path.join(folder, "junit.xml")
        with open(script, "w", encoding="ascii") as f:
            f.write("# a file and an option, in one order\n\n")
            f.writelines(f"{event}  # {what}\n" for event, what in DONE[:-1])
        done, lines = run(["--at", DONE[-1][0].removeprefix("at "), "--events", script,
                           "--junit", report], len(DONE))
        for line, (event, what) in zip(lines, DONE):
            said(tap, line, event, what)
        tap.same(done.lines(), ["cpus 0-2", "node 2", "memory 1"],
                 "events: the command sees the machine as it has become")
        tap.point(done.status == 0, "events: when all are done the status is the command's", done)
        tap.same(junit(report), [(event, False) for event, _ in DONE],
                 "events: JUnit's file has a test of each")
        clean(tap, "events")
        late = ["--at", LATE[0]]
        done, lines = run([*late, *(w for e, _ in FAILED for w in ("--at", e)), "--junit", report],
                          len(FAILED))
        lines += [line + "\n" for line in done.err.decode().splitlines()]
        for line, (event, what) in zip(lines, (*FAILED, LATE)):
            said(tap, line, event, what)
        tap.point(done.status == 119 and lines[-1] == "numavisor: 4 of 4 events failed\n",
                  "events: one that failed makes the status 119", done)
        tap.same(junit(report), [(event, True) for event, _ in (*FAILED, LATE)],
                 "events: JUnit's file has their failures")
    clean(tap, "events that fail")


# Room for a CPU on each node; Linux numbers CPUs as they come.
PLUGGABLE = ("--node", "cpus=0,3,memory=384M,host=0,hotplug-cpus=3",
             "--node", "cpus=1-2,4,memory=384M,host=1,hotplug-cpus=4")
PACKAGE = 'echo "package $(cat /sys/devices/system/cpu/cpu3/topology/package_cpus_list)"'
CPUS = (
    ("at 0s hotplug cpu 3", r"node 0 has CPUs 0,3 now"),
    ("at 0s hotplug cpu 4", r"node 1 has CPUs 1-2,4 now"),
    ("at 0s unplug cpu 3", r"node 0 has CPUs 0 now"),
    ("at 0s hotplug cpu 3", r"node 0 has CPUs 0,3 now"),
    ("at 0s unplug cpu 4", r"node 1 has CPUs 1-2 now"),
)


def cpus(tap):
    """CPUs that are plugged in and out by ACPI, and the topology that they have."""
    options = [w for event, _ in CPUS for w in ("--at", event)]
    done, lines = run(["--expect", "plan", *options], len(CPUS), PLUGGABLE, LOOK + PACKAGE)
    for line, (event, what) in zip(lines, CPUS):
        said(tap, line, event, what)
    tap.same([line for line in done.lines() if not line.startswith("memory")],
             ["cpus 0-3", "node 1-2", "package 0,3"],
             "cpus: the command sees the machine as it has become")
    tap.point(done.status == 0, "cpus: the machine began without them, as planned", done)
    clean(tap, "cpus")
