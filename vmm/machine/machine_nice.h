/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations of machines that have no cgroup: nice values with which they hold.
 *
 * A nice value weighs a thread, a cgroup's weight all threads in it: what machine_use_weights()
 * gives a machine is divided by its busy vCPUs. Steps of a quarter are coarse, so whether every
 * floor holds is reckoned with them, and where one does not who has most beyond his own steps back.
 * Pure.
 */
#ifndef VMM_MACHINE_MACHINE_NICE_H
#define VMM_MACHINE_MACHINE_NICE_H

#include <stdbool.h>

#include "vmm/machine/machine_use.h"

/**
 * machine_nice_values() - one value for each of @n machines.
 * @least: per machine the lowest that may be given, -20 to 19; the machine that weighs most gets 0
 * or its least, the others so much more as they weigh less.
 * @ret_nice: @n values, none below its least.
 * Return: 1 when with them all reservations hold, while all machines are busy and nothing else is;
 * 0 when no values do that; -ENOMEM.
 */
int machine_nice_values(const struct host_topo *host, const struct machine_use *uses, size_t n,
                        const int *least, int *ret_nice);

#endif
