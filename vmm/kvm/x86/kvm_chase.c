/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest starts in 64-bit user mode at once, with page tables and without anything else: no
 * descriptor tables, no interrupts. It may use ports (IOPL 3), which is how it ends.
 */
#include "vmm/kvm/kvm_chase.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/base/macros.h"
#include "vmm/kvm/x86/kvm_state.h"
#include "vmm/kvm/x86/kvm_vm_x86.h"

/* Guest addresses; what is physical is virtual, too. */
enum {
    PAGE_BYTES = 4096,
    ENTRIES = PAGE_BYTES / 8,
    PML4 = 0x1000,
    PDPT = 0x2000,
    DIRECTORY = 0x3000,
    TABLES = 0x4000,
    MAPPED = 32 * MIB,
    N_TABLES = MAPPED / (ENTRIES * PAGE_BYTES),
    CODE = TABLES + N_TABLES * PAGE_BYTES,
    WORDS = CODE + PAGE_BYTES,
    OWN_BYTES = WORDS + PAGE_BYTES,
    GROUND = 16 * MIB,
    ENTRY_USER = 0x67, /* present, writable, user, accessed, dirty: nothing is left to be set */
};
_Static_assert(GROUND + KVM_CHASE_MAX_BYTES <= MAPPED, "the whole ground is mapped");

enum {
    CR0_PE = 1u << 0, CR0_MP = 1u << 1, CR0_ET = 1u << 4, CR0_NE = 1u << 5, CR0_WP = 1u << 16,
    CR0_PG = 1u << 31,
    CR4_PAE = 1u << 5,
    EFER_LME = 1u << 8, EFER_LMA = 1u << 10,
    FLAGS_IOPL3 = 0x3002,
};

/* rbx: the ground; rax: where in it; rdi: struct words; rcx: steps */
static const unsigned char code[] = {
    /* 1: */
    0x48, 0x8b, 0x04, 0x03, /* mov (%rbx,%rax), %rax; eight times */
    0x48, 0x8b, 0x04, 0x03, 0x48, 0x8b, 0x04, 0x03, 0x48, 0x8b, 0x04, 0x03,
    0x48, 0x8b, 0x04, 0x03, 0x48, 0x8b, 0x04, 0x03, 0x48, 0x8b, 0x04, 0x03,
    0x48, 0x8b, 0x04, 0x03,
    0x48, 0x83, 0xc1, 0x08, /* add $8, %rcx */
    0x48, 0x89, 0x0f,       /* mov %rcx, (%rdi) */
    0x83, 0x7f, 0x08, 0x00, /* cmpl $0, 8(%rdi) */
    0x74, 0xd3,             /* je 1b */
    0xe6, 0x80,             /* out %al, $0x80 */
    0xeb, 0xcf,             /* jmp 1b */
};

/* What guest and host tell each other. */
struct words {
    _Atomic uint64_t steps;
    _Atomic uint32_t stop;
};

struct kvm_chase {
    uint8_t *own; /* OWN_BYTES */
    struct words *words;
    struct kvm_vm vm;
    struct kvm_vcpu vcpu;
};

static void fill(uint8_t *own)
{
    uint64_t *entry = (uint64_t *)(void *)(own + PML4);

    entry[0] = PDPT | ENTRY_USER;
    entry = (uint64_t *)(void *)(own + PDPT);
    entry[0] = DIRECTORY | ENTRY_USER;
    entry = (uint64_t *)(void *)(own + DIRECTORY);
    for (uint64_t i = 0; i < N_TABLES; i++)
        entry[i] = (TABLES + i * PAGE_BYTES) | ENTRY_USER;
    entry = (uint64_t *)(void *)(own + TABLES);
    for (uint64_t i = 0; i < (uint64_t)N_TABLES * ENTRIES; i++)
        entry[i] = i * PAGE_BYTES | ENTRY_USER;
    memcpy(own + CODE, code, sizeof(code));
}

static int set_registers(const struct kvm_vcpu *vcpu, struct errctx *ec)
{
    const struct kvm_regs regs = { .rip = CODE, .rflags = FLAGS_IOPL3, .rbx = GROUND,
                                   .rdi = WORDS };
    struct kvm_segment segment = { .limit = 0xffffffff, .selector = 0x1b, .type = 0xb, .present = 1,
                                   .dpl = 3, .s = 1, .l = 1, .g = 1 };
    struct kvm_sregs sregs;
    int r = kvm_vcpu_get_sregs(vcpu, &sregs, ec);

    if (r < 0)
        return r;
    sregs.cs = segment;
    segment.type = 0x3;
    segment.selector = 0x23;
    segment.l = 0;
    segment.db = 1;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    sregs.cr3 = PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
    r = kvm_vcpu_set_sregs(vcpu, &sregs, ec);
    return r < 0 ? r : kvm_vcpu_set_regs(vcpu, &regs, ec);
}

static int build(struct kvm_chase *c, const struct kvm_sys *sys, void *host, size_t len_bytes,
                 struct errctx *ec)
{
    int r = kvm_vm_setup_tss(&c->vm, ec);

    if (r == 0)
        r = kvm_vm_map(&c->vm, 0, (struct gpa){ 0 }, OWN_BYTES, c->own, ec);
    if (r == 0)
        r = kvm_vm_map(&c->vm, 1, (struct gpa){ GROUND }, len_bytes, host, ec);
    if (r == 0)
        r = kvm_vcpu_create(sys, &c->vm, 0, &c->vcpu, ec);
    return r < 0 ? r : set_registers(&c->vcpu, ec);
}

int kvm_chase_new(const struct kvm_sys *sys, void *host, size_t len_bytes,
                  struct kvm_chase **ret_chase, struct errctx *ec)
{
    struct kvm_chase *c = calloc(1, sizeof(*c));
    void *own;
    int r;

    assert(len_bytes <= KVM_CHASE_MAX_BYTES);
    if (c == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a guest to measure with");
    c->vcpu.fd = c->vm.fd = -1;
    own = mmap(NULL, OWN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) {
        r = errctx_set_os(ec, errno, "memory for a guest to measure with");
        free(c);
        return r;
    }
    c->own = own;
    c->words = (struct words *)(void *)(c->own + WORDS);
    fill(c->own);
    r = kvm_vm_create(sys, 0, &c->vm, ec);
    if (r == 0)
        r = build(c, sys, host, len_bytes, ec);
    if (r < 0) {
        kvm_chase_free(c);
        return errctx_wrap(ec, r, "a guest to measure with");
    }
    *ret_chase = c;
    return 0;
}

void kvm_chase_free(struct kvm_chase *chase)
{
    if (chase == NULL)
        return;
    kvm_vcpu_close(&chase->vcpu);
    kvm_vm_close(&chase->vm); /* before the memory that it maps */
    (void)munmap(chase->own, OWN_BYTES);
    free(chase);
}

int kvm_chase_run(struct kvm_chase *chase, struct errctx *ec)
{
    while (atomic_load(&chase->words->stop) == 0) {
        int r = kvm_vcpu_enter(&chase->vcpu);

        if (r == -EINTR || r == -EAGAIN)
            continue;
        if (r < 0)
            return errctx_set_os(ec, -r, "a guest to measure with: KVM_RUN");
        if (atomic_load(&chase->words->stop) == 0)
            return errctx_set(ec, EIO, "a guest to measure with ended with exit reason %u",
                              chase->vcpu.run->exit_reason);
    }
    return 0;
}

uint64_t kvm_chase_steps(const struct kvm_chase *chase)
{
    return atomic_load_explicit(&chase->words->steps, memory_order_relaxed);
}

void kvm_chase_stop(struct kvm_chase *chase)
{
    atomic_store(&chase->words->stop, 1);
}
