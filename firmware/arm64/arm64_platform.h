/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed parts of the arm64 machine: addresses and interrupts. Devices answer there and the
 * tree describes them there; this is the one place.
 *
 *   0          .. 128 MiB    nothing: a null pointer of the guest's hits no device
 *   0x08000000               GIC distributor, 64 KiB
 *   0x08020000               GIC ITS, 128 KiB
 *   0x09000000               serial port (PL011)
 *   0x09010000               real-time clock (PL031)
 *   0x09020000               debug exit, 4 bytes: not in the tree, a test knows of it or does not
 *   0x10000000               GIC redistributors, 128 KiB per vCPU, room for all that a guest can
 *                            have: one region, however many there are
 *   0x20000000 .. 768 MiB    32-bit PCI windows, an equal share per host bridge
 *   0x30000000 .. 1 GiB      ECAM, 1 MiB per bus
 *   1 GiB      .. 4 GiB      RAM
 *   4 GiB      ..            RAM, then the 64-bit PCI windows, as memory/layout.h says
 */
#ifndef FIRMWARE_ARM64_ARM64_PLATFORM_H
#define FIRMWARE_ARM64_ARM64_PLATFORM_H

#define ARM64_GICD_BASE   0x08000000ull
#define ARM64_GICD_LEN    0x10000ull
#define ARM64_ITS_BASE    0x08020000ull
#define ARM64_ITS_LEN     0x20000ull
#define ARM64_SERIAL_BASE 0x09000000ull
#define ARM64_RTC_BASE    0x09010000ull
#define ARM64_EXIT_BASE   0x09020000ull /* a write of value C ends the run with code C */
#define ARM64_EXIT_LEN    4ull
#define ARM64_PART_LEN    0x1000ull /* of the serial port and of the clock */
#define ARM64_GICR_BASE   0x10000000ull
#define ARM64_GICR_LEN    0x20000ull /* of one vCPU's redistributor */
#define ARM64_PCI32_BASE  0x20000000ull
#define ARM64_PCI32_LEN   0x10000000ull
#define ARM64_ECAM_BASE   0x30000000ull
#define ARM64_RAM_BASE    0x40000000ull
#define ARM64_RAM_LOW_END 0x100000000ull

/* Shared interrupts as the tree counts them, from 0: the GIC's own number is 32 higher. */
enum { ARM64_SERIAL_SPI = 1, ARM64_RTC_SPI = 2 };

/* Private interrupts of the architected timer, from 0: the GIC's own number is 16 higher. KVM's
 * own choice for the physical and the virtual timer of a guest. */
enum {
    ARM64_TIMER_SECURE_PPI = 13,
    ARM64_TIMER_PHYSICAL_PPI = 14,
    ARM64_TIMER_VIRTUAL_PPI = 11,
    ARM64_TIMER_HYP_PPI = 10,
};

#endif
