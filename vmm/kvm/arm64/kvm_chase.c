/* SPDX-License-Identifier: Apache-2.0 */
/* With its own translation off a guest's memory would be that of devices, which no cache keeps. */
#include "vmm/kvm/kvm_chase.h"

#include <errno.h>

int kvm_chase_new(const struct kvm_sys *sys, void *host, size_t len_bytes,
                  struct kvm_chase **ret_chase, struct errctx *ec)
{
    (void)sys;
    (void)host;
    (void)len_bytes;
    (void)ret_chase;
    return errctx_set(ec, ENOTSUP, "no guest to measure with on this architecture");
}

void kvm_chase_free(struct kvm_chase *chase)
{
    (void)chase;
}

int kvm_chase_run(struct kvm_chase *chase, struct errctx *ec)
{
    (void)chase;
    return errctx_set(ec, ENOTSUP, "no guest to measure with on this architecture");
}

uint64_t kvm_chase_steps(const struct kvm_chase *chase)
{
    (void)chase;
    return 0;
}

void kvm_chase_stop(struct kvm_chase *chase)
{
    (void)chase;
}
