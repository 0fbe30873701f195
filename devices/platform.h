/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed parts of the x86 machine: ports, addresses, interrupt lines. Devices answer there,
 * firmware describes them there, bare-metal guests expect them there; this is the one place.
 */
#ifndef DEVICES_PLATFORM_H
#define DEVICES_PLATFORM_H

#define PLATFORM_SERIAL_PORT   0x3f8 /* 16550A, 8 ports */
#define PLATFORM_SERIAL_IRQ    4
#define PLATFORM_RTC_PORT      0x70 /* MC146818, index and data */
#define PLATFORM_RTC_IRQ       8
#define PLATFORM_RESET_PORT    0xcf9 /* reset control register; FADT RESET_REG, value 6 */
#define PLATFORM_RESET_VALUE   0x06
#define PLATFORM_DEBUG_EXIT    0xf4 /* a write of value C ends the run with code C */
#define PLATFORM_PCI_CF8       0xcf8 /* PCI configuration mechanism #1, 0xcf8-0xcff */

/* Power block, ports: sleep control and sleep status (ACPI 6.5, 4.8.3.7), then the event
 * device's register. */
#define PLATFORM_SLEEP_CONTROL 0x600
#define PLATFORM_SLEEP_STATUS  0x601
#define PLATFORM_S5_TYPE       5 /* SLP_TYP of soft off, as \_S5 says */
#define PLATFORM_GED_PORT      0x604 /* 1 byte, read: pending events; write: clears those bits */
#define PLATFORM_GED_IRQ       9     /* GSI of the generic event device, edge, active high */
#define PLATFORM_GED_POWER     0x01  /* power button pressed */
#define PLATFORM_GED_CPU       0x02  /* a CPU comes or is asked to go: see the block of CPUs */

/* Block of CPUs, in memory: a byte for each that can be plugged, by its number. Written: a 1 takes
 * COMES or ASKED back, GONE takes the CPU away. */
#define PLATFORM_CPU_BASE      0xfed80000ull
#define PLATFORM_CPU_LEN       0x1000ull
#define PLATFORM_CPU_THERE     0x01 /* _STA */
#define PLATFORM_CPU_COMES     0x02 /* it was plugged in, and the guest has not been told */
#define PLATFORM_CPU_ASKED     0x04 /* it is to go, and the guest has not been told */
#define PLATFORM_CPU_GONE      0x08 /* written by _EJ0 */

#define PLATFORM_IOAPIC_PINS   24
#define PLATFORM_IOAPIC_ID     0

#endif
