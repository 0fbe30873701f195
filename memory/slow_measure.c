/* SPDX-License-Identifier: Apache-2.0 */
/* See slow_measure.h. */
#include "memory/slow_measure.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/slow_node.h"
#include "memory/slow_pages.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"

enum {
    CHASE_BYTES = 16 * MIB,
    LINE_BYTES = 64,
    LINES = CHASE_BYTES / LINE_BYTES,
    STEPS_AT_ONCE = 1024, /* between two looks at the clock */
    TRIES = 4,
    TOUCH_BYTES = SLOW_PAGE * SLOW_AROUND, /* from one touch to the next: each is a fault */
    TOUCHES = CHASE_BYTES / TOUCH_BYTES,
};
#define WARM_NS  UINT64_C(150000000)
#define TOUCH_NS UINT64_C(200000000)
#define BASE_NS  UINT64_C(100000000)
#define LOOK_NS  UINT64_C(300000000)
#define MISS_MILLI 150                /* further off than that is worth another try */

struct line {
    struct line *next;
    uint8_t rest[LINE_BYTES - sizeof(struct line *)];
};

struct ground {
    struct line *lines;
    struct line *at;
    int memfd;
    uint64_t seed;
};

static uint32_t dice(uint64_t *seed, uint32_t below)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)(((z ^ z >> 31) >> 32) * below >> 32);
}

/* One cycle through all of them (Sattolo). */
static void weave(struct ground *g)
{
    for (uint32_t i = 0; i < LINES; i++)
        g->lines[i].next = &g->lines[i];
    for (uint32_t i = LINES - 1; i > 0; i--) {
        const uint32_t k = dice(&g->seed, i);
        struct line *const next = g->lines[i].next;

        g->lines[i].next = g->lines[k].next;
        g->lines[k].next = next;
    }
    g->at = g->lines;
}

static int make_ground(struct ground *ret_ground, struct errctx *ec)
{
    struct ground g = { .seed = 1 };
    CLEANUP_CLOSE int fd = memfd_create("slow-measure", MFD_CLOEXEC);
    void *at;

    if (fd < 0 || ftruncate(fd, CHASE_BYTES) < 0)
        return errctx_set_os(ec, errno, "memory to measure with");
    at = mmap(NULL, CHASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return errctx_set_os(ec, errno, "memory to measure with");
    g.lines = at;
    weave(&g);
    g.memfd = take_fd(&fd);
    *ret_ground = g;
    return 0;
}

static void free_ground(struct ground *g)
{
    (void)munmap(g->lines, CHASE_BYTES);
    (void)close(g->memfd);
}

/* Chase for @ns. Return: picoseconds a step. */
static uint64_t chase(struct ground *g, uint64_t ns)
{
    const uint64_t begin = slow_pages_now_ns();
    struct line *volatile *const keep = &(struct line *volatile){ NULL };
    struct line *at = g->at;
    uint64_t steps = 0, now;

    do {
        for (int i = 0; i < STEPS_AT_ONCE; i++)
            at = at->next;
        *keep = at;
        steps += STEPS_AT_ONCE;
        now = slow_pages_now_ns();
    } while (now - begin < ns);
    g->at = at;
    return (now - begin) * 1000 / steps;
}

/* --- with it slow ------------------------------------------------------------------------------- */

struct server {
    struct slow_node *node;
    int quit_fd;
    int result;
    struct errctx ec;
};

static void *serve(void *arg)
{
    struct server *s = arg;

    place_name_thread("slow-measure");
    place_wake_sharply();
    s->result = slow_node_serve(s->node, s->quit_fd, &s->ec);
    return NULL;
}

static int make_node(const struct ground *g, uint32_t factor_milli, const struct slow_measured *m,
                     struct slow_node **ret_node, struct errctx *ec)
{
    const struct slow_range range = { (uint8_t *)g->lines, CHASE_BYTES, g->memfd };
    const struct slow_params params = { .ranges = &range, .n_ranges = 1, .max_users = 1,
                                        .factor_milli = factor_milli,
                                        .cost = m->cost };
    int uffd = -1, r = uffd_open(&uffd, ec);

    if (r == 0)
        r = slow_node_new(&params, uffd, ret_node, ec);
    if (r < 0 && uffd >= 0)
        (void)close(uffd);
    return r;
}

/* Have @look do something while memory is slow. */
static int while_slow(struct ground *g, uint32_t factor_milli, const struct slow_measured *m,
                      uint64_t (*look)(struct ground *g, const struct slow_node *node),
                      uint64_t *ret_seen, struct errctx *ec)
{
    CLEANUP_CLOSE int quit_fd = eventfd(0, EFD_CLOEXEC);
    struct server s = { .quit_fd = quit_fd };
    pthread_t thread;
    int r = quit_fd < 0 ? errctx_set_os(ec, errno, "eventfd") : 0;

    if (r == 0)
        r = make_node(g, factor_milli, m, &s.node, ec);
    if (r < 0)
        return r;
    r = pthread_create(&thread, NULL, serve, &s);
    if (r == 0) {
        *ret_seen = look(g, s.node);
        (void)eventfd_write(quit_fd, 1);
        (void)pthread_join(thread, NULL);
    }
    slow_node_free(s.node);
    if (r != 0)
        return errctx_set_os(ec, r, "thread to measure with");
    return s.result == 0 ? 0 : errctx_set(ec, -s.result, "%s", s.ec.msg);
}

/* --- what a touch costs ------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *list, size_t n)
{
    qsort(list, n, sizeof(*list), compare);
    return n > 0 ? list[n / 2] : 0;
}

static uint64_t time_touch(struct ground *g, uint32_t i)
{
    const uint64_t begin = slow_pages_now_ns();

    (void)*(uint8_t volatile *)((uint8_t *)g->lines + (size_t)i * TOUCH_BYTES);
    return slow_pages_now_ns() - begin;
}

/* Those that are charged because the server chose their pages do not reach the median. The server
 * may not have begun. */
static uint64_t answered_touch(struct ground *g, const struct slow_node *node)
{
    const uint64_t until = slow_pages_now_ns() + TOUCH_NS;
    uint64_t took[TOUCHES];
    struct slow_counts was, is;
    size_t n = 0;

    for (uint32_t i = 0; n < TOUCHES && slow_pages_now_ns() < until; i = (i + 1) % TOUCHES) {
        slow_node_count(node, &was);
        (void)madvise((uint8_t *)g->lines + (size_t)i * TOUCH_BYTES, TOUCH_BYTES, MADV_DONTNEED);
        took[n] = time_touch(g, i);
        slow_node_count(node, &is);
        n += is.spared != was.spared;
    }
    return median(took, n);
}

/* --- the whole ---------------------------------------------------------------------------------- */

/* All pages are out at first, and the chase is not to meet that. */
static uint64_t chase_slow(struct ground *g, const struct slow_node *node)
{
    (void)node;
    for (uint32_t i = 0; i < TOUCHES; i++)
        (void)time_touch(g, i);
    (void)chase(g, WARM_NS);
    return chase(g, LOOK_NS);
}

static uint32_t off_by(uint32_t ratio_milli, uint32_t factor_milli)
{
    const uint32_t apart = ratio_milli > factor_milli ? ratio_milli - factor_milli
                                                      : factor_milli - ratio_milli;

    return (uint32_t)((uint64_t)apart * 1000 / factor_milli);
}

/* Steps before and after: who else uses the processors comes and goes. */
static int compare_steps(struct ground *g, uint32_t factor_milli, struct slow_measured *m,
                         uint32_t *ret_milli, struct errctx *ec)
{
    uint64_t before, slow, after;
    int r;

    (void)chase(g, BASE_NS / 4); /* into the page table and the caches */
    before = chase(g, BASE_NS);
    r = while_slow(g, factor_milli, m, chase_slow, &slow, ec);
    if (r < 0)
        return r;
    (void)chase(g, BASE_NS / 4);
    after = chase(g, BASE_NS);
    m->step_ps = (before + after) / 2;
    *ret_milli = (uint32_t)MIN(slow * 1000 / MAX(m->step_ps, UINT64_C(1)), (uint64_t)UINT32_MAX);
    return 0;
}

/* What @factor_milli is to be that the next ratio is nearer to @asked: what is beyond 1 grows with
 * it. */
static uint32_t correct(uint32_t factor_milli, uint32_t ratio_milli, uint32_t asked)
{
    const double is = (double)MAX(ratio_milli, 1001u) - 1000, wanted = (double)asked - 1000;
    const double by = MIN(MAX(wanted / is, 0.5), 2.0);
    const double next = ((double)factor_milli - 1000) * by;

    return 1000 + (uint32_t)MIN(MAX(next, wanted / 2), wanted * 2);
}

/* The best of some tries: a machine that is busy with other things is off now and then. */
static int try_out(struct ground *g, uint32_t asked, struct slow_measured *m, struct errctx *ec)
{
    struct slow_measured next = *m;

    next.factor_milli = asked;
    for (int i = 0; i < TRIES; i++) {
        int r = compare_steps(g, next.factor_milli, &next, &next.ratio_milli, ec);

        if (r < 0)
            return r;
        if (i == 0 || off_by(next.ratio_milli, asked) < off_by(m->ratio_milli, asked))
            *m = next;
        if (off_by(next.ratio_milli, asked) <= MISS_MILLI)
            break;
        next.factor_milli = correct(next.factor_milli, next.ratio_milli, asked);
    }
    return 0;
}

static int measure(struct ground *g, uint32_t asked, struct slow_measured *m, struct errctx *ec)
{
    int r;

    m->cost.charge_ns = SLOW_CHARGE_MIN_NS;
    r = while_slow(g, asked, m, answered_touch, &m->cost.extra_ns, ec);
    m->cost.extra_ns = MIN(m->cost.extra_ns, (uint64_t)SLOW_CHARGE_MAX_NS);
    m->cost.charge_ns = slow_charge_ns(m->cost.extra_ns);
    return r < 0 ? r : try_out(g, asked, m, ec);
}

int slow_measure(uint32_t factor_milli, struct slow_measured *ret_measured, struct errctx *ec)
{
    struct slow_measured m = { 0 };
    struct ground g;
    int r = make_ground(&g, ec);

    if (r < 0)
        return r;
    r = measure(&g, factor_milli, &m, ec);
    free_ground(&g);
    if (r == 0)
        *ret_measured = m;
    return r;
}
