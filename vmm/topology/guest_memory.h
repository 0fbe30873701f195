/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be said about a node's memory beyond its size: pages, policy, and what may give way.
 *
 * Plain values of guest_spec.h, and their names. Zero is "not said" everywhere.
 */
#ifndef VMM_TOPOLOGY_GUEST_MEMORY_H
#define VMM_TOPOLOGY_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What memory is made of. Smaller numbers are smaller pages. */
enum guest_page_kind {
    GUEST_PAGES_ANY, /* not said: normal pages, huge ones where they are cheap to get */
    GUEST_PAGES_4K,  /* never huge */
    GUEST_PAGES_THP, /* normal memory that the kernel is asked to make huge */
    GUEST_PAGES_2M,  /* of the host's pool of 2 MiB pages */
    GUEST_PAGES_1G,  /* of the host's pool of 1 GiB pages */
    GUEST_PAGE_KINDS,
};

/* Where the host's kernel takes memory from. */
enum guest_policy {
    GUEST_POLICY_NONE,       /* not said: bound where host= names nodes, else the host's choice */
    GUEST_POLICY_BIND,       /* from the host nodes only */
    GUEST_POLICY_PREFERRED,  /* from them while they have some */
    GUEST_POLICY_INTERLEAVE, /* from each in turn */
    GUEST_POLICY_WEIGHTED,   /* from each in turn, as many pieces as it weighs */
    GUEST_POLICY_LOCAL,      /* from the node of the CPU that touches a page first */
    GUEST_POLICY_AUTO,       /* the plan chooses one of these */
    GUEST_POLICIES,
};

enum { GUEST_MAX_PAGE_PARTS = 4, GUEST_MAX_WEIGHTS = 64, GUEST_WEIGHT_MAX = 255 };

/* "1G:2G+thp": the first two GiB in pages of 1 GiB, the rest huge where possible. */
struct guest_pages {
    uint32_t n; /* 0: not said */
    struct {
        enum guest_page_kind kind;
        uint64_t bytes; /* 0: the rest; at most one part, the last */
    } part[GUEST_MAX_PAGE_PARTS];
};

/* "3:1": pieces of memory from each host node, in the order of their numbers. */
struct guest_weights {
    uint32_t n;
    uint8_t weight[GUEST_MAX_WEIGHTS];
};

/* What may give way when the host is short of something, first what is said first. */
enum guest_yield {
    GUEST_YIELD_NONE,
    GUEST_YIELD_PAGES,  /* the next smaller pages */
    GUEST_YIELD_POLICY, /* preferred instead of bound */
    GUEST_YIELD_HOST,   /* the nearest other host node that has enough */
    GUEST_YIELDS,
};

struct guest_fallback {
    uint32_t n;
    enum guest_yield step[GUEST_YIELDS - 1];
};

/* Names as options spell them, index as above, "" for what is not said, then NULL. */
extern const char *const guest_page_words[GUEST_PAGE_KINDS + 1];
extern const char *const guest_policy_words[GUEST_POLICIES + 1];
extern const char *const guest_yield_words[GUEST_YIELDS + 1];

/** guest_page_bytes() - of a pool's page; 0 for memory that is no pool's. */
uint64_t guest_page_bytes(enum guest_page_kind kind);

/** guest_page_unit() - what an amount in such pages is a multiple of. */
uint64_t guest_page_unit(enum guest_page_kind kind);

/** guest_page_name() - as guest_page_words, "any" for what is not said. */
const char *guest_page_name(enum guest_page_kind kind);

/** guest_policy_needs_hosts() - does it mean nothing without host nodes? */
bool guest_policy_needs_hosts(enum guest_policy policy);

#endif
