/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. */
#ifndef VMM_MACHINE_X86_MACHINE_X86_H
#define VMM_MACHINE_X86_MACHINE_X86_H

#include "firmware/loader.h"
#include "vcpu/x86/boot_regs.h"
#include "vcpu/x86/cpuid.h"
#include "vmm/machine/machine_private.h"

struct machine_arch {
    struct kvm_cpuid2 *cpuid; /* template, patched for each vCPU */
    unsigned phys_bits;
    struct boot_entry entry;
    struct power_on_state *power_on; /* NULL without vCPUs */
    uint64_t clock_ns;               /* kvmclock at the time of the pause */
};

#endif
