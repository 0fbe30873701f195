/* SPDX-License-Identifier: Apache-2.0 */
/* Objects: putting, getting, dropping, counting. See store.h. */
#include "memory/store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/numa_policy.h"
#include "memory/store/domain/domain_wire.h"
#include "memory/store/store_int.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

#define AT_TABLES 0x80000000u /* of where store_move_some() is */

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static size_t objects_bytes(const struct store *s)
{
    return (size_t)s->max_objects * sizeof(struct store_object);
}

static size_t heads_bytes(const struct store *s)
{
    return (size_t)s->n_heads * sizeof(uint32_t);
}

static uint32_t home_of(const struct idset *host_nodes)
{
    return idset_empty(host_nodes) ? DOMAIN_ANY_NODE : idset_next(host_nodes, 0);
}

static int bind_tables(const struct store *s, const struct idset *host_nodes, struct errctx *ec)
{
    int r = numa_policy_bind(s->objects, objects_bytes(s), host_nodes, ec);

    return r == 0 ? numa_policy_bind(s->heads, heads_bytes(s), host_nodes, ec) : r;
}

int store_new(uint64_t limit_bytes, uint32_t max_pages, const struct idset *host_nodes,
              struct store **ret_store, struct errctx *ec)
{
    struct store *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a store");
    (void)pthread_mutex_init(&s->lock, NULL);
    s->limit_bytes = s->put_bytes = limit_bytes;
    s->max_objects = MIN(max_pages, UINT32_MAX - STORE_FIRST_OBJECT) + STORE_FIRST_OBJECT;
    s->n_heads = 1024;
    while (s->n_heads < s->max_objects / 2 && s->n_heads < 1u << 31)
        s->n_heads *= 2;
    s->n_fresh = STORE_FIRST_OBJECT;
    s->pack_at = s->swap_at = s->offer_at = s->home_at = STORE_FIRST_OBJECT;
    s->home = home_of(host_nodes);
    s->objects = reserve(objects_bytes(s));
    s->heads = reserve(heads_bytes(s));
    if (s->objects == NULL || s->heads == NULL)
        r = errctx_set(ec, ENOMEM, "no addresses for a store");
    else if (codec_decoder_init(&s->decoder) < 0)
        r = errctx_set(ec, ENOMEM, "no memory for a store");
    else /* blocks of each size may be used in part: addresses cost nothing */
        r = arena_new(limit_bytes + (uint64_t)ARENA_CLASSES * ARENA_BLOCK, host_nodes,
                      &s->arena, ec);
    if (r == 0 && !idset_empty(host_nodes))
        r = bind_tables(s, host_nodes, ec);
    if (r < 0) {
        store_free(s);
        return r;
    }
    *ret_store = s;
    return 0;
}

void store_free(struct store *store)
{
    if (store == NULL)
        return;
    arena_free(store->arena);
    free(store->gone);
    codec_decoder_fini(&store->decoder);
    if (store->objects != NULL)
        (void)munmap(store->objects, objects_bytes(store));
    if (store->heads != NULL)
        (void)munmap(store->heads, heads_bytes(store));
    (void)pthread_mutex_destroy(&store->lock);
    free(store);
}

static bool is_zero(const void *page)
{
    const uint64_t *w = page;

    for (size_t i = 0; i < CODEC_PAGE / 8; i += 8)
        if ((w[i] | w[i + 1] | w[i + 2] | w[i + 3]) != 0 ||
            (w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7]) != 0)
            return false;
    return true;
}

int store_decode_locked(struct store *s, const struct store_object *o, void *page)
{
    if (o->where == STORE_SHARED)
        return store_decode_shared_locked(s, o, page);
    return codec_decode(&s->decoder, (enum codec_kind)o->kind, arena_at(s->arena, o->slot),
                        o->len, page);
}

/* An object that is @page, byte by byte, or 0. */
static uint32_t find_locked(struct store *s, struct store_desk *desk, const void *page,
                            struct golden_hash hash)
{
    for (uint32_t i = *store_head_of(s, hash.low); i != 0; i = s->objects[i].next) {
        const struct store_object *o = &s->objects[i];

        if (o->hash_low == hash.low && o->hash_high == hash.high && o->refs < STORE_REFS_MAX &&
            o->where != STORE_GOLDEN && store_decode_locked(s, o, desk->other) == 0 &&
            memcmp(desk->other, page, CODEC_PAGE) == 0)
            return i;
    }
    return 0;
}

/* Host memory for all of it: what is in the arena, and tables as far as they were touched, at
 * most. */
static uint64_t held_locked(const struct store *s)
{
    const uint64_t n = s->n_fresh - STORE_FIRST_OBJECT;
    const uint64_t tables =
        s->n_fresh * sizeof(struct store_object) + MIN((uint64_t)heads_bytes(s), n * 4096);

    return arena_held_bytes(s->arena) + arena_meta_bytes(s->arena) + (n > 0 ? tables : 0);
}

bool store_fits_locked(const struct store *s, size_t len, uint64_t limit_bytes)
{
    const size_t growth = arena_growth(s->arena, len);

    return growth == 0 || held_locked(s) + growth <= limit_bytes;
}

/* Packing needs the new place before it gives up the old one, and room comes back by blocks: so
 * much is left for it. */
static uint64_t reserve_bytes(uint64_t limit_bytes)
{
    return MIN(limit_bytes / 4, MAX(limit_bytes / 64, (uint64_t)2 * MIB));
}

bool store_has_table_room_locked(const struct store *s)
{
    return s->first_free != 0 || held_locked(s) + sizeof(struct store_object) <=
                                     s->put_bytes - reserve_bytes(s->put_bytes);
}

void store_count_locked(struct store *s, const struct store_object *o, int n)
{
    if (o->where == STORE_GOLDEN) {
        s->counts.golden_objects += (uint64_t)n;
        return;
    }
    if (o->where == STORE_SHARED) {
        s->counts.shared_objects += (uint64_t)n;
        s->counts.shared_bytes += (uint64_t)n * o->len;
        return;
    }
    if (o->where == STORE_SWAPPED) {
        s->counts.swapped_objects += (uint64_t)n;
        s->counts.swapped_bytes += (uint64_t)n * o->len;
        return;
    }
    s->counts.objects += (uint64_t)n;
    s->counts.raw_objects += o->kind == CODEC_RAW ? (uint64_t)n : 0;
    s->counts.packed_objects += o->kind == CODEC_ZSTD ? (uint64_t)n : 0;
}

uint32_t store_new_locked(struct store *s, const struct store_object *object)
{
    const uint32_t i = s->first_free != 0 ? s->first_free : s->n_fresh;
    struct store_object *o = &s->objects[i];

    if (i >= s->max_objects)
        return 0;
    if (i == s->n_fresh)
        s->n_fresh++;
    else
        s->first_free = o->next;
    *o = *object;
    o->next = *store_head_of(s, o->hash_low);
    *store_head_of(s, o->hash_low) = i;
    s->counts.pages++;
    store_count_locked(s, o, 1);
    return i;
}

static int add_locked(struct store *s, const void *bytes, size_t len, enum codec_kind kind,
                      struct golden_hash hash, uint32_t *ret_object)
{
    struct store_object new = { .hash_low = hash.low,
                                .hash_high = hash.high,
                                .refs = 1,
                                .len = len & STORE_LEN_MASK,
                                .kind = (uint8_t)kind & 3,
                                .since = s->long_age,
                                .born = s->age };
    const uint32_t next = s->first_free != 0 ? s->first_free : s->n_fresh;

    if (next >= s->max_objects ||
        !store_fits_locked(s, len, s->put_bytes - reserve_bytes(s->put_bytes)) ||
        arena_take(s->arena, len, next, &new.slot) < 0)
        return -ENOSPC;
    memcpy(arena_at(s->arena, new.slot), bytes, len);
    *ret_object = store_new_locked(s, &new);
    return 0;
}

int store_put(struct store *store, struct store_desk *desk, const void *page, uint32_t *ret_object)
{
    struct golden_hash hash;
    enum codec_kind kind;
    const void *bytes;
    uint32_t found;
    size_t len;

    if (is_zero(page)) {
        *ret_object = STORE_ZERO;
        return 0;
    }
    hash = golden_hash(page);
    if (store_put_golden(store, page, hash, ret_object))
        return 0;
    {
        LOCK_SCOPE(&store->lock);
        found = find_locked(store, desk, page, hash);
        if (found != 0) {
            if (store_is_spare(&store->objects[found])) {
                store_unspare_locked(store, &store->objects[found]);
                store_count_locked(store, &store->objects[found], 1);
                store->objects[found].since = store->long_age;
                store->counts.again++;
            }
            store->objects[found].refs++;
            store->counts.pages++;
            store->counts.shared_pages += store->objects[found].where == STORE_SHARED;
            *ret_object = found;
            return 0;
        }
    }
    len = codec_encode(&desk->encoder, page, &bytes, &kind);
    LOCK_SCOPE(&store->lock);
    return add_locked(store, bytes, len, kind, hash, ret_object);
}

/* What is in the file is the caller's and stays there meanwhile; the lock is held for decoding
 * alone. */
static int get_swapped(struct store *s, struct swap_port *port, const struct store_object *o,
                       void *page)
{
    struct swap_place place = {
        .block = o->block, .at = (uint16_t)o->at, .len = o->len, .kind = o->kind,
    };
    uint8_t bytes[CODEC_PAGE];
    int r;

    memcpy(place.seal, o->seal, sizeof(place.seal));
    r = swap_get(port, &place, bytes);
    if (r < 0)
        return r;
    LOCK_SCOPE(&s->lock);
    return codec_decode(&s->decoder, (enum codec_kind)place.kind, bytes, place.len, page);
}

int store_get(struct store *store, struct swap_port *port, uint32_t object, void *page)
{
    struct store_object copy;
    struct golden_hash hash;

    if (object == STORE_ZERO) {
        memset(page, 0, CODEC_PAGE);
        return 0;
    }
    {
        LOCK_SCOPE(&store->lock);

        copy = store->objects[object];
        if ((copy.where == STORE_HERE || copy.where == STORE_SHARED) &&
            store_decode_locked(store, &copy, page) < 0)
            return -EIO;
    }
    if (copy.where == STORE_SWAPPED)
        return get_swapped(store, port, &copy, page);
    if (copy.where == STORE_GOLDEN)
        return store_get_golden(store, &copy, page);
    hash = golden_hash(page);
    return hash.low == copy.hash_low && hash.high == copy.hash_high ? 0 : -EIO;
}

void store_unlink_locked(struct store *s, uint32_t object)
{
    const struct store_object *o = &s->objects[object];
    uint32_t *link = store_head_of(s, o->hash_low);

    while (*link != object)
        link = &s->objects[*link].next;
    *link = o->next;
}

void store_remove_locked(struct store *s, uint32_t object)
{
    struct store_object *o = &s->objects[object];

    if (o->offered)
        store_gone_locked(s, o);
    if (o->where == STORE_SWAPPED) {
        swap_drop(s->swap, o->block);
    } else {
        store_unlink_locked(s, object);
        if (o->where == STORE_HERE) {
            arena_give(s->arena, o->slot);
            s->loose++;
        } else if (o->where == STORE_SHARED) {
            store_unshare_locked(s, o);
        }
    }
    o->len = 0;
    o->where = STORE_HERE;
    o->leaving = o->offered = 0;
    o->next = s->first_free;
    s->first_free = object;
}

/* Return: whether that was the last reference; then it is counted no more. */
static bool unref_locked(struct store *s, uint32_t object)
{
    struct store_object *o = &s->objects[object];

    s->counts.pages--;
    s->counts.golden_pages -= o->where == STORE_GOLDEN;
    s->counts.shared_pages -= o->where == STORE_SHARED;
    if (--o->refs > 0)
        return false;
    store_count_locked(s, o, -1);
    o->leaving = 0;
    if (s->packing == object)
        s->packing = 0;
    return true;
}

void store_drop(struct store *store, uint32_t object)
{
    if (object < STORE_FIRST_OBJECT)
        return;
    LOCK_SCOPE(&store->lock);
    if (unref_locked(store, object))
        store_remove_locked(store, object);
}

/* So that spare copies are a small part of what is kept. */
static bool has_room_to_spare(const struct store *s, const struct store_object *o)
{
    return s->spare_bytes + store_slot_bytes(o) <=
           (arena_used_bytes(s->arena) - s->spare_bytes) / STORE_SPARE_PART;
}

void store_leave(struct store *store, uint32_t object)
{
    struct store_object *o;

    if (object < STORE_FIRST_OBJECT)
        return;
    LOCK_SCOPE(&store->lock);
    if (!unref_locked(store, object))
        return;
    o = &store->objects[object];
    if (o->where == STORE_SWAPPED || o->where == STORE_GOLDEN || !has_room_to_spare(store, o)) {
        store_remove_locked(store, object);
        return;
    }
    o->since = store->age % 64;
    store_spare_locked(store, o);
}

void store_set_limit(struct store *store, uint64_t bytes)
{
    LOCK_SCOPE(&store->lock);
    store->limit_bytes = store->put_bytes = bytes;
}

void store_lower(struct store *store, uint64_t bytes)
{
    LOCK_SCOPE(&store->lock);
    store->put_bytes -= MIN(bytes, store->put_bytes);
}

uint64_t store_yield(struct store *store, uint64_t bytes)
{
    LOCK_SCOPE(&store->lock);
    const uint64_t want = MAX(store->put_bytes,
                              held_locked(store) + reserve_bytes(store->put_bytes));
    const uint64_t less = MIN(bytes, store->limit_bytes - MIN(want, store->limit_bytes));

    store->limit_bytes -= less;
    return less;
}

int store_bind(struct store *store, const struct idset *host_nodes, struct errctx *ec)
{
    LOCK_SCOPE(&store->lock);
    int r = arena_bind(store->arena, host_nodes, ec);

    if (r == 0)
        r = bind_tables(store, host_nodes, ec);
    if (r == 0)
        store->home = home_of(host_nodes);
    return r;
}

/* The same of tables, in pieces of a block; there may be no memory under some. */
static size_t table_pages(const struct store *s, uint32_t piece, void **pages)
{
    struct {
        void *start;
        size_t bytes;
    } table[] = { { s->objects, s->n_fresh * sizeof(struct store_object) },
                  { s->heads, heads_bytes(s) },
                  { NULL, 0 } };
    size_t n = 0;

    table[2].bytes = arena_table(s->arena, &table[2].start);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const size_t at = (size_t)piece * ARENA_BLOCK;

        for (; at + n * CODEC_PAGE < table[i].bytes && n < ARENA_BLOCK_PAGES; n++)
            pages[n] = (uint8_t *)table[i].start + at + n * CODEC_PAGE;
        if (n > 0)
            return n;
        piece -= (uint32_t)((table[i].bytes + ARENA_BLOCK - 1) / ARENA_BLOCK);
    }
    return 0;
}

/* @at: slots by blocks, then tables. */
static size_t next_pages(const struct store *s, uint32_t *at, void **pages)
{
    size_t n = 0;

    if ((*at & AT_TABLES) == 0) {
        n = arena_pages(s->arena, at, pages);
        if (n == 0)
            *at = AT_TABLES;
    }
    return n > 0 ? n : table_pages(s, (*at)++ & ~AT_TABLES, pages);
}

/* Who needs a page that is on its way waits for the kernel, not for us: the lock is not held. */
int store_move_some(struct store *store, uint32_t *at, struct hnode_id to, struct errctx *ec)
{
    void *pages[ARENA_BLOCK_PAGES];
    int nodes[2 * ARENA_BLOCK_PAGES], r;
    size_t n;

    {
        LOCK_SCOPE(&store->lock);
        n = next_pages(store, at, pages);
    }
    r = n > 0 ? numa_policy_move(pages, n, to, nodes, ec) : 0;
    return r < 0 ? r : (int)(n * CODEC_PAGE);
}

void store_clear(struct store *store)
{
    LOCK_SCOPE(&store->lock);
    for (uint32_t i = STORE_FIRST_OBJECT; store->segments != NULL && i < store->n_fresh; i++)
        if (store->objects[i].len > 0 && store->objects[i].where == STORE_SHARED)
            store_unshare_locked(store, &store->objects[i]);
    store->gone_lost = store->segments != NULL;
    arena_clear(store->arena);
    (void)madvise(store->objects, objects_bytes(store), MADV_DONTNEED);
    (void)madvise(store->heads, heads_bytes(store), MADV_DONTNEED);
    store->n_fresh = STORE_FIRST_OBJECT;
    store->first_free = 0;
    store->loose = store->packing = 0;
    store->spare_bytes = 0;
    store->pack_at = store->swap_at = STORE_FIRST_OBJECT;
    store->offer_at = store->home_at = STORE_FIRST_OBJECT;
    store->counts = (struct store_counts){ 0 };
}

void store_count(struct store *store, struct store_counts *ret_counts)
{
    LOCK_SCOPE(&store->lock);
    *ret_counts = store->counts;
    ret_counts->used_bytes = arena_used_bytes(store->arena);
    ret_counts->held_bytes = held_locked(store);
}

void store_damage(struct store *store, uint32_t object)
{
    LOCK_SCOPE(&store->lock);
    const struct store_object *o = &store->objects[object];

    arena_at(store->arena, o->slot)[o->len / 2] ^= 0x10;
}
