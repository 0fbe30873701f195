/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments of a trust domain's arenas, as a machine has them mapped: pages that several machines
 * keep and that are in memory once.
 *
 * A segment is a memory file that the host service fills once, from its start on. It is mapped for
 * reading, and sealed so that nobody can write to it through a descriptor, punch holes or make it
 * shorter; what is in it never changes and never moves. So it stays good for as long as it is
 * mapped, whatever becomes of the service.
 *
 * One thread adds, retires and sweeps. Places are read, used and let go by any, under the lock of
 * the store that has them.
 */
#ifndef MEMORY_STORE_DOMAIN_DOMAIN_SEGMENTS_H
#define MEMORY_STORE_DOMAIN_DOMAIN_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct domain_segments;

/* Where a page is: which segment, and where in it. */
struct domain_spot { uint32_t v; };

/** domain_segments_new() - none yet. Return: 0 or -ENOMEM. */
int domain_segments_new(struct domain_segments **ret_segments);

/** domain_segments_free() - unmap all. After all stores that use them. NULL is allowed. */
void domain_segments_free(struct domain_segments *segments);

/**
 * domain_segments_add() - map the segment @fd, which stays the caller's, as @number.
 * Return: 0; -EPERM: not sealed, so that it could change under us; -EINVAL: of another size;
 * -EEXIST; -ENOSPC: too many; the errno of mmap.
 */
int domain_segments_add(struct domain_segments *segments, uint32_t number, int fd,
                        struct errctx *ec);

/** domain_segments_spot() - @at, in units of DOMAIN_UNIT, of segment @number, as long as that is
 *  not retired. Return: whether we have it. */
bool domain_segments_spot(const struct domain_segments *segments, uint32_t number, uint32_t at,
                          struct domain_spot *ret_spot);

/** domain_segments_at() - what is there; up to the segment's end can be read. */
const uint8_t *domain_segments_at(const struct domain_segments *segments, struct domain_spot spot);

/** domain_segments_use() / domain_segments_unuse() - one object more, or less, is there. */
void domain_segments_use(struct domain_segments *segments, struct domain_spot spot);
void domain_segments_unuse(struct domain_segments *segments, struct domain_spot spot);

/** domain_segments_retire() - nothing new comes to be in segment @number, or in any that there
 *  is. */
void domain_segments_retire(struct domain_segments *segments, uint32_t number);
void domain_segments_retire_all(struct domain_segments *segments);

/** domain_segments_is_retired() - is the segment that @spot is in? */
bool domain_segments_is_retired(const struct domain_segments *segments, struct domain_spot spot);

/** domain_segments_retired() - how many are retired, and mapped still. */
size_t domain_segments_retired(const struct domain_segments *segments);

/** domain_segments_sweep() - unmap what is retired and not used. */
void domain_segments_sweep(struct domain_segments *segments);

/** domain_segments_count() - how many are mapped. Any thread. */
size_t domain_segments_count(const struct domain_segments *segments);

#endif
