/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/run_gate.h"

#include "vmm/base/cleanup.h"

void run_gate_init(struct run_gate *gate)
{
    *gate = (struct run_gate){ .wanted = RUN_STATE_PAUSE };
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->changed, NULL);
}

void run_gate_fini(struct run_gate *gate)
{
    (void)pthread_cond_destroy(&gate->changed);
    (void)pthread_mutex_destroy(&gate->lock);
}

void run_gate_set(struct run_gate *gate, enum run_state wanted)
{
    LOCK_SCOPE(&gate->lock);

    if (atomic_load_explicit(&gate->wanted, memory_order_relaxed) == RUN_STATE_STOP)
        return;
    atomic_store_explicit(&gate->wanted, (int)wanted, memory_order_release);
    (void)pthread_cond_broadcast(&gate->changed);
}

enum run_state run_gate_wanted(const struct run_gate *gate)
{
    return (enum run_state)atomic_load_explicit(&gate->wanted, memory_order_acquire);
}

void run_gate_hold(struct run_gate *gate, bool hold)
{
    LOCK_SCOPE(&gate->lock);

    atomic_store_explicit(&gate->held, hold, memory_order_release);
    (void)pthread_cond_broadcast(&gate->changed);
}

bool run_gate_is_open(const struct run_gate *gate)
{
    return run_gate_wanted(gate) == RUN_STATE_RUN &&
           !atomic_load_explicit(&gate->held, memory_order_acquire);
}

void run_gate_enter(struct run_gate *gate)
{
    LOCK_SCOPE(&gate->lock);

    gate->present++;
}

static void tell_locked(const struct run_gate *gate)
{
    if (gate->arrived != NULL && gate->parked >= gate->present &&
        run_gate_wanted(gate) == RUN_STATE_PAUSE)
        gate->arrived(gate->ctx);
}

void run_gate_leave(struct run_gate *gate)
{
    LOCK_SCOPE(&gate->lock);

    gate->present--;
    tell_locked(gate);
}

void run_gate_look_again(struct run_gate *gate)
{
    LOCK_SCOPE(&gate->lock);

    (void)pthread_cond_broadcast(&gate->changed);
}

bool run_gate_pass(struct run_gate *gate, const atomic_bool *away)
{
    LOCK_SCOPE(&gate->lock);

    if (!run_gate_is_open(gate) || atomic_load(away)) {
        gate->parked++;
        tell_locked(gate);
        while ((!run_gate_is_open(gate) || atomic_load(away)) &&
               run_gate_wanted(gate) != RUN_STATE_STOP)
            (void)pthread_cond_wait(&gate->changed, &gate->lock);
        gate->parked--;
    }
    return run_gate_wanted(gate) == RUN_STATE_RUN;
}

bool run_gate_is_parked(struct run_gate *gate)
{
    LOCK_SCOPE(&gate->lock);

    return gate->parked >= gate->present;
}

void run_gate_tell(struct run_gate *gate, void (*arrived)(void *ctx), void *ctx)
{
    LOCK_SCOPE(&gate->lock);

    gate->arrived = arrived;
    gate->ctx = ctx;
}
