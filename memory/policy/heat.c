/* SPDX-License-Identifier: Apache-2.0 */
/* See heat.h. */
#include "memory/policy/heat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

/* splitmix64; 0 to @below - 1. */
static uint32_t dice(struct heat *h, uint32_t below)
{
    uint64_t z = h->seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)(((z ^ z >> 31) >> 32) * below >> 32);
}

int heat_init(struct heat *heat, uint32_t n_extents, size_t max, uint64_t seed)
{
    const size_t n = MIN((size_t)n_extents, (size_t)HEAT_REGIONS_MIN);

    max = MIN(MAX(max, (size_t)HEAT_REGIONS_MIN), (size_t)n_extents);
    *heat = (struct heat){ .n = n, .max = max, .n_extents = n_extents, .seed = seed };
    heat->regions = calloc(max, sizeof(heat->regions[0]));
    if (heat->regions == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const uint32_t first = (uint32_t)((uint64_t)n_extents * i / n);

        heat->regions[i].first = first;
        heat->regions[i].n = (uint32_t)((uint64_t)n_extents * (i + 1) / n) - first;
    }
    return 0;
}

void heat_fini(struct heat *heat)
{
    free(heat->regions);
    *heat = (struct heat){ 0 };
}

bool heat_pick(struct heat *heat, size_t *ret_region, uint32_t *ret_extent)
{
    const size_t i = heat->next % heat->n;
    const struct heat_region *r = &heat->regions[i];

    if (heat->next >= heat->n * HEAT_TRIES)
        return false;
    heat->next++;
    *ret_region = i;
    *ret_extent = r->first + dice(heat, r->n);
    return true;
}

void heat_note(struct heat *heat, size_t region, bool touched)
{
    heat->regions[region].tries++;
    heat->regions[region].hits += touched;
}

static uint32_t apart(uint32_t a, uint32_t b)
{
    return a > b ? a - b : b - a;
}

static void judge(struct heat_region *r)
{
    uint32_t now, heat;

    if (r->tries == 0)
        return;
    now = (uint32_t)HEAT_MAX * r->hits / r->tries;
    heat = (r->heat + now + (now > r->heat)) / 2; /* rounded towards now, so that it is reached */
    r->age = apart(heat, r->heat) <= HEAT_ALIKE ? MIN(r->age + 1, (uint32_t)HEAT_AGE_MAX) : 0;
    r->heat = heat;
    r->hits = r->tries = 0;
}

/* The mean of two regions, by their sizes. */
static uint32_t mean(uint32_t a, uint32_t n_a, uint32_t b, uint32_t n_b)
{
    return (uint32_t)(((uint64_t)a * n_a + (uint64_t)b * n_b) / ((uint64_t)n_a + n_b));
}

/* None becomes larger than that: a region in which little happens could never be cut where it
 * should be. */
static void merge(struct heat *h)
{
    const uint32_t largest = MAX(h->n_extents / HEAT_REGIONS_MIN, 1u);
    size_t n = 0;

    for (size_t i = 1; i < h->n; i++) {
        struct heat_region *a = &h->regions[n];
        const struct heat_region *b = &h->regions[i];

        if (apart(a->heat, b->heat) <= HEAT_ALIKE && a->n + b->n <= largest) {
            a->heat = mean(a->heat, a->n, b->heat, b->n);
            a->age = mean(a->age, a->n, b->age, b->n);
            a->n += b->n;
        } else {
            h->regions[++n] = *b;
        }
    }
    h->n = n + 1;
}

static size_t count_from(const struct heat *h, uint32_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++)
        n += h->regions[i].n >= size;
    return n;
}

/* All that can be cut, or the larger ones where there is not room for all. From the last to the
 * first, so that each goes to where it may stay. */
static void split(struct heat *h)
{
    uint32_t size = 2;
    size_t at, n;

    while (h->n + count_from(h, size) > h->max)
        size *= 2;
    at = h->n + count_from(h, size);
    n = at;
    for (size_t i = h->n; i > 0; i--) {
        const struct heat_region r = h->regions[i - 1];
        const uint32_t left = r.n >= size ? 1 + dice(h, r.n - 1) : r.n;

        if (left < r.n) {
            h->regions[--at] = r;
            h->regions[at].first = r.first + left;
            h->regions[at].n = r.n - left;
        }
        h->regions[--at] = r;
        h->regions[at].n = left;
    }
    h->n = n;
}

void heat_end_round(struct heat *heat)
{
    for (size_t i = 0; i < heat->n; i++)
        judge(&heat->regions[i]);
    merge(heat);
    split(heat);
    heat->next = 0;
    heat->rounds++;
}

static bool is_colder(const struct heat_region *a, const struct heat_region *b)
{
    return a->heat != b->heat ? a->heat < b->heat : a->age > b->age;
}

/* By insertion: from one call to the next little changes, but nobody keeps the order for us; there
 * are some hundred. */
void heat_order(const struct heat *heat, uint32_t *ret_order)
{
    for (size_t i = 0; i < heat->n; i++) {
        size_t at = i;

        for (; at > 0 && is_colder(&heat->regions[i], &heat->regions[ret_order[at - 1]]); at--)
            ret_order[at] = ret_order[at - 1];
        ret_order[at] = (uint32_t)i;
    }
}

size_t heat_at(const struct heat *heat, uint32_t extent)
{
    size_t low = 0, high = heat->n;

    while (high - low > 1) {
        const size_t mid = (low + high) / 2;

        if (heat->regions[mid].first <= extent)
            low = mid;
        else
            high = mid;
    }
    return low;
}
