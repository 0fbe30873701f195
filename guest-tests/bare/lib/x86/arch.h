/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What x86 guests get besides: included at the end of lib/bare.h.
 *
 * x2APIC is on in guest_main(). Kernel code may be emulated at about a million instructions a
 * second: count them. Neither SSE nor cmpxchg16b nor fences exist there; barrier() is a locked
 * instruction.
 */
#ifndef GUEST_TESTS_BARE_LIB_X86_ARCH_H
#define GUEST_TESTS_BARE_LIB_X86_ARCH_H

#include "firmware/x86/x86_platform.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/x86/asm.h"

/* Below the I/O APIC and above every PCI window: no device answers here. */
#define FREE_MMIO   0xf8000000ull
#define LAPIC_BASE  0xfee00000ull
#define IOAPIC_BASE 0xfec00000ull
/* Where rings and buffers are put that are no RAM: its name, and what answers there. */
#define DEVICE_SPACE      LAPIC_BASE
#define DEVICE_SPACE_NAME "the local APIC"
#define RAM_START         0ull

/* --- instructions ---------------------------------------------------------------------------- */

#define IO_PORT(suffix, type)                                                                      \
    static inline type in##suffix(uint16_t port)                                                   \
    {                                                                                              \
        type v;                                                                                    \
        __asm__ volatile("in" #suffix " %1, %0" : "=a"(v) : "Nd"(port));                           \
        return v;                                                                                  \
    }                                                                                              \
    static inline void out##suffix(uint16_t port, type v)                                          \
    {                                                                                              \
        __asm__ volatile("out" #suffix " %0, %1" : : "a"(v), "Nd"(port));                          \
    }
IO_PORT(b, uint8_t)
IO_PORT(w, uint16_t)
IO_PORT(l, uint32_t)
#undef IO_PORT

/* Accesses of one width at an address that need not be RAM: one plain mov each. */
#define MMIO(bits, constraint)                                                                     \
    static inline uint##bits##_t read##bits(uint64_t addr)                                         \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        __asm__ volatile("mov (%1), %0" : "=" constraint(v) : "r"(addr) : "memory");               \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write##bits(uint64_t addr, uint##bits##_t v)                                \
    {                                                                                              \
        __asm__ volatile("mov %0, (%1)" : : constraint(v), "r"(addr) : "memory");                  \
    }
MMIO(8, "q")
MMIO(16, "r")
MMIO(32, "r")
MMIO(64, "r")
#undef MMIO

static inline void barrier(void)
{
    __asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline void irq_on(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void irq_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline uint64_t tsc_read(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid_regs r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(sub));
    return r;
}

static inline uint64_t msr_read(uint32_t msr)
{
    uint32_t lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}

static inline void msr_write(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

/** msr_read_safe() / msr_write_safe() - false when the CPU answers with #GP. */
bool msr_read_safe(uint32_t msr, uint64_t *ret_v);
bool msr_write_safe(uint32_t msr, uint64_t v);

/* --- boot data ------------------------------------------------------------------------------- */

struct boot_data {
    uint32_t magic; /* EAX at entry */
    uint32_t flags;
    uint32_t eflags, cr0; /* at entry */
    uint32_t mem_lower_kib, mem_upper_kib;
    uint32_t n_modules;
    uint32_t module_start, module_end; /* of the first one, where it was loaded */
    char image[BOOT_MAX_CMDLINE];      /* first word of the command line */
    char loader[32];
    char cmdline[BOOT_MAX_CMDLINE]; /* without the image's name in front */
    struct boot_range range[BOOT_MAX_RANGES];
    size_t n_ranges;
};

extern struct boot_data boot;
/* --- traps ----------------------------------------------------------------------------------- */

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/** trap_on() - call @fn for interrupts of @vector (32..255); it must end them (apic_eoi()). */
void trap_on(unsigned vector, void (*fn)(struct trap_frame *));
void trap_load(void); /* this CPU uses the trap table; done before guest_main and ap_entry */

/* --- CPUs and local APICs -------------------------------------------------------------------- */

enum {
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    X2APIC_ID = 0x802,
    X2APIC_EOI = 0x80b,
    X2APIC_SVR = 0x80f,
    X2APIC_ICR = 0x830,
    X2APIC_LVT_TIMER = 0x832,
    X2APIC_TIMER_INIT = 0x838,
    X2APIC_TIMER_NOW = 0x839,
    X2APIC_TIMER_DIV = 0x83e,
};

/** apic_on() - x2APIC mode, spurious vector 255, this CPU. Done before guest_main and ap_main. */
void apic_on(void);
uint32_t apic_id(void);

/** msi_reaches_all() - messages and I/O APIC entries carry 15-bit APIC ids (KVM's leaf). */
bool msi_reaches_all(void);

static inline void apic_eoi(void)
{
    msr_write(X2APIC_EOI, 0);
}

/** smp_start() - INIT, start-up, start-up to the CPU with this APIC id. It runs @fn with a
 *  number from 1 on, in order of arrival, then halts. One @fn for all. */
void smp_start(uint32_t id, void (*fn)(unsigned number));
/** smp_start_all() - all enabled CPUs of the MADT but this one; returns how many were called. */
unsigned smp_start_all(void (*fn)(unsigned number));
/** smp_broadcast() - the same in xAPIC mode by "all but self"; the boot CPU is in x2APIC mode
 *  again afterwards. */
unsigned smp_broadcast(void (*fn)(unsigned number));
/* --- time ------------------------------------------------------------------------------------ */

/** rtc_read() - a register of the MC146818. */
uint8_t rtc_read(uint8_t reg);

#endif
