# SPDX-License-Identifier: Apache-2.0
"""The list of figures, in the order of the table. A figure belongs to one place of measurement."""
from benchtable import Figure
from benchvmm import NET_VMMS, OURS, VMMS

BLOCK = {"randread": ("4 KiB random read", 4096), "randwrite": ("4 KiB random write", 4096),
         "read": ("1 MiB sequential read", 1 << 20), "write": ("1 MiB sequential write", 1 << 20)}
NET = {"send": "TCP from the guest", "receive": "TCP to the guest"}

NATIVE = [
    Figure("native-cpu", "CPU until the first guest instruction", "ms",
           "< peer and <= 8"),
    Figure("native-tiny-cpu", "the same with a kernel of one page", "ms", "< peer and <= 8"),
    Figure("native-instructions", "instructions of the VMM, start and end", "million", "< peer"),
]
BOOT = [
    Figure("rig-cpu", "CPU until the first guest instruction", "ms", "< peer", True),
    Figure("boot-time", "exec to the guest's first init line", "s", "< peer", True),
    Figure("boot-exits", "exits until init", "exits", "< peer"),
    Figure("private", "private memory, 1 vCPU", "MiB", "< peer and <= 5"),
    Figure("anonymous", "of that, not backed by files", "MiB", "< peer"),
    Figure("per-vcpu", "growth of that per vCPU", "KiB", "stated"),
    Figure("per-gib", "growth of that per GiB", "KiB", "stated"),
]


def io_figures():
    out = []
    for kind, (text, _size) in BLOCK.items():
        out.append(Figure(f"{kind}-rate", text, "operations/s", "> peer", True))
        out.append(Figure(f"{kind}-exits", f"{text}: exits", "per operation", "< peer"))
    for kind, text in NET.items():
        out.append(Figure(f"{kind}-rate", text, "MiB/s", "> peer", True))
        out.append(Figure(f"{kind}-exits", f"{text}: exits", "per MiB", "< peer"))
    out.append(Figure("pingpong-rate", "TCP round trips", "round trips/s", "> peer", True))
    out.append(Figure("pingpong-exits", "TCP round trips: exits", "per round trip", "< peer"))
    return out


IO = io_figures()
NET_KEYS = {f.key for f in IO if f.key.split("-")[0] in (*NET, "pingpong")}


def peers_of(figure):
    vmms = NET_VMMS if figure.key in NET_KEYS else VMMS
    return [vmm for vmm in vmms if vmm != OURS]
