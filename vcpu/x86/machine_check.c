/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_check.h, and vcpu.h for vcpu_tell_lost() and vcpu_tell_beside(). */
#include "vcpu/x86/machine_check.h"

#include <cpuid.h>
#include <errno.h>

#include "vcpu/vcpu_private.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/x86/kvm_state.h"
#include "vmm/kvm/x86/kvm_sys_x86.h"

enum {
    BANK = MACHINE_CHECK_BANKS - 1, /* AMD's fourth belongs to the northbridge, the first to the core */
    BANK_BESIDE = 1,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_BANK_CTL = MACHINE_CHECK_MSR + 4 * BANK,
    CR4_MCE = 1u << 6,
    CAP_CTL = 1u << 8,      /* there is MCG_CTL */
    CAP_RECOVERY = 1u << 24, /* errors that software can recover from */
    STATUS_RIPV = 1u << 0,  /* the instruction can be tried again */
    STATUS_EIPV = 1u << 1,  /* and is the one that wanted the page */
    STATUS_MCIP = 1u << 2,
    CODE_DATA_LOAD = 0x134, /* memory hierarchy: data, read, level 0 */
    MISC_PAGE = 2u << 6 | 12, /* a physical address, good to 4 KiB */
};
#define BIT(n)        (1ull << (n))
#define ERROR_VALID   (BIT(63) | BIT(61) | BIT(60))    /* VAL, UC, EN */
#define ERROR_PLACE   (BIT(59) | BIT(58))              /* MISCV, ADDRV */
#define ERROR_ACTION  (BIT(56) | BIT(55))              /* S, AR */
#define ERROR_POISON  BIT(43)                          /* AMD */

int machine_check_setup(const struct kvm_sys *sys, const struct kvm_vcpu *vcpu, struct errctx *ec)
{
    const uint64_t can = kvm_sys_mce_cap(sys);

    return kvm_vcpu_setup_mce(vcpu, MACHINE_CHECK_BANKS | (can & (CAP_CTL | CAP_RECOVERY)), ec);
}

static bool is_amd(void)
{
    unsigned eax, ebx, ecx, edx;

    /* "Auth"enticAMD, "Hygo"nGenuine: guests are told the host's */
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0 && (ebx == 0x68747541 || ebx == 0x6f677948);
}

enum { ASKED_CAP, ASKED_STATUS, ASKED_BANK_CTL, ASKED_CTL, ASKED };

/* Does the guest take machine checks now? 0, -ENOTSUP or -EBUSY; otherwise KVM would shut it down,
 * or say nothing. */
static int listens(const struct kvm_vcpu *kvm)
{
    /* The last one may not be there. */
    static const uint32_t asked[ASKED] = {
        [ASKED_CAP] = MSR_MCG_CAP, [ASKED_STATUS] = MSR_MCG_STATUS,
        [ASKED_BANK_CTL] = MSR_BANK_CTL, [ASKED_CTL] = MSR_MCG_CTL,
    };
    _Alignas(struct kvm_msrs) uint8_t room[sizeof(struct kvm_msrs) +
                                           ASKED * sizeof(struct kvm_msr_entry)] = { 0 };
    struct kvm_msrs *msrs = (struct kvm_msrs *)room;
    const struct kvm_msr_entry *e = msrs->entries;
    struct kvm_sregs sregs = { 0 };
    int r = kvm_vcpu_get_sregs(kvm, &sregs, NULL);

    msrs->nmsrs = ASKED;
    for (size_t i = 0; i < ASKED; i++)
        msrs->entries[i].index = asked[i];
    if (r == 0)
        r = kvm_vcpu_get_msrs(kvm, msrs, NULL);
    if (r < 0)
        return r;
    if (r < ASKED_CTL || (sregs.cr4 & CR4_MCE) == 0 || e[ASKED_BANK_CTL].data != UINT64_MAX ||
        ((e[ASKED_CAP].data & CAP_CTL) != 0 && (r < ASKED || e[ASKED_CTL].data != UINT64_MAX)))
        return -ENOTSUP;
    return (e[ASKED_STATUS].data & STATUS_MCIP) != 0 ? -EBUSY : 0;
}

int vcpu_tell_lost(const struct vcpu *vcpu, struct gpa addr, bool is_whole)
{
    const bool amd = is_amd();
    const struct kvm_x86_mce news = {
        .bank = BANK,
        .status = ERROR_VALID | ERROR_PLACE | (amd ? ERROR_POISON : ERROR_ACTION) | CODE_DATA_LOAD,
        .mcg_status = STATUS_MCIP | (is_whole ? STATUS_RIPV | STATUS_EIPV : 0),
        .addr = addr.v,
        .misc = MISC_PAGE,
    };
    int r = listens(&vcpu->kvm);

    if (r == 0)
        r = kvm_vcpu_set_mce(&vcpu->kvm, &news, NULL);
    return r < 0 ? r : amd ? 0 : 1; /* Intel: SDM vol. 3, 16.3.1.2: all processors hear of it */
}

void vcpu_tell_beside(const struct vcpu *vcpu)
{
    const struct kvm_x86_mce news = {
        .bank = BANK_BESIDE,
        .status = BIT(63) | BIT(61),
        .mcg_status = STATUS_MCIP | STATUS_RIPV,
    };

    if (listens(&vcpu->kvm) == 0)
        (void)kvm_vcpu_set_mce(&vcpu->kvm, &news, NULL);
}
