/* SPDX-License-Identifier: Apache-2.0 */
/* See mem_holds.h. */
#include "memory/mem_holds.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define CLOSED (1u << 31) /* the rest counts leases; there are never so many */

int mem_holds_init(size_t len_bytes, struct mem_holds *ret_holds)
{
    _Atomic uint32_t *words = calloc(len_bytes / BACKING_EXTENT + 1, sizeof(*words));

    if (words == NULL)
        return -ENOMEM;
    ret_holds->words = words;
    return 0;
}

void mem_holds_fini(struct mem_holds *holds)
{
    free(holds->words);
    holds->words = NULL;
}

/* One past the last extent of a range; the first one for no bytes. */
static size_t end_of(size_t off, size_t len_bytes)
{
    return len_bytes == 0 ? off / BACKING_EXTENT : (off + len_bytes - 1) / BACKING_EXTENT + 1;
}

void mem_holds_take(struct mem_holds *holds, size_t off, size_t len_bytes)
{
    const size_t end = end_of(off, len_bytes);

    for (size_t i = off / BACKING_EXTENT; i < end; i++) {
        _Atomic uint32_t *word = &holds->words[i];
        uint32_t was = atomic_fetch_add_explicit(word, 1, memory_order_acquire);

        while ((was & CLOSED) != 0) {
            (void)sched_yield();
            was = atomic_load_explicit(word, memory_order_acquire);
        }
    }
}

void mem_holds_drop(struct mem_holds *holds, size_t off, size_t len_bytes)
{
    const size_t end = end_of(off, len_bytes);

    for (size_t i = off / BACKING_EXTENT; i < end; i++)
        atomic_fetch_sub_explicit(&holds->words[i], 1, memory_order_release);
}

static void open_words(struct mem_holds *holds, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        atomic_fetch_and_explicit(&holds->words[i], ~CLOSED, memory_order_release);
}

bool mem_holds_close(struct mem_holds *holds, size_t off, size_t len_bytes)
{
    const size_t first = off / BACKING_EXTENT, end = end_of(off, len_bytes);

    for (size_t i = first; i < end; i++) {
        uint32_t free_word = 0;

        if (!atomic_compare_exchange_strong_explicit(&holds->words[i], &free_word, CLOSED,
                                                     memory_order_acquire, memory_order_relaxed)) {
            open_words(holds, first, i);
            return false;
        }
    }
    return true;
}

void mem_holds_open(struct mem_holds *holds, size_t off, size_t len_bytes)
{
    open_words(holds, off / BACKING_EXTENT, end_of(off, len_bytes));
}
