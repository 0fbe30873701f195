/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves a store for the swap file. See store.h. */
#include <errno.h>
#include <string.h>

#include "memory/store/store_int.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    LOOKS = 512,   /* objects, in one go with the lock held, and */
    OLD_LOOKS = 64 * 1024, /* in search of old ones, in one call */
    LONG_OLD = 5,  /* long steps of time */
};

void store_set_swap(struct store *store, struct swap *swap)
{
    LOCK_SCOPE(&store->lock);
    store->swap = swap;
}

uint64_t store_limit_bytes(struct store *store)
{
    LOCK_SCOPE(&store->lock);
    return store->limit_bytes;
}

static bool may_go(const struct store *s, const struct store_object *o, bool old)
{
    return o->refs > 0 && o->where == STORE_HERE && !o->leaving &&
           (!old || (s->long_age - o->since) % 64u >= LONG_OLD);
}

/*
 * Copies of what is to go, of some objects. Nothing of them is changed: who asks meanwhile finds
 * them here.
 * @looks: how many may be looked at still, all in all.
 * Return: false: no more fits, or that was all.
 */
static bool gather_some(struct store *s, struct swap_port *port, bool old, uint32_t *looks)
{
    LOCK_SCOPE(&s->lock);

    for (unsigned n = 0; n < LOOKS && *looks > 0; n++, --*looks) {
        struct store_object *o;

        if (s->swap_at >= s->n_fresh) {
            s->swap_at = STORE_FIRST_OBJECT;
            if (old) {
                s->swap_seen = true;
                return false;
            }
        }
        o = &s->objects[s->swap_at];
        if (may_go(s, o, old)) {
            if (!swap_add(port, s->swap_at, o->kind, arena_at(s->arena, o->slot), o->len))
                return false;
            o->leaving = 1;
        }
        s->swap_at++;
    }
    return *looks > 0;
}

/* It is in the file: its slot is free. Return: how many bytes that was. */
static int let_go_locked(struct store *s, uint32_t object, const struct swap_place *place)
{
    struct store_object *o = &s->objects[object];
    const int bytes = (int)arena_bytes_for(o->len);

    store_count_locked(s, o, -1);
    if (o->offered)
        store_gone_locked(s, o);
    o->offered = 0;
    store_unlink_locked(s, object);
    arena_give(s->arena, o->slot);
    s->loose++;
    o->where = STORE_SWAPPED;
    o->block = place->block;
    o->at = place->at;
    memcpy(o->seal, place->seal, sizeof(o->seal));
    swap_keep(s->swap, place->block);
    store_count_locked(s, o, 1);
    return bytes;
}

/* @written: or it stays. Who went while it was written is not there any more, or is another one. */
static int let_go(struct store *s, const struct swap_port *port, bool written)
{
    const struct swap_place *place;
    uint32_t object = 0;
    int bytes = 0;
    LOCK_SCOPE(&s->lock);

    for (size_t i = 0; (place = swap_piece(port, i, &object)) != NULL; i++) {
        if (written && s->objects[object].leaving)
            bytes += let_go_locked(s, object, place);
        s->objects[object].leaving = 0;
    }
    return bytes;
}

int store_swap_out(struct store *store, struct swap_port *port, bool old)
{
    uint32_t looks;
    int r, bytes;

    {
        LOCK_SCOPE(&store->lock);
        if (store->swap == NULL || (old && store->swap_seen))
            return 0;
        looks = old ? MIN(store->n_fresh, (uint32_t)OLD_LOOKS) : store->n_fresh;
    }
    if (!swap_begin(port))
        return 0;
    while (gather_some(store, port, old, &looks))
        ;
    r = swap_write(port);
    bytes = let_go(store, port, r == 0);
    return r < 0 ? r : bytes;
}
