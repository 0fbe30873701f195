/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of pages that came back and were only read, as far as is known: kept for a while, and
 * found by their content when such a page is put again. They make way for anything else.
 */
#include "memory/store/store_int.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    SPARE_STEPS = 12, /* of time that a spare copy waits */
    LOOKS = 4096,     /* objects, in one go with the lock held */
};

void store_spare_locked(struct store *s, const struct store_object *o)
{
    s->spare_bytes += store_slot_bytes(o);
    s->counts.spare_objects++;
}

void store_unspare_locked(struct store *s, const struct store_object *o)
{
    s->spare_bytes -= store_slot_bytes(o);
    s->counts.spare_objects--;
}

static bool is_too_old(const struct store *s, const struct store_object *o)
{
    return (s->age - o->since) % 64u >= SPARE_STEPS;
}

static bool are_too_many(const struct store *s)
{
    return s->spare_bytes > (arena_used_bytes(s->arena) - s->spare_bytes) / STORE_SPARE_PART;
}

/* Some objects from @at on. Return: where to go on; 0: that is all. */
static uint32_t expire_some(struct store *s, uint32_t at, bool all)
{
    LOCK_SCOPE(&s->lock);
    const uint32_t end = MIN(s->n_fresh, at + (uint32_t)LOOKS);

    for (; at < end && s->counts.spare_objects > 0; at++) {
        const struct store_object *o = &s->objects[at];

        if (!store_is_spare(o) || !(all || is_too_old(s, o) || are_too_many(s)))
            continue;
        store_unspare_locked(s, o);
        store_remove_locked(s, at);
    }
    return at < s->n_fresh && s->counts.spare_objects > 0 ? at : 0;
}

void store_expire_spares(struct store *store)
{
    for (uint32_t at = STORE_FIRST_OBJECT; at != 0;)
        at = expire_some(store, at, false);
}

bool store_make_room(struct store *store)
{
    struct store_counts c;
    bool any = store_is_loose(store);

    store_count(store, &c);
    any = any || c.spare_objects > 0;
    for (uint32_t at = any ? STORE_FIRST_OBJECT : 0; at != 0;)
        at = expire_some(store, at, true);
    if (any)
        store_trim(store);
    return any;
}
