/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an arm64 guest is told of lost memory: nothing. KVM can have it take an external abort
 * (KVM_SET_VCPU_EVENTS), but not one that names the page, and a guest that cannot tell which of its
 * pages is gone goes on using it.
 */
#include <errno.h>

#include "vcpu/vcpu.h"

int vcpu_tell_lost(const struct vcpu *vcpu, struct gpa addr, bool is_whole)
{
    (void)vcpu;
    (void)addr;
    (void)is_whole;
    return -ENOTSUP;
}

void vcpu_tell_beside(const struct vcpu *vcpu)
{
    (void)vcpu;
}
