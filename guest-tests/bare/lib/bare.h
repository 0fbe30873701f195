/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bare-metal guest gets on every architecture: output and verdict, memory, time; at the
 * end what its own architecture adds, lib/ARCH/arch.h: instructions, boot data, traps, CPUs.
 *
 * A guest is one file with guest_main(), which runs on the boot CPU in 64-bit mode with memory
 * mapped at its physical addresses, interrupts off. It prints facts and checks and ends with
 * tap_done(). A trap that nobody expects is printed and ends the guest as failed, so a guest
 * never hangs because of one.
 */
#ifndef GUEST_TESTS_BARE_LIB_BARE_H
#define GUEST_TESTS_BARE_LIB_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_BYTES = 4096 };
#define MIB (1ull << 20)
#define GIB (1ull << 30)
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
/** exit_with() - end the machine; @code is the verdict where the machine has a place for it. */
_Noreturn void exit_with(uint8_t code);

/** serial_send() - bytes as they are, for print.c. */
void serial_send(const char *s, size_t n);
size_t format_text(char *buf, size_t size, const char *format, __builtin_va_list ap);

/* --- bytes and text -------------------------------------------------------------------------- */

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

/* What the loader left is in "boot", as the architecture has it: cmdline, range, n_ranges. */
extern char image_start[], image_end[];
/* A piece of what describes the machine to its guest. */
struct describer {
    const char *name;
    uint64_t at;
    uint32_t len;
    bool in_ram; /* it may lie in usable RAM, and does */
    bool is_whole;
};

/** describer_at() - piece @i; false behind the last. One per architecture. */
bool describer_at(unsigned i, struct describer *ret_d);

/* --- memory ---------------------------------------------------------------------------------- */

/** page_alloc() - @n zeroed pages in a row, below 4 GiB; ends the guest when there are no more. */
void *page_alloc(size_t n);
/** map_range() - make [@base, @base+@len) reachable at its own address. */
void map_range(uint64_t base, uint64_t len);

static inline uint64_t phys(const volatile void *p)
{
    return (uint64_t)(uintptr_t)p;
}

/* --- CPUs ------------------------------------------------------------------------------------ */

/** smp_arrive() - this CPU, which is not the boot CPU, came up. */
void smp_arrive(void);
/** smp_arrived() - how many CPUs came up besides the boot CPU. */
unsigned smp_arrived(void);
/** smp_wait() - until @n arrived, or @seconds passed without a new one. */
bool smp_wait(unsigned n, unsigned seconds);

/* --- time ------------------------------------------------------------------------------------ */

/** A deadline in seconds of a clock that needs no calibration. */
struct deadline {
    uint64_t last;
    unsigned left;
    unsigned polls;
};
struct deadline deadline_in(unsigned seconds);
bool deadline_over(struct deadline *d);

#include "arch.h" /* by the path that guests.mk gives for each architecture */

#endif
