/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena of one trust domain on one host node: segments of DOMAIN_SEGMENT bytes, each a memory
 * file bound to that node, filled from its start on and then never changed.
 *
 * Memory goes back by segments, not by pages: what machines may have mapped is neither written over
 * nor punched, so none of them has to agree. What is left of a sparse segment is published again
 * elsewhere; it is closed here, and its memory goes with the last machine that has it mapped.
 *
 * One thread.
 */
#ifndef VMM_HOST_SERVICE_ARENA_H
#define VMM_HOST_SERVICE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/host/service_index.h"

struct service_arena;

/** service_arena_new() - without segments. @node: a host node, or DOMAIN_ANY_NODE. @numbers: the
 *  last number that a segment got, of all arenas. Return: 0 or -ENOMEM. */
int service_arena_new(uint32_t node, uint32_t *numbers, struct service_arena **ret_arena);

/** service_arena_free() - close all segments; who has them mapped keeps them. NULL is allowed. */
void service_arena_free(struct service_arena *arena);

/** service_arena_add() - @len bytes (1 to CODEC_PAGE) of @kind. Return: 0; -ENOMEM; an errno of
 *  memfd_create, ftruncate, mmap, mbind or fcntl. */
int service_arena_add(struct service_arena *arena, const void *bytes, size_t len, uint8_t kind,
                      struct service_place *ret_place, struct errctx *ec);

/** service_arena_drop() - what is at @place is not used any more. */
void service_arena_drop(struct service_arena *arena, const struct service_place *place);

/** service_arena_at() - the bytes at @place. */
const void *service_arena_at(const struct service_arena *arena, const struct service_place *place);

/** service_arena_fd() - of segment @number, the arena's; -1: it has none of that number. */
int service_arena_fd(const struct service_arena *arena, uint32_t number);

/** service_arena_sparse() - a segment of which less than half is used and that is not filled any
 *  more, or of which nothing is. Return: whether there is one. */
bool service_arena_sparse(const struct service_arena *arena, uint32_t *ret_number);

/** service_arena_close() - segment @number is not used any more. */
void service_arena_close(struct service_arena *arena, uint32_t number);

/** service_arena_close_any() - the same of any segment. Return: false: there is none. */
bool service_arena_close_any(struct service_arena *arena, uint32_t *ret_number);

/** service_arena_bytes() - that were written to segments that are open. */
uint64_t service_arena_bytes(const struct service_arena *arena);

#endif
