/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bare-metal guest gets: output and verdict, traps, memory, CPUs, time.
 *
 * A guest is one file with guest_main(), which runs on the boot CPU in 64-bit mode with memory
 * mapped at its physical addresses, interrupts off, x2APIC on. It prints facts and checks and
 * ends with tap_done(). A trap that nobody expects is printed and ends the guest as failed, so a
 * guest never hangs because of one.
 *
 * Kernel code may be emulated at about a million instructions a second: count them. Neither SSE
 * nor cmpxchg16b nor fences exist there; barrier() is a locked instruction.
 */
#ifndef GUEST_TESTS_BARE_LIB_BARE_H
#define GUEST_TESTS_BARE_LIB_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/platform.h"
#include "guest-tests/bare/lib/asm.h"

enum { PAGE_BYTES = 4096 };
#define MIB (1ull << 20)
#define GIB (1ull << 30)
/* Below the I/O APIC and above every PCI window: no device answers here. */
#define FREE_MMIO   0xf8000000ull
#define LAPIC_BASE  0xfee00000ull
#define IOAPIC_BASE 0xfec00000ull
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/** guest_main() - the guest. Must end with tap_done(), tap_skip_all() or exit_with(). */
void guest_main(void);

/* --- output and verdict ---------------------------------------------------------------------- */

/** out() - one piece of text to the serial port. %s %c %d %u %x with l, ll, width and zeroes. */
void out(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** out_unlock() - the next out() does not wait: a trap may have come in the middle of one. */
void out_unlock(void);

/** fact() - "fact " and the text, for the host to compare: "path=value". */
void fact(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** ok() - one check; prints "ok N - text" or "not ok N - text". Returns @good. */
bool ok(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** note() - "# text". skip() - a check that cannot be made here, and why. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void skip(const char *what, const char *why);

/** tap_done() - print the plan "1..N" and end with 0 when every check held, else 1. */
_Noreturn void tap_done(void);
/** tap_skip_all() - the whole guest cannot run here. */
_Noreturn void tap_skip_all(const char *why);
/** exit_with() - write @code to the debug-exit port; halts when nothing answers there. */
_Noreturn void exit_with(uint8_t code);

size_t format_text(char *buf, size_t size, const char *format, __builtin_va_list ap);

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

void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
/** text_has() - @word stands in @text, between spaces or the ends. text_number() - the decimal
 *  number after "@key=", or @fallback. */
bool text_has(const char *text, const char *word);
uint64_t text_number(const char *text, const char *key, uint64_t fallback);

/* --- boot data ------------------------------------------------------------------------------- */

struct boot_range {
    uint64_t base, len;
    uint32_t type; /* 1: RAM */
};

enum { BOOT_MAX_RANGES = 300, BOOT_MAX_CMDLINE = 1024 };

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
extern char image_start[], image_end[];

/* --- memory ---------------------------------------------------------------------------------- */

/** page_alloc() - @n zeroed pages in a row, below 4 GiB; ends the guest when there are no more. */
void *page_alloc(size_t n);
/** map_range() - make [@base, @base+@len) reachable at its own address. */
void map_range(uint64_t base, uint64_t len);

static inline uint64_t phys(const volatile void *p)
{
    return (uint64_t)(uintptr_t)p;
}

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
/** smp_arrived() - how many CPUs came up besides the boot CPU. */
unsigned smp_arrived(void);
/** smp_wait() - until @n arrived, or @seconds passed without a new one. */
bool smp_wait(unsigned n, unsigned seconds);

/* --- time ------------------------------------------------------------------------------------ */

/** A deadline in seconds of the real-time clock, the only clock that needs no calibration. */
struct deadline {
    uint8_t last;
    unsigned left;
    unsigned polls;
};
struct deadline deadline_in(unsigned seconds);
bool deadline_over(struct deadline *d);

/** rtc_read() - a register of the MC146818. */
uint8_t rtc_read(uint8_t reg);

#endif
