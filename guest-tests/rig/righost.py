# SPDX-License-Identifier: Apache-2.0
"""Boot the emulated host, carry the command's streams, and end it again.

QEMU is a child in its own session that dies with this process (parent-death signal). Streams are
socket pairs behind virtio ports, the kernel console is a memory file: nothing is written to disk
but the cached images, so nothing can be left behind. One thread, one poll loop.
"""
import ctypes
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time

import rigaccess
import rigarch
import rigcpu
import righere
import rigimage
import rigkernel
import rigroot
import rigtrouble
from rigkernel import RigError, need

CMDLINE = ("mitigations=off nokaslr quiet panic=-1 random.trust_cpu=on cryptomgr.notests "
           "oops=panic unknown_nmi_panic")
PORTS = ["stdin", "stdout", "stderr", "control"]  # control last: see agent
CHUNK = 65536
SILENCE = 120  # seconds without a sign of life, boot included, after which it counts as hung


class Stop(Exception):
    """A signal asks this program to end; carries its number."""


def begin_qemu(seat):
    """What its process does first: die with this one, and stay on its CPU."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if seat is not None:
        seat.take()


def command_script(args, command):
    lines = []
    if args.net:
        lines += ["modprobe -a failover net_failover virtio_net",
                  "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0",
                  "ip route add default via 10.0.2.2; echo nameserver 10.0.2.3 >/etc/resolv.conf"]
    build = os.path.relpath(rigkernel.build_dir(rigarch.ARCHES[args.arch]), rigkernel.tree_root())
    lines += ["cd /numavisor", f"export PATH=/numavisor/{build}:$PATH NUMAVISOR_RIG=1"]
    if rigaccess.wanted(args):
        lines.append(f"export PATH=$PATH:/numavisor/{build}/guest-tests/rig")
    if args.distance_delay is not None:
        lines.append(f"counters delay {args.distance_delay} || exit 125")
    if build != "build":
        lines.append("export BUILD=" + shlex.quote(build))
    if args.root is not None:
        return ("\n".join(lines + righere.script(args, command)) + "\n").encode()
    for item in args.env:
        name, eq, value = item.partition("=")
        if eq or name in os.environ:
            lines.append("export " + name + "=" + shlex.quote(value if eq else os.environ[name]))
    lines.append("exec " + " ".join(shlex.quote(word) for word in command))
    return ("\n".join(lines) + "\n").encode()


class Host:
    """One emulated machine; use as a context manager, leaving it ends QEMU."""

    def __init__(self, spec, args):
        self.args = args
        arch = rigarch.ARCHES[args.arch]
        qemu = need(arch.qemu, arch.qemu_package)
        self.accesses = [rigaccess.open_page(spec, qemu)] if rigaccess.wanted(args) else []
        kernel = rigkernel.find(args.kernel, arch)
        if not arch.native():
            rigroot.root(arch)
        with rigkernel.locked():
            layers = [rigimage.extra_image(args.extra)] if args.extra else []
            layers += [rigimage.tree_image(arch) if args.root is None else rigimage.own_image(),
                       rigimage.tools_image() if arch.native() else rigimage.root_image(arch),
                       rigimage.kernel_image(kernel)]
            self.files = [os.open(p, os.O_RDONLY)
                          for p in [rigimage.initramfs(kernel, arch), *layers]]
        self.log = os.memfd_create("rig-console", 0)
        self.qemu_log = os.memfd_create("rig-qemu", 0)
        self.ours, theirs = {}, {}
        for name in [*PORTS, "monitor"]:
            self.ours[name], theirs[name] = socket.socketpair()
        self.argv = [qemu, "-name", "numavisor-rig", "-nodefaults", "-no-user-config",
                     "-display", "none", "-no-reboot", *arch.machine_args(args.gic, not args.no_its),
                     "-accel", "tcg,thread=multi,tb-size=2047",
                     "-kernel", kernel.vmlinuz, "-initrd", f"/proc/self/fd/{self.files[0]}",
                     "-append", f"console={arch.console} {CMDLINE}", *spec.qemu_args(),
                     "-chardev", f"file,id=log,path=/proc/self/fd/{self.log}",
                     "-serial", "chardev:log", "-device", "virtio-rng-pci",
                     "-d", "cpu_reset",
                     "-chardev", f"socket,id=monitor,fd={theirs['monitor'].fileno()}",
                     "-mon", "chardev=monitor,mode=readline",
                     "-device", "virtio-serial-pci,max_ports=8"]
        for i, fd in enumerate(self.files[1:]):
            self.add_disk(f"file=/proc/self/fd/{fd},readonly=on", f"layer{i}")
        for i, path in enumerate(args.disk):
            if not os.access(path, os.R_OK | os.W_OK):
                raise RigError(f"--disk {path}: cannot be opened for writing")
            self.add_disk("file=" + os.path.abspath(path).replace(",", ",,"), f"disk{i}")
        for i, name in enumerate(PORTS):
            self.argv += ["-chardev", f"socket,id={name},fd={theirs[name].fileno()}",
                          "-device", f"virtserialport,nr={i + 1},chardev={name},name={name}"]
        if args.net:
            self.argv += ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"]
        for fd in self.accesses:
            self.argv += rigaccess.qemu_args(fd)
        served = righere.servers(args)
        self.servers = righere.watch(args)
        self.argv += righere.qemu_args(served)
        self.monitor = self.ours.pop("monitor")
        fds = [*self.files, *self.accesses, self.log, self.qemu_log, *(s[0] for s in served),
               *(s.fileno() for s in theirs.values())]
        self.seat = rigcpu.Seat(os.sched_getaffinity(0)) if arch.one_cpu and not args.spread else None
        self.qemu = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, pass_fds=fds,
                                     start_new_session=True,
                                     preexec_fn=lambda: begin_qemu(self.seat),
                                     stdout=subprocess.DEVNULL, stderr=self.qemu_log)
        for s in theirs.values():
            s.close()
        for fd, *_ in served:
            os.close(fd)

    def add_disk(self, what, serial):
        self.argv += ["-drive", f"if=none,id={serial},format=raw,{what}",
                      "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.qemu.kill()
        self.qemu.wait()
        for line in rigtrouble.complaints(self.lines()):
            print("rig: console: " + line, file=sys.stderr)
        if self.args.keep_log:
            os.makedirs(os.path.dirname(os.path.abspath(self.args.keep_log)), exist_ok=True)
            with open(self.args.keep_log, "wb") as f:
                f.write(self.console())
        for fd in [*self.files, *self.accesses, *self.servers, self.log, self.qemu_log]:
            os.close(fd)
        for s in [self.monitor, *self.ours.values(), *([self.seat] if self.seat else [])]:
            s.close()

    def console(self):
        return os.pread(self.log, 1 << 24, 0)

    def lines(self):
        return self.console().decode(errors="replace").strip().splitlines()

    def qemu_said(self):
        return os.pread(self.qemu_log, 1 << 24, 0).decode(errors="replace")

    def ask(self, command, seconds=3):
        """What the monitor answers to COMMAND within SECONDS."""
        self.monitor.settimeout(1)
        answer = b""
        until = time.monotonic() + seconds
        try:
            self.monitor.sendall(command.encode() + b"\n")
            while time.monotonic() < until:
                answer += self.monitor.recv(CHUNK)
        except OSError:
            pass  # no more to come
        return answer.decode(errors="replace").replace("\r", "")


class Streams:
    """Moves bytes between this program's streams and the host's ports until control has spoken."""

    def __init__(self, host, script):
        self.host = host
        self.status = None
        self.begun = False  # hostroot has started the command
        self.reply = b""
        self.heard = time.monotonic()  # when control last spoke
        self.to_host = {"control": str(len(script)).encode() + b"\n" + script, "stdin": b""}
        self.stdin_open = readable_stdin()
        for s in host.ours.values():
            s.setblocking(False)
        if not self.stdin_open:
            self.end_stdin()

    def pass_on(self, number):
        self.to_host["control"] += f"signal {number}\n".encode()

    def end_stdin(self):
        self.stdin_open = False
        if not self.to_host["stdin"]:
            # Not close(): QEMU drops what it has not read yet when both directions are gone.
            try:
                self.host.ours["stdin"].shutdown(socket.SHUT_WR)
            except OSError:
                pass  # QEMU is gone, which is told of by its end

    def step(self, timeout):
        """Wait at most TIMEOUT seconds and move what can be moved; False when all is done."""
        ours = self.host.ours
        poll = select.poll()
        names = {}
        for name, s in ours.items():
            if s.fileno() < 0:
                continue
            want = select.POLLIN if name != "stdin" else 0
            want |= select.POLLOUT if self.to_host.get(name) else 0
            names[s.fileno()] = name
            poll.register(s.fileno(), want)
        stdin_wanted = self.stdin_open and len(self.to_host["stdin"]) < CHUNK
        if stdin_wanted:
            poll.register(0, select.POLLIN)
        got = dict(poll.poll(timeout * 1000))
        for fd, event in got.items():
            if fd == 0:
                self.read_stdin()
            elif event & select.POLLOUT:
                self.send(names[fd])
            if fd in names and event & (select.POLLIN | select.POLLHUP):
                self.receive(names[fd])
        return self.status is None or any(fd in got and names[fd] in ("stdout", "stderr")
                                          for fd in names)

    def read_stdin(self):
        data = os.read(0, CHUNK)
        self.to_host["stdin"] += data
        if not data:
            self.end_stdin()

    def send(self, name):
        data = self.to_host[name]
        try:
            self.to_host[name] = data[self.host.ours[name].send(data):]
        except OSError:
            self.to_host[name] = b""
        if name == "stdin" and not self.stdin_open:
            self.end_stdin()

    def receive(self, name):
        s = self.host.ours[name]
        try:
            data = s.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            s.close()
        elif name == "control":
            self.heard = time.monotonic()
            *lines, self.reply = (self.reply + data).split(b"\n")
            for line in lines:
                self.begun = self.begun or line == b"begun"
                if line.startswith((b"exit ", b"signal ")):
                    word, number = line.split()
                    self.status = int(number) if word == b"exit" else -int(number)
        elif name in ("stdout", "stderr"):
            write_all(1 if name == "stdout" else 2, data)


def readable_stdin():
    """Whether standard input is there to be passed on (a background job leaves it alone)."""
    try:
        return not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def write_all(fd, data):
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            select.select([], [fd], [])
        except BrokenPipeError:
            raise Stop(signal.SIGPIPE) from None


class Signals:
    """What becomes of signals: each ends everything, but the first one that finds a command which
    gets signals goes to that."""

    def __init__(self, numbers, there):
        self.passes = False  # the next one goes to the command
        self.waiting = []
        for number in numbers:
            if not (there and signal.getsignal(number) == signal.SIG_IGN):
                signal.signal(number, self.take)

    def take(self, number, _frame):
        if not self.passes:
            raise Stop(number)
        self.passes = False
        self.waiting.append(number)


def serve(host, args, command, started, signals):
    streams = Streams(host, command_script(args, command))
    begun = False
    while True:
        if streams.begun and not begun:
            begun = signals.passes = True
        while signals.waiting:
            streams.pass_on(signals.waiting.pop())
        left = started + args.time_limit - time.monotonic()
        if left <= 0:
            print(f"rig: time limit of {args.time_limit:g} s ran out", file=sys.stderr)
            return 124
        if not streams.step(0 if streams.status is not None else min(left, 1)):
            return streams.status
        if time.monotonic() - streams.heard > SILENCE:
            raise RigError(f"the emulated host hangs: no sign of life for {SILENCE} s\n" +
                           rigtrouble.where_it_hangs(host))
        if streams.status is None and host.qemu.poll() is not None:
            streams.step(0)
            if streams.status is None:
                raise RigError(rigtrouble.why_it_ended(host))
        if streams.status is None:
            righere.look(host.servers)


def run(spec, args, command):
    started = time.monotonic()
    there = args.root is not None
    signals = Signals(righere.PASSED_ON if there else
                      (signal.SIGINT, signal.SIGTERM, signal.SIGHUP), there)
    try:
        with Host(spec, args) as host:
            return serve(host, args, command, started, signals)
    except Stop as stop:
        return -stop.args[0] if there else 128 + stop.args[0]
