/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locality-specific interrupts: tables of the redistributors, and the ITS (Arm IHI 0069, chapters 5
 * and 6) with a table of devices, one of collections and a queue of commands. Collections are
 * numbered as CPUs are here: by their redistributor's processor number.
 *
 * Boot CPU only. Nothing here takes an LPI.
 */
#ifndef GUEST_TESTS_BARE_LIB_ARM64_ITS_H
#define GUEST_TESTS_BARE_LIB_ARM64_ITS_H

#include <stdbool.h>
#include <stdint.h>

enum { LPI_FIRST = 8192, LPI_MAX = 64 /* that have a configuration here */ };

/** its_start() - tables for all redistributors, LPIs on in each; the ITS with a collection for each.
 *  May be called once after each reset. False when a register does not take what it is told. */
bool its_start(void);

/** its_device() - MAPD: @device may raise 2^@bits events. */
void its_device(uint32_t device, unsigned bits);
/** its_map() - MAPTI: @event of @device is @lpi at the CPU with this MPIDR. */
void its_map(uint32_t device, uint32_t event, uint32_t lpi, uint64_t mpidr);
/** its_enable() - @lpi's configuration, and INV so that it counts. */
void its_enable(uint32_t device, uint32_t event, uint32_t lpi, bool on);
/** its_raise() - INT: as if @device had sent it. */
void its_raise(uint32_t device, uint32_t event);
/** its_done() - SYNC of every CPU, and wait until all commands were read. */
bool its_done(void);

#endif
