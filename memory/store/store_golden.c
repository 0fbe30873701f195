/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that a golden file has: objects without a copy. See store.h. */
#include "memory/store/store_int.h"
#include "vmm/base/cleanup.h"

void store_set_golden(struct store *store, struct golden *golden)
{
    LOCK_SCOPE(&store->lock);
    store->golden = golden;
}

/* An object that is the page at @place, or 0. */
static uint32_t find_locked(struct store *s, struct golden_hash hash,
                            const struct golden_place *place)
{
    for (uint32_t i = *store_head_of(s, hash.low); i != 0; i = s->objects[i].next) {
        const struct store_object *o = &s->objects[i];

        if (o->where == STORE_GOLDEN && o->golden_at == place->at && o->hash_low == hash.low &&
            o->hash_high == hash.high && o->refs < STORE_REFS_MAX)
            return i;
    }
    return 0;
}

/* The lock is not held while the file is read. */
bool store_put_golden(struct store *s, const void *page, struct golden_hash hash,
                      uint32_t *ret_object)
{
    struct golden_place place;
    uint32_t object;

    if (s->golden == NULL || !golden_find(s->golden, page, hash, &place))
        return false;
    LOCK_SCOPE(&s->lock);
    object = find_locked(s, hash, &place);
    if (object != 0) {
        s->objects[object].refs++;
        s->counts.pages++;
    } else if (store_has_table_room_locked(s)) {
        object = store_new_locked(s, &(struct store_object){ .hash_low = hash.low,
                                                             .hash_high = hash.high,
                                                             .golden_at = place.at,
                                                             .refs = 1,
                                                             .len = place.len & STORE_LEN_MASK,
                                                             .where = STORE_GOLDEN,
                                                             .kind = place.kind & 3,
                                                             .born = STORE_AGE_DONE });
    }
    if (object == 0)
        return false;
    s->counts.golden_pages++;
    s->counts.golden_hits++;
    *ret_object = object;
    return true;
}

int store_get_golden(struct store *s, const struct store_object *o, void *page)
{
    const struct golden_place place = { .at = o->golden_at, .len = o->len, .kind = o->kind };

    return golden_get(s->golden, &place,
                      (struct golden_hash){ .low = o->hash_low, .high = o->hash_high }, page);
}
