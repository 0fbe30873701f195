/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of a node's memory are in use, from a few samples of it.
 *
 * Memory is cut into regions of extents that are taken to be alike. In a round each region is
 * sampled HEAT_TRIES times: one extent of it, chosen at random, stands for all. At the end of a
 * round regions beside each other whose heat is about the same become one, and where there is room
 * each is cut in two at a random place, so that borders find their way to where heat changes, and
 * the number of samples depends on how many regions there may be and not on how much memory there
 * is. (As DAMON of the Linux kernel does it.) A region remembers for how many rounds its heat has
 * been about the same.
 *
 * Pure: no system call, no clock; the same seed and the same answers give the same regions. One
 * thread's. Nothing allocates after heat_init().
 */
#ifndef MEMORY_POLICY_HEAT_H
#define MEMORY_POLICY_HEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAT_TRIES = 4,        /* samples of a region in a round */
    HEAT_MAX = 1000,       /* touched at each sample, for several rounds */
    HEAT_ALIKE = 100,      /* heats that differ by no more are about the same */
    HEAT_REGIONS_MIN = 8,  /* fewer only where memory has fewer extents */
    HEAT_AGE_MAX = 1 << 20,
};

struct heat_region {
    uint32_t first, n; /* extents */
    uint32_t heat;     /* 0 to HEAT_MAX; half of it is of the last round */
    uint32_t age;      /* rounds for which it was about the same */
    uint8_t hits, tries; /* of the present round */
};

struct heat {
    struct heat_region *regions; /* by ->first, without gaps; n of them */
    size_t n, max, next;
    uint32_t n_extents;
    uint64_t seed;
    uint64_t rounds; /* that are complete */
};

/** heat_init() - @n_extents, at least 1, in up to @max regions, which is raised to
 *  HEAT_REGIONS_MIN.
 *  Return: 0 or -ENOMEM. */
int heat_init(struct heat *heat, uint32_t n_extents, size_t max, uint64_t seed);
void heat_fini(struct heat *heat);

/**
 * heat_pick() - the region to be sampled next, and the extent that stands for it.
 * Return: false when each has been sampled as often as a round wants; then heat_end_round(), once
 * all answers are in.
 */
bool heat_pick(struct heat *heat, size_t *ret_region, uint32_t *ret_extent);

/** heat_note() - the answer to one heat_pick() of this round: was the extent touched? */
void heat_note(struct heat *heat, size_t region, bool touched);

/** heat_end_round() - judge, merge, split. Regions that were not sampled keep their heat. */
void heat_end_round(struct heat *heat);

/** heat_order() - the numbers of all regions, the coldest first; of those that are as cold the one
 *  first that has been so for longest. @ret_order has room for ->max. */
void heat_order(const struct heat *heat, uint32_t *ret_order);

/** heat_at() - the region that holds @extent. */
size_t heat_at(const struct heat *heat, uint32_t extent);

#endif
