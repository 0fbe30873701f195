/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pointer chase in user mode, which runs on the processor below any KVM, over 16 MiB of memory: each
 * step reads where the next goes, to one of 262,144 cache lines that are visited in one random order.
 *
 * "at=N": the memory begins N MiB from 0. "rounds=N" of "steps=N"; behind each a line "round I: C",
 * cycles a step by the time-stamp counter.
 */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/x86/user.h"

enum { LINE_BYTES = 64, LINES = 16 * MIB / LINE_BYTES, CALL_ROUND, CALL_END };

struct line {
    struct line *volatile next;
    uint8_t rest[LINE_BYTES - sizeof(struct line *)];
};

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
static uint64_t on_call(uint64_t number, uint64_t arg)
{
    if (number == CALL_ROUND) {
        out("round %lu: %lu\n", rounds_done++, arg);
        return 0;
    }
    ok(arg != 0, "the chase stays in its memory");
    ok(user_is(), "it is in user mode");
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
        (void)user_call(CALL_ROUND, (cycles() - begin) / steps);
    }
    (void)user_call(CALL_END, l >= lines && l < lines + LINES);
}

void guest_main(void)
{
    user_run(user_main, on_call);
}
