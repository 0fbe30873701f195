# SPDX-License-Identifier: Apache-2.0
"""Machines that cannot be built: each stage fails in turn, says why in one line, leaves nothing."""
import os
import resource
import socket
import subprocess

import guestvm
from devicecases import MIB, make_image

LOW, HIGH = 1, 2  # the host's failures, and what is refused before anything is made


def run(options, user=None, limits=(), seconds=guestvm.PATIENCE):
    """Run to the end, or stop it after SECONDS, which no test wants but the last of scarcity."""
    def limit():
        for what, value in limits:
            resource.setrlimit(what, (value, value))
    command = [guestvm.PROGRAM, "run", *options]
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, preexec_fn=limit) as child:
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.terminate()
            out, err = child.communicate(timeout=guestvm.PATIENCE)
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def judge(tap, name, done, status, word, **left):
    """One line that holds WORD, the STATUS, and nothing left."""
    lines = done.stderr.splitlines()
    tap.point(done.returncode == status and len(lines) == 1 and lines[0].startswith("numavisor: ")
              and word in lines[0], f"{name}: {lines[0] if lines else 'silence'}",
              f"status {done.returncode}, not {status}; looked for \"{word}\"\n{done.stderr}")
    found = guestvm.leftovers(**left)
    if found:
        tap.point(False, f"{name}: nothing stays behind", "\n".join(found))


def refusals(kernel, folder):
    """(name, status, word of the sentence, options)"""
    small = ["--kernel", kernel, "--memory", "64M"]
    disk = os.path.join(folder, "fail.img")
    make_image(disk, MIB)
    text = os.path.abspath(__file__)
    yield "no such kernel", LOW, "nosuch", ["--kernel", "/nosuch"]
    yield "not a kernel", LOW, os.path.basename(text), ["--kernel", text]
    yield "no such initrd", LOW, "nosuch", [*small, "--initrd", "/nosuch"]
    yield "kernel that does not fit", LOW, "RAM", ["--kernel", kernel, "--memory", "8M"]
    yield "too many CPUs", HIGH, "--cpus", [*small, "--cpus", "100000"]
    yield "memory beyond every limit", HIGH, "--memory", ["--kernel", kernel, "--memory", "9000T"]
    yield "memory beyond the address width", HIGH, "-bit", ["--kernel", kernel, "--memory", "512T"]
    yield "no such host node", HIGH, "host=9", [
        "--kernel", kernel, "--node", "cpus=0,memory=64M,host=9"]
    yield "no such disk", LOW, "nosuch", [*small, "--disk", "/nosuch"]
    yield "disk that is a folder", LOW, folder, [*small, "--disk", folder]
    yield "queues beyond the limit", HIGH, "queues", [*small, "--disk", f"{disk},queues=100000"]
    yield "node that a device names", HIGH, "node", [*small, "--disk", f"{disk},node=7"]
    yield "interface name too long", HIGH, "tap", [*small, "--net", "tap=" + "x" * 16]
    yield "socket in a missing folder", LOW, "/nosuch/s", [
        *small, "--vsock", "cid=5,socket=/nosuch/s"]
    yield "context id of the host", HIGH, "cid", [*small, "--vsock", "cid=2,socket=/tmp/s"]
    yield "forwarded port in use", LOW, "7009", [*small, "--net", "user,hostfwd=tcp::7009-:1"]
    yield "unknown CPU feature", HIGH, "nosuch", [*small, "--cpu-feature", "-nosuch"]


def failures(tap, kernel, folder):
    """Each reason to fail on its own."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 7009))
        taken.listen(1)
        for name, status, word, options in refusals(kernel, folder):
            judge(tap, name, run(options), status, word)

    path = os.path.join(folder, "file")
    make_image(path, 4)
    done = run(["--kernel", kernel, "--memory", "64M", "--vsock", f"cid=5,socket={path}"])
    judge(tap, "vsock path that is a file", done, LOW, path)
    tap.same(os.path.getsize(path), 4, "vsock path that is a file: the file is untouched")

    os.chmod("/dev/kvm", 0o600)
    judge(tap, "no right to /dev/kvm", run(["--kernel", kernel], user=1000), LOW, "/dev/kvm")
    os.chmod("/dev/kvm", 0o666)
    os.chmod("/dev/net/tun", 0o666)  # as everywhere but in this host
    done = run(["--kernel", kernel, "--memory", "64M", "--net", "tap=nvtest3"], user=1000)
    judge(tap, "no right to make a TAP", done, LOW, "nvtest3", taps=["nvtest3"])


def scarcity(tap, kernel, folder):
    """Whatever step meets the end of descriptors, address space or threads undoes the others."""
    disk, vs = os.path.join(folder, "fail.img"), os.path.join(folder, "fail.vsock")
    make_image(disk, MIB)
    options = ["--kernel", kernel, "--cpus", "2", "--memory", "128M", "--vnuma", "2", "--disk", disk,
               "--net", "tap=nvtest4", "--net", "user", "--rng", "--vsock", f"cid=5,socket={vs}",
               "--io-threads", "2"]
    for what, name, values in (
            (resource.RLIMIT_NOFILE, "descriptors", range(4, 64, 3)),
            (resource.RLIMIT_AS, "MiB of addresses", range(40, 340, 20))):
        wrong, stages = [], set()
        for value in values:
            scale = MIB if what == resource.RLIMIT_AS else 1
            done = run(["--name", "scarce", *options], limits=[(what, value * scale)], seconds=20)
            if done.returncode == 4:
                break  # enough of it: the guest ran until it was stopped
            lines = done.stderr.splitlines()
            if done.returncode != 1 or len(lines) != 1 or not lines[0].startswith("numavisor: "):
                wrong.append(f"{value} {name}: status {done.returncode}: {done.stderr}")
            left = guestvm.leftovers(taps=["nvtest4"], paths=[vs])
            wrong += [f"{value} {name}: {x} stays behind" for x in left]
            stages.add(lines[0] if lines else "")
        tap.point(not wrong and len(stages) > 2,
                  f"few {name}: {len(stages)} different failures, nothing stays behind",
                  "\n".join(wrong + sorted(stages)))
