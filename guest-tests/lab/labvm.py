# SPDX-License-Identifier: Apache-2.0
"""Run numavisor lab and look at what it leaves."""
import glob
import os
import signal
import subprocess
import threading

import guestvm
from guestvm import OutOfTime, PATIENCE

PROGRAM = os.path.abspath(guestvm.PROGRAM)

SMALL = ("--cpus", "2", "--memory", "384M", "--vnuma", "2")


class Done:
    """How a lab ended: its status (less than 0: the signal), output and errors as bytes."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __str__(self):
        return f"status {self.status}\nout: {self.out[-800:]!r}\nerr: {self.err[-1500:]!r}"

    def lines(self):
        return self.out.decode(errors="replace").splitlines()


def lab(options, command, stdin=b"", prefix=(), patience=PATIENCE, **more):
    """Run COMMAND (words) with OPTIONS."""
    try:
        done = subprocess.run([*prefix, PROGRAM, "lab", *options, "--", *command], input=stdin,
                              capture_output=True, timeout=patience, check=False, **more)
    except subprocess.TimeoutExpired as e:
        raise OutOfTime(f"the lab does not end\n{e.stderr}") from None
    return Done(done.returncode, done.stdout, done.stderr)


def listen():
    """Take SIGINT, which whoever runs the suite in the background may have had ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A lab whose command is talked to while it runs."""

    def __init__(self, command, options=SMALL):
        self.child = subprocess.Popen([PROGRAM, "lab", *options, "--", *command],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, preexec_fn=listen)
        self.timer = threading.Timer(PATIENCE, self.child.kill)
        self.timer.start()

    def line(self):
        """The next line of its output; empty at the end."""
        return self.child.stdout.readline()

    def end(self, stdin=b""):
        out, err = self.child.communicate(stdin)
        timely = self.timer.is_alive()
        self.timer.cancel()
        done = Done(self.child.returncode, out, err)
        if not timely:
            raise OutOfTime(f"the lab does not end\n{done}")
        return done


def remains():
    """Sentences about what a lab that ended has left behind."""
    found = guestvm.leftovers(paths=[])
    for place in {"/tmp", os.environ.get("XDG_RUNTIME_DIR", "/tmp")}:
        found += [f"folder {p}" for p in glob.glob(f"{place}/numavisor-lab-*")]
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8") as f:
                if f.read().startswith("virtiofsd"):
                    found.append(f"file server {path}")
        except OSError:
            pass
    return found


def clean(tap, name):
    found = remains()
    tap.point(not found, f"{name}: nothing stays behind", "\n".join(found))


def open_kvm():
    """Anybody may use KVM, as on a desktop."""
    os.chmod("/dev/kvm", 0o666)
