/* SPDX-License-Identifier: Apache-2.0 */
/* See slow_measure.h. */
#include "memory/slow_measure.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/slow_chase.h"
#include "memory/slow_node.h"
#include "memory/slow_pages.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"

enum {
    TRIES = 5,
    TOUCH_ROUNDS = 2,
    TOUCH_FACTOR_MILLI = 2000, /* half the time: neither side of the difference is small */
    LOOK_CHARGES = 40,
    EXTRA_MIN_NS = 500,
    MISS_MILLI = 120,          /* further off than that is worth another try */
};
#define MOST_MORE      1.25
#define FIRST_TOUCH_NS UINT64_C(20000)     /* a guess */
#define WARM_NS        UINT64_C(150000000)
#define BASE_NS        UINT64_C(200000000)
#define LOOK_NS        UINT64_C(300000000)

/* --- with it slow ------------------------------------------------------------------------------- */

struct server {
    struct slow_node *node;
    int quit_fd;
    int result;
    struct errctx ec;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;

    place_name_thread("slow-measure");
    place_wake_sharply();
    s->result = slow_node_serve(s->node, s->quit_fd, &s->ec);
    return NULL;
}

/* What is measured with. */
struct ground {
    struct slow_chase *chase;
    bool by_uffd;
};

static int make_node(const struct ground *g, uint32_t factor_milli,
                     const struct slow_cost *cost, struct slow_node **ret_node, struct errctx *ec)
{
    const struct slow_range range = slow_chase_range(g->chase);
    const struct slow_params params = { .ranges = &range, .n_ranges = 1, .max_users = 1,
                                        .factor_milli = factor_milli, .cost = *cost };
    int uffd = -1, r = g->by_uffd ? uffd_open(&uffd, ec) : 0;

    if (r == 0)
        r = slow_node_new(&params, uffd, ret_node, ec);
    if (r < 0 && uffd >= 0)
        (void)close(uffd);
    return r;
}

/* What was seen for a while. */
struct look {
    uint64_t ns, step_ps;
    uint64_t touches, seen_ns; /* ... that who answers saw them wait */
};

static void take_look(const struct ground *g, const struct slow_node *node, uint64_t ns,
                      struct look *ret_look)
{
    const uint64_t begin = slow_pages_now_ns();
    struct slow_counts was, is;

    slow_node_count(node, &was);
    ret_look->step_ps = slow_chase_step_ps(g->chase, ns);
    slow_node_count(node, &is);
    ret_look->ns = slow_pages_now_ns() - begin;
    ret_look->touches = is.spared - was.spared + is.charged -
                        was.charged;
    ret_look->seen_ns = is.spared_ns - was.spared_ns;
}

static int look_while_slow(const struct ground *g, uint32_t factor_milli,
                           const struct slow_cost *cost, struct look *ret_look, struct errctx *ec)
{
    const uint64_t unit = (cost->charge_ns + cost->extra_ns) * LOOK_CHARGES;
    CLEANUP_CLOSE int quit_fd = eventfd(0, EFD_CLOEXEC);
    struct server s = { .quit_fd = quit_fd };
    int r = quit_fd < 0 ? errctx_set_os(ec, errno, "eventfd") : 0;

    if (r == 0)
        r = make_node(g, factor_milli, cost, &s.node, ec);
    if (r < 0)
        return r;
    r = pthread_create(&s.thread, NULL, serve, &s);
    if (r == 0) {
        (void)slow_chase_step_ps(g->chase, MAX(WARM_NS, unit / 4));
        take_look(g, s.node, MAX(LOOK_NS, unit), ret_look);
        (void)eventfd_write(quit_fd, 1);
        (void)pthread_join(s.thread, NULL);
    }
    slow_node_free(s.node);
    if (r != 0)
        return errctx_set_os(ec, r, "thread to measure with");
    if (s.result < 0)
        return errctx_set(ec, -s.result, "%s", s.ec.msg);
    return ret_look->step_ps > 0 ? 0 : errctx_set(ec, EIO, "memory to measure with is never "
                                                           "answered for");
}

/* Steps before and after: who else uses the processors comes and goes. */
static int compare(const struct ground *g, uint32_t factor_milli,
                   const struct slow_cost *cost, uint64_t *ret_base_ps, struct look *ret_look,
                   struct errctx *ec)
{
    uint64_t before, after;
    int r;

    before = slow_chase_step_ps(g->chase, BASE_NS);
    r = look_while_slow(g, factor_milli, cost, ret_look, ec);
    if (r < 0)
        return r;
    (void)slow_chase_step_ps(g->chase, BASE_NS / 4); /* into page tables and caches */
    after = slow_chase_step_ps(g->chase, BASE_NS);
    if (before == 0 || after == 0)
        return errctx_set(ec, EIO, "a pointer chase to measure with does not get on");
    *ret_base_ps = (before + after) / 2;
    return 0;
}

/* --- what a touch costs ------------------------------------------------------------------------- */

/* What the chase lacked, by touches; 0: less than can be seen. */
static uint64_t cost_of_touch(const struct look *look, uint64_t base_ps)
{
    if (look->touches == 0 || look->step_ps <= base_ps)
        return 0;
    return (uint64_t)((double)look->ns * (1 - (double)base_ps / (double)look->step_ps) /
                      (double)look->touches);
}

/* ... without what who answers them sees of it. */
static uint64_t extra_of_touch(const struct look *look, uint64_t touch_ns)
{
    const uint64_t seen = look->seen_ns / look->touches;

    return MIN(MAX(touch_ns - MIN(touch_ns, seen), (uint64_t)EXTRA_MIN_NS),
               (uint64_t)SLOW_CHARGE_MAX_NS);
}

/* With nothing but touches that are answered at once. */
static int measure_touch(const struct ground *g, struct slow_measured *m, struct errctx *ec)
{
    struct slow_cost cost = { .extra_ns = FIRST_TOUCH_NS,
                              .burst_ns = g->by_uffd ? 0 : SLOW_CHARGE_MIN_NS };

    for (int i = 0; i < TOUCH_ROUNDS; i++) {
        struct look look = { 0 };
        int r = compare(g, TOUCH_FACTOR_MILLI, &cost, &m->step_ps, &look, ec);

        if (r < 0)
            return r;
        m->touch_ns = cost_of_touch(&look, m->step_ps);
        if (m->touch_ns == 0)
            break;
        cost.extra_ns = extra_of_touch(&look, m->touch_ns);
    }
    m->cost = cost;
    m->cost.charge_ns = g->by_uffd ? slow_charge_ns(m->touch_ns) : 0;
    return 0;
}

/* --- the whole ---------------------------------------------------------------------------------- */

static uint32_t off_by(uint32_t ratio_milli, uint32_t factor_milli)
{
    const uint32_t apart = ratio_milli > factor_milli ? ratio_milli - factor_milli
                                                      : factor_milli - ratio_milli;

    return (uint32_t)((uint64_t)apart * 1000 / factor_milli);
}

/* What @factor_milli is to be that the next ratio is nearer to @asked: what is beyond 1 grows with
 * it. Little more than asked for, however little came out of it on a busy host: it is what nobody is to
 * wait beyond. */
static uint32_t correct(uint32_t factor_milli, uint32_t ratio_milli, uint32_t asked)
{
    const double is = (double)MAX(ratio_milli, 1001u) - 1000, wanted = (double)asked - 1000;
    const double by = MIN(MAX(wanted / is, 0.5), 2.0);
    const double next = ((double)factor_milli - 1000) * by;

    return 1000 + (uint32_t)MIN(MAX(next, wanted / 2), wanted * MOST_MORE);
}

/* With charges it is their share that is off; without, what a touch costs differs by how frequent they
 * are. */
static void correct_all(const struct ground *g, const struct look *look, uint32_t asked,
                        struct slow_measured *m)
{
    const uint64_t touch_ns = cost_of_touch(look, m->step_ps);

    if (g->by_uffd)
        m->factor_milli = correct(m->factor_milli, m->ratio_milli, asked);
    else if (touch_ns > 0)
        m->cost.extra_ns = extra_of_touch(look, touch_ns);
}

/* The best of some tries: a machine that is busy with other things is off now and then. */
static int try_out(const struct ground *g, uint32_t asked, struct slow_measured *m,
                   struct errctx *ec)
{
    struct slow_measured next = *m;

    next.factor_milli = asked;
    for (int i = 0; i < TRIES; i++) {
        struct look look = { 0 };
        int r = compare(g, next.factor_milli, &next.cost, &next.step_ps, &look, ec);

        if (r < 0)
            return r;
        next.ratio_milli = (uint32_t)MIN(look.step_ps * 1000 / next.step_ps, (uint64_t)UINT32_MAX);
        if (i == 0 || off_by(next.ratio_milli, asked) < off_by(m->ratio_milli, asked))
            *m = next;
        if (off_by(next.ratio_milli, asked) <= MISS_MILLI)
            break;
        correct_all(g, &look, asked, &next);
    }
    return 0;
}

static int measure(const struct kvm_sys *sys, bool by_uffd, uint32_t asked,
                   struct slow_measured *m, struct errctx *ec)
{
    struct ground g = { .by_uffd = by_uffd };
    int r = slow_chase_start(sys, &g.chase, ec);

    if (r < 0)
        return r;
    m->in_guest = slow_chase_in_guest(g.chase);
    (void)slow_chase_step_ps(g.chase, WARM_NS);
    r = measure_touch(&g, m, ec);
    if (r == 0)
        r = try_out(&g, asked, m, ec);
    slow_chase_stop(g.chase);
    return r;
}

int slow_measure(const struct kvm_sys *sys, bool by_uffd, uint32_t factor_milli,
                 struct slow_measured *ret_measured, struct errctx *ec)
{
    struct slow_measured m = { 0 };
    int r = measure(sys, by_uffd, factor_milli, &m, ec);

    if (r == -EIO && m.in_guest) { /* it does not run there, or not on */
        m = (struct slow_measured){ 0 };
        r = measure(NULL, by_uffd, factor_milli, &m, ec);
    }
    if (r == 0)
        *ret_measured = m;
    return r;
}
