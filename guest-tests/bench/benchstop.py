# SPDX-License-Identifier: Apache-2.0
"""Guests that are over with their first instruction: what they cost is the VMM's own start.

The kernel is a copy of the real one with its 64-bit entry overwritten, so that a VMM loads all of
it; the ROM is for QEMU, where firmware runs before any kernel.
"""
# mov $0, %al; out %al, $0xf4; hlt; jmp to hlt: the same bytes in 16-bit and 64-bit mode.
EXIT = bytes([0xB0, 0x00, 0xE6, 0xF4, 0xF4, 0xEB, 0xFD])
HALT = bytes([0xFA, 0xF4, 0xEB, 0xFD])  # cli; hlt; jmp to hlt
ENTRY_64 = 0x200  # offset of the 64-bit entry (Linux, Documentation/x86/boot.rst, 64-bit protocol)


def make(vmlinuz, out_kernel, out_rom, code):
    with open(vmlinuz, "rb") as f:
        image = bytearray(f.read())
    entry = ((image[0x1F1] or 4) + 1) * 512 + ENTRY_64
    image[entry:entry + len(code)] = code
    rom = bytearray(b"\xff" * 0x10000)
    rom[0xFFF0:0xFFF0 + len(code)] = code  # where an x86 processor starts after a reset
    with open(out_kernel, "wb") as f:
        f.write(image)
    with open(out_rom, "wb") as f:
        f.write(rom)
