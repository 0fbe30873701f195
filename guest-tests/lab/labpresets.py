# SPDX-License-Identifier: Apache-2.0
"""Presets, as a command inside sees them."""
import json
import subprocess

import guestvm
from labvm import PATIENCE, clean, lab

SAMPLE = ("memoryless", "asymmetric")
# Windows for memory that comes later have files of their own, more than Debian's file server takes.
MANY = [w for _ in range(33) for w in ("--node", "memory=32M,hotplug=2G")]
# A line for each node: number, CPUs, whether it has memory, distances.
LOOK = r"""
for n in /sys/devices/system/node/node[0-9]*; do
    echo "${n##*node}|$(cat $n/cpulist)|$(awk '/MemTotal/ { print ($4 > 0) }' $n/meminfo)|$(
        cat $n/distance)"
done
"""


def planned(preset):
    """The same of the plan, which says what the guest is told."""
    done = subprocess.run([guestvm.PROGRAM, "plan", "--json", "--topology", preset],
                          capture_output=True, text=True, check=True)
    nodes = json.loads(done.stdout)["plan"]["nodes"]
    there = [n for n in nodes if n["has_cpus"] or n["has_memory"] or n["generic_initiator"]]
    return sorted(f"{n['id']}|{n['cpus'] if n['has_cpus'] else ''}|{n['has_memory']:d}|"
                  + " ".join(str(n["distances"][m["id"]]) for m in there) for n in there)


def boot(tap, preset):
    want = planned(preset)
    done = lab(["--topology", preset, "--expect", "plan"], ["sh", "-c", LOOK],
               patience=PATIENCE * (1 + len(want) // 32))
    tap.point(done.status == 0 and sorted(done.lines()) == want,
              f"preset {preset}: nodes, CPUs, memory, distances are the plan's",
              f"want {want}\n{done}")
    tap.point(b"expected" not in done.err, f"preset {preset}: and so are all other facts", done)


def every(tap):
    """All the others; and what a file server has no room for is refused, with a sentence."""
    done = subprocess.run([guestvm.PROGRAM, "topology", "list"], capture_output=True, text=True,
                          check=True)
    names = [line.split()[0] for line in done.stdout.splitlines()[1:] if not line.startswith(" ")]
    for preset in names:
        if preset not in SAMPLE:
            boot(tap, preset)
    done = lab(["--node", "cpus=0,memory=384M", *MANY], ["true"])
    tap.point(done.status == 122 and b"parts, and the back end takes" in done.err,
              "memory of too many files: refused before it boots", done)
    clean(tap, "every")


def presets(tap):
    for preset in SAMPLE:
        boot(tap, preset)
    clean(tap, "presets")
