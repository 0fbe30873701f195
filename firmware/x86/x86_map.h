/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest physical addresses of x86 machines; memory/layout.h has the rules by which nodes are placed
 * on them.
 *
 *   0          .. 640 KiB    RAM (node of the first range)
 *   640 KiB    .. 1 MiB      legacy hole; 0xE0000-0xFFFFF is reserved memory with the RSDP
 *   1 MiB      .. low_end    RAM, at most up to 3 GiB
 *   3 GiB      .. 3.5 GiB    32-bit PCI windows, an equal share per root bridge
 *   3.5 GiB    .. 3.75 GiB   ECAM, 1 MiB per bus, segment 0
 *   0xFEC00000, 0xFEE00000   I/O APIC, local APIC
 *   4 GiB      .. high_end   RAM
 *   then                     hotplug windows, 2 GiB-aligned, per node
 *   then                     64-bit PCI windows, one per root bridge
 *
 * The RAM range that starts at 0 covers the legacy hole too; which parts of it the guest may use,
 * E820 says.
 */
#ifndef FIRMWARE_X86_X86_MAP_H
#define FIRMWARE_X86_X86_MAP_H

#include "memory/layout.h"

#define X86_ISA_HOLE_START 0xa0000ull
#define X86_BIOS_START     0xe0000ull /* RSDP scan area: RAM-backed, reserved in E820 */
#define X86_BIOS_END       0x100000ull
#define X86_LOW_MAX        0xc0000000ull /* RAM below ends here at the latest */
#define X86_PCI32_BASE     0xc0000000ull
#define X86_PCI32_LEN      0x20000000ull
#define X86_ECAM_BASE      0xe0000000ull
#define X86_ECAM_LEN       0x10000000ull /* 256 buses */
#define X86_IOAPIC_BASE    0xfec00000ull
#define X86_LAPIC_BASE     0xfee00000ull
#define X86_HIGH_BASE      0x100000000ull

extern const struct layout_map x86_layout_map;

#endif
