/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing the machine to a standstill without anybody waiting for it, and what is done then.
 *
 * A vCPU that waits for a page cannot be interrupted, and neither can a device's thread, or the
 * evicting one in the middle of a transfer: each may take as long as its disk has time for. So
 * whoever needs some of them to stand leaves a wish and goes on, and the main loop with it: it
 * looks again each time somebody tells that he stands, and fulfils what can be.
 *
 *   RUNS      everybody works
 *   PARKING   the gate is closed; vCPUs finish what they wait for
 *   PARKED    all vCPUs stand
 *   QUIESCING devices drain, each on the loop where it lives
 *   HOLDING   mover, balancer and evicting thread end what they are at
 *   DRAINING  who brings pages back ends what nobody waits for any more
 *   STANDS    nobody touches guest memory
 *   RESUMING  devices begin again; vCPUs are let go after them
 *
 *   RUNS -> PARKING -> PARKED -> QUIESCING -> HOLDING -> DRAINING -> STANDS -> RESUMING -> RUNS
 *                      PARKED -> RUNS
 *
 * Wishes for vCPUs or all are fulfilled one after the other, in their order; those for the evicting
 * thread alone as soon as that one stands, whatever the line waits for. For the files of vmm/machine
 * only; all functions but where said on the main thread.
 */
#ifndef VMM_MACHINE_MACHINE_STAND_H
#define VMM_MACHINE_MACHINE_STAND_H

#include <stdbool.h>

#include "vmm/base/errctx.h"

struct machine;
struct machine_stand;

enum stand_level {
    STAND_EVICTOR, /* nothing is evicted; the guest goes on */
    STAND_VCPUS,
    STAND_ALL,
};

/* Embedded in what wishes; the line's from machine_stand_ask() until ->run. */
struct stand_wish {
    enum stand_level level;
    /* @stands: as wished, until this returns; false: never, the machine ends. May wish anew. */
    void (*run)(struct stand_wish *wish, bool stands);
    bool in_line;
    struct stand_wish *next;
};

/** machine_stand_new() - before vCPUs are made. Return: 0, -ENOMEM, or the errno of a call. */
int machine_stand_new(struct machine *m, struct errctx *ec);

/** machine_stand_free() - nothing happens without one. */
void machine_stand_free(struct machine *m);

/** machine_stand_ask() - have @wish run, maybe before this returns. One that is in the line already
 *  stays where it is. */
void machine_stand_ask(struct machine *m, struct stand_wish *wish);

/** machine_stand_ask_first() - the same, before all others. */
void machine_stand_ask_first(struct machine *m, struct stand_wish *wish);

/** machine_stand_give_up() - run all wishes without a standstill: the machine ends. */
void machine_stand_give_up(struct machine *m);

/** machine_stand_tell() - somebody may stand now who did not. Any thread, with any lock. */
void machine_stand_tell(const struct machine *m);

#endif
