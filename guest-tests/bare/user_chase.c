/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pointer chase in user mode, which runs on the processor below any KVM, over 16 MiB of memory: each
 * step reads where the next goes, to one of 262,144 cache lines that are visited in one random order.
 *
 * "at=N": the memory begins N MiB from 0. "rounds=N" of "steps=N"; behind each a line "round I: C",
 * cycles a step by the time-stamp counter.
 */
#include "guest-tests/bare/lib/bare.h"

enum {
    LINE_BYTES = 64, LINES = 16 * MIB / LINE_BYTES,
    ENTRIES = 512, PTE_USER = 4, PTE_HUGE = 0x80,
    GDT_ENTRIES = 8, SEL_USER_DATA = 0x23, SEL_USER_CODE = 0x2b, SEL_TSS = 0x30,
    TSS_WORDS = 26, TSS_RSP0 = 1, /* 32-bit words; Intel SDM 3A, 8.7 */
    VECTOR_CALL = 6, CALL_BYTES = 2, /* ud2, which traps with any KVM */
    FLAGS_NONE = 2,
};

extern uint64_t boot_pml4[ENTRIES], gdt[4];

struct line {
    struct line *volatile next;
    uint8_t rest[LINE_BYTES - sizeof(struct line *)];
};

static uint64_t user_gdt[GDT_ENTRIES];
static uint32_t tss[TSS_WORDS];
static uint64_t rounds_done;

static uint64_t cycles(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

/* One cycle through all (Sattolo). */
static void weave(struct line *lines)
{
    uint64_t seed = 1;

    for (uint64_t i = 0; i < LINES; i++)
        lines[i].next = &lines[i];
    for (uint64_t i = LINES - 1; i > 0; i--) {
        struct line *next = lines[i].next;
        uint64_t k;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        k = (seed >> 33) % i;
        lines[i].next = lines[k].next;
        lines[k].next = next;
    }
}

/* Have the kernel tell it: user mode has no ports. */
static void call_round(uint64_t cycles_a_step)
{
    __asm__ volatile("ud2" : : "D"(cycles_a_step), "S"(0ul) : "memory");
}

static void call_end(bool good)
{
    __asm__ volatile("ud2" : : "D"((uint64_t)good), "S"(1ul) : "memory");
}

static void on_call(struct trap_frame *f)
{
    f->rip += CALL_BYTES;
    if (f->rsi == 0) {
        out("round %lu: %lu\n", rounds_done++, f->rdi);
        return;
    }
    ok(f->rdi != 0, "the chase stays in its memory");
    ok((f->cs & 3) == 3, "it is in user mode");
    tap_done();
}

static void user_main(void)
{
    struct line *lines = (struct line *)(uintptr_t)(text_number(boot.cmdline, "at", 64) * MIB);
    const uint64_t rounds = text_number(boot.cmdline, "rounds", 3);
    const uint64_t steps = text_number(boot.cmdline, "steps", LINES);
    struct line *l = lines;

    weave(lines);
    for (uint64_t round = 0; round < rounds; round++) {
        const uint64_t begin = cycles();

        for (uint64_t i = 0; i < steps; i++)
            l = l->next;
        call_round((cycles() - begin) / steps);
    }
    call_end(l >= lines && l < lines + LINES);
}

/* All that is mapped is the user's, too. */
static void open_tables(uint64_t *table, int level)
{
    for (int i = 0; i < ENTRIES; i++) {
        if ((table[i] & 1) == 0)
            continue;
        table[i] |= PTE_USER;
        if (level > 2 && (table[i] & PTE_HUGE) == 0)
            open_tables((uint64_t *)(uintptr_t)(table[i] & 0xffffffffff000ull), level - 1);
    }
}

static void load_segments(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr = { sizeof(user_gdt) - 1, phys(user_gdt) };
    const uint64_t at = phys(tss), stack = phys(page_alloc(4)) + 4 * PAGE_BYTES;

    memcpy(user_gdt, gdt, sizeof(gdt));
    user_gdt[SEL_USER_DATA >> 3] = gdt[SEL_DATA >> 3] | 3ull << 45;
    user_gdt[SEL_USER_CODE >> 3] = gdt[SEL_CODE64 >> 3] | 3ull << 45;
    user_gdt[SEL_TSS >> 3] = (sizeof(tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 |
                             (at >> 24 & 0xff) << 56; /* below 4 GiB: the next entry is 0 */
    tss[TSS_RSP0] = (uint32_t)stack;
    tss[TSS_RSP0 + 1] = (uint32_t)(stack >> 32);
    __asm__ volatile("lgdt %0\n\tltr %w1" : : "m"(gdtr), "r"(SEL_TSS) : "memory");
}

static _Noreturn void enter_user(void)
{
    const uint64_t stack = phys(page_alloc(4)) + 4 * PAGE_BYTES - 8;

    __asm__ volatile("mov %%cr3, %%rax\n\t"
                     "mov %%rax, %%cr3\n\t"
                     "pushq %0\n\tpushq %1\n\tpushq %2\n\tpushq %3\n\tpushq %4\n\tiretq"
                     : : "i"(SEL_USER_DATA), "r"(stack), "i"(FLAGS_NONE), "i"(SEL_USER_CODE),
                       "r"(user_main)
                     : "rax", "memory");
    __builtin_unreachable();
}

void guest_main(void)
{
    trap_on(VECTOR_CALL, on_call);
    open_tables(boot_pml4, 4);
    load_segments();
    enter_user();
}
