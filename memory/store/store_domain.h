/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store keeps, and the segments of a trust domain (domain/domain_segments.h) have, too:
 * objects without a copy of their own.
 *
 * A page is offered by its hash, and when it is said to be somewhere it is compared there byte by
 * byte with what the store keeps; then the store's own copy goes. One thread calls these, the one
 * that puts and packs; pages are got and dropped by others meanwhile.
 */
#ifndef MEMORY_STORE_STORE_DOMAIN_H
#define MEMORY_STORE_STORE_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/codec.h"
#include "memory/store/domain/domain_segments.h"
#include "memory/store/golden/golden.h"
#include "memory/store/store.h"

/** store_set_domain() - objects may come to be in @segments, which outlive the store. Before the
 *  first page. Return: 0 or -ENOMEM. */
int store_set_domain(struct store *store, struct domain_segments *segments);

/** store_home() - the host node that its memory comes from now, the lowest of several;
 *  DOMAIN_ANY_NODE: any. */
uint32_t store_home(struct store *store);

/** store_domain_offer() - hashes of objects that were not offered yet, which are from now on.
 *  Return: how many, at most @max; 0: no more until store_age(). */
size_t store_domain_offer(struct store *store, struct golden_hash *hashes, size_t max);

/**
 * store_domain_gone() - hashes of objects that were offered and are not kept any more.
 * @ret_lost: there are more, or there were and their hashes are lost: store_domain_forget().
 * Return: how many, at most @max.
 */
size_t store_domain_gone(struct store *store, struct golden_hash *hashes, size_t max,
                         bool *ret_lost);

/** store_domain_forget() - nothing is offered. What is in segments stays there. */
void store_domain_forget(struct store *store);

/** store_domain_take_home() - objects in segments that are retired get copies of their own, as far as
 *  there is room. Return: how many, about @max at most; 0: no more until store_age(). */
size_t store_domain_take_home(struct store *store, size_t max);

/** store_domain_bytes() - what is kept of a page with @hash, into @bytes of CODEC_PAGE. Return: how
 *  many bytes; 0: there is no such page, or not in memory. */
size_t store_domain_bytes(struct store *store, struct golden_hash hash, uint8_t *bytes,
                          enum codec_kind *ret_kind);

/* Room to compare in; one thread's. */
struct store_scale {
    uint8_t ours[CODEC_PAGE], theirs[CODEC_PAGE];
};

enum store_took {
    STORE_TOOK,      /* an object is there now, or was already */
    STORE_TOOK_NONE, /* there is no object with that hash, or none that can be compared now */
    STORE_TOOK_OTHER /* it is another page, or none */
};

/** store_domain_take() - the page with @hash is at @spot, @len bytes of @kind, it is said: where
 *  that is true, to the byte, an object that keeps it gives up its copy. Any bytes may be there. */
enum store_took store_domain_take(struct store *store, struct store_scale *scale,
                                  struct golden_hash hash, struct domain_spot spot, uint16_t len,
                                  enum codec_kind kind);

#endif
