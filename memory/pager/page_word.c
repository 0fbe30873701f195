/* SPDX-License-Identifier: Apache-2.0 */
/* See page_word.h. Acquire and release everywhere: a move publishes what was done to the page. */
#include "memory/pager/page_word.h"

#include <assert.h>
#include <stddef.h>

#define STATE_MASK 0x7ull
#define GIVEN      0x8ull
#define GEN_ONE    0x10ull
#define GEN_MASK   0xfff0ull
#define LEASE_ONE  0x10000ull
#define LEASE_MASK 0xffff0000ull
enum { LEASE_SHIFT = 16, OBJECT_SHIFT = 32 };

enum page_state page_state(uint64_t word)
{
    return (enum page_state)(word & STATE_MASK);
}

uint32_t page_object(uint64_t word)
{
    return (uint32_t)(word >> OBJECT_SHIFT);
}

uint32_t page_leases(uint64_t word)
{
    return (uint32_t)((word & LEASE_MASK) >> LEASE_SHIFT);
}

bool page_is_given(uint64_t word)
{
    return (word & GIVEN) != 0;
}

bool page_is_away(uint64_t word)
{
    return page_state(word) == PAGE_PUNCHING || page_state(word) == PAGE_EMPTY ||
           page_state(word) == PAGE_FILLING;
}

/* @word in another state and with another object; leases and generation stay, and the mark goes. */
static uint64_t as(uint64_t word, enum page_state state, uint32_t object)
{
    return (word & (GEN_MASK | LEASE_MASK)) | (uint64_t)state | (uint64_t)object << OBJECT_SHIFT;
}

static uint64_t look(page_word *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

/* Return: false, and the present word in @now, when it is another. */
static bool swap(page_word *word, uint64_t *now, uint64_t next)
{
    return atomic_compare_exchange_weak_explicit(word, now, next, memory_order_acq_rel,
                                                 memory_order_acquire);
}

bool page_arm(page_word *word)
{
    uint64_t now = look(word);

    while (page_state(now) == PAGE_RESIDENT && page_leases(now) == 0) {
        const uint64_t gen = (now + GEN_ONE) & GEN_MASK;

        if (swap(word, &now, gen | PAGE_ARMED))
            return true;
    }
    return false;
}

/* From @from to @to whatever the leases do. */
static bool step(page_word *word, enum page_state from, enum page_state to, const uint32_t *object)
{
    uint64_t now = look(word);

    while (page_state(now) == from)
        if (swap(word, &now, as(now, to, object != NULL ? *object : page_object(now))))
            return true;
    return false;
}

bool page_keep(page_word *word, uint32_t object)
{
    return step(word, PAGE_ARMED, PAGE_STORED, &object);
}

bool page_punch(page_word *word)
{
    return step(word, PAGE_STORED, PAGE_PUNCHING, NULL);
}

void page_emptied(page_word *word)
{
    bool was = step(word, PAGE_PUNCHING, PAGE_EMPTY, NULL);

    assert(was);
    (void)was;
}

static bool can_cancel(enum page_state state)
{
    return state == PAGE_ARMED || state == PAGE_STORED;
}

uint32_t page_cancel(page_word *word)
{
    uint64_t now = look(word);

    while (can_cancel(page_state(now)) || page_state(now) == PAGE_PUNCHING)
        if (swap(word, &now, as(now, PAGE_RESIDENT, 0)))
            return page_object(now);
    return 0;
}

enum page_touch page_touch(page_word *word, uint32_t *ret_object)
{
    uint64_t now = look(word);

    for (;;) {
        const enum page_state state = page_state(now);

        *ret_object = 0;
        if (state == PAGE_CLOSED)
            return PAGE_TOUCH_NONE;
        if (state == PAGE_PUNCHING || state == PAGE_FILLING)
            return PAGE_TOUCH_WAIT;
        if (state == PAGE_LOST)
            return PAGE_TOUCH_LOST;
        *ret_object = page_object(now);
        if (state == PAGE_EMPTY) {
            if (swap(word, &now, as(now, PAGE_FILLING, page_object(now))))
                return PAGE_TOUCH_FILL;
        } else if (swap(word, &now, as(now, PAGE_RESIDENT, 0) + LEASE_ONE)) {
            return PAGE_TOUCH_MAP;
        }
    }
}

uint32_t page_fetch(page_word *word)
{
    uint64_t now = look(word);

    while (page_state(now) == PAGE_EMPTY)
        if (swap(word, &now, as(now, PAGE_FILLING, page_object(now))))
            return page_object(now);
    return 0;
}

void page_unfetch(page_word *word)
{
    bool was = step(word, PAGE_FILLING, PAGE_EMPTY, NULL);

    assert(was);
    (void)was;
}

void page_touched(page_word *word)
{
    page_unlease(word);
}

void page_filled(page_word *word)
{
    const uint32_t none = 0;
    bool was = step(word, PAGE_FILLING, PAGE_RESIDENT, &none);

    assert(was);
    (void)was;
}

void page_lose(page_word *word, uint32_t why)
{
    bool was = step(word, PAGE_FILLING, PAGE_LOST, &why);

    assert(was);
    (void)was;
}

bool page_lease(page_word *word, uint32_t *ret_object)
{
    uint64_t now = look(word);

    *ret_object = 0;
    while (page_leases(now) < PAGE_LEASES_MAX && page_state(now) != PAGE_CLOSED) {
        const bool cancels = can_cancel(page_state(now));
        const uint64_t next = (cancels ? as(now, PAGE_RESIDENT, 0) : now) + LEASE_ONE;

        if (swap(word, &now, next)) {
            *ret_object = cancels ? page_object(now) : 0;
            return true;
        }
    }
    return false;
}

bool page_pin(page_word *word)
{
    uint64_t now = look(word);

    while (page_state(now) == PAGE_RESIDENT && !page_is_given(now) &&
           page_leases(now) < PAGE_LEASES_MAX)
        if (swap(word, &now, now + LEASE_ONE))
            return true;
    return false;
}

void page_unlease(page_word *word)
{
    uint64_t was = atomic_fetch_sub_explicit(word, LEASE_ONE, memory_order_acq_rel);

    assert(page_leases(was) > 0);
    (void)was;
}

bool page_forget(page_word *word, bool for_long, uint32_t *ret_object, enum page_state *ret_was)
{
    uint64_t now = look(word);

    while (page_state(now) != PAGE_PUNCHING && page_state(now) != PAGE_FILLING &&
           page_leases(now) == 0) {
        const enum page_state state = page_state(now);
        const uint64_t freed = as(now, PAGE_RESIDENT, 0) | (for_long ? GIVEN : 0);
        const uint64_t next = (state == PAGE_CLOSED ? now : freed) + LEASE_ONE;

        if (swap(word, &now, next)) {
            *ret_object = state == PAGE_LOST ? 0 : page_object(now);
            *ret_was = state;
            return true;
        }
    }
    return false;
}

bool page_close(page_word *word, uint32_t *ret_object, enum page_state *ret_was)
{
    uint64_t now = look(word);

    while (page_state(now) != PAGE_PUNCHING && page_state(now) != PAGE_FILLING &&
           page_leases(now) == 0) {
        const enum page_state state = page_state(now);

        if (swap(word, &now, as(now, PAGE_CLOSED, 0))) {
            *ret_object = state == PAGE_LOST ? 0 : page_object(now);
            *ret_was = state;
            return true;
        }
    }
    return false;
}

void page_open(page_word *word)
{
    (void)step(word, PAGE_CLOSED, PAGE_RESIDENT, NULL);
}

uint32_t page_reset(page_word *word)
{
    const uint64_t was = atomic_exchange_explicit(word, 0, memory_order_acq_rel);

    return page_state(was) == PAGE_LOST ? 0 : page_object(was);
}
