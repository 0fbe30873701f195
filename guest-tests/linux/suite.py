# SPDX-License-Identifier: Apache-2.0
"""The frame of a suite whose cases run on an emulated host: outside it, and inside."""
import os
import subprocess
import sys
import time
import traceback

import guestvm

RIG = os.path.join("guest-tests", "rig")
INSIDE = "NUMAVISOR_TEST_INSIDE"
LOST = 125  # "the host is to blame": see guest-tests/rig/cases


def names(program, cases):
    """The cases that the command line asks for, all if it names none."""
    wanted = [a for a in sys.argv[1:] if a != "--all"]
    unknown = [n for n in wanted if n not in cases]
    if unknown:
        sys.exit(f"{program}: no case {unknown[0]}; there are: {' '.join(cases)}")
    return wanted or list(cases)


def outside(program, wanted, options):
    """Run PROGRAM's cases on emulated hosts with OPTIONS; returns the exit status."""
    return subprocess.run(
        [os.path.join(RIG, "cases"), " ".join(wanted), *options, "--env", f"{INSIDE}=1", "--env",
         "GUEST_TIMEOUT", "--env", "SHOW_CONSOLE", "--", program], check=False).returncode


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
        except (guestvm.Trouble, OSError, subprocess.SubprocessError, KeyError) as e:
            traceback.print_exc()
            if isinstance(e, guestvm.OutOfTime) and name not in last:
                return LOST
            tap.point(False, f"{name}: comes to its end", e)
        print(f"# end of {name} after {time.monotonic() - start:.0f} s", flush=True)
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0
