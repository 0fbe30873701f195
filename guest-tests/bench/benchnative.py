# SPDX-License-Identifier: Apache-2.0
"""Figures that this machine's own /dev/kvm gives: what a VMM does before the first instruction.

Any KVM will do, also one that emulates guest kernel code, since the guest is over after a few
instructions. Instructions are counted by callgrind, where valgrind is installed, over a whole run
whose guest ends itself.
"""
import itertools
import os
import re
import shutil
import subprocess
import tempfile

import benchstop
from benchvmm import CODE_OURS, CODE_QEMU, OURS, VMMS, Failed, Machine, first_instruction_cpu

KEYS = ("native-cpu", "native-tiny-cpu", "native-instructions")


def instructions(argv, wanted, folder):
    """Million instructions of a run of ARGV in user mode, counted by callgrind."""
    if not shutil.which("valgrind"):
        raise Failed("valgrind is not installed")
    done = subprocess.run(["valgrind", "--tool=callgrind", "--trace-children=no",
                           f"--callgrind-out-file={folder}/callgrind.out", *argv],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != wanted or not found:
        raise Failed(f"under valgrind: status {done.returncode}: {done.stderr.strip()[-200:]}")
    return int(found.group(1)) / 1e6


def measure(vmlinuz, initrd, runs, samples):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        for key in KEYS:
            for vmm in VMMS:
                samples.miss(key, vmm, "/dev/kvm cannot be opened on this machine")
        return
    with tempfile.TemporaryDirectory() as tmp:
        kernel, tiny, rom = tmp + "/stop", tmp + "/tiny", tmp + "/stop.rom"
        benchstop.make(vmlinuz, kernel, rom, benchstop.HALT)
        benchstop.make_tiny(tiny, benchstop.HALT)
        machine = Machine(kernel, initrd, memory_mib=512)
        machines = {"native-cpu": machine, "native-tiny-cpu": Machine(tiny, None)}
        for run in range(runs + 1):
            for key, vmm in itertools.product(machines, VMMS):
                try:
                    cpu = first_instruction_cpu(vmm, machines[key], rom)
                    if run > 0:  # the first one only warms the page cache
                        samples.add(key, vmm, cpu * 1e3)
                except (Failed, OSError) as e:
                    samples.miss(key, vmm, e)
        benchstop.make(vmlinuz, kernel, rom, benchstop.EXIT)
        for vmm in VMMS:
            argv = VMMS[vmm](machine, None if vmm == OURS else rom)
            if vmm == OURS:
                argv.append("--no-sandbox")  # valgrind makes system calls of its own
            try:
                samples.add("native-instructions", vmm,
                            instructions(argv, CODE_OURS if vmm == OURS else CODE_QEMU, tmp))
            except (Failed, OSError, subprocess.TimeoutExpired) as e:
                samples.miss("native-instructions", vmm, e)
