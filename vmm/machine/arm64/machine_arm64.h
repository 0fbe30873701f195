/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. */
#ifndef VMM_MACHINE_ARM64_MACHINE_ARM64_H
#define VMM_MACHINE_ARM64_MACHINE_ARM64_H

#include "firmware/arm64/arm64_loader.h"
#include "vmm/kvm/arm64/kvm_gic_state.h"
#include "vmm/kvm/arm64/kvm_vm_arm64.h"
#include "vmm/machine/machine_private.h"

enum { MACHINE_ARM64_IRQS = 64 }; /* private ones, and room for those of the platform's parts */

struct machine_arch {
    unsigned phys_bits; /* of the guest's addresses */
    struct kvm_gic gic;
    struct kvm_gic_state *gic_state; /* at power-on; NULL before that */
    struct arm64_entry entry;
};

#endif
