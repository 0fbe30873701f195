/* SPDX-License-Identifier: Apache-2.0 */
/* The struct shared by vcpu.c, vcpu_thread.c and exit.c; nobody else includes this. */
#ifndef VCPU_VCPU_PRIVATE_H
#define VCPU_VCPU_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vcpu/vcpu.h"

/* Lost memory that the guest touched and was not told of yet. */
struct vcpu_touch {
    bool is_lost, is_whole; /* as of vcpu_tell_lost() */
    struct vcpu_lost_page page;
    unsigned n_again; /* entries one after the other that found no memory, and no lost page either */
    bool is_second; /* the last entry found no memory, and nobody knew of any that goes */
};

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
    atomic_bool beside; /* vcpu_broadcast() */
    struct vcpu_touch touch; /* its thread's */

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

/* vcpu_thread.c: real-time signals are not used by any library we link. */
int vcpu_kick_signal(void);

/* vcpu_lost.c: */

/* kvm_vcpu_enter(); @ret_host: of the page that it found to be lost, or NULL. */
int vcpu_enter(struct vcpu *vcpu, const void **ret_host);

/* KVM could not have the memory at @host (NULL: nobody knows where) for the guest. An enum
 * vcpu_next, or -ENOENT: that is not because something was lost. */
int vcpu_touched(struct vcpu *vcpu, const void *host);

/* No device answered for @addr. Return: it is lost memory, and the exit is half-way. */
bool vcpu_touched_memory(struct vcpu *vcpu, struct gpa addr);

/* Tell the guest what it touched, or the machine that it cannot be told. No exit is half-way. */
void vcpu_tell(struct vcpu *vcpu);

#endif
