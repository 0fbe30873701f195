/* SPDX-License-Identifier: Apache-2.0 */
/* See slow_pages.h. */
#include "memory/slow_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "vmm/base/macros.h"

enum { LOOK_PAGES = 2048 };

uint64_t slow_pages_now_ns(void)
{
    struct timespec t = { 0 };

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Memory for it comes by touch. */
int slow_pages_init(const struct slow_range *ranges, size_t n_ranges, struct slow_pages *ret_pages)
{
    struct slow_pages p = { .n_ranges = n_ranges, .seed = slow_pages_now_ns() };
    uint64_t n = 0;

    for (size_t i = 0; i < n_ranges; i++)
        n += ranges[i].len_bytes / SLOW_PAGE;
    if (n > UINT32_MAX)
        return -E2BIG;
    p.n = p.look_at = (uint32_t)n;
    p.ranges = calloc(n_ranges + 1, sizeof(*p.ranges));
    p.state = calloc(n + 1, sizeof(*p.state));
    p.mapped = calloc(n + 1, sizeof(*p.mapped));
    if (p.ranges == NULL || p.state == NULL || p.mapped == NULL) {
        slow_pages_fini(&p);
        return -ENOMEM;
    }
    memcpy(p.ranges, ranges, n_ranges * sizeof(*ranges));
    *ret_pages = p;
    return 0;
}

void slow_pages_fini(struct slow_pages *p)
{
    free(p->ranges);
    free(p->state);
    free(p->mapped);
    *p = (struct slow_pages){ 0 };
}

uint8_t *slow_pages_address(const struct slow_pages *p, uint32_t i, uint32_t *ret_left)
{
    const struct slow_range *r = p->ranges;

    for (; i >= r->len_bytes / SLOW_PAGE; r++)
        i -= (uint32_t)(r->len_bytes / SLOW_PAGE);
    if (ret_left != NULL)
        *ret_left = (uint32_t)(r->len_bytes / SLOW_PAGE) - i;
    return r->host + (size_t)i * SLOW_PAGE;
}

bool slow_pages_find(const struct slow_pages *p, uint64_t addr, uint32_t *ret_page)
{
    uint32_t first = 0;

    for (size_t i = 0; i < p->n_ranges; i++) {
        const struct slow_range *r = &p->ranges[i];
        const uint64_t start = (uintptr_t)r->host;

        if (addr >= start && addr - start < r->len_bytes) {
            *ret_page = first + (uint32_t)((addr - start) / SLOW_PAGE);
            return true;
        }
        first += (uint32_t)(r->len_bytes / SLOW_PAGE);
    }
    return false;
}

/* splitmix64; 0 to @below - 1. */
static uint32_t dice(struct slow_pages *p, uint32_t below)
{
    uint64_t z = p->seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)(((z ^ z >> 31) >> 32) * below >> 32);
}

static void take_out(const struct slow_pages *p, uint32_t page, uint32_t n)
{
    (void)madvise(slow_pages_address(p, page, NULL), (size_t)n * SLOW_PAGE, MADV_DONTNEED);
}

bool slow_pages_choose(struct slow_pages *p, uint32_t *ret_page)
{
    while (p->n_mapped > 0) {
        const uint32_t at = dice(p, p->n_mapped), page = p->mapped[at];

        p->mapped[at] = p->mapped[--p->n_mapped];
        if (p->state[page] != SLOW_MAPPED)
            continue; /* it went meanwhile */
        p->state[page] = SLOW_CHOSEN;
        p->n_chosen++;
        take_out(p, page, 1);
        *ret_page = page;
        return true;
    }
    return false;
}

void slow_pages_forget(struct slow_pages *p, uint32_t page)
{
    if (p->state[page] != SLOW_CHOSEN)
        return;
    p->state[page] = SLOW_OUT;
    p->n_chosen--;
}

void slow_pages_wait(struct slow_pages *p, uint32_t page)
{
    p->state[page] = SLOW_WAITING;
    p->n_chosen--;
}

/* Where a page went and came again it may be listed twice, and there is room for each once. */
void slow_pages_come(struct slow_pages *p, uint32_t page, uint32_t n)
{
    for (uint32_t i = page; i < page + n; i++) {
        if (p->state[i] == SLOW_MAPPED)
            continue;
        p->n_chosen -= p->state[i] == SLOW_CHOSEN;
        p->state[i] = SLOW_MAPPED;
        if (p->n_mapped < p->n)
            p->mapped[p->n_mapped++] = i;
    }
}

/* Those that are chosen wait for who touches them. */
uint32_t slow_pages_around(const struct slow_pages *p, uint32_t page)
{
    uint32_t left, n = 1;

    (void)slow_pages_address(p, page, &left);
    while (n < left && (page + n) % SLOW_AROUND != 0 && p->state[page + n] == SLOW_OUT)
        n++;
    return n;
}

/* --- looking -------------------------------------------------------------------------------------- */

static uint64_t count_blocks(const struct slow_pages *p)
{
    uint64_t blocks = 0;
    struct stat st;

    for (size_t i = 0; i < p->n_ranges; i++)
        if (fstat(p->ranges[i].memfd, &st) == 0)
            blocks += (uint64_t)st.st_blocks;
    return blocks;
}

static bool is_gone(struct slow_pages *p, uint32_t page, bool there)
{
    if (there || p->state[page] == SLOW_WAITING)
        return false;
    p->n_chosen -= p->state[page] == SLOW_CHOSEN;
    p->state[page] = SLOW_UNKNOWN;
    return true;
}

/* New pages are taken out by runs. */
static void look_at(struct slow_pages *p, uint32_t first, const unsigned char *there, uint32_t n)
{
    uint32_t run = 0;

    for (uint32_t i = 0; i <= n; i++) {
        const bool is_new = i < n && !is_gone(p, first + i, (there[i] & 1) != 0) &&
                            p->state[first + i] == SLOW_UNKNOWN;

        if (is_new) {
            p->state[first + i] = SLOW_OUT;
            run++;
        } else if (run > 0) {
            take_out(p, first + i - run, run);
            run = 0;
        }
    }
}

void slow_pages_look(struct slow_pages *p, uint64_t until_ns)
{
    unsigned char there[LOOK_PAGES];

    if (p->look_at == p->n) {
        const uint64_t blocks = count_blocks(p);

        if (blocks == p->blocks)
            return;
        p->blocks = blocks;
        p->look_at = 0;
    }
    do {
        uint32_t left, n;
        uint8_t *at = slow_pages_address(p, p->look_at, &left);

        n = MIN(left, (uint32_t)LOOK_PAGES);
        if (mincore(at, (size_t)n * SLOW_PAGE, there) == 0)
            look_at(p, p->look_at, there, n);
        p->look_at += n;
    } while (p->look_at < p->n && slow_pages_now_ns() < until_ns);
}

void slow_pages_zap(const struct slow_pages *p)
{
    for (size_t i = 0; i < p->n_ranges; i++)
        (void)madvise(p->ranges[i].host, p->ranges[i].len_bytes, MADV_DONTNEED);
}
