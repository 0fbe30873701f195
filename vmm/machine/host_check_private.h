/* SPDX-License-Identifier: Apache-2.0 */
/* What the files host_check*.c share. */
#ifndef VMM_MACHINE_HOST_CHECK_PRIVATE_H
#define VMM_MACHINE_HOST_CHECK_PRIVATE_H

#include "vmm/machine/host_check.h"

/** host_check_add() - one more finding, without words yet. */
struct host_finding *host_check_add(struct host_check *c, const char *name,
                                    enum host_verdict verdict);

/** host_check_say() - into one of its texts. */
void host_check_say(char *into, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define WHAT(f, ...)   host_check_say((f)->what, sizeof((f)->what), __VA_ARGS__)
#define ADVICE(f, ...) host_check_say((f)->advice, sizeof((f)->advice), __VA_ARGS__)

/** host_check_kernel() - what the kernel does for memory, scheduling and rebalancing.
 *  @root: "", or where an archived tree of /sys and /proc is. */
void host_check_kernel(struct host_check *c, const char *root, const struct host_topo *host);

#endif
