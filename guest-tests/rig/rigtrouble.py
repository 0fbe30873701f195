# SPDX-License-Identifier: Apache-2.0
"""What is known about an emulated host that ended, hangs, or whose kernel complains."""
import re

# Without these lines a strange failure of COMMAND has no visible cause.
COMPLAINT = re.compile(r"BUG:|Oops|Kernel panic|general protection|Out of memory|soft lockup|"
                       r"hard LOCKUP|rcu: INFO|Bad page|Call Trace|segfault|WARNING: CPU|"
                       r"oom-kill|blocked for more than|\bRIP:|list_(add|del) corruption")
REGISTERS = re.compile(r"^(CPU#|RIP|EIP|RAX|CR0|CR2|CS |PC=| PC=|PSTATE)")
OWN_WORDS = re.compile(r"^(?:\*\*|ERROR:|qemu).*", re.M)
MOST = 20  # lines of complaints
LAPICS = 4  # as many CPUs tell of their pending interrupts and timers


def complaints(console):
    """The first lines of the console in which the host's kernel complains."""
    return [line for line in console if COMPLAINT.search(line)][:MOST]


def why_it_ended(host):
    """How QEMU ended, the CPU's state if it shut down, and the last lines of the console."""
    said = host.qemu_said()
    if "Triple fault" in said:
        said = said[said.index("Triple fault"):]
    elif "CPU Reset" in said:
        # The resets at power-on say nothing, but what QEMU's own checks say stands behind them.
        said = "\n".join([said[:said.index("CPU Reset")], *OWN_WORDS.findall(said)]).strip()
    status = host.qemu.wait()
    how = (f"QEMU was ended by signal {-status}" if status < 0 else
           f"QEMU ended with status {status}" if status else "it was powered off or reset")
    return "\n".join(["the emulated host ended before the command did: " + how,
                      *("  QEMU: " + line for line in said.splitlines()[:30]),
                      *("  console: " + line for line in host.lines()[-15:])])


def where_it_hangs(host):
    """Where each CPU stands, twice, what its local APIC (x86) waits for, and the answer to an NMI.

    The kernel ends by that NMI, and says where it was.
    """
    out = []
    for _ in range(2):
        out += [line for line in host.ask("info registers -a").splitlines()
                if REGISTERS.match(line)]
    lapics = LAPICS if host.args.arch == "x86" else 0
    for cpu in range(min(sum(line.startswith("CPU#") for line in out) // 2, lapics)):
        out += host.ask(f"info lapic {cpu}", 1).splitlines()[1:]
    before = len(host.lines())
    out += [line for line in host.ask("nmi").splitlines() if line.startswith("Error")]
    return "\n".join("  " + line for line in [*out, *host.lines()[before:][:60]])
