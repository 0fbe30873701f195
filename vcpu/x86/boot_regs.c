/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/x86/boot_regs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/x86/machine_check.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/x86/kvm_sys_x86.h"

enum {
    CR0_PE = 1u << 0,
    CR0_ET = 1u << 4,
    CR4_PAE = 1u << 5,
    EFER_LME = 1u << 8,
    EFER_LMA = 1u << 10,
    APIC_BASE_BSP = 1u << 8,
    APIC_BASE_EXTD = 1u << 10,
    APIC_BASE_ENABLE = 1u << 11,
    APIC_REG_ID = 0x20,
    MSR_TSC = 0x10,
    MSR_TSC_ADJUST = 0x3b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MTRR_ENABLED = 1u << 11,
    MTRR_WRITE_BACK = 6,
    SEG_CODE = 0x10,
    SEG_DATA = 0x18,
    SEG_TSS = 0x20,
    TYPE_CODE = 0xb, /* execute/read, accessed */
    TYPE_DATA = 0x3, /* read/write, accessed */
    TYPE_TSS = 0xb,  /* busy 32/64-bit TSS */
    TSS_LIMIT = 0x67, /* PVH asks for just this; the hardware for no less */
};
#define CR0_PG (1u << 31)

struct power_on_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    struct kvm_nested_state nested; /* size 0: this KVM has none */
    struct kvm_msrs *msrs;
    struct kvm_xsave xsave; /* last: it ends in a flexible array */
};

/* What KVM keeps for a vCPU without listing it: memory types (Intel SDM vol. 3, 12.11), errors. */
static const struct {
    uint32_t first, n;
} unlisted_msrs[] = {
    { 0x200, 16 }, /* variable ranges */
    { 0x250, 1 },  /* fixed ranges */
    { 0x258, 2 },
    { 0x268, 8 },
    { MSR_MTRR_DEF_TYPE, 1 },
    { MACHINE_CHECK_MSR, 4 * MACHINE_CHECK_BANKS },
};

enum { UNLISTED_MSRS = 16 + 1 + 2 + 8 + 1 + 4 * MACHINE_CHECK_BANKS };

static bool is_listed(const struct kvm_msr_list *list, uint32_t index)
{
    for (uint32_t i = 0; i < list->nmsrs; i++)
        if (list->indices[i] == index)
            return true;
    return false;
}

/* @msrs has room for all of both. */
static void name_msrs(const struct kvm_msr_list *list, struct kvm_msrs *msrs)
{
    for (uint32_t i = 0; i < list->nmsrs; i++)
        msrs->entries[msrs->nmsrs++].index = list->indices[i];
    for (size_t r = 0; r < ARRAY_SIZE(unlisted_msrs); r++)
        for (uint32_t i = 0; i < unlisted_msrs[r].n; i++)
            if (!is_listed(list, unlisted_msrs[r].first + i))
                msrs->entries[msrs->nmsrs++].index = unlisted_msrs[r].first + i;
}

/*
 * What differs from a vCPU that KVM has just made. The time-stamp counter starts from zero at a
 * reset, and the deadline has to be disarmed. Memory is write-back, as firmware would have said;
 * with the registers off, Linux does without page attributes and with them write-combining.
 */
static void adjust_msrs(struct kvm_msrs *msrs)
{
    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        uint32_t index = msrs->entries[i].index;

        if (index == MSR_TSC || index == MSR_TSC_ADJUST || index == MSR_TSC_DEADLINE)
            msrs->entries[i].data = 0;
        if (index == MSR_MTRR_DEF_TYPE)
            msrs->entries[i].data = MTRR_ENABLED | MTRR_WRITE_BACK;
    }
}

/* KVM_GET_MSRS stops at the first register it cannot read; leave those out one by one. */
static int capture_msrs(const struct kvm_sys *sys, const struct kvm_vcpu *vcpu,
                        struct kvm_msrs **ret_msrs, struct errctx *ec)
{
    CLEANUP_FREE struct kvm_msr_list *list = NULL;
    CLEANUP_FREE struct kvm_msrs *msrs = NULL;
    int r = kvm_sys_msr_list(sys, &list, ec);

    if (r < 0)
        return r;
    msrs = calloc(1, sizeof(*msrs) +
                         ((size_t)list->nmsrs + UNLISTED_MSRS) * sizeof(msrs->entries[0]));
    if (msrs == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the MSRs of a vCPU");
    name_msrs(list, msrs);
    for (;;) {
        r = kvm_vcpu_get_msrs(vcpu, msrs, ec);
        if (r < 0)
            return r;
        if ((uint32_t)r >= msrs->nmsrs)
            break;
        msrs->nmsrs--;
        memmove(&msrs->entries[r], &msrs->entries[r + 1],
                (msrs->nmsrs - (uint32_t)r) * sizeof(msrs->entries[0]));
    }
    adjust_msrs(msrs);
    *ret_msrs = take_ptr(msrs);
    return 0;
}

int power_on_state_capture(const struct kvm_sys *sys, const struct kvm_vcpu *vcpu,
                           struct power_on_state **ret_state, struct errctx *ec)
{
    struct power_on_state *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a vCPU's power-on state");
    if ((r = kvm_vcpu_get_regs(vcpu, &s->regs, ec)) < 0 ||
        (r = kvm_vcpu_get_sregs(vcpu, &s->sregs, ec)) < 0 ||
        (r = kvm_vcpu_get_xsave(vcpu, &s->xsave, ec)) < 0 ||
        (r = kvm_vcpu_get_xcrs(vcpu, &s->xcrs, ec)) < 0 ||
        (r = kvm_vcpu_get_debugregs(vcpu, &s->debugregs, ec)) < 0 ||
        (r = kvm_vcpu_get_events(vcpu, &s->events, ec)) < 0 ||
        (r = kvm_vcpu_get_lapic(vcpu, &s->lapic, ec)) < 0 ||
        (r = capture_msrs(sys, vcpu, &s->msrs, ec)) < 0) {
        power_on_state_free(s);
        return r;
    }
    if (kvm_vcpu_get_nested(vcpu, &s->nested, NULL) < 0)
        s->nested.size = 0;
    *ret_state = s;
    return 0;
}

void power_on_state_free(struct power_on_state *state)
{
    if (state == NULL)
        return;
    free(state->msrs);
    free(state);
}

/* KVM_SET_MSRS stops at a register it does not take (read-only ones are listed too). */
static int apply_msrs(const struct kvm_msrs *all, const struct kvm_vcpu *vcpu, struct errctx *ec)
{
    CLEANUP_FREE struct kvm_msrs *part =
        malloc(sizeof(*part) + all->nmsrs * sizeof(part->entries[0]));
    uint32_t done = 0;

    if (part == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the MSRs of a vCPU");
    while (done < all->nmsrs) {
        int r;

        part->nmsrs = all->nmsrs - done;
        memcpy(part->entries, &all->entries[done], part->nmsrs * sizeof(part->entries[0]));
        r = kvm_vcpu_set_msrs(vcpu, part, ec);
        if (r < 0)
            return r;
        done += (uint32_t)r + 1;
    }
    return 0;
}

int power_on_state_apply(const struct power_on_state *state, const struct kvm_vcpu *vcpu,
                         uint32_t apic_id, bool x2apic, bool boot, struct errctx *ec)
{
    struct kvm_sregs sregs = state->sregs;
    struct kvm_lapic_state lapic = state->lapic;
    const uint32_t id_reg = x2apic ? apic_id : apic_id << 24;
    int r;

    sregs.apic_base &= ~(uint64_t)(APIC_BASE_BSP | APIC_BASE_EXTD);
    sregs.apic_base |= APIC_BASE_ENABLE | (boot ? APIC_BASE_BSP : 0) |
                       (x2apic ? APIC_BASE_EXTD : 0);
    memcpy(&lapic.regs[APIC_REG_ID], &id_reg, sizeof(id_reg));
    if ((r = kvm_vcpu_set_mp_state(vcpu, boot ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED,
                                   ec)) < 0 ||
        /* First of all out of a guest's guest: what follows would change that one's state. */
        (state->nested.size > 0 && (r = kvm_vcpu_set_nested(vcpu, &state->nested, ec)) < 0) ||
        (r = kvm_vcpu_set_events(vcpu, &state->events, ec)) < 0 ||
        /* A host without XSAVE has no XCRs, and setting none is EINVAL there. */
        (state->xcrs.nr_xcrs > 0 && (r = kvm_vcpu_set_xcrs(vcpu, &state->xcrs, ec)) < 0) ||
        (r = kvm_vcpu_set_xsave(vcpu, &state->xsave, ec)) < 0 ||
        (r = kvm_vcpu_set_debugregs(vcpu, &state->debugregs, ec)) < 0 ||
        (r = kvm_vcpu_set_sregs(vcpu, &sregs, ec)) < 0 ||
        (r = kvm_vcpu_set_regs(vcpu, &state->regs, ec)) < 0 ||
        (r = apply_msrs(state->msrs, vcpu, ec)) < 0)
        return r;
    r = kvm_vcpu_set_lapic(vcpu, &lapic, ec);
    return r < 0 ? r : 0;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code64)
{
    return (struct kvm_segment){
        .base = 0, .limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1,
        .g = 1, .l = code64, .db = !code64,
    };
}

int boot_regs_apply(const struct boot_regs *b, const struct kvm_vcpu *vcpu, struct errctx *ec)
{
    const struct kvm_segment data = flat(SEG_DATA, TYPE_DATA, false);
    struct kvm_regs regs = { .rflags = 2 };
    struct kvm_sregs sregs;
    int r = kvm_vcpu_get_sregs(vcpu, &sregs, ec);

    if (r < 0)
        return r;
    sregs.cs = flat(SEG_CODE, TYPE_CODE, b->long_mode);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.tr = (struct kvm_segment){
        .limit = TSS_LIMIT, .selector = SEG_TSS, .type = TYPE_TSS, .present = 1
    };
    sregs.gdt = (struct kvm_dtable){ .base = b->gdt_base, .limit = b->gdt_limit };
    sregs.idt = (struct kvm_dtable){ 0 };
    sregs.cr0 = CR0_PE | CR0_ET;
    if (b->long_mode) {
        sregs.cr0 |= CR0_PG;
        sregs.cr4 |= CR4_PAE;
        sregs.cr3 = b->cr3;
        sregs.efer |= EFER_LME | EFER_LMA;
    }
    r = kvm_vcpu_set_sregs(vcpu, &sregs, ec);
    if (r < 0)
        return r;
    regs.rip = b->rip;
    regs.rsp = b->rsp;
    regs.rax = b->rax;
    regs.rbx = b->rbx;
    regs.rsi = b->rsi;
    r = kvm_vcpu_set_regs(vcpu, &regs, ec);
    return r < 0 ? r : 0;
}
