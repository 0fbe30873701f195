/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run state that all vCPUs of a machine obey: run, pause, or stop.
 *
 *   RUN -> PAUSE -> RUN    any number of times
 *   any -> STOP            for good
 *
 * Beside it stands a hold, which makes a vCPU wait in RUN as well: for somebody who wants them to
 * stand still for a moment now and then (--cpu-max) and is not the one who pauses the machine.
 *
 * Whoever wants a change sets it here and kicks the vCPUs; each vCPU comes by between two
 * entries into the guest, and waits here while the state is PAUSE. That may take as long as a page
 * takes to come back, so nobody waits for them: who wants to know is told when all stand. The lock
 * is a leaf.
 */
#ifndef VCPU_RUN_GATE_H
#define VCPU_RUN_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum run_state { RUN_STATE_PAUSE, RUN_STATE_RUN, RUN_STATE_STOP };

struct run_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* wanted changed */
    _Atomic int wanted;     /* enum run_state; written under the lock */
    atomic_bool held;       /* likewise */
    uint32_t present;       /* vCPU threads between enter and leave */
    uint32_t parked;        /* of them, waiting in pause or because of a hold */
    void (*arrived)(void *ctx); /* set before the first enter; NULL: nobody wants to know */
    void *ctx;
};

/** run_gate_init() - the wanted state is PAUSE. */
void run_gate_init(struct run_gate *gate);
void run_gate_fini(struct run_gate *gate);

/** run_gate_set() - state the wish; ignored once STOP was wished. The caller then kicks. */
void run_gate_set(struct run_gate *gate, enum run_state wanted);

/** run_gate_wanted() - for a quick look without the lock. */
enum run_state run_gate_wanted(const struct run_gate *gate);

/** run_gate_hold() - have vCPUs wait although RUN is wanted, or no more. To hold, the caller then
 *  kicks. Any thread; one owner. */
void run_gate_hold(struct run_gate *gate, bool hold);

/** run_gate_is_open() - RUN is wanted and nobody holds; a quick look without the lock. */
bool run_gate_is_open(const struct run_gate *gate);

/** run_gate_enter() / run_gate_leave() - a vCPU thread begins / ends. */
void run_gate_enter(struct run_gate *gate);
void run_gate_leave(struct run_gate *gate);

/** run_gate_pass() - wait while PAUSE is wanted, somebody holds or @away is true. Return: true to go
 *  on, false to stop. */
bool run_gate_pass(struct run_gate *gate, const atomic_bool *away);

/** run_gate_look_again() - have those that wait see that their ->away changed. Any thread. */
void run_gate_look_again(struct run_gate *gate);

/** run_gate_is_parked() - whether every vCPU thread present is parked or has left; it stays so until
 *  RUN is set. Any thread. Only after PAUSE or STOP was set and the vCPUs were kicked. */
bool run_gate_is_parked(struct run_gate *gate);

/** run_gate_tell() - call @arrived on the thread of the last one that parked or left while PAUSE is
 *  wanted, with the gate's lock. Before vCPU threads are made. */
void run_gate_tell(struct run_gate *gate, void (*arrived)(void *ctx), void *ctx);

#endif
