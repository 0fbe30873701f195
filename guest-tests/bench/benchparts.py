# SPDX-License-Identifier: Apache-2.0
"""The parts of a benchmark, one after the other, and the verdict on all of their figures."""
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def verdicts(objects):
    met = [o["met"] for o in objects]
    return f"{met.count(True)} goals are met, {met.count(False)} are not, " \
        f"{met.count(None)} could not be judged"


def run(parts):
    """PARTS: {name: [program of this folder, its arguments...]}. Each runs to its end whatever became
    of the others. Names of those that did not measure everything."""
    failed = []
    for n, (name, argv) in enumerate(parts.items(), 1):
        began = time.monotonic()
        print(f"\n== {name}, part {n} of {len(parts)}", flush=True)
        status = subprocess.run([os.path.join(HERE, argv[0]), *argv[1:]], check=False).returncode
        print(f"== {name}: {time.monotonic() - began:.0f} s"
              + (f", status {status}" if status else ""), flush=True)
        if status:
            failed.append(name)
    return failed
