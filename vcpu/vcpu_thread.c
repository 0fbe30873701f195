/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a vCPU: gate, guest, and round again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "vcpu/vcpu_private.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/place.h"

int vcpu_kick_signal(void)
{
    return SIGRTMIN;
}

/* An access of 4 KiB, piece by piece, is more than any instruction makes. */
enum { SETTLE_EXITS = 512 };

/*
 * An exit for I/O leaves half an instruction inside KVM, which finishes it at the next entry.
 * Before standing still, enter with immediate_exit set: KVM completes the instruction and
 * returns without running the guest, so the state that others read or replace is whole. A wide
 * access comes in several pieces, and KVM asks for the next one before it looks at the flag, so
 * go on until it says that it was interrupted.
 */
static int settle(struct vcpu *vcpu, struct errctx *ec)
{
    int next = VCPU_CONTINUE;

    for (int i = 0; i < SETTLE_EXITS && next == VCPU_CONTINUE; i++) {
        __atomic_store_n(&vcpu->kvm.run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        next = vcpu_run_once(vcpu, ec);
    }
    return next < 0 ? next : 0;
}

static void thread_setup(struct vcpu *vcpu, struct errctx *ec, int *ret_r)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "vcpu%u", vcpu->id.v);
    place_name_thread(name);
    *ret_r = place_pin_thread(vcpu->host_cpus, ec);
    if (*ret_r == 0)
        *ret_r = vcpu->ops->thread_setup(vcpu->ops_ctx, vcpu->id, ec);
}

/* One visit at the gate. Returns VCPU_CONTINUE, VCPU_STOP or -errno. */
static int check(struct vcpu *vcpu, struct errctx *ec)
{
    bool go_on;
    /* Always: the gate has two owners, so it may have been closed when we came, be open now, and
     * closed again by the other one in the next line. */
    const int r = settle(vcpu, ec);

    if (r < 0)
        return r;
    vcpu_tell(vcpu); /* before it waits: a reset puts an end to what it was told */
    go_on = run_gate_pass(vcpu->gate, &vcpu->away);
    /* From here on a kick counts again; one that came since the gate was passed set the flag
     * before its signal, so either we see the new wish now or KVM_RUN returns at once. */
    __atomic_store_n(&vcpu->kvm.run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (go_on && atomic_exchange(&vcpu->errand, false))
        vcpu->ops->errand(vcpu->ops_ctx, vcpu->id);
    return go_on && run_gate_wanted(vcpu->gate) != RUN_STATE_STOP ? VCPU_CONTINUE : VCPU_STOP;
}

static void *thread_main(void *arg)
{
    struct vcpu *vcpu = arg;
    struct errctx ec = { 0 };
    int next;

    thread_setup(vcpu, &ec, &next);
    if (next == 0)
        next = VCPU_CHECK;
    while (next >= 0 && next != VCPU_STOP) {
        if (next == VCPU_CHECK)
            next = check(vcpu, &ec);
        if (next == VCPU_CONTINUE)
            next = run_gate_is_open(vcpu->gate) && !atomic_load(&vcpu->away)
                       ? vcpu_run_once(vcpu, &ec) : VCPU_CHECK;
    }
    if (next < 0) {
        char why[ERRCTX_MSG_MAX + 32];

        (void)snprintf(why, sizeof(why), "vCPU %u: %s", vcpu->id.v, ec.msg);
        vcpu->ops->event(vcpu->ops_ctx, vcpu->id, VCPU_EVENT_FAILED, why);
    }
    {
        LOCK_SCOPE(&vcpu->kick_lock);
        vcpu->alive = false; /* from here on nobody sends us a signal */
    }
    run_gate_leave(vcpu->gate);
    return NULL;
}

int vcpu_start(struct vcpu *vcpu, struct errctx *ec)
{
    int r;

    run_gate_enter(vcpu->gate);
    {
        LOCK_SCOPE(&vcpu->kick_lock);
        r = pthread_create(&vcpu->thread, NULL, thread_main, vcpu);
        vcpu->alive = r == 0;
    }
    if (r != 0) {
        run_gate_leave(vcpu->gate);
        return errctx_set_os(ec, r, "thread of vCPU %u", vcpu->id.v);
    }
    vcpu->started = true;
    return 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
    LOCK_SCOPE(&vcpu->kick_lock);

    __atomic_store_n(&vcpu->kvm.run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (vcpu->alive)
        (void)pthread_kill(vcpu->thread, vcpu_kick_signal());
}

bool vcpu_cpu_ns(struct vcpu *vcpu, uint64_t *ret_ns)
{
    struct timespec used;
    clockid_t clock;
    LOCK_SCOPE(&vcpu->kick_lock);

    if (!vcpu->alive || pthread_getcpuclockid(vcpu->thread, &clock) != 0 ||
        clock_gettime(clock, &used) < 0)
        return false;
    *ret_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    return true;
}

void vcpu_set_away(struct vcpu *vcpu, bool away)
{
    atomic_store(&vcpu->away, away);
    if (away)
        vcpu_kick(vcpu);
    else
        run_gate_look_again(vcpu->gate);
}

void vcpu_ask(struct vcpu *vcpu)
{
    atomic_store(&vcpu->errand, true);
    vcpu_kick(vcpu);
}

void vcpu_join(struct vcpu *vcpu)
{
    if (!vcpu->started)
        return;
    (void)pthread_join(vcpu->thread, NULL);
    vcpu->started = false;
}
