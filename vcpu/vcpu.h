/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual CPU: its KVM object, its thread, and the loop that enters the guest and handles why
 * it came back.
 *
 * vcpu/ owns struct vcpu_exit_ops and vmm/machine fills it in, so that this folder never
 * includes devices/ and the loop can be tested against fakes.
 *
 * Thread: created by vcpu_start(), ended by the run gate's STOP, joined by vcpu_join(). A kick
 * sets immediate_exit and sends a signal whose handler does nothing, so KVM_RUN returns whether
 * the thread was inside it or just about to be.
 */
#ifndef VCPU_VCPU_H
#define VCPU_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vcpu/run_gate.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"
#include "vmm/kvm/kvm_vcpu.h"

/* Requests of the guest to the machine, seen by a vCPU. */
enum vcpu_event {
    VCPU_EVENT_SHUTDOWN, /* triple fault */
    VCPU_EVENT_RESET,    /* KVM_SYSTEM_EVENT_RESET */
    VCPU_EVENT_POWER_OFF,
    VCPU_EVENT_FAILED,   /* the loop cannot go on; @why says so */
    VCPU_EVENT_LOST,     /* it touched memory whose content is lost, and cannot be told */
};

/* A page whose content is lost. */
struct vcpu_lost_page {
    struct gpa addr; /* in it */
    char why[160];   /* a sentence: what happened to it */
};

/*
 * What a vCPU needs from the rest of the machine. Every callback runs on the vCPU's thread and
 * may be entered by several at once; a guest decides when and how often: none may exit, abort
 * or block on I/O. All are required. event() sets the run gate before it returns where the vCPU
 * must not go on.
 */
struct vcpu_exit_ops {
    void (*pio)(void *ctx, uint16_t port, bool is_write, void *data, size_t size);
    /* Return: did a device answer? Else a read gets ones. */
    bool (*mmio)(void *ctx, struct gpa addr, bool is_write, void *data, size_t size);
    void (*ioapic_eoi)(void *ctx, uint8_t vector);
    /* Is there memory at @addr? For the sentence of a failure. */
    bool (*is_ram)(void *ctx, struct gpa addr);
    /* KVM_RUN failed with EFAULT: it finds no page where the guest has memory. True: the guest is to
     * try again, for that memory is about to go. */
    bool (*no_page)(void *ctx);
    /*
     * The guest touched memory that KVM could not have: at @host, as a signal told, or nobody knows
     * where (NULL). Is its content lost?
     * Return: 1: yes, @ret_page is filled; 0: it is not now, and may have been: the guest is to try
     * again; -ENODATA: yes, but which page cannot be told, only ->why is filled; -ENOENT: no.
     */
    int (*lost_page)(void *ctx, const void *host, struct vcpu_lost_page *ret_page);
    /* The same of the guest's memory at @addr, that no device answered for. */
    bool (*lost_memory)(void *ctx, struct gpa addr, struct vcpu_lost_page *ret_page);
    /* A vCPU was told of a lost page by a machine check, as the others are to be: by
     * vcpu_broadcast(). */
    void (*broadcast)(void *ctx, struct vcpu_id vcpu);
    void (*event)(void *ctx, struct vcpu_id vcpu, enum vcpu_event event, const char *why);
    /* Called first on the vCPU's own thread, for sandboxing. Return: 0 or an errno; the
     * machine learns of a failure through event(FAILED). */
    int (*thread_setup)(void *ctx, struct vcpu_id vcpu, struct errctx *ec);
    /* Called because of vcpu_ask(), between two entries into the guest. */
    void (*errand)(void *ctx, struct vcpu_id vcpu);
};

enum { VCPU_EXIT_KINDS = 40 };

struct vcpu;

struct vcpu_params {
    struct vcpu_id id;
    uint32_t kvm_id; /* what KVM calls it; x86: the APIC id */
    const struct idset *host_cpus; /* borrowed; empty: not pinned */
    const struct vcpu_exit_ops *ops;
    void *ops_ctx;
    struct run_gate *gate; /* borrowed */
};

/** vcpu_new() - create it in KVM; no thread yet, and no features set. */
int vcpu_new(const struct kvm_sys *sys, const struct kvm_vm *vm, const struct vcpu_params *params,
             struct vcpu **ret_vcpu, struct errctx *ec);

/** vcpu_free() - after vcpu_join(), or for one that never started. NULL is allowed. */
void vcpu_free(struct vcpu *vcpu);

/** vcpu_kvm() - for power-on state and boot registers, while it stands still. */
const struct kvm_vcpu *vcpu_kvm(const struct vcpu *vcpu);

/** vcpu_start() - make the thread; it waits at the gate. Return: 0 or the errno of
 *  pthread_create. */
int vcpu_start(struct vcpu *vcpu, struct errctx *ec);

/** vcpu_kick() - make it come by the gate soon. Any thread, its own included. */
void vcpu_kick(struct vcpu *vcpu);

/** vcpu_ask() - have ops->errand called on its thread, soon and before it enters the guest again;
 *  while the machine is paused, when it goes on. Asked twice before that, called once. Any thread. */
void vcpu_ask(struct vcpu *vcpu);

/** vcpu_broadcast() - it gets a machine check, because another one does: where all processors of a
 *  machine are to get it at once. Soon and before it enters the guest again. Any thread. */
void vcpu_broadcast(struct vcpu *vcpu);

/** vcpu_set_away() - a CPU that is not plugged in does not enter the guest: it comes by the gate soon
 *  and waits there, as one that is paused does, until it is not away any more. Any thread, its own
 *  included. */
void vcpu_set_away(struct vcpu *vcpu, bool away);

/** vcpu_join() - after the gate was set to STOP and the vCPU kicked. */
void vcpu_join(struct vcpu *vcpu);

/** vcpu_exit_count() - exits of one KVM_EXIT_ kind so far; a racy snapshot. */
uint64_t vcpu_exit_count(const struct vcpu *vcpu, uint32_t kind);

/** vcpu_cpu_ns() - CPU time that its thread has had so far, the guest's included. Any thread.
 *  Return: false while there is no thread; @ret_ns is untouched then. */
bool vcpu_cpu_ns(struct vcpu *vcpu, uint64_t *ret_ns);

/** vcpu_install_handlers() - of the signals that kick a vCPU and tell it of lost memory: once per
 *  process, before the first vcpu_start(). */
int vcpu_install_handlers(struct errctx *ec);

/* In a folder per architecture: */

/** vcpu_where() - the address of the next instruction; -EFAULT when nothing is mapped there. */
int vcpu_where(const struct vcpu *vcpu, struct gpa *ret_addr);

/**
 * vcpu_tell_lost() - have the guest learn, at the next entry, that what was in the page at @addr is
 * lost and that this vCPU wanted it. Its own thread, with no exit half-way.
 * @is_whole: the instruction that touched it has no effect yet, and can be tried again.
 * Return: 0; 1: the other vCPUs are to hear of it, too; -ENOTSUP: the guest does not listen;
 * -EBUSY: it is at the last such news still; the errno of a system call.
 */
int vcpu_tell_lost(const struct vcpu *vcpu, struct gpa addr, bool is_whole);

/** vcpu_tell_beside() - have the guest learn that another vCPU was told, where it listens. Its own
 *  thread. */
void vcpu_tell_beside(const struct vcpu *vcpu);

/** vcpu_dump() - one line with the registers that tell where it stands, for failures. */
void vcpu_dump(const struct vcpu *vcpu, char *buf, size_t size);

#endif
