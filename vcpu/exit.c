/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the guest came back, one handler a kind. Kinds that are not in the table are a gap in our
 * KVM set-up, not a guest's doing, and end the run with a sentence.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "vcpu/vcpu_private.h"
#include "vmm/base/macros.h"

static int exit_io(struct vcpu *vcpu, struct errctx *ec)
{
    const struct kvm_run *run = vcpu->kvm.run;
    uint8_t *data = (uint8_t *)vcpu->kvm.run + run->io.data_offset;

    (void)ec;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
        vcpu->ops->pio(vcpu->ops_ctx, run->io.port, run->io.direction == KVM_EXIT_IO_OUT, data,
                       run->io.size);
    return VCPU_CONTINUE;
}

static int exit_mmio(struct vcpu *vcpu, struct errctx *ec)
{
    struct kvm_run *run = vcpu->kvm.run;
    const struct gpa addr = { run->mmio.phys_addr };

    (void)ec;
    if (!vcpu->ops->mmio(vcpu->ops_ctx, addr, run->mmio.is_write != 0, run->mmio.data,
                         run->mmio.len) &&
        vcpu_touched_memory(vcpu, addr))
        return VCPU_CHECK;
    return VCPU_CONTINUE;
}

static int exit_ioapic_eoi(struct vcpu *vcpu, struct errctx *ec)
{
    (void)ec;
    vcpu->ops->ioapic_eoi(vcpu->ops_ctx, vcpu->kvm.run->eoi.vector);
    return VCPU_CONTINUE;
}

/* The local APIC is in the kernel, which waits for interrupts itself; an exit for HLT would
 * only be seen if that set-up failed half-way. Looking at the gate is the harmless answer. */
static int exit_check(struct vcpu *vcpu, struct errctx *ec)
{
    (void)vcpu;
    (void)ec;
    return VCPU_CHECK;
}

static int exit_shutdown(struct vcpu *vcpu, struct errctx *ec)
{
    (void)ec;
    vcpu->ops->event(vcpu->ops_ctx, vcpu->id, VCPU_EVENT_SHUTDOWN, "triple fault");
    return VCPU_CHECK;
}

static int exit_system_event(struct vcpu *vcpu, struct errctx *ec)
{
    const uint32_t type = vcpu->kvm.run->system_event.type;

    (void)ec;
    if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
        vcpu->ops->event(vcpu->ops_ctx, vcpu->id, VCPU_EVENT_POWER_OFF, "system event");
    else
        vcpu->ops->event(vcpu->ops_ctx, vcpu->id, VCPU_EVENT_RESET, "system event");
    return VCPU_CHECK;
}

static int exit_fail_entry(struct vcpu *vcpu, struct errctx *ec)
{
    return errctx_set(ec, EIO, "the processor refused to enter the guest (hardware reason 0x%" PRIx64
                               ")", (uint64_t)vcpu->kvm.run->fail_entry.hardware_entry_failure_reason);
}

static int exit_internal_error(struct vcpu *vcpu, struct errctx *ec)
{
    const struct kvm_run *run = vcpu->kvm.run;
    struct gpa at;
    char regs[256];

    vcpu_dump(vcpu, regs, sizeof(regs));
    /* Instructions are only ever fetched from memory; KVM has no more to say about others. */
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && vcpu_where(vcpu, &at) == 0 &&
        !vcpu->ops->is_ram(vcpu->ops_ctx, at))
        return errctx_set(ec, EIO,
                          "the guest runs instructions at physical address 0x%" PRIx64
                          ", where it has no memory (%s)",
                          at.v, regs);
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        return errctx_set(ec, EIO, "KVM could not emulate an instruction of the guest (%s)", regs);
    return errctx_set(ec, EIO, "KVM reports internal error %u (%s)", run->internal.suberror, regs);
}

/* arm64's KVM leaves what it cannot decode without an exit: pairs of registers, or vectors. */
static int exit_undecoded(struct vcpu *vcpu, struct errctx *ec)
{
    char regs[256];

    vcpu_dump(vcpu, regs, sizeof(regs));
    return errctx_set(ec, EIO,
                      "the guest reached a device by an instruction that KVM cannot decode (%s)",
                      regs);
}

static int (*const exit_table[VCPU_EXIT_KINDS])(struct vcpu *vcpu, struct errctx *ec) = {
    [KVM_EXIT_IO] = exit_io,
    [KVM_EXIT_MMIO] = exit_mmio,
    [KVM_EXIT_IOAPIC_EOI] = exit_ioapic_eoi,
    [KVM_EXIT_HLT] = exit_check,
    [KVM_EXIT_INTR] = exit_check,
    [KVM_EXIT_IRQ_WINDOW_OPEN] = exit_check,
    [KVM_EXIT_SHUTDOWN] = exit_shutdown,
    [KVM_EXIT_SYSTEM_EVENT] = exit_system_event,
    [KVM_EXIT_FAIL_ENTRY] = exit_fail_entry,
    [KVM_EXIT_INTERNAL_ERROR] = exit_internal_error,
};

int vcpu_run_once(struct vcpu *vcpu, struct errctx *ec)
{
    const void *host;
    int r = vcpu_enter(vcpu, &host);
    uint32_t reason;

    if (r < 0) {
        if (host == NULL && (r == -EINTR || r == -EAGAIN))
            return VCPU_CHECK; /* kicked, not failed */
        if (host == NULL && r == -EFAULT && vcpu->ops->no_page(vcpu->ops_ctx))
            return VCPU_CHECK;
        if (host != NULL || r == -EFAULT) {
            const int next = vcpu_touched(vcpu, host);

            if (next >= 0)
                return next;
        }
        /* What was about to go may have gone between KVM's look and ours: then it is none now. */
        if (r == -EFAULT && !vcpu->touch.is_second) {
            vcpu->touch.is_second = true;
            return VCPU_CHECK;
        }
    }
    if (r == -ENOSYS)
        return exit_undecoded(vcpu, ec);
    if (r < 0)
        return errctx_set_os(ec, -r, "KVM_RUN");
    vcpu->touch.n_again = 0;
    vcpu->touch.is_second = false;
    reason = vcpu->kvm.run->exit_reason;
    if (reason >= ARRAY_SIZE(exit_table) || exit_table[reason] == NULL)
        return errctx_set(ec, ENOSYS, "exit reason %u has no handler", reason);
    atomic_fetch_add_explicit(&vcpu->exits[reason], 1, memory_order_relaxed);
    return exit_table[reason](vcpu, ec);
}
