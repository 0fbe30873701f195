# SPDX-License-Identifier: Apache-2.0
"""The folder of tests on x86: bare-metal guests, and multiboot images of a few bytes."""
import os
import shutil

import benchstop  # of the benchmarks: the smallest image there is

SPIN = bytes([0xFA, 0xEB, 0xFE])  # cli; jmp to itself
# mov $0xcf9, %dx; mov $6, %al; out %al, %dx; hlt: by the port that the FADT names
RESET = bytes([0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4])
# mov $'x', %al; mov $0x3f8, %dx; out %al, %dx; jmp to the out: says so without end
FLOOD = bytes([0xB0, 0x78, 0x66, 0xBA, 0xF8, 0x03, 0xEE, 0xEB, 0xFD])

KIND = "ELF file"
BARE = ("debug_exit.elf", "power_off.elf", "multiboot.elf", "start_aps.elf")
BROKEN = b"\x7fELF, and then nothing that a loader knows"
SAYS = "# > fact cmdline=code=3"  # that is test "wrong"
TESTS = {  # manifest and what TAP is to say
    "debug_exit": ({"cmdline": "code=7", "expect": 7}, "ok"),
    "wrong": ({"kernel": "debug_exit.elf", "cmdline": "code=3"}, "not ok"),
    "above": ({"kernel": "debug_exit.elf", "cmdline": "code=200"}, "not ok"),
    "power_off": ({"expect": "power-off"}, "ok"),
    "cpus": ({"kernel": "start_aps.elf", "cpus": 4, "memory": "64M"}, "ok"),
    # The image wants no module: with one it says so.
    "module": ({"kernel": "multiboot.elf", "env": {"NR_CPUS": "1"}, "expect": 1}, "ok"),
    "multiboot": ({}, "ok"),
}


def make(folder, bare):
    for name in BARE:
        shutil.copy(os.path.join(bare, name), folder)
    for name, code in (("spin", SPIN), ("fall", RESET), ("flood", FLOOD), ("exit", benchstop.EXIT)):
        benchstop.make_tiny(os.path.join(folder, name), code)
