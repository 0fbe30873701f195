/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers that others than their device write down as well: firmware's methods and tables, and
 * bare-metal guests. Where a machine has them, and on which line, is its architecture's.
 */
#ifndef DEVICES_PLATFORM_H
#define DEVICES_PLATFORM_H

#define PLATFORM_RESET_VALUE       0x06   /* written to the reset port */
#define PLATFORM_PCI_CF8           0xcf8  /* mechanism #1, 8 ports (PCI 3.0, 3.2.2.3.2) */

/* Power block: sleep control and sleep status (ACPI 6.5, 4.8.3.7), then the event device's
 * register. */
#define PLATFORM_SLEEP_CONTROL_OFF 0
#define PLATFORM_SLEEP_STATUS_OFF  1
#define PLATFORM_GED_OFF           4      /* 1 byte, read: pending events; write: clears these */
#define PLATFORM_POWER_LEN         5
#define PLATFORM_S5_TYPE           5      /* SLP_TYP of soft off, as \_S5 says */
#define PLATFORM_GED_POWER         0x01   /* power button pressed */
#define PLATFORM_GED_CPU           0x02   /* a CPU comes or is asked to go: see the block of CPUs */

/* Block of CPUs, in memory: a byte for each that can be plugged, by its number. Written: a 1 takes
 * COMES or ASKED back, GONE takes the CPU away. */
#define PLATFORM_CPU_LEN           0x1000ull
#define PLATFORM_CPU_THERE         0x01   /* _STA */
#define PLATFORM_CPU_COMES         0x02   /* it was plugged in, and the guest has not been told */
#define PLATFORM_CPU_ASKED         0x04   /* it is to go, and the guest has not been told */
#define PLATFORM_CPU_GONE          0x08   /* written by _EJ0 */

#define PLATFORM_IOAPIC_PINS       24
#define PLATFORM_IOAPIC_ID         0

#endif
