# SPDX-License-Identifier: Apache-2.0
"""The frame of a suite whose cases run on an emulated host: outside it, and inside."""
import os
import re
import subprocess
import sys
import time
import traceback

import guestvm

RIG = os.path.join("guest-tests", "rig")
INSIDE = "NUMAVISOR_TEST_INSIDE"
ALL = "NUMAVISOR_TEST_ALL"  # set where --all was given, outside and inside
LOST = 125  # "the host is to blame": see guest-tests/rig/cases


def names(program, cases, more=()):
    """The cases that the command line asks for; all if it names none, MORE only with --all."""
    wanted = [a for a in sys.argv[1:] if a != "--all"]
    if "--all" in sys.argv[1:]:
        os.environ[ALL] = "1"
    unknown = [n for n in wanted if n not in cases]
    if unknown:
        sys.exit(f"{program}: no case {unknown[0]}; there are: {' '.join(cases)}")
    return wanted or [n for n in cases if n not in more or "--all" in sys.argv[1:]]


def command(program, wanted, options):
    return [os.path.join(RIG, "cases"), " ".join(wanted), *options, "--env", f"{INSIDE}=1", "--env",
            ALL, "--env", "GUEST_TIMEOUT", "--env", "SHOW_CONSOLE", "--", program]


def outside(program, wanted, options):
    """Run PROGRAM's cases on emulated hosts with OPTIONS; returns the exit status."""
    return subprocess.run(command(program, wanted, options), check=False).returncode


def on_hosts(program, wanted, hosts):
    """Run PROGRAM's cases, whose names are HOST:CASE, on {HOST: options}, one kind of host after the
    other; prints one TAP and returns the exit status."""
    count = worst = 0
    for host, options in hosts.items():
        mine = [n for n in wanted if n.startswith(host + ":")]
        if not mine:
            continue
        with subprocess.Popen(command(program, mine, options), stdout=subprocess.PIPE, text=True,
                              errors="replace") as child:
            for line in child.stdout:
                point = re.match(r"((?:not )?ok) \d+ (.*)", line)
                if point:
                    count += 1
                    line = f"{point[1]} {count} {point[2]}\n"
                if not re.match(r"1\.\.\d", line):
                    print(line, end="", flush=True)
        worst = max(worst, child.returncode)
    print(f"1..{count}")
    return worst


def kernel():
    """Path of the guests' kernel inside the emulated host."""
    done = subprocess.run([os.path.join(RIG, "kernel"), "--vmlinuz"], check=True, text=True,
                          stdout=subprocess.PIPE)
    return done.stdout.strip()


def inside(wanted, run):
    """Run the cases by run(tap, name); returns the exit status."""
    tap = guestvm.Tap()
    last = os.environ.get("NUMAVISOR_TEST_LAST", "").split()
    for name in wanted:
        start = time.monotonic()
        try:
            run(tap, name)
        except (guestvm.Trouble, OSError, subprocess.SubprocessError, KeyError,
                TypeError) as e:
            traceback.print_exc()
            if isinstance(e, guestvm.OutOfTime) and name not in last:
                return LOST
            tap.point(False, f"{name}: comes to its end", e)
        print(f"# end of {name} after {time.monotonic() - start:.0f} s", flush=True)
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0
