/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the guest whose content is lost, touched by a vCPU.
 *
 * KVM asks the kernel for the page and is told that it is poisoned: then it sends the thread SIGBUS
 * with the host's address and leaves KVM_RUN with EINTR, the instruction not begun. Where the page
 * is only closed KVM_RUN ends with EFAULT. KVM's emulator knows neither, and takes such memory for
 * a device's. However it was found out, the guest is told before it goes on.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "vcpu/vcpu_private.h"

enum { AGAIN_MAX = 100000 }; /* it takes others microseconds to say that a page is lost, or is not */

/* What a signal handler can reach of the vCPU on whose thread it runs. */
static _Thread_local const void *volatile signalled;
static _Thread_local volatile bool is_inside; /* KVM_RUN */

static void on_bus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == BUS_MCEERR_AO) /* something of ours that nobody wants now */
        return;
    if (info->si_code == BUS_MCEERR_AR && is_inside) {
        signalled = info->si_addr;
        return;
    }
    /* Memory that is not there, for our own code: as if there were no handler. While it runs the
     * signal is blocked, and the kernel ends who faults then. */
    if (info->si_code > 0)
        (void)*(volatile const char *)info->si_addr;
    (void)sig;
    abort();
}

static void on_kick(int sig)
{
    (void)sig; /* only there to make KVM_RUN return */
}

int vcpu_install_handlers(struct errctx *ec)
{
    struct sigaction kick = { .sa_handler = on_kick };
    struct sigaction bus = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

    (void)sigemptyset(&kick.sa_mask);
    (void)sigemptyset(&bus.sa_mask);
    if (sigaction(vcpu_kick_signal(), &kick, NULL) < 0 || sigaction(SIGBUS, &bus, NULL) < 0)
        return errctx_set_os(ec, errno, "sigaction");
    return 0;
}

int vcpu_enter(struct vcpu *vcpu, const void **ret_host)
{
    int r;

    signalled = NULL;
    is_inside = true;
    r = kvm_vcpu_enter(&vcpu->kvm);
    is_inside = false;
    *ret_host = signalled;
    return r;
}

int vcpu_touched(struct vcpu *vcpu, const void *host)
{
    struct vcpu_touch *t = &vcpu->touch;
    const int r = vcpu->ops->lost_page(vcpu->ops_ctx, host, &t->page);

    if (r == 0 && ++t->n_again < AGAIN_MAX)
        return VCPU_CHECK;
    t->n_again = 0;
    if (r == -ENODATA)
        vcpu->ops->event(vcpu->ops_ctx, vcpu->id, VCPU_EVENT_LOST, t->page.why);
    else if (r > 0)
        t->is_lost = t->is_whole = true;
    else
        return -ENOENT;
    return VCPU_CHECK;
}

bool vcpu_touched_memory(struct vcpu *vcpu, struct gpa addr)
{
    struct vcpu_touch *t = &vcpu->touch;

    if (t->is_lost) /* the rest of an access */
        return true;
    t->is_lost = vcpu->ops->lost_memory(vcpu->ops_ctx, addr, &t->page);
    t->is_whole = false;
    return t->is_lost;
}

void vcpu_tell(struct vcpu *vcpu)
{
    struct vcpu_touch *t = &vcpu->touch;
    int r;

    if (atomic_exchange(&vcpu->beside, false))
        vcpu_tell_beside(vcpu);
    if (!t->is_lost)
        return;
    t->is_lost = false;
    r = vcpu_tell_lost(vcpu, t->page.addr, t->is_whole);
    if (r < 0)
        vcpu->ops->event(vcpu->ops_ctx, vcpu->id, VCPU_EVENT_LOST, t->page.why);
    else if (r > 0)
        vcpu->ops->broadcast(vcpu->ops_ctx, vcpu->id);
}

void vcpu_broadcast(struct vcpu *vcpu)
{
    atomic_store(&vcpu->beside, true);
    vcpu_kick(vcpu);
}
