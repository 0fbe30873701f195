/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vCPU finds at power-on and at a kernel's first instruction, held against the protocols:
 *
 *   Linux, 64-bit:  Documentation/arch/x86/boot.rst of the kernel, "64-bit Boot Protocol"
 *   PVH:            docs/misc/pvh.pandoc of Xen, "x86/HVM direct boot ABI"
 *   multiboot:      Multiboot Specification 0.6.96, 3.2 "Machine state"
 */
// LDFLAGS: -Wl,--wrap=ioctl
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "vcpu/x86/boot_regs.h"
#include "vcpu/x86/test/fake_vcpu_state.h"

enum {
    CR0_PE = 1u << 0,
    CR0_ET = 1u << 4, /* fixed to 1 in every processor since the 486 */
    CR4_PAE = 1u << 5,
    EFER_LME = 1u << 8,
    EFER_LMA = 1u << 10,
    EFLAGS_FIXED = 1u << 1,
    BOOT_CS = 0x10,
    BOOT_DS = 0x18,
    TSC = 0x10,
    TSC_ADJUST = 0x3b,
    APIC_BASE = 0x1b, /* an MSR KVM lists and that has no special part here */
    TSC_DEADLINE = 0x6e0,
    MTRR_DEF_TYPE = 0x2ff,
    PRESET = 0xabc,
};
#define CR0_PG    (1u << 31)
#define CR0_RESET 0x60000010u /* CD, NW, ET: Intel SDM vol. 3, table 10-1 */

static void add_msr(uint32_t index, bool listed, bool unreadable, bool fixed)
{
    assert_true(fake_vcpu.n_msrs < FAKE_MSRS);
    fake_vcpu.msrs[fake_vcpu.n_msrs++] = (struct fake_msr){
        .index = index, .data = PRESET, .listed = listed, .unreadable = unreadable, .fixed = fixed
    };
}

/* A vCPU as KVM makes it: real mode at the reset vector. */
static int new_vcpu(void **state)
{
    struct fake_vcpu_state *s = &fake_vcpu.state;

    (void)state;
    memset(&fake_vcpu, 0, sizeof(fake_vcpu));
    s->sregs.cr0 = CR0_RESET;
    s->sregs.cs = (struct kvm_segment){ .base = 0xffff0000, .limit = 0xffff, .selector = 0xf000 };
    s->sregs.apic_base = 0xfee00000 | 1u << 8 | 1u << 11; /* every vCPU 0 is KVM's BSP */
    s->regs = (struct kvm_regs){ .rip = 0xfff0, .rflags = EFLAGS_FIXED, .rdx = 0x600 };
    s->xcrs = (struct kvm_xcrs){ .nr_xcrs = 1, .xcrs[0].value = 1 };
    s->debugregs.dr6 = 0xffff0ff0;
    s->xsave.region[0] = 0x037f; /* x87 control word */
    s->nested.size = sizeof(s->nested);
    add_msr(TSC, true, false, false);
    add_msr(TSC_ADJUST, true, false, false);
    add_msr(0x4b564d00, true, true, false); /* listed, but not to be read */
    add_msr(TSC_DEADLINE, true, false, false);
    add_msr(0x10a, true, false, true); /* read-only for a guest of this KVM */
    add_msr(APIC_BASE, true, false, false);
    add_msr(MTRR_DEF_TYPE, false, false, false);
    add_msr(0x200, false, false, false);
    return 0;
}

static struct power_on_state *capture(void)
{
    struct power_on_state *s = NULL;
    struct errctx ec = { 0 };

    if (power_on_state_capture(&fake_sys, &fake_kvm_vcpu, &s, &ec) < 0)
        fail_msg("%s", ec.msg);
    return s;
}

/* What a guest may have left behind, in every part. */
static void run_guest(void)
{
    struct fake_vcpu_state *s = &fake_vcpu.state;

    memset(s, 0x5a, sizeof(*s));
    for (size_t i = 0; i < fake_vcpu.n_msrs; i++)
        if (!fake_vcpu.msrs[i].fixed)
            fake_vcpu.msrs[i].data = 0x5a5a;
    fake_vcpu.n_order = 0;
}

static void apply(const struct power_on_state *s, uint32_t apic_id, bool x2apic, bool boot)
{
    struct errctx ec = { 0 };

    if (power_on_state_apply(s, &fake_kvm_vcpu, apic_id, x2apic, boot, &ec) < 0)
        fail_msg("%s", ec.msg);
}

/* --- power-on --------------------------------------------------------------------------------- */

static void a_reset_brings_every_part_back(void **state)
{
    struct fake_vcpu_state before = fake_vcpu.state;
    struct power_on_state *s = capture();

    (void)state;
    assert_int_equal(fake_vcpu.n_order, 0); /* reading changes nothing */
    run_guest();
    apply(s, 0, false, true);
    power_on_state_free(s);
    assert_memory_equal(&fake_vcpu.state.regs, &before.regs, sizeof(before.regs));
    assert_memory_equal(&fake_vcpu.state.sregs, &before.sregs, sizeof(before.sregs));
    assert_memory_equal(&fake_vcpu.state.xcrs, &before.xcrs, sizeof(before.xcrs));
    assert_memory_equal(&fake_vcpu.state.debugregs, &before.debugregs, sizeof(before.debugregs));
    assert_memory_equal(&fake_vcpu.state.events, &before.events, sizeof(before.events));
    assert_memory_equal(&fake_vcpu.state.lapic, &before.lapic, sizeof(before.lapic));
    assert_memory_equal(&fake_vcpu.state.nested, &before.nested, sizeof(before.nested));
    assert_memory_equal(&fake_vcpu.state.xsave, &before.xsave, sizeof(before.xsave));
    assert_int_equal(fake_vcpu.state.mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
}

static uint64_t msr_data(uint32_t index)
{
    assert_non_null(fake_msr(index));
    return fake_msr(index)->data;
}

static void the_clock_starts_at_zero_and_memory_is_write_back(void **state)
{
    struct power_on_state *s = capture();

    (void)state;
    run_guest();
    apply(s, 0, false, true);
    power_on_state_free(s);
    assert_int_equal(msr_data(TSC), 0);
    assert_int_equal(msr_data(TSC_ADJUST), 0);
    assert_int_equal(msr_data(TSC_DEADLINE), 0);
    assert_int_equal(msr_data(MTRR_DEF_TYPE), 0x806); /* enabled, write-back: SDM 3, 12.11.2.1 */
    assert_int_equal(msr_data(0x200), PRESET);        /* as KVM had it */
}

static void refused_msrs_do_not_keep_the_others_from_being_set(void **state)
{
    struct power_on_state *s = capture();

    (void)state;
    run_guest();
    apply(s, 0, false, true);
    power_on_state_free(s);
    assert_false(fake_msr(0x4b564d00)->written); /* never read, so nothing to write */
    assert_false(fake_msr(0x10a)->written);
    assert_int_equal(msr_data(APIC_BASE), PRESET); /* listed behind both */
    assert_true(fake_msr(0x200)->written);
}

static uint32_t apic_id_register(void)
{
    uint32_t v;

    memcpy(&v, &fake_vcpu.state.lapic.regs[0x20], sizeof(v));
    return v;
}

/* Intel SDM vol. 3, 11.4.4 (APIC base: BSP bit 8, x2APIC bit 10, enabled bit 11) and 11.4.6. */
static void each_vcpu_gets_its_role_and_its_apic_id(void **state)
{
    static const struct {
        uint32_t apic_id;
        bool x2apic, boot;
        uint64_t apic_base;
        uint32_t id_register, mp_state;
    } cases[] = {
        { 0, false, true, 0xfee00900, 0, KVM_MP_STATE_RUNNABLE },
        { 3, false, false, 0xfee00800, 3u << 24, KVM_MP_STATE_UNINITIALIZED },
        { 254, false, false, 0xfee00800, 0xfe000000, KVM_MP_STATE_UNINITIALIZED },
        { 0, true, true, 0xfee00d00, 0, KVM_MP_STATE_RUNNABLE },
        { 1000, true, false, 0xfee00c00, 1000, KVM_MP_STATE_UNINITIALIZED },
    };
    struct power_on_state *s = capture();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        run_guest();
        apply(s, cases[i].apic_id, cases[i].x2apic, cases[i].boot);
        assert_int_equal(fake_vcpu.state.sregs.apic_base, cases[i].apic_base);
        assert_int_equal(apic_id_register(), cases[i].id_register);
        assert_int_equal(fake_vcpu.state.mp_state.mp_state, cases[i].mp_state);
    }
    power_on_state_free(s);
}

static size_t place_in_order(unsigned long request)
{
    for (size_t i = 0; i < fake_vcpu.n_order; i++)
        if (fake_vcpu.order[i] == request)
            return i;
    return SIZE_MAX;
}

/* First out of a guest's guest, whose state the other parts would change; and the local APIC's
 * page after the mode (APIC or x2APIC) in which KVM is to read it. */
static void parts_are_set_in_the_order_that_kvm_needs(void **state)
{
    struct power_on_state *s = capture();

    (void)state;
    run_guest();
    apply(s, 1, true, false);
    power_on_state_free(s);
    assert_true(place_in_order(KVM_SET_LAPIC) < SIZE_MAX);
    assert_true(place_in_order(KVM_SET_SREGS) < place_in_order(KVM_SET_LAPIC));
    for (size_t i = 0; i < ARRAY_SIZE(fake_parts); i++)
        if (fake_parts[i].set != KVM_SET_NESTED_STATE && fake_parts[i].set != KVM_SET_MP_STATE)
            assert_true(place_in_order(KVM_SET_NESTED_STATE) < place_in_order(fake_parts[i].set));
}

static void a_host_without_xsave_or_nesting_is_asked_for_neither(void **state)
{
    struct power_on_state *s;

    (void)state;
    fake_vcpu.state.xcrs.nr_xcrs = 0;
    fake_vcpu.fail = KVM_GET_NESTED_STATE;
    s = capture();
    fake_vcpu.fail = 0;
    run_guest();
    apply(s, 0, false, true);
    power_on_state_free(s);
    assert_int_equal(place_in_order(KVM_SET_XCRS), SIZE_MAX);
    assert_int_equal(place_in_order(KVM_SET_NESTED_STATE), SIZE_MAX);
    assert_int_equal(fake_vcpu.state.regs.rip, 0xfff0);
}

static void a_part_that_cannot_be_read_is_named(void **state)
{
    static const struct {
        unsigned long request;
        const char *message;
    } cases[] = {
        { KVM_GET_REGS, "KVM_GET_REGS: Input/output error" },
        { KVM_GET_SREGS, "KVM_GET_SREGS: Input/output error" },
        { KVM_GET_XSAVE, "KVM_GET_XSAVE: Input/output error" },
        { KVM_GET_XCRS, "KVM_GET_XCRS: Input/output error" },
        { KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS: Input/output error" },
        { KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS: Input/output error" },
        { KVM_GET_LAPIC, "KVM_GET_LAPIC: Input/output error" },
        { KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST: Input/output error" },
        { KVM_GET_MSRS, "KVM_GET_MSRS: Input/output error" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct power_on_state *s = (void *)&fake_vcpu;
        struct errctx ec = { 0 };

        fake_vcpu.fail = cases[i].request;
        assert_int_equal(power_on_state_capture(&fake_sys, &fake_kvm_vcpu, &s, &ec), -EIO);
        assert_string_equal(ec.msg, cases[i].message);
        assert_ptr_equal(s, &fake_vcpu);
    }
}

static void a_part_that_cannot_be_set_is_named(void **state)
{
    static const struct {
        unsigned long request;
        const char *message;
    } cases[] = {
        { KVM_SET_MP_STATE, "KVM_SET_MP_STATE: Input/output error" },
        { KVM_SET_NESTED_STATE, "KVM_SET_NESTED_STATE: Input/output error" },
        { KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS: Input/output error" },
        { KVM_SET_XCRS, "KVM_SET_XCRS: Input/output error" },
        { KVM_SET_XSAVE, "KVM_SET_XSAVE: Input/output error" },
        { KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS: Input/output error" },
        { KVM_SET_SREGS, "KVM_SET_SREGS: Input/output error" },
        { KVM_SET_REGS, "KVM_SET_REGS: Input/output error" },
        { KVM_SET_MSRS, "KVM_SET_MSRS: Input/output error" },
        { KVM_SET_LAPIC, "KVM_SET_LAPIC: Input/output error" },
    };
    struct power_on_state *s = capture();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct errctx ec = { 0 };

        fake_vcpu.fail = cases[i].request;
        assert_int_equal(power_on_state_apply(s, &fake_kvm_vcpu, 0, false, true, &ec), -EIO);
        assert_string_equal(ec.msg, cases[i].message);
    }
    power_on_state_free(s);
}

/* --- first instruction ------------------------------------------------------------------------ */

static void boot(const struct boot_regs *b)
{
    struct errctx ec = { 0 };

    if (boot_regs_apply(b, &fake_kvm_vcpu, &ec) < 0)
        fail_msg("%s", ec.msg);
}

/* Flat, present, ring 0, accessed: what all three protocols ask of every segment. */
static void check_flat(const struct kvm_segment *seg, uint16_t selector, uint8_t type, bool code64)
{
    assert_int_equal(seg->base, 0);
    assert_int_equal(seg->limit, 0xffffffff);
    assert_int_equal(seg->selector, selector);
    assert_int_equal(seg->type, type);
    assert_int_equal(seg->present, 1);
    assert_int_equal(seg->dpl, 0);
    assert_int_equal(seg->s, 1);
    assert_int_equal(seg->g, 1);
    assert_int_equal(seg->l, code64);
    assert_int_equal(seg->db, !code64); /* L and D together are reserved */
    assert_int_equal(seg->unusable, 0);
}

static void check_segments(bool code64)
{
    const struct kvm_sregs *s = &fake_vcpu.state.sregs;

    check_flat(&s->cs, BOOT_CS, 0xb, code64); /* execute, read */
    check_flat(&s->ds, BOOT_DS, 0x3, false);  /* read, write */
    check_flat(&s->es, BOOT_DS, 0x3, false);
    check_flat(&s->fs, BOOT_DS, 0x3, false);
    check_flat(&s->gs, BOOT_DS, 0x3, false);
    check_flat(&s->ss, BOOT_DS, 0x3, false);
}

/* Segments flat, tables ours, interrupts off, nothing else set in CR0. */
static void check_entry32(void)
{
    const struct kvm_sregs *s = &fake_vcpu.state.sregs;

    check_segments(false);
    assert_int_equal(s->cr0, CR0_PE | CR0_ET); /* paging off, all writable bits but PE clear */
    assert_int_equal(s->cr4, 0);
    assert_int_equal(s->efer, 0);
    assert_int_equal(fake_vcpu.state.regs.rflags, EFLAGS_FIXED); /* VM, IF and TF clear */
}

static void linux_is_entered_by_the_64_bit_protocol(void **state)
{
    const struct boot_regs b = { .long_mode = true,
                                 .rip = 0x1000200,
                                 .rsp = 0x90000,
                                 .rsi = 0x8e000,
                                 .cr3 = 0x88000,
                                 .gdt_base = 0x8f000,
                                 .gdt_limit = 31 };
    const struct kvm_sregs *s = &fake_vcpu.state.sregs;

    (void)state;
    boot(&b);
    check_segments(true);
    assert_int_equal(s->cr0, CR0_PG | CR0_PE | CR0_ET);
    assert_int_equal(s->cr4, CR4_PAE);
    assert_int_equal(s->cr3, 0x88000);
    assert_int_equal(s->efer, EFER_LME | EFER_LMA);
    assert_int_equal(s->gdt.base, 0x8f000);
    assert_int_equal(s->gdt.limit, 31);
    assert_int_equal(s->idt.limit, 0);
    assert_int_equal(fake_vcpu.state.regs.rip, 0x1000200);
    assert_int_equal(fake_vcpu.state.regs.rsp, 0x90000);
    assert_int_equal(fake_vcpu.state.regs.rsi, 0x8e000); /* the zero page */
    assert_int_equal(fake_vcpu.state.regs.rflags, EFLAGS_FIXED);
}

static void an_elf_kernel_is_entered_by_pvh(void **state)
{
    const struct boot_regs b = {
        .rip = 0x1000000, .rsp = 0x90000, .rbx = 0x90000, .gdt_base = 0x8f000, .gdt_limit = 31
    };
    const struct kvm_segment *tr = &fake_vcpu.state.sregs.tr;

    (void)state;
    boot(&b);
    check_entry32();
    assert_int_equal(tr->base, 0);
    assert_int_equal(tr->limit, 0x67);
    assert_int_equal(tr->type, 0xb); /* 32-bit TSS, busy */
    assert_int_equal(tr->s, 0);
    assert_int_equal(tr->present, 1);
    assert_int_equal(tr->g, 0); /* or the limit would count pages */
    assert_int_equal(tr->unusable, 0);
    assert_int_equal(fake_vcpu.state.regs.rip, 0x1000000);
    assert_int_equal(fake_vcpu.state.regs.rbx, 0x90000); /* start info */
}

static void a_multiboot_image_is_entered_with_its_magic(void **state)
{
    const struct boot_regs b = { .rip = 0x100020,
                                 .rsp = 0x90000,
                                 .rax = 0x2badb002,
                                 .rbx = 0x90000,
                                 .gdt_base = 0x8f000,
                                 .gdt_limit = 31 };

    (void)state;
    boot(&b);
    check_entry32();
    assert_int_equal(fake_vcpu.state.regs.rip, 0x100020);
    assert_int_equal(fake_vcpu.state.regs.rax, 0x2badb002);
    assert_int_equal(fake_vcpu.state.regs.rbx, 0x90000); /* multiboot information */
}

static void registers_that_the_loader_does_not_name_are_zero(void **state)
{
    const struct boot_regs b = { .long_mode = true, .rip = 0x1000200 };
    const struct kvm_regs *r = &fake_vcpu.state.regs;

    (void)state;
    boot(&b);
    assert_int_equal(r->rax | r->rbx | r->rcx | r->rdx | r->rsi | r->rdi | r->rbp | r->rsp, 0);
    assert_int_equal(r->r8 | r->r9 | r->r10 | r->r11 | r->r12 | r->r13 | r->r14 | r->r15, 0);
}

/* The order of a reset: power-on, then the boot registers; the guest's paging must not show. */
static void a_reset_out_of_long_mode_ends_in_protected_mode(void **state)
{
    const struct boot_regs linux64 = { .long_mode = true, .rip = 0x1000200, .cr3 = 0x88000 };
    const struct boot_regs pvh = { .rip = 0x1000000, .rbx = 0x90000 };
    struct power_on_state *s = capture();

    (void)state;
    boot(&linux64);
    apply(s, 0, false, true);
    boot(&pvh);
    power_on_state_free(s);
    check_entry32();
    assert_int_equal(fake_vcpu.state.sregs.cr3, 0);
    assert_int_equal(fake_vcpu.state.sregs.apic_base, 0xfee00900); /* kept from power-on */
}

static void a_failed_entry_is_named(void **state)
{
    static const unsigned long requests[] = { KVM_GET_SREGS, KVM_SET_SREGS, KVM_SET_REGS };
    static const char *const names[] = { "KVM_GET_SREGS: Input/output error",
                                         "KVM_SET_SREGS: Input/output error",
                                         "KVM_SET_REGS: Input/output error" };
    const struct boot_regs b = { .rip = 0x1000000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        struct errctx ec = { 0 };

        fake_vcpu.fail = requests[i];
        assert_int_equal(boot_regs_apply(&b, &fake_kvm_vcpu, &ec), -EIO);
        assert_string_equal(ec.msg, names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_reset_brings_every_part_back, new_vcpu),
        cmocka_unit_test_setup(the_clock_starts_at_zero_and_memory_is_write_back, new_vcpu),
        cmocka_unit_test_setup(refused_msrs_do_not_keep_the_others_from_being_set, new_vcpu),
        cmocka_unit_test_setup(each_vcpu_gets_its_role_and_its_apic_id, new_vcpu),
        cmocka_unit_test_setup(parts_are_set_in_the_order_that_kvm_needs, new_vcpu),
        cmocka_unit_test_setup(a_host_without_xsave_or_nesting_is_asked_for_neither, new_vcpu),
        cmocka_unit_test_setup(a_part_that_cannot_be_read_is_named, new_vcpu),
        cmocka_unit_test_setup(a_part_that_cannot_be_set_is_named, new_vcpu),
        cmocka_unit_test_setup(linux_is_entered_by_the_64_bit_protocol, new_vcpu),
        cmocka_unit_test_setup(an_elf_kernel_is_entered_by_pvh, new_vcpu),
        cmocka_unit_test_setup(a_multiboot_image_is_entered_with_its_magic, new_vcpu),
        cmocka_unit_test_setup(registers_that_the_loader_does_not_name_are_zero, new_vcpu),
        cmocka_unit_test_setup(a_reset_out_of_long_mode_ends_in_protected_mode, new_vcpu),
        cmocka_unit_test_setup(a_failed_entry_is_named, new_vcpu),
    };

    return cmocka_run_group_tests_name("vcpu/boot_regs", tests, NULL, NULL);
}
