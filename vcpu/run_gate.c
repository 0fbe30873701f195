/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/run_gate.h"

#include "vmm/base/cleanup.h"

void run_gate_init(struct run_gate *gate)
{
    *gate = (struct run_gate){ .wanted = RUN_STATE_PAUSE };
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->changed, NULL);
    (void)pthread_cond_init(&gate->arrived, NULL);
}

void run_gate_fini(struct run_gate *gate)
{
    (void)pthread_cond_destroy(&gate->arrived);
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

void run_gate_leave(struct run_gate *gate)
{
    LOCK_SCOPE(&gate->lock);

    gate->present--;
    (void)pthread_cond_broadcast(&gate->arrived);
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
        (void)pthread_cond_broadcast(&gate->arrived);
        while ((!run_gate_is_open(gate) || atomic_load(away)) &&
               run_gate_wanted(gate) != RUN_STATE_STOP)
            (void)pthread_cond_wait(&gate->changed, &gate->lock);
        gate->parked--;
    }
    return run_gate_wanted(gate) == RUN_STATE_RUN;
}

void run_gate_wait_parked(struct run_gate *gate)
{
    LOCK_SCOPE(&gate->lock);

    while (gate->parked < gate->present && run_gate_wanted(gate) != RUN_STATE_RUN)
        (void)pthread_cond_wait(&gate->arrived, &gate->lock);
}
