/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of memory/store/ that are about objects share. */
#ifndef MEMORY_STORE_STORE_INT_H
#define MEMORY_STORE_STORE_INT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/arena.h"
#include "memory/store/domain/domain_segments.h"
#include "memory/store/golden/golden.h"
#include "memory/store/store.h"
#include "memory/store/swap.h"

enum {
    STORE_FIRST_OBJECT = 2, /* behind STORE_NONE and STORE_ZERO */
    STORE_AGES = 255,       /* steps of time are counted modulo this */
    STORE_AGE_DONE = 255,   /* packed, or it is not worth it */
    STORE_SPARE_PART = 4,   /* spare copies take up to a quarter of what the others do */
    STORE_LEN_MASK = 0x1fff,
    STORE_LONG = 12,        /* steps of time are a long one */
    STORE_REFS_MAX = 0x7fffffff,
    STORE_GONE = 4096,      /* hashes of offered objects that went, until somebody asks */
};

/* Where the bytes of an object are. */
enum store_where {
    STORE_HERE,    /* in a slot of the arena */
    STORE_SWAPPED, /* in the swap file */
    STORE_GOLDEN,  /* there is no copy: it is in a golden file */
    STORE_SHARED,  /* there is no copy: they are in a segment of the trust domain */
};

/* 32 bytes; free ones are linked by next. One that was swapped out is in no chain of the index:
 * nothing is compared with it. */
struct store_object {
    union {
        struct {
            uint64_t hash_low, hash_high;
        };
        uint8_t seal[SWAP_SEAL]; /* swapped out */
    };
    union {
        struct arena_slot slot;
        uint32_t block; /* swapped out: of the file */
        uint32_t golden_at; /* golden: in its file */
        struct domain_spot spot; /* shared */
    };
    uint32_t refs : 31; /* 0, and a length: a spare copy */
    uint32_t offered : 1; /* to the trust domain: when it goes, that is told */
    union {
        uint32_t next; /* in its chain of the index; 0: the last */
        uint32_t at;   /* swapped out: in the block */
    };
    uint16_t len : 13; /* 0: free */
    uint16_t where : 2; /* enum store_where */
    uint16_t leaving : 1; /* being swapped out; back to 0 when it goes meanwhile */
    uint8_t kind : 2;
    uint8_t since : 6; /* modulo 64: a spare copy's step of time, of others a long one */
    uint8_t born; /* in which step of time; STORE_AGE_DONE */
};

_Static_assert(sizeof(struct store_object) == 32, "as docs/overcommit.md says");

struct store {
    pthread_mutex_t lock;   /* covers all below */
    struct arena *arena;
    struct store_object *objects; /* by number; a range of its own, untouched beyond n_fresh */
    uint32_t *heads;        /* the index, by hash */
    uint64_t limit_bytes; /* of host memory */
    uint64_t put_bytes;   /* what it is to become; less where it has to give some up */
    uint32_t max_objects, n_heads, n_fresh, first_free;
    uint32_t loose;    /* objects that went or shrank since the last trim */
    uint32_t pack_at;  /* object to look at next */
    uint32_t packing;  /* object that is being packed; 0: none, or it went meanwhile */
    uint8_t age;
    uint8_t long_age; /* modulo 64 */
    uint8_t steps;    /* since the last long one */
    uint64_t spare_bytes; /* slots of spare copies */
    struct codec_decoder decoder;
    struct swap *swap; /* NULL: none */
    struct golden *golden; /* NULL: none */
    struct domain_segments *segments; /* NULL: no trust domain but this machine */
    struct golden_hash *gone; /* n_gone of STORE_GONE; NULL: as above */
    uint32_t n_gone, offer_at, home_at, home;
    bool gone_lost; /* more went than there is room for */
    uint32_t swap_at;  /* object to look at next for what goes there */
    bool swap_seen;    /* all that was old enough has gone, until the next long step */
    struct store_counts counts;
};

/** store_has_table_room_locked() - is there an object to spare, or memory for one more? */
bool store_has_table_room_locked(const struct store *s);

/** store_fits_locked() - can @len bytes be added without holding more than @limit_bytes of the
 *  host? */
bool store_fits_locked(const struct store *s, size_t len, uint64_t limit_bytes);

/** store_is_spare() - an object that nobody has a reference to. */
static inline bool store_is_spare(const struct store_object *o)
{
    return o->len > 0 && o->refs == 0;
}

/** store_head_of() - where the chain of the index begins that @hash_low is in. */
static inline uint32_t *store_head_of(struct store *s, uint64_t hash_low)
{
    return &s->heads[hash_low & (s->n_heads - 1)];
}

/** store_new_locked() - a number for @object, which is put into the index. Return: 0: there is
 *  none. */
uint32_t store_new_locked(struct store *s, const struct store_object *object);

/** store_put_golden() - @page where a golden file has it. Return: whether it does. */
bool store_put_golden(struct store *s, const void *page, struct golden_hash hash,
                      uint32_t *ret_object);

/** store_get_golden() - the page of @o. Return: as golden_get(). */
int store_get_golden(struct store *s, const struct store_object *o, void *page);

/** store_decode_locked() - the page of @o, which is here or shared. Return: as codec_decode(). */
int store_decode_locked(struct store *s, const struct store_object *o, void *page);
int store_decode_shared_locked(struct store *s, const struct store_object *o, void *page);

/** store_unshare_locked() - @o, which is shared, goes or comes to be elsewhere. */
void store_unshare_locked(struct store *s, const struct store_object *o);

/** store_gone_locked() - @o was offered, and is not kept any more. */
void store_gone_locked(struct store *s, const struct store_object *o);

/** store_unlink_locked() - out of the index. */
void store_unlink_locked(struct store *s, uint32_t object);

/** store_count_locked() - one object more (@n is 1) or less (-1). Spare copies are not counted. */
void store_count_locked(struct store *s, const struct store_object *o, int n);

/** store_remove_locked() - an object that has no reference, or was just counted as one without. */
void store_remove_locked(struct store *s, uint32_t object);

/** store_slot_bytes() - of host memory of ours that the bytes of @o take. */
static inline size_t store_slot_bytes(const struct store_object *o)
{
    return o->where == STORE_HERE ? arena_bytes_for(o->len) : 0;
}

/** store_spare_locked() - @o is a spare copy from now on. */
void store_spare_locked(struct store *s, const struct store_object *o);

/** store_unspare_locked() - a spare copy is an object again, or is about to go. */
void store_unspare_locked(struct store *s, const struct store_object *o);

/** store_expire_spares() - let those go that were not asked for in time, or are too many. */
void store_expire_spares(struct store *store);

#endif
