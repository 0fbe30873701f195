# SPDX-License-Identifier: Apache-2.0
"""The machines that are compared: how each is started, timed, counted and ended.

All boot the same kernel, initramfs and command line on one serial console. QEMU is as lean as its
options make it; what it lacks in a variant is said there. Counts come from the kernel (debugfs of
KVM, /proc/PID/smaps, wait4), never from the program that is measured.
"""
import glob
import os
import platform
import re
import select
import signal
import subprocess
import time

ARM64 = platform.machine() == "aarch64"
CMDLINE = f"console={'ttyAMA0' if ARM64 else 'ttyS0'} quiet panic=-1 nokaslr mitigations=off"
CODE_OURS, CODE_QEMU = 32, 1  # exit status when the guest writes 0 to the debug-exit port
DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]


class Failed(Exception):
    """One run did not come to its end; the text says why."""


class Machine:
    """What to boot. Disks are (file, serial, read-only); tap is the name of a TAP interface."""

    def __init__(self, kernel, initrd, cmdline="", memory_mib=512, cpus=1, disks=(), tap=None):
        self.kernel = kernel
        self.initrd = initrd
        self.cmdline = (CMDLINE + " " + cmdline).strip()
        self.memory_mib = memory_mib
        self.cpus = cpus
        self.disks = disks
        self.tap = tap


def ours(m, _stop_rom=None):
    argv = ["numavisor", "run", "--kernel", m.kernel, "--cmdline", m.cmdline,
            "--memory", f"{m.memory_mib}M", "--cpus", str(m.cpus), "--on-reset", "exit"]
    if m.initrd:
        argv += ["--initrd", m.initrd]
    for path, serial, read_only in m.disks:
        argv += ["--disk", f"file={path},serial={serial},direct" + (",ro" if read_only else "")]
    if m.tap:
        argv += ["--net", f"tap={m.tap}"]
    return argv


def qemu(m, stop_rom, board, vhost):
    """-bios only where the first instruction of all is to be seen; else QEMU's own firmware."""
    ram = "memory-backend=ram"
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-M", f"{board},accel=kvm,{ram}", "-cpu", "host",
            "-smp", str(m.cpus), "-m", f"{m.memory_mib}M",
            "-object", f"memory-backend-memfd,id=ram,size={m.memory_mib}M,share=on",
            "-serial", "stdio", "-kernel", m.kernel, "-append", m.cmdline]
    if m.initrd:
        argv += ["-initrd", m.initrd]
    if stop_rom:
        argv += ["-bios", stop_rom, *DEBUG_EXIT]
    if m.disks:
        argv += ["-object", "iothread,id=io"]
    for path, serial, read_only in m.disks:
        argv += ["-drive", f"if=none,id={serial},file={path},format=raw,cache=none,aio=io_uring,"
                           f"file.locking=off,readonly={'on' if read_only else 'off'}",
                 "-device", f"virtio-blk-pci,drive={serial},serial={serial},iothread=io,"
                            "disable-legacy=on,num-queues=1"]
    if m.tap:
        argv += ["-netdev", f"tap,id=net,ifname={m.tap},script=no,downscript=no,vhost={vhost}",
                 "-device", "virtio-net-pci,netdev=net,disable-legacy=on,romfile="]
    return argv


def q35(m, stop_rom=None):
    return qemu(m, stop_rom, "q35,usb=off,sata=off,smbus=off,vmport=off,graphics=off", "off")


def q35_vhost(m, stop_rom=None):
    return qemu(m, stop_rom, "q35,usb=off,sata=off,smbus=off,vmport=off,graphics=off", "on")


def microvm(m, stop_rom=None):
    pcie = "on" if m.disks or m.tap else "off"
    board = f"microvm,pit=off,pic=off,rtc=off,pcie={pcie},auto-kernel-cmdline=off"
    return qemu(m, stop_rom, board, "off")


def virt(m, _stop_rom=None):
    """QEMU's board for arm64, with the interrupt controller that we have."""
    return ["qemu-system-aarch64", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-M", "virt,accel=kvm,gic-version=3,memory-backend=ram", "-cpu", "host",
            "-smp", str(m.cpus), "-m", f"{m.memory_mib}M",
            "-object", f"memory-backend-memfd,id=ram,size={m.memory_mib}M,share=on",
            "-serial", "stdio", "-kernel", m.kernel, "-append", m.cmdline, "-initrd", m.initrd]


OURS = "numavisor"
VMMS = {OURS: ours, "QEMU virt": virt} if ARM64 else {OURS: ours, "QEMU q35": q35,
                                                      "QEMU microvm": microvm}
NET_VMMS = {**VMMS, "QEMU q35 vhost=on": q35_vhost}


def process_cpu(pid):
    """CPU seconds of process PID with all its threads, ended ones included, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # its CPUCLOCK_SCHED, as clock_getcpuclockid(3)


def first_instruction_cpu(name, machine, stop_rom, limit=60):
    """CPU seconds until the guest's very first instruction, which halts for ever.

    The kernel of MACHINE and STOP_ROM both begin with that halt, so from then on the VMM idles:
    taken is what it had used when it has used nothing more for half a second.
    """
    argv = VMMS[name](machine, None if name == OURS else stop_rom)
    with Running(argv) as running:
        end = time.monotonic() + limit
        used, since = 0, time.monotonic()
        while time.monotonic() - since < 0.5:
            if running.child.poll() is not None:
                said = running.child.stderr.read().decode(errors="replace")
                raise Failed(f"{argv[0]} ended with status {running.child.returncode}: {said}")
            if time.monotonic() > end:
                raise Failed(f"{argv[0]} does not come to rest within {limit} s")
            time.sleep(0.05)
            now = process_cpu(running.child.pid)
            if now - used > 100e-6:
                since = time.monotonic()
            used = now
        if not vcpu_thread(running.child.pid):
            raise Failed(f"{argv[0]} rests without a vCPU")
        return used


def vcpu_thread(pid):
    """Whether process PID has a vCPU that KVM has let in: its descriptor is a vCPU's."""
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            if "kvm-vcpu" in os.readlink(fd):
                return True
        except OSError:
            continue
    return False


class Running:
    """A started machine; use as a context manager, leaving it ends the machine."""

    def __init__(self, argv, console_in=False):
        self.started = time.monotonic()
        self.child = subprocess.Popen(
            argv, stdin=subprocess.PIPE if console_in else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.buffer = b""
        os.set_blocking(self.child.stdout.fileno(), False)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            if pipe is not None:
                pipe.close()

    def send(self, text):
        """Type TEXT at the console."""
        self.child.stdin.write(text.encode())
        self.child.stdin.flush()

    def line(self, limit):
        """The next whole line of the console, or None when LIMIT seconds are over."""
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                return None
            data = self.child.stdout.read()
            if data == b"":
                said = self.child.stderr.read().decode(errors="replace").strip()
                raise Failed(f"the machine ended early: {said[-200:]} {self.buffer[-200:]!r}")
            self.buffer += data or b""
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="replace").strip("\r")

    def wait_for(self, text, limit):
        """Seconds since the start when a line that contains TEXT was there; the line itself."""
        end = time.monotonic() + limit
        seen = []
        while True:
            line = self.line(max(0, end - time.monotonic()))
            if line is None:
                raise Failed(f"no '{text}' within {limit:g} s; last lines: {seen[-3:]}")
            if text in line:
                return time.monotonic() - self.started, line
            seen.append(line)

    def exits(self):
        """Exits of all vCPUs so far, as KVM counts them, by kind ("exits" is the sum)."""
        found = glob.glob(f"/sys/kernel/debug/kvm/{self.child.pid}-*")
        if not found:
            raise Failed("KVM's counts are not in /sys/kernel/debug/kvm")
        out = {}
        for name in ("exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits",
                     "irq_window_exits", "insn_emulation"):
            try:
                with open(f"{found[0]}/{name}", encoding="ascii") as f:
                    out[name] = int(f.read())
            except OSError:
                pass
        return out

    def memory(self):
        """Bytes by kind, guest RAM (memfd mappings) left out.

        private: every page that only this process has. anonymous: those of them that no file
        backs unchanged, so another machine of the same program would need them again.
        """
        private = anonymous = 0
        is_ram = False
        with open(f"/proc/{self.child.pid}/smaps", encoding="ascii", errors="replace") as f:
            for line in f:
                head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+)\s*(.*)", line)
                if head:
                    is_ram = head.group(2).startswith("/memfd:")
                    is_file = head.group(1) != "0"
                    continue
                name, _, rest = line.partition(":")
                if is_ram or name not in ("Private_Clean", "Private_Dirty"):
                    continue
                size = int(rest.split()[0]) << 10
                private += size
                if name == "Private_Dirty" or not is_file:
                    anonymous += size
        return {"private": private, "anonymous": anonymous}
