/* SPDX-License-Identifier: Apache-2.0 */
/* Telling a guest of lost memory: when it can be told, and by which words. */
// LDFLAGS: -Wl,--wrap=kvm_vcpu_get_sregs,--wrap=kvm_vcpu_get_msrs,--wrap=kvm_vcpu_set_mce
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vcpu/vcpu_private.h"
#include "vmm/kvm/x86/kvm_state.h"

enum { MCG_CAP = 0x179, MCG_STATUS = 0x17a, MCG_CTL = 0x17b, BANK9_CTL = 0x424, CR4_MCE = 0x40 };
#define CAP_CTL ((uint64_t)1 << 8)

static struct {
    uint64_t cr4, cap, status, ctl, bank_ctl;
    bool has_ctl;
    struct kvm_x86_mce mce;
    unsigned n_mces;
} cpu;

int __wrap_kvm_vcpu_get_sregs(const struct kvm_vcpu *kvm, struct kvm_sregs *sregs,
                              struct errctx *ec);
int __wrap_kvm_vcpu_get_msrs(const struct kvm_vcpu *kvm, struct kvm_msrs *msrs, struct errctx *ec);
int __wrap_kvm_vcpu_set_mce(const struct kvm_vcpu *kvm, const struct kvm_x86_mce *mce,
                            struct errctx *ec);

int __wrap_kvm_vcpu_get_sregs(const struct kvm_vcpu *kvm, struct kvm_sregs *sregs,
                              struct errctx *ec)
{
    (void)kvm;
    (void)ec;
    *sregs = (struct kvm_sregs){ .cr4 = cpu.cr4 };
    return 0;
}

static bool msr(uint32_t index, uint64_t *ret)
{
    switch (index) {
    case MCG_CAP:
        *ret = cpu.cap;
        return true;
    case MCG_STATUS:
        *ret = cpu.status;
        return true;
    case BANK9_CTL:
        *ret = cpu.bank_ctl;
        return true;
    case MCG_CTL:
        *ret = cpu.ctl;
        return cpu.has_ctl;
    default:
        return false;
    }
}

int __wrap_kvm_vcpu_get_msrs(const struct kvm_vcpu *kvm, struct kvm_msrs *msrs, struct errctx *ec)
{
    uint32_t i = 0;
    uint64_t data = 0;

    (void)kvm;
    (void)ec;
    for (; i < msrs->nmsrs && msr(msrs->entries[i].index, &data); i++)
        msrs->entries[i].data = data;
    return (int)i;
}

int __wrap_kvm_vcpu_set_mce(const struct kvm_vcpu *kvm, const struct kvm_x86_mce *mce,
                            struct errctx *ec)
{
    (void)kvm;
    (void)ec;
    cpu.mce = *mce;
    cpu.n_mces++;
    return 0;
}

static int listening(void **state)
{
    (void)state;
    memset(&cpu, 0, sizeof(cpu));
    cpu.cr4 = CR4_MCE;
    cpu.cap = CAP_CTL | 10;
    cpu.ctl = cpu.bank_ctl = UINT64_MAX;
    cpu.has_ctl = true;
    return 0;
}

static const struct vcpu nobody;

static int tell(bool is_whole)
{
    return vcpu_tell_lost(&nobody, (struct gpa){ 0x12345678 }, is_whole);
}

static void the_page_is_told_as_an_error_to_act_upon(void **state)
{
    const uint64_t always = (uint64_t)0xbc << 56 | 0x134; /* valid, uncorrected, enabled, both places */

    (void)state;
    assert_true(tell(true) >= 0);
    assert_int_equal(cpu.n_mces, 1);
    assert_int_equal(cpu.mce.bank, 9);
    assert_int_equal(cpu.mce.addr, 0x12345678);
    assert_int_equal(cpu.mce.misc, 0x8c);
    assert_int_equal(cpu.mce.mcg_status, 7); /* in progress; the instruction is known and whole */
    assert_int_equal(cpu.mce.status & always, always);
    assert_int_equal(cpu.mce.status & (uint64_t)1 << 57, 0); /* the processor is not confused */
    assert_true(tell(false) >= 0);
    assert_int_equal(cpu.mce.mcg_status, 4);
}

static void who_does_not_listen_is_told_nothing(void **state)
{
    (void)state;
    cpu.cr4 = 0;
    assert_int_equal(tell(true), -ENOTSUP);
    (void)listening(NULL);
    cpu.bank_ctl = 0;
    assert_int_equal(tell(true), -ENOTSUP);
    (void)listening(NULL);
    cpu.ctl = 1;
    assert_int_equal(tell(true), -ENOTSUP);
    cpu.has_ctl = false;
    assert_int_equal(tell(true), -ENOTSUP);
    assert_int_equal(cpu.n_mces, 0);
    cpu.cap = 10; /* there is none to switch on */
    assert_true(tell(true) >= 0);
    assert_int_equal(cpu.n_mces, 1);
}

static void a_second_error_in_the_handler_of_the_first_is_not_told(void **state)
{
    (void)state;
    cpu.status = 4;
    assert_int_equal(tell(true), -EBUSY);
    vcpu_tell_beside(&nobody);
    assert_int_equal(cpu.n_mces, 0);
}

static void others_hear_that_there_was_an_error(void **state)
{
    (void)state;
    vcpu_tell_beside(&nobody);
    assert_int_equal(cpu.n_mces, 1);
    assert_int_equal(cpu.mce.bank, 1);
    assert_int_equal(cpu.mce.status >> 56, 0xa0);
    assert_int_equal(cpu.mce.mcg_status, 5);
    cpu.cr4 = 0;
    vcpu_tell_beside(&nobody);
    assert_int_equal(cpu.n_mces, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_page_is_told_as_an_error_to_act_upon, listening),
        cmocka_unit_test_setup(who_does_not_listen_is_told_nothing, listening),
        cmocka_unit_test_setup(a_second_error_in_the_handler_of_the_first_is_not_told, listening),
        cmocka_unit_test_setup(others_hear_that_there_was_an_error, listening),
    };

    return cmocka_run_group_tests_name("vcpu/machine_check", tests, NULL, NULL);
}
