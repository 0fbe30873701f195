# SPDX-License-Identifier: Apache-2.0
"""A command in a lab: what goes in, what comes out, how it ends."""
import os
import signal
import tempfile
import xml.etree.ElementTree

import labvm
from labvm import SMALL, Running, clean, lab

# Every line is one fact; the binary rest goes through standard input and standard error.
FACTS = r"""
echo "args $# $1 $2"
echo "folder $(pwd)"
echo "user $(id -u) $(id -g)"
echo "given $LAB_GIVEN"
echo "set $LAB_SET"
echo "kept [$LAB_KEPT]"
echo "path $PATH"
echo "disk $(cat /sys/block/vda/size)"
echo "nodes $(ls -d /sys/devices/system/node/node* | wc -l)"
echo "host $(cat "$LAB_FILE")"
echo discarded >"$LAB_FILE" && echo "layer $(cat "$LAB_FILE")"
echo kept >"$LAB_RW/inside" && echo "shared $(cat "$LAB_RW/outside")"
ping -c 1 -W 5 127.0.0.1 >/dev/null 2>&1 && echo "loopback"
cat >&2
exit 7
"""


def command(tap):
    """One boot: words, folder, user, environment, streams, files, status."""
    data = bytes(range(256)) * 4096 + os.urandom(300001)
    with tempfile.TemporaryDirectory(prefix="lab-test-") as folder:
        rw, file = os.path.join(folder, "rw, dir"), os.path.join(folder, "file")
        disk = os.path.join(folder, "disk")
        os.mkdir(rw)
        with open(disk, "wb") as f:
            f.truncate(1 << 20)
        for path, text in ((file, "the host's"), (os.path.join(rw, "outside"), "seen")):
            with open(path, "w", encoding="ascii") as f:
                f.write(text + "\n")
        env = os.environ | {"LAB_GIVEN": "a b", "LAB_KEPT": "not passed on", "LAB_FILE": file,
                            "LAB_RW": rw}
        done = lab(["--cpus", "2", "--memory", "384M", "--vnuma", "auto", "--expect", "plan",
                    "--rw", rw, "--env", "LAB_GIVEN", "--env", "LAB_SET=x=y", "--env",
                    "LAB_FILE", "--env", "LAB_RW", "--env", "PATH=/bin:/usr/bin:/none",
                    "--disk", disk],
                   ["sh", "-c", FACTS, "sh", "one word", "--help"], data, env=env, cwd=folder)
        lines = done.lines()
        for want in ("args 2 one word --help", f"folder {folder}", "user 0 0", "given a b",
                     "set x=y", "kept []", "path /bin:/usr/bin:/none", "disk 2048", "nodes 2", "host the host's", "layer discarded",
                     "shared seen", "loopback"):
            tap.point(want in lines, f"command: {want.split()[0]}", f"no {want!r} in\n{done}")
        tap.point(done.err == data, "command: bytes go in and come out as they were",
                  f"{len(done.err)} of {len(data)} bytes\n{done}")
        tap.same(done.status, 7, "command: its status is the lab's")
        with open(file, encoding="ascii") as f:
            tap.same(f.read(), "the host's\n", "command: the host's files stay as they were")
        inside = os.path.join(rw, "inside")
        tap.point(os.path.exists(inside), "command: a shared folder is really changed")
    clean(tap, "command")


def user(tap):
    """A user without privileges; the command ends by a signal."""
    labvm.open_kvm()
    done = lab(SMALL, ["sh", "-c", "id -u; id -g; stat -c %u /usr/bin/env; "
                       "touch /usr/bin/mine 2>/dev/null || echo refused; kill -TERM $$"],
               prefix=["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"])
    tap.same(done.lines()[:2], ["1000", "1000"], "user: the command is the caller's")
    tap.same(done.lines()[2:], ["65534", "refused"], "user: what is another's shows as nobody's")
    tap.point(done.status == -signal.SIGTERM, "user: a signal that ends the command ends the lab",
              done)
    clean(tap, "user")


def ends(tap):
    """Commands that are not there, do not end, or take the guest with them."""
    done = lab(SMALL, ["/there/is/no/such/command"])
    tap.point(done.status == 127 and b"no such command" in done.err, "ends: no command is 127",
              done)
    with tempfile.TemporaryDirectory(prefix="lab-test-") as folder:
        file = os.path.join(folder, "junit.xml")
        done = lab([*SMALL, "--junit", file], ["/etc"])
        case = xml.etree.ElementTree.parse(file).find("testsuite/testcase")
        tap.point(case.get("name") == "/etc" and case.find("error").get("message") ==
                  "/etc cannot be run: Permission denied", "ends: JUnit's file says so",
                  xml.etree.ElementTree.tostring(case))
    tap.point(done.status == 126 and b"cannot be run: Permission denied" in done.err,
              "ends: a folder is 126", done)
    done = lab([*SMALL, "--timeout", "30"], ["sleep", "100000"])
    tap.point(done.status == 124 and b"had not ended after 30 s" in done.err,
              "ends: out of time is 124", done)
    clean(tap, "ends")
    done = lab(SMALL, ["sh", "-c", "yes & sleep 1; exit 3"])
    tap.point(done.status == 3 and done.out.startswith(b"y\ny\n"),
              "ends: who goes on writing behind a command holds nothing up", str(done)[-1500:])
    done = lab(SMALL, ["sh", "-c", "echo c >/proc/sysrq-trigger"])
    tap.point(done.status == 123 and b"the guest's kernel gave up: Kernel panic" in done.err,
              "ends: a panic is 123", done)
    clean(tap, "ends: a panic")


def interrupt(tap):
    """A signal to the lab is one to the command."""
    run = Running(["sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; "
                   "while :; do sleep 0.2; done"])
    tap.same(run.line(), b"ready\n", "interrupt: output comes while the command runs")
    run.child.send_signal(signal.SIGINT)
    done = run.end()
    tap.point(done.out == b"caught\n" and done.status == 3, "interrupt: the command gets it", done)
    clean(tap, "interrupt")


def server(tap):
    """The file server dies under a running guest."""
    run = Running(["sh", "-c", "echo ready; read line; echo \"got $line\""])
    tap.same(run.line(), b"ready\n", "server: the command runs")
    for pid in (p for p in os.listdir("/proc") if p.isdigit()):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                if f.read().startswith("virtiofsd"):
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
    err = run.child.stderr.readline()
    tap.point(b"vhost-user0: the back end is gone" in err, "server: the device says so", err)
    done = run.end()
    tap.point(done.status == 122 and b"a file server ended before the command did" in done.err,
              "server: the lab ends", done)
    clean(tap, "server")
