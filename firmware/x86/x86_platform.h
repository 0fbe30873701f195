/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed parts of the x86 machine: ports, addresses, interrupt lines. Devices answer there,
 * firmware describes them there, bare-metal guests expect them there; this is the one place. What
 * is written to them is devices/platform.h's, what lies around them firmware/x86/x86_map.h's.
 */
#ifndef FIRMWARE_X86_X86_PLATFORM_H
#define FIRMWARE_X86_X86_PLATFORM_H

#include "devices/platform.h"

#define PLATFORM_SERIAL_PORT   0x3f8 /* 16550A, 8 ports */
#define PLATFORM_SERIAL_IRQ    4
#define PLATFORM_RTC_PORT      0x70 /* MC146818, index and data */
#define PLATFORM_RTC_IRQ       8
#define PLATFORM_RESET_PORT    0xcf9 /* reset control register; FADT RESET_REG */
#define PLATFORM_DEBUG_EXIT    0xf4 /* a write of value C ends the run with code C */

#define PLATFORM_POWER_PORT    0x600 /* power block */
#define PLATFORM_SLEEP_CONTROL (PLATFORM_POWER_PORT + PLATFORM_SLEEP_CONTROL_OFF)
#define PLATFORM_SLEEP_STATUS  (PLATFORM_POWER_PORT + PLATFORM_SLEEP_STATUS_OFF)
#define PLATFORM_GED_PORT      (PLATFORM_POWER_PORT + PLATFORM_GED_OFF)
#define PLATFORM_GED_IRQ       9 /* GSI of the generic event device, edge, active high */

#define PLATFORM_CPU_BASE      0xfed80000ull /* block of CPUs */

#endif
