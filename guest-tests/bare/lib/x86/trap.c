/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traps and interrupts. Unexpected ones are printed and end the guest; instructions that may
 * trap on purpose are listed in the .fixup section with the address to go on at.
 */
#include "guest-tests/bare/lib/bare.h"

struct idt_gate {
    uint16_t off_low, selector, flags, off_mid;
    uint32_t off_high, zero;
};

struct fixup {
    uint64_t at, go_on;
};

extern const char isr_stubs[];
extern const struct fixup fixup_start[], fixup_end[];

enum { GATE_INTERRUPT = 0x8e00, STUB_BYTES = 16, FIRST_INTERRUPT = 32 };

static struct idt_gate idt[256];
static void (*handlers[256])(struct trap_frame *);

void trap_handle(struct trap_frame *f);

static const struct fixup *fixup_find(uint64_t rip)
{
    const struct fixup *x;

    for (x = fixup_start; x < fixup_end; x++)
        if (x->at == rip)
            return x;
    return NULL;
}

void trap_handle(struct trap_frame *f)
{
    const struct fixup *x;
    uint64_t cr2;

    if (f->vector < 256 && handlers[f->vector] != NULL) {
        handlers[f->vector](f);
        return;
    }
    x = f->vector < FIRST_INTERRUPT ? fixup_find(f->rip) : NULL;
    if (x != NULL) {
        f->rip = x->go_on;
        return;
    }
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    out_unlock();
    out("\nnot ok - trap %lu error %lx at rip %lx cr2 %lx rsp %lx on APIC id %u\n", f->vector,
        f->error, f->rip, cr2, f->rsp, apic_id());
    exit_with(1);
}

void trap_on(unsigned vector, void (*fn)(struct trap_frame *))
{
    handlers[vector & 255] = fn;
}

void trap_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) ptr = { sizeof(idt) - 1, phys(idt) };
    unsigned i;

    if (idt[0].flags == 0) {
        for (i = 0; i < 256; i++) {
            uint64_t stub = phys(isr_stubs) + (uint64_t)i * STUB_BYTES;

            idt[i] = (struct idt_gate){ .off_low = (uint16_t)stub,
                                        .selector = SEL_CODE64,
                                        .flags = GATE_INTERRUPT,
                                        .off_mid = (uint16_t)(stub >> 16) };
        }
    }
    __asm__ volatile("lidt %0" : : "m"(ptr));
}

/* Clears @good when the instruction traps; the registers keep what they had. */
#define MAY_TRAP(insn)                                                                             \
    "1: " insn "\n"                                                                                \
    "   movb $1, %[good]\n"                                                                        \
    "2:\n"                                                                                         \
    ".pushsection .fixup, \"a\"\n"                                                                 \
    ".quad 1b, 2b\n"                                                                               \
    ".popsection\n"

bool msr_read_safe(uint32_t msr, uint64_t *ret_v)
{
    uint32_t lo = 0, hi = 0;
    bool good = false;

    __asm__ volatile(MAY_TRAP("rdmsr") : "+a"(lo), "+d"(hi), [good] "+m"(good) : "c"(msr));
    if (good)
        *ret_v = (uint64_t)hi << 32 | lo;
    return good;
}

bool msr_write_safe(uint32_t msr, uint64_t v)
{
    bool good = false;

    __asm__ volatile(MAY_TRAP("wrmsr")
                     : [good] "+m"(good)
                     : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
                     : "memory");
    return good;
}
