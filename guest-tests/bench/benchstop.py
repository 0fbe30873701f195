# SPDX-License-Identifier: Apache-2.0
"""Guests that are over with their first instruction: what they cost is the VMM's own start.

The kernel is a copy of the real one with its 64-bit entry overwritten, so that a VMM loads all of
it; the ROM is for QEMU, where firmware runs before any kernel.
"""
import struct

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


def make_tiny(out, code):
    """A multiboot image of one page and nothing else but CODE, for 32-bit mode."""
    base, entry = 0x100000, 0x80
    elf = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, base + entry, 52, 0, 0,
                      52, 32, 1, 0, 0, 0)
    image = elf + struct.pack("<8I", 1, 0, base, base, 0x1000, 0x1000, 5, 0x1000)
    magic, flags = 0x1BADB002, 0  # Multiboot 0.6.96, 3.1.1
    image += struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFFFFFF)
    image = image.ljust(entry, b"\0") + code
    with open(out, "wb") as f:
        f.write(image.ljust(0x1000, b"\0"))
