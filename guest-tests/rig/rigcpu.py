# SPDX-License-Identifier: Apache-2.0
"""The one CPU of this machine that all CPUs of an emulated x86 host take turns on.

QEMU keeps whether a processor is in nested paging and takes interrupts in one word, and every
processor that loads x87 state (FXRSTOR, as Linux does when it goes back to a task or a guest)
clears a bit of the first processor's word, without a lock (QEMU 7.2, cpu_clear_ignne() in
target/i386/tcg/sysemu/fpu_helper.c). It is a single instruction, but where it meets VMRUN or #VMEXIT
of the first processor on another CPU one of the two changes is lost. Then a guest goes on without
nested paging and ends in a triple fault, or the host takes an interrupt with its guest's GS and is
lost. Threads that share a CPU cannot come in the middle of each other's instructions.
"""
import os
import socket

MOST = 64  # hosts on one CPU that make room for each other; more do not


def taken(name):
    """The socket that holds NAME, or None where somebody else does."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0numavisor-rig-cpu{name}")
        return holder
    except OSError:
        holder.close()
        return None


class Seat:
    """A CPU, and the name that keeps others who want one away from it for as long as this lives.

    Names are sockets of the abstract kind: no files, gone with their process, and the same for all
    users of this machine's network.
    """

    def __init__(self, allowed):
        self.name = None
        for row in range(MOST):
            for self.cpu in sorted(allowed):
                self.name = taken(f"{self.cpu}.{row}")
                if self.name:
                    return

    def take(self):
        """Move the calling process there, with the threads that it will have."""
        os.sched_setaffinity(0, [self.cpu])

    def close(self):
        if self.name:
            self.name.close()
