/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects whose bytes are in a segment of a trust domain. See store_domain.h.
 *
 * What goes of what was offered is remembered in a ring of fixed size, because pages are dropped by
 * threads that must not wait or allocate; who asks too late is told so, and begins anew.
 */
#include "memory/store/store_domain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory/store/store_int.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    LOOKS = 4096, /* objects, in one go with the lock held */
};

int store_set_domain(struct store *store, struct domain_segments *segments)
{
    struct golden_hash *gone = calloc(STORE_GONE, sizeof(*gone));

    if (gone == NULL)
        return -ENOMEM;
    LOCK_SCOPE(&store->lock);
    store->segments = segments;
    store->gone = gone;
    return 0;
}

uint32_t store_home(struct store *store)
{
    LOCK_SCOPE(&store->lock);
    return store->home;
}

void store_gone_locked(struct store *s, const struct store_object *o)
{
    if (s->n_gone == STORE_GONE) {
        s->gone_lost = true;
        return;
    }
    s->gone[s->n_gone++] = (struct golden_hash){ .low = o->hash_low, .high = o->hash_high };
}

int store_decode_shared_locked(struct store *s, const struct store_object *o, void *page)
{
    uint8_t bytes[CODEC_PAGE];

    memcpy(bytes, domain_segments_at(s->segments, o->spot), o->len);
    return codec_decode(&s->decoder, (enum codec_kind)o->kind, bytes, o->len, page);
}

void store_unshare_locked(struct store *s, const struct store_object *o)
{
    domain_segments_unuse(s->segments, o->spot);
}

static bool may_offer(const struct store_object *o)
{
    return o->refs > 0 && !o->offered && (o->where == STORE_HERE || o->where == STORE_SHARED);
}

static struct golden_hash hash_of(const struct store_object *o)
{
    return (struct golden_hash){ .low = o->hash_low, .high = o->hash_high };
}

/* Some objects more. Return: false: that was all, or enough. */
static bool offer_some(struct store *s, struct golden_hash *hashes, size_t max, size_t *n)
{
    LOCK_SCOPE(&s->lock);
    const uint32_t end = MIN(s->n_fresh, s->offer_at + (uint32_t)LOOKS);

    for (; s->offer_at < end && *n < max; s->offer_at++) {
        struct store_object *o = &s->objects[s->offer_at];

        if (!may_offer(o))
            continue;
        o->offered = 1;
        hashes[(*n)++] = hash_of(o);
    }
    return s->offer_at < s->n_fresh && *n < max;
}

size_t store_domain_offer(struct store *store, struct golden_hash *hashes, size_t max)
{
    size_t n = 0;

    while (offer_some(store, hashes, max, &n))
        ;
    return n;
}

size_t store_domain_gone(struct store *store, struct golden_hash *hashes, size_t max,
                         bool *ret_lost)
{
    LOCK_SCOPE(&store->lock);
    const size_t n = MIN(max, store->n_gone);

    *ret_lost = store->gone_lost;
    store->n_gone -= (uint32_t)n;
    memcpy(hashes, store->gone + store->n_gone, n * sizeof(*hashes));
    return n;
}

static bool forget_some(struct store *s, uint32_t *at)
{
    LOCK_SCOPE(&s->lock);
    const uint32_t end = MIN(s->n_fresh, *at + (uint32_t)LOOKS);

    for (; *at < end; ++*at)
        s->objects[*at].offered = 0;
    s->offer_at = STORE_FIRST_OBJECT;
    s->n_gone = 0;
    s->gone_lost = false;
    return *at < s->n_fresh;
}

void store_domain_forget(struct store *store)
{
    uint32_t at = STORE_FIRST_OBJECT;

    while (forget_some(store, &at))
        ;
}

/* Without room it stays where it is. */
static bool take_home_locked(struct store *s, struct store_object *o)
{
    struct arena_slot slot;

    if (!store_fits_locked(s, o->len, s->limit_bytes) ||
        arena_take(s->arena, o->len, (uint32_t)(o - s->objects), &slot) < 0)
        return false;
    memcpy(arena_at(s->arena, slot), domain_segments_at(s->segments, o->spot), o->len);
    store_count_locked(s, o, -1);
    s->counts.shared_pages -= o->refs;
    store_unshare_locked(s, o);
    o->where = STORE_HERE;
    o->slot = slot;
    o->since = s->long_age;
    o->born = o->kind == CODEC_ZSTD ? STORE_AGE_DONE : s->age;
    store_count_locked(s, o, 1);
    return true;
}

/* Return: false: that was all, or enough. */
static bool take_some_home(struct store *s, size_t max, size_t *n)
{
    LOCK_SCOPE(&s->lock);
    const uint32_t end = MIN(s->n_fresh, s->home_at + (uint32_t)LOOKS);

    for (; s->home_at < end && *n < max; s->home_at++) {
        struct store_object *o = &s->objects[s->home_at];

        if (o->refs > 0 && o->where == STORE_SHARED &&
            domain_segments_is_retired(s->segments, o->spot))
            *n += take_home_locked(s, o);
    }
    return s->home_at < s->n_fresh && *n < max;
}

size_t store_domain_take_home(struct store *store, size_t max)
{
    size_t n = 0;

    while (take_some_home(store, max, &n))
        ;
    return n;
}

/* An object with @hash, from @i of its chain on, whose bytes are in memory; or 0. */
static uint32_t next_with_locked(const struct store *s, uint32_t i, struct golden_hash hash)
{
    for (; i != 0; i = s->objects[i].next) {
        const struct store_object *o = &s->objects[i];

        if (o->hash_low == hash.low && o->hash_high == hash.high &&
            (o->where == STORE_HERE || o->where == STORE_SHARED))
            return i;
    }
    return 0;
}

size_t store_domain_bytes(struct store *store, struct golden_hash hash, uint8_t *bytes,
                          enum codec_kind *ret_kind)
{
    LOCK_SCOPE(&store->lock);
    const uint32_t i = next_with_locked(store, *store_head_of(store, hash.low), hash);
    const struct store_object *o = &store->objects[i];

    if (i == 0)
        return 0;
    memcpy(bytes,
           o->where == STORE_HERE ? arena_at(store->arena, o->slot)
                                  : domain_segments_at(store->segments, o->spot),
           o->len);
    *ret_kind = (enum codec_kind)o->kind;
    return o->len;
}

/* It is at @spot: what it had elsewhere goes. */
static void move_locked(struct store *s, uint32_t object, struct domain_spot spot, uint16_t len,
                        enum codec_kind kind)
{
    struct store_object *o = &s->objects[object];
    const bool spare = store_is_spare(o);

    domain_segments_use(s->segments, spot);
    if (spare)
        store_unspare_locked(s, o);
    else
        store_count_locked(s, o, -1);
    if (o->where == STORE_HERE) {
        arena_give(s->arena, o->slot);
        s->loose++;
        s->counts.shared_pages += o->refs;
    } else {
        store_unshare_locked(s, o);
    }
    o->where = STORE_SHARED;
    o->spot = spot;
    o->len = len & STORE_LEN_MASK;
    o->kind = (uint8_t)kind & 3;
    if (spare)
        store_spare_locked(s, o);
    else
        store_count_locked(s, o, 1);
}

static bool is_the_same(struct store *s, struct store_scale *scale, const struct store_object *o,
                        const struct store_object *there)
{
    return !o->leaving && store_decode_locked(s, o, scale->ours) == 0 &&
           store_decode_locked(s, there, scale->theirs) == 0 &&
           memcmp(scale->ours, scale->theirs, CODEC_PAGE) == 0;
}

enum store_took store_domain_take(struct store *store, struct store_scale *scale,
                                  struct golden_hash hash, struct domain_spot spot, uint16_t len,
                                  enum codec_kind kind)
{
    const struct store_object there = { .spot = spot, .len = len & STORE_LEN_MASK,
                                        .where = STORE_SHARED, .kind = (uint8_t)kind & 3 };
    enum store_took took = STORE_TOOK_NONE;
    LOCK_SCOPE(&store->lock);

    for (uint32_t i = *store_head_of(store, hash.low);
         (i = next_with_locked(store, i, hash)) != 0; i = store->objects[i].next) {
        const struct store_object *o = &store->objects[i];

        if (o->where == STORE_SHARED && o->spot.v == spot.v)
            return STORE_TOOK;
        if (store->packing != i && is_the_same(store, scale, o, &there)) {
            move_locked(store, i, spot, len, kind);
            return STORE_TOOK;
        }
        took = STORE_TOOK_OTHER;
    }
    return took;
}
