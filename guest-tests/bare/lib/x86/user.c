/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-tests/bare/lib/x86/user.h"

#include "guest-tests/bare/lib/bare.h"

enum {
    ENTRIES = 512,
    PTE_USER = 4,
    PTE_HUGE = 0x80,
    GDT_ENTRIES = 8,
    SEL_USER_DATA = 0x23,
    SEL_USER_CODE = 0x2b,
    SEL_TSS = 0x30,
    TSS_WORDS = 26,
    TSS_RSP0 = 1, /* 32-bit words; Intel SDM 3A, 8.7 */
    VECTOR_CALL = 6,
    CALL_BYTES = 2, /* ud2, which traps with any KVM */
    FLAGS_NONE = 2,
    STACK_PAGES = 4,
};

extern uint64_t boot_pml4[ENTRIES], gdt[4];

static uint64_t user_gdt[GDT_ENTRIES];
static uint32_t tss[TSS_WORDS];
static uint64_t (*answer)(uint64_t number, uint64_t arg);
static uint64_t caller;

uint64_t user_call(uint64_t number, uint64_t arg)
{
    uint64_t said;

    __asm__ volatile("ud2" : "=a"(said) : "D"(number), "S"(arg) : "memory");
    return said;
}

int user_is(void)
{
    return (caller & 3) == 3;
}

static void on_call(struct trap_frame *f)
{
    f->rip += CALL_BYTES;
    caller = f->cs;
    f->rax = answer(f->rdi, f->rsi);
}

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

static uint64_t stack_end(void)
{
    return phys(page_alloc(STACK_PAGES)) + STACK_PAGES * PAGE_BYTES;
}

static void load_segments(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr = { sizeof(user_gdt) - 1, phys(user_gdt) };
    const uint64_t at = phys(tss), stack = stack_end();

    memcpy(user_gdt, gdt, sizeof(gdt));
    user_gdt[SEL_USER_DATA >> 3] = gdt[SEL_DATA >> 3] | 3ull << 45;
    user_gdt[SEL_USER_CODE >> 3] = gdt[SEL_CODE64 >> 3] | 3ull << 45;
    user_gdt[SEL_TSS >> 3] = (sizeof(tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 |
                             (at >> 24 & 0xff) << 56; /* below 4 GiB: the next entry is 0 */
    tss[TSS_RSP0] = (uint32_t)stack;
    tss[TSS_RSP0 + 1] = (uint32_t)(stack >> 32);
    __asm__ volatile("lgdt %0\n\tltr %w1" : : "m"(gdtr), "r"(SEL_TSS) : "memory");
}

_Noreturn void user_run(void (*body)(void), uint64_t (*call)(uint64_t number, uint64_t arg))
{
    const uint64_t stack = stack_end() - 8;

    answer = call;
    trap_on(VECTOR_CALL, on_call);
    open_tables(boot_pml4, 4);
    load_segments();
    __asm__ volatile("mov %%cr3, %%rax\n\t"
                     "mov %%rax, %%cr3\n\t"
                     "pushq %0\n\tpushq %1\n\tpushq %2\n\tpushq %3\n\tpushq %4\n\tiretq"
                     : : "i"(SEL_USER_DATA), "r"(stack), "i"(FLAGS_NONE), "i"(SEL_USER_CODE),
                       "r"(body)
                     : "rax", "memory");
    __builtin_unreachable();
}
