/* SPDX-License-Identifier: Apache-2.0 */
/* See touchguest.h. The guest's code is at privilege level 3, where every kind of KVM runs it on
 * the processor; its clock is the time stamp counter. */
#include "guest-tests/bench/touchguest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "vmm/base/macros.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/kvm/kvm_vcpu.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/kvm/x86/kvm_state.h"
#include "vmm/kvm/x86/kvm_vm_x86.h"

/* Of guest addresses: what is below 2 MiB, and where the memory to be touched begins. */
#define TOUCH_BASE UINT64_C(0x100000000)
enum {
    TOUCH_LOW = 2 * MIB,
    TOUCH_ARG = 0x800, /* the address to be touched */
    TOUCH_CODE = 0x1000,
    TOUCH_PML4 = 0x2000,
    TOUCH_PDPT = 0x3000,
    TOUCH_PD = 0x4000, /* one for each GiB */
    TOUCH_GIBS = 64,
    TOUCH_PORT = 0x10,
    TOUCH_PTE = 7,       /* present, writable, user: SDM volume 3, 4.5 */
    TOUCH_LARGE = 1 << 7,
};

struct touch_guest {
    struct kvm_sys sys;
    struct kvm_vm vm;
    struct kvm_vcpu vcpu;
    uint8_t *low;
    double ns_per_tick;
};

static const uint8_t touch_code[] = {
    0x48, 0x8b, 0x3c, 0x25, 0x00, 0x08, 0x00, 0x00, /* 1: mov 0x800, %rdi */
    0x0f, 0xae, 0xe8, 0x0f, 0x31,                   /* lfence; rdtsc */
    0x41, 0x89, 0xc1,                               /* mov %eax, %r9d */
    0x8a, 0x1f,                                     /* mov (%rdi), %bl */
    0x0f, 0xae, 0xe8, 0x0f, 0x31,                   /* lfence; rdtsc */
    0x44, 0x29, 0xc8,                               /* sub %r9d, %eax */
    0xe7, TOUCH_PORT,                               /* out %eax, $0x10 */
    0xeb, 0xe2,                                     /* jmp 1b */
};

static double touch_ns_per_tick(void)
{
    struct timespec then, now;
    uint64_t ticks, ns = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &then);
    ticks = __builtin_ia32_rdtsc();
    while (ns < 50 * 1000 * 1000) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        ns = (uint64_t)(now.tv_sec - then.tv_sec) * 1000000000u + (uint64_t)now.tv_nsec -
             (uint64_t)then.tv_nsec;
    }
    return (double)ns / (double)(__builtin_ia32_rdtsc() - ticks);
}

/* Its page tables map addresses to themselves, by 2 MiB. */
static void touch_tables(uint8_t *low, size_t bytes)
{
    const uint64_t end = (TOUCH_BASE + bytes + TOUCH_LOW - 1) / TOUCH_LOW;
    uint64_t *pml4 = (void *)(low + TOUCH_PML4), *pdpt = (void *)(low + TOUCH_PDPT);
    uint64_t *pd = (void *)(low + TOUCH_PD);

    pml4[0] = TOUCH_PDPT | TOUCH_PTE;
    for (uint64_t i = 0; i < end; i++) {
        pdpt[i / 512] = (TOUCH_PD + i / 512 * 4096) | TOUCH_PTE;
        pd[i] = i * TOUCH_LOW | TOUCH_PTE | TOUCH_LARGE;
    }
}

static int touch_registers(const struct kvm_vcpu *vcpu, struct errctx *ec)
{
    const struct kvm_regs regs = { .rip = TOUCH_CODE, .rflags = 0x3002 }; /* may use ports */
    struct kvm_segment code = { .limit = 0xffffffff, .selector = 0x13, .type = 0xb, .present = 1,
                                .s = 1, .g = 1, .l = 1, .dpl = 3 };
    struct kvm_sregs sregs;
    int r = kvm_vcpu_get_sregs(vcpu, &sregs, ec);

    if (r < 0)
        return r;
    sregs.cs = code;
    code.l = 0;
    code.db = 1;
    code.type = 0x3;
    code.selector = 0x1b;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = code;
    sregs.cr0 = 0x80000011; /* PG, ET, PE */
    sregs.cr3 = TOUCH_PML4;
    sregs.cr4 = 0x20;   /* PAE */
    sregs.efer = 0x500; /* LMA, LME */
    r = kvm_vcpu_set_sregs(vcpu, &sregs, ec);
    return r < 0 ? r : kvm_vcpu_set_regs(vcpu, &regs, ec);
}

int touch_guest_new(uint8_t *memory, size_t bytes, struct touch_guest **ret_guest,
                    struct errctx *ec)
{
    struct touch_guest *g = calloc(1, sizeof(*g));
    int r;

    if (g == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a guest that touches");
    g->low = mmap(NULL, TOUCH_LOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->low == MAP_FAILED || TOUCH_BASE + bytes > (uint64_t)TOUCH_GIBS << 30)
        return errctx_set(ec, ENOMEM, "no addresses for a guest that touches %zu bytes", bytes);
    touch_tables(g->low, bytes);
    memcpy(g->low + TOUCH_CODE, touch_code, sizeof(touch_code));
    r = kvm_sys_open("/dev/kvm", &g->sys, ec);
    if (r == 0)
        r = kvm_vm_create(&g->sys, 0, &g->vm, ec);
    if (r == 0)
        r = kvm_vm_setup_tss(&g->vm, ec);
    if (r == 0)
        r = kvm_vm_map(&g->vm, 0, (struct gpa){ 0 }, TOUCH_LOW, g->low, ec);
    if (r == 0)
        r = kvm_vm_map(&g->vm, 1, (struct gpa){ TOUCH_BASE }, bytes, memory, ec);
    if (r == 0)
        r = kvm_vcpu_create(&g->sys, &g->vm, 0, &g->vcpu, ec);
    if (r == 0)
        r = touch_registers(&g->vcpu, ec);
    g->ns_per_tick = touch_ns_per_tick();
    *ret_guest = g;
    return r;
}

int touch_guest_ns(const struct touch_guest *guest, uint64_t offset, uint64_t *ret_ns,
                   struct errctx *ec)
{
    const struct kvm_run *run = guest->vcpu.run;
    const uint64_t address = TOUCH_BASE + offset;
    uint32_t ticks;
    int r;

    memcpy(guest->low + TOUCH_ARG, &address, sizeof(address));
    do
        r = kvm_vcpu_enter(&guest->vcpu);
    while (r == -EINTR || r == -EAGAIN);
    if (r < 0)
        return errctx_set_os(ec, -r, "KVM_RUN");
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != TOUCH_PORT)
        return errctx_set(ec, EIO, "a guest that touches ended with exit reason %u",
                          run->exit_reason);
    memcpy(&ticks, (const uint8_t *)run + run->io.data_offset, sizeof(ticks));
    *ret_ns = (uint64_t)(ticks * guest->ns_per_tick);
    return 0;
}
