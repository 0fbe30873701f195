/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of memory/store/ that are about objects share. */
#ifndef MEMORY_STORE_STORE_INT_H
#define MEMORY_STORE_STORE_INT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/arena.h"
#include "memory/store/store.h"

enum {
    STORE_FIRST_OBJECT = 2, /* behind STORE_NONE and STORE_ZERO */
    STORE_AGES = 255,       /* steps of time are counted modulo this */
    STORE_AGE_DONE = 255,   /* packed, or it is not worth it */
    STORE_SPARE_PART = 4,   /* spare copies take up to a quarter of what the others do */
};

/* 32 bytes; free ones are linked by next. */
struct store_object {
    uint64_t hash_low, hash_high;
    struct arena_slot slot;
    uint32_t refs; /* 0, and a length: a spare copy */
    uint32_t next; /* in its chain of the index; 0: the last */
    uint16_t len; /* 0: free */
    uint8_t kind : 2;
    uint8_t spared : 6; /* in which step of time, modulo 64 */
    uint8_t born; /* in which step of time; STORE_AGE_DONE */
};

struct store {
    pthread_mutex_t lock;   /* covers all below */
    struct arena *arena;
    struct store_object *objects; /* by number; a range of its own, untouched beyond n_fresh */
    uint32_t *heads;        /* the index, by hash */
    uint64_t limit_bytes;
    uint32_t max_objects, n_heads, n_fresh, first_free;
    uint32_t loose;    /* objects that went or shrank since the last trim */
    uint32_t pack_at;  /* object to look at next */
    uint32_t packing;  /* object that is being packed; 0: none, or it went meanwhile */
    uint8_t age;
    uint64_t spare_bytes; /* slots of spare copies */
    struct codec_decoder decoder;
    struct store_counts counts;
};

/** store_fits_locked() - can @len bytes be added without holding more than @limit_bytes of the host? */
bool store_fits_locked(const struct store *s, size_t len, uint64_t limit_bytes);

/** store_is_spare() - an object that nobody has a reference to. */
static inline bool store_is_spare(const struct store_object *o)
{
    return o->len > 0 && o->refs == 0;
}

/** store_remove_locked() - an object that has no reference, or was just counted as one without. */
void store_remove_locked(struct store *s, uint32_t object);

/** store_unspare_locked() - a spare copy is an object again, or is about to go. */
void store_unspare_locked(struct store *s, const struct store_object *o);

/** store_expire_spares() - let those go that were not asked for in time, or are too many. */
void store_expire_spares(struct store *store);

#endif
