/* SPDX-License-Identifier: Apache-2.0 */
/* See slow_pages.h. */
#include "memory/slow_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/macros.h"

enum { LOOK_PAGES = 2048, PAGEMAP_PAGES = 512, SPAN_TIMES = 4 };

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
    p.place = calloc(n + 1, sizeof(*p.place));
    if (p.ranges == NULL || p.state == NULL || p.mapped == NULL || p.place == NULL) {
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
    free(p->place);
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

/* --- states --------------------------------------------------------------------------------------- */

static void list(struct slow_pages *p, uint32_t page)
{
    p->state[page] = SLOW_MAPPED;
    p->place[page] = p->n_mapped;
    p->mapped[p->n_mapped++] = page;
}

static void set_state(struct slow_pages *p, uint32_t page, enum slow_page_state state)
{
    const enum slow_page_state was = p->state[page];

    if (was == state)
        return;
    if (was == SLOW_MAPPED) {
        const uint32_t last = p->mapped[--p->n_mapped];

        p->mapped[p->place[page]] = last;
        p->place[last] = p->place[page];
    }
    p->n_chosen -= was == SLOW_CHOSEN;
    p->n_chosen += state == SLOW_CHOSEN;
    p->state[page] = (uint8_t)state;
    if (state == SLOW_MAPPED)
        list(p, page);
}

void slow_pages_reset(struct slow_pages *p)
{
    memset(p->state, SLOW_UNKNOWN, p->n);
    p->n_mapped = p->n_chosen = 0;
    p->blocks = UINT64_MAX; /* of no file: look in any case */
    p->look_at = p->n;
}

/* By one call, also where some in between are out already: it interrupts who runs. */
uint32_t slow_pages_choose(struct slow_pages *p, uint32_t most, uint32_t *ret_first,
                           uint32_t *ret_span)
{
    uint32_t first, left, n = 0, span = 0;

    if (p->n_mapped == 0)
        return 0;
    first = p->mapped[dice(p, p->n_mapped)];
    (void)slow_pages_address(p, first, &left);
    for (uint32_t i = 0; n < most && i < MIN(left, SPAN_TIMES * most); i++) {
        if (p->state[first + i] != SLOW_MAPPED)
            continue;
        set_state(p, first + i, SLOW_CHOSEN);
        span = i + 1;
        n++;
    }
    (void)madvise(slow_pages_address(p, first, NULL), (size_t)span * SLOW_PAGE, MADV_DONTNEED);
    *ret_first = first;
    *ret_span = span;
    return n;
}

void slow_pages_forget(struct slow_pages *p, uint32_t page)
{
    if (p->state[page] == SLOW_CHOSEN)
        set_state(p, page, SLOW_OUT);
}

void slow_pages_wait(struct slow_pages *p, uint32_t page)
{
    set_state(p, page, SLOW_WAITING);
}

void slow_pages_come(struct slow_pages *p, uint32_t page, uint32_t n)
{
    for (uint32_t i = page; i < page + n; i++)
        set_state(p, i, SLOW_MAPPED);
}

/* Those that are chosen wait for who touches them. What was never taken out and is touched was taken
 * out with a neighbour. */
uint32_t slow_pages_around(const struct slow_pages *p, uint32_t page)
{
    const enum slow_page_state state = p->state[page];
    const uint32_t most = state == SLOW_OUT ? SLOW_AROUND : state == SLOW_MAPPED ? SLOW_TORN : 1;
    uint32_t left, n = 1;

    (void)slow_pages_address(p, page, &left);
    while (n < left && (page + n) % most != 0 && p->state[page + n] == state)
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

static void look_at(struct slow_pages *p, uint32_t first, const unsigned char *there, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t page = first + i;

        if ((there[i] & 1) != 0 && p->state[page] == SLOW_UNKNOWN)
            set_state(p, page, SLOW_MAPPED);
        else if ((there[i] & 1) == 0 && p->state[page] != SLOW_WAITING)
            set_state(p, page, SLOW_UNKNOWN);
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

/* --- touches that nobody tells of ------------------------------------------------------------------ */

/* Documentation/admin-guide/mm/pagemap.rst: 64 bits for each page. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

static uint32_t take_back(struct slow_pages *p, uint32_t first, const uint64_t *entry, uint32_t n)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint8_t state = p->state[first + i];

        if ((entry[i] & PAGEMAP_PRESENT) == 0 || (state != SLOW_CHOSEN && state != SLOW_OUT))
            continue;
        set_state(p, first + i, SLOW_MAPPED);
        found++;
    }
    return found;
}

uint32_t slow_pages_returned(struct slow_pages *p, int pagemap_fd, uint32_t first, uint32_t n)
{
    uint64_t entry[PAGEMAP_PAGES];
    uint32_t found = 0;

    while (n > 0) {
        uint32_t left, now;
        const uint8_t *at = slow_pages_address(p, first, &left);
        ssize_t got;

        now = MIN(MIN(n, left), (uint32_t)PAGEMAP_PAGES);
        got = pread(pagemap_fd, entry, now * sizeof(entry[0]),
                    (off_t)((uintptr_t)at / SLOW_PAGE * sizeof(entry[0])));
        if (got > 0)
            found += take_back(p, first, entry, (uint32_t)((size_t)got / sizeof(entry[0])));
        first += now;
        n -= now;
    }
    return found;
}
