# SPDX-License-Identifier: Apache-2.0
"""The folder of tests on arm64: a bare-metal guest, and Images of a few instructions."""
import os
import shutil
import struct

SERIAL, EXIT = 0x0900, 0x0902  # upper halves of addresses in firmware/arm64/arm64_platform.h
PSCI_OFF, PSCI_RESET = 8, 9    # SYSTEM_OFF and SYSTEM_RESET are 0x84000000 and this

LETTER = "N"

KIND = "arm64 Image"
SAYS = "# > three"
TESTS = {  # manifest and what TAP is to say
    "seven": ({"expect": 7}, "ok"),
    "wrong": ({}, "not ok"),
    "above": ({}, "not ok"),
    "off": ({"expect": "power-off"}, "ok"),
    "cpus": ({"kernel": "start_cpus.image", "cpus": 4, "memory": "64M", "expect": "power-off"},
             "ok"),
    # The image looks for this letter at the begin of its initrd.
    "module": ({"env": {LETTER: "1"}}, "ok"),
}


def wide(reg, upper):
    return 0xD2A00000 | upper << 5 | reg  # movz x, upper, lsl 16


def small(reg, value):
    return 0x52800000 | value << 5 | reg  # movz w


def store(reg, at):
    return 0xB9000000 | at << 5 | reg  # str w, [x]


def to(places):
    return 0x14000000 | places & 0x3FFFFFF  # b


def ends(code):
    return [wide(0, EXIT), small(1, code), store(1, 0), to(0)]


def says(text):
    return [wide(0, SERIAL), *(word for c in text for word in (small(1, ord(c)), store(1, 0)))]


def calls(function):
    return [small(0, function), 0x72B08000, 0xD4000002, to(0)]  # movk w0, 0x8400, lsl 16; hvc


def compares():
    """Ends with 0 when the initrd, 2 MiB behind the tree, begins with LETTER."""
    return [wide(2, 0x20), 0x8B020000, 0x39400001,  # add x0, x0, x2; ldrb w1, [x0]
            0x51000021 | ord(LETTER) << 10, wide(0, EXIT), store(1, 0), to(0)]  # sub w1, w1, ..


def head(memory):
    """Of an Image (Linux, Documentation/arm64/booting.rst) that takes so many bytes."""
    return struct.pack("<2I6Q4sI", to(16), 0, 0, memory, 0xA, 0, 0, 0, b"ARM\x64", 0)


BROKEN = head(1 << 40)  # more than there is


def write(path, code):
    with open(path, "wb") as f:
        f.write(head(2 << 20) + struct.pack(f"<{len(code)}I", *code))


def make(folder, bare):
    shutil.copy(os.path.join(bare, "arm64/start_cpus.image"), folder)
    for name, code in (("seven", ends(7)), ("wrong", says("three\n") + ends(3)),
                       ("above", ends(200)), ("off", calls(PSCI_OFF)), ("fall", calls(PSCI_RESET)),
                       ("module", compares()), ("spin", [to(0)]), ("flood", [*says("x"), to(-1)]),
                       ("exit", ends(0))):
        write(os.path.join(folder, name), code)
