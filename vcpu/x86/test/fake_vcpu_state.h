/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU that is only its state: what KVM_SET_* wrote, KVM_GET_* gives back.
 *
 * It replaces ioctl() at link time (-Wl,--wrap=ioctl), so vmm/kvm/kvm_vcpu.c runs as it is. Of
 * each request it remembers the last argument and the order; one request may be told to fail.
 * For one test at a time, on one thread.
 */
#ifndef VCPU_TEST_FAKE_VCPU_STATE_H
#define VCPU_TEST_FAKE_VCPU_STATE_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/kvm/x86/kvm_state.h"

enum { FAKE_VCPU_FD = 1000, FAKE_SYS_FD = 1001, FAKE_MSRS = 64, FAKE_LOG = 64 };

struct fake_msr {
    uint32_t index;
    uint64_t data;
    bool listed;            /* in KVM_GET_MSR_INDEX_LIST */
    bool unreadable, fixed; /* KVM_GET_MSRS, KVM_SET_MSRS stop here */
    bool written;
};

struct fake_vcpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    struct kvm_nested_state nested;
    struct kvm_mp_state mp_state;
    struct kvm_xsave xsave; /* last: it ends in a flexible array */
};

struct fake_vcpu {
    struct fake_msr msrs[FAKE_MSRS];
    size_t n_msrs;
    unsigned long fail;            /* this request gives EIO; 0: none */
    unsigned long order[FAKE_LOG]; /* requests that change state */
    size_t n_order;
    struct fake_vcpu_state state; /* last, for the same reason */
};

static struct fake_vcpu fake_vcpu;

static const struct kvm_sys fake_sys = { .fd = FAKE_SYS_FD };
static const struct kvm_vcpu fake_kvm_vcpu = { .fd = FAKE_VCPU_FD };

int __wrap_ioctl(int fd, unsigned long request, void *arg);

static int fake_msr_list(struct kvm_msr_list *list)
{
    uint32_t n = 0;

    for (size_t i = 0; i < fake_vcpu.n_msrs; i++)
        if (fake_vcpu.msrs[i].listed && n++ < list->nmsrs)
            list->indices[n - 1] = fake_vcpu.msrs[i].index;
    if (n > list->nmsrs) {
        list->nmsrs = n;
        errno = E2BIG;
        return -1;
    }
    list->nmsrs = n;
    return 0;
}

static struct fake_msr *fake_msr(uint32_t index)
{
    for (size_t i = 0; i < fake_vcpu.n_msrs; i++)
        if (fake_vcpu.msrs[i].index == index)
            return &fake_vcpu.msrs[i];
    return NULL;
}

static int fake_get_msrs(struct kvm_msrs *msrs)
{
    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        const struct fake_msr *msr = fake_msr(msrs->entries[i].index);

        if (msr == NULL || msr->unreadable)
            return (int)i;
        msrs->entries[i].data = msr->data;
    }
    return (int)msrs->nmsrs;
}

static int fake_set_msrs(const struct kvm_msrs *msrs)
{
    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        struct fake_msr *msr = fake_msr(msrs->entries[i].index);

        if (msr == NULL || msr->fixed)
            return (int)i;
        msr->data = msrs->entries[i].data;
        msr->written = true;
    }
    return (int)msrs->nmsrs;
}

/* Both directions of everything that is one struct. */
static const struct {
    unsigned long get, set;
    size_t offset, size;
} fake_parts[] = {
#define FAKE_PART(get, set, member)                                                                \
    {                                                                                              \
        get, set, offsetof(struct fake_vcpu_state, member),                                        \
            sizeof(((struct fake_vcpu_state *)0)->member)                                          \
    }
    FAKE_PART(KVM_GET_REGS, KVM_SET_REGS, regs),
    FAKE_PART(KVM_GET_SREGS, KVM_SET_SREGS, sregs),
    FAKE_PART(KVM_GET_XCRS, KVM_SET_XCRS, xcrs),
    FAKE_PART(KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debugregs),
    FAKE_PART(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events),
    FAKE_PART(KVM_GET_LAPIC, KVM_SET_LAPIC, lapic),
    FAKE_PART(KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE, nested),
    FAKE_PART(KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp_state),
    FAKE_PART(KVM_GET_XSAVE, KVM_SET_XSAVE, xsave),
#undef FAKE_PART
};

static void fake_log(unsigned long request)
{
    if (fake_vcpu.n_order < FAKE_LOG)
        fake_vcpu.order[fake_vcpu.n_order++] = request;
}

static int fake_vcpu_ioctl(unsigned long request, void *arg)
{
    char *state = (char *)&fake_vcpu.state;

    if (request == KVM_GET_MSRS)
        return fake_get_msrs(arg);
    if (request == KVM_SET_MSRS) {
        fake_log(request);
        return fake_set_msrs(arg);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fake_parts); i++) {
        if (request == fake_parts[i].get) {
            memcpy(arg, state + fake_parts[i].offset, fake_parts[i].size);
            return 0;
        }
        if (request == fake_parts[i].set) {
            fake_log(request);
            memcpy(state + fake_parts[i].offset, arg, fake_parts[i].size);
            return 0;
        }
    }
    errno = ENOTTY;
    return -1;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    if (request == fake_vcpu.fail) {
        errno = EIO;
        return -1;
    }
    if (fd == FAKE_SYS_FD && request == KVM_GET_MSR_INDEX_LIST)
        return fake_msr_list(arg);
    if (fd == FAKE_VCPU_FD)
        return fake_vcpu_ioctl(request, arg);
    errno = ENOTTY;
    return -1;
}

#endif
