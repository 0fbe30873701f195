/* SPDX-License-Identifier: Apache-2.0 */
/* The struct shared by vcpu.c, vcpu_thread.c and exit.c; nobody else includes this. */
#ifndef VCPU_VCPU_PRIVATE_H
#define VCPU_VCPU_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vcpu/vcpu.h"

struct vcpu {
    struct vcpu_id id;
    struct kvm_vcpu kvm;
    const struct idset *host_cpus;
    const struct vcpu_exit_ops *ops;
    void *ops_ctx;
    struct run_gate *gate;
    bool started; /* and not joined; main thread only */
    atomic_bool errand; /* somebody asked for one */
    atomic_bool away;   /* it is not in the machine: it waits at the gate */

    /* Any vCPU may kick any other, also while that one is being made or has ended: a signal to a
     * thread that was joined would go to nobody knows whom. A leaf lock. */
    pthread_mutex_t kick_lock; /* covers the two below */
    pthread_t thread;
    bool alive; /* between its creation and its last act */

    _Atomic uint64_t exits[VCPU_EXIT_KINDS]; /* written by the vCPU's thread only */
};

/* What the loop does after one exit. */
enum vcpu_next {
    VCPU_CONTINUE, /* enter the guest again */
    VCPU_CHECK,    /* come by the gate first */
    VCPU_STOP,     /* leave the loop */
};

/* exit.c: enter the guest once and handle why it came back. An enum vcpu_next or -errno. */
int vcpu_run_once(struct vcpu *vcpu, struct errctx *ec);

#endif
