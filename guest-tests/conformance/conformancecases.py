# SPDX-License-Identifier: Apache-2.0
"""numavisor conformance with a preset, or against a description that is wrong."""
import json
import subprocess

import guestvm


def conformance(options):
    """Status, standard output, standard error."""
    try:
        done = subprocess.run([guestvm.PROGRAM, "conformance", *options], capture_output=True,
                              text=True, timeout=guestvm.PATIENCE, check=False)
    except subprocess.TimeoutExpired as e:
        raise guestvm.OutOfTime(f"conformance {options} does not end\n{e.stderr}") from None
    return done.returncode, done.stdout, done.stderr


def seen(tap, what, options):
    status, out, err = conformance(options)
    tap.point(status == 0 and "facts are as expected" in out,
              f"{what}: Linux sees every fact of it", f"status {status}\n{out}{err}")


def preset(tap, name):
    seen(tap, f"preset {name}", ["--topology", name])


def machines(tap):
    """The machine that this one is, as hwloc records it."""
    here = "/tmp/here.xml"
    subprocess.run(["lstopo-no-graphics", "--of", "xml", "--force", here], check=True)
    seen(tap, "this host, by lstopo", ["--topology", here, "--memory", "512M"])


def refused(tap, name, words):
    status, out, err = conformance(["--topology", name])
    tap.point(status not in (0, 120) and words in err and out == "",
              f"preset {name}: refused, since {words}", f"status {status}\n{out}{err}")


def names():
    """Of all presets."""
    done = subprocess.run([guestvm.PROGRAM, "topology", "list"], capture_output=True, text=True,
                          check=True)
    return [line.split()[0] for line in done.stdout.splitlines()[1:] if not line.startswith(" ")]


def differences(tap):
    """A description that the guest is not: each fact of it is a line, no other is."""
    with open("/tmp/expected", "w", encoding="ascii") as f:
        f.write("# of another machine\nnodes 0-1\nnode1.distance 21 10\npci.1044 0\n")
    status, out, err = conformance(["--cpus", "2", "--memory", "384M", "--vnuma", "2", "--rng",
                                    "node=1", "--expect", "/tmp/expected", "--json"])
    tap.same(status, 120, "differences: the status tells")
    got = {d["fact"]: (d["expected"], d.get("seen")) for d in json.loads(out)["differences"]}
    tap.point(got == {"node1.distance": ("21 10", "20 10"), "pci.1044": ("0", "1")},
              "differences: they are told, one by one", f"{got}\n{err}")
