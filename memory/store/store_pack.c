/* SPDX-License-Identifier: Apache-2.0 */
/* What makes a store smaller in the background: compacting, and packing what is old. See
 * store.h. */
#include <string.h>

#include "memory/store/store_int.h"
#include "vmm/base/cleanup.h"

enum {
    TRIM_MOVES = 1024, /* of slots, in one go: some 300 us with the lock held */
    LOOSE_FROM = 64,   /* objects that went or shrank */
    PACK_LOOKS = 1024, /* objects, in one go with the lock held */
    AGE_OLD = 2,
};

static void was_moved(void *ctx, uint32_t owner, struct arena_slot slot)
{
    struct store *s = ctx;

    s->objects[owner].slot = slot;
    s->counts.moved_objects++;
}

void store_trim(struct store *store)
{
    LOCK_SCOPE(&store->lock);
    store->loose = 0;
    arena_trim(store->arena, TRIM_MOVES, was_moved, store);
}

bool store_is_loose(struct store *store)
{
    LOCK_SCOPE(&store->lock);
    return store->loose >= LOOSE_FROM;
}

void store_age(struct store *store)
{
    {
        LOCK_SCOPE(&store->lock);
        store->age = (uint8_t)((store->age + 1) % STORE_AGES);
        if (++store->steps == STORE_LONG) {
            store->steps = 0;
            store->long_age = (store->long_age + 1) % 64;
            store->swap_seen = false;
        }
        if (store->pack_at >= store->n_fresh)
            store->pack_at = STORE_FIRST_OBJECT;
        if (store->offer_at >= store->n_fresh)
            store->offer_at = STORE_FIRST_OBJECT;
        if (store->home_at >= store->n_fresh)
            store->home_at = STORE_FIRST_OBJECT;
    }
    store_expire_spares(store);
}

static bool is_old(const struct store *s, const struct store_object *o)
{
    return o->refs > 0 && o->where == STORE_HERE && o->born != STORE_AGE_DONE &&
           (s->age + STORE_AGES - o->born) % STORE_AGES >= AGE_OLD;
}

/* The next object to pack, as it is; 0: none. @ret_more: there may be some behind. */
static uint32_t take_old(struct store *s, struct store_press *press, bool *ret_more)
{
    LOCK_SCOPE(&s->lock);

    for (uint32_t n = 0; n < PACK_LOOKS && s->pack_at < s->n_fresh; n++) {
        const struct store_object *o = &s->objects[s->pack_at++];

        if (!is_old(s, o))
            continue;
        press->kind = (enum codec_kind)o->kind;
        press->len = o->len;
        memcpy(press->bytes, arena_at(s->arena, o->slot), o->len);
        s->packing = s->pack_at - 1;
        *ret_more = true;
        return s->packing;
    }
    *ret_more = s->pack_at < s->n_fresh;
    return 0;
}

/* @bytes in the place of what is kept, where that is smaller. A store that has no room for both
 * leaves it as it is, and comes back to it. */
static void replace_locked(struct store *s, struct store_object *o, const void *bytes, size_t len)
{
    struct arena_slot slot;

    if (arena_bytes_for(len) >= arena_bytes_for(o->len)) {
        o->born = STORE_AGE_DONE;
        return;
    }
    if (!store_fits_locked(s, len, s->limit_bytes) ||
        arena_take(s->arena, len, (uint32_t)(o - s->objects), &slot) < 0)
        return;
    memcpy(arena_at(s->arena, slot), bytes, len);
    arena_give(s->arena, o->slot);
    s->counts.raw_objects -= o->kind == CODEC_RAW;
    s->counts.packed_objects++;
    s->loose++;
    o->slot = slot;
    o->len = len & STORE_LEN_MASK;
    o->kind = CODEC_ZSTD;
    o->born = STORE_AGE_DONE;
}

/* Nothing of what comes out of LZ4 here is trusted: a copy that is damaged does not look better
 * afterwards, because the page's hash stays. */
bool store_pack(struct store *store, struct store_press *press)
{
    const void *bytes = NULL;
    uint32_t object;
    size_t len = 0;
    bool more;

    object = take_old(store, press, &more);
    if (object == 0)
        return more;
    if (codec_decode(NULL, press->kind, press->bytes, press->len, press->page) == 0)
        len = codec_pack(&press->packer, press->page, &bytes);
    LOCK_SCOPE(&store->lock);
    if (store->packing != object)
        return true;
    store->packing = 0;
    if (len > 0)
        replace_locked(store, &store->objects[object], bytes, len);
    else
        store->objects[object].born = STORE_AGE_DONE;
    return true;
}
