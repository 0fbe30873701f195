/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that serves a slow node. See slow_node.h. */
#include "memory/slow_node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/slow_pages.h"
#include "vmm/base/macros.h"

enum {
    WAITING_MAX = 4096,  /* touches that wait at a time; more are not charged */
    CHOSEN_MAX = 32768,  /* times that pages were chosen, and are remembered */
    CHOSEN_TICKS = 10,   /* what is not touched for so long is not in use, */
    CHOSEN_NS = 1000000000, /* ... and for so long */
    CHOOSE_AT_ONCE = 4,  /* between two looks for touches */
    LOOK_SHARE = 20,     /* of a tick, for new pages: one of so many parts */
    WATCH_NS = 250000,   /* between two looks for touches that nobody tells of */
    WATCH_PAGES = 4096,  /* ... among those that are out, at a time */
};

struct waiting {
    uint32_t page;
    uint64_t seen_ns, due_ns;
};

struct chosen {
    uint32_t page, n; /* some of so many side by side */
    uint64_t at_ns;
};

/* Queues; ->first and ->end only grow. */
struct slow_node {
    struct slow_params params;
    struct slow_pages pages;
    int uffd;       /* -1: without, and */
    int pagemap_fd; /* ... by this; else -1 */
    struct slow slow;
    struct waiting waiting[WAITING_MAX]; /* all wait as long, so by ->due_ns, too */
    uint32_t waiting_first, waiting_end;
    struct chosen *chosen; /* CHOSEN_MAX */
    uint32_t chosen_first, chosen_end;
    uint64_t choose_at_ns, tick_at_ns;
    uint32_t watch_at; /* page */
    _Atomic uint64_t n_charged, n_spared, waited_ns, spared_ns, n_taken, n_in_use;
    _Atomic uint32_t users;
};

int slow_node_new(const struct slow_params *params, int uffd, struct slow_node **ret_node,
                  struct errctx *ec)
{
    struct slow_node *node = calloc(1, sizeof(*node));
    int r = -ENOMEM;

    if (node != NULL) {
        node->uffd = node->pagemap_fd = -1;
        node->params = *params;
        node->params.ranges = NULL; /* the caller's; ours are in pages */
        node->chosen = calloc(CHOSEN_MAX, sizeof(*node->chosen));
        r = node->chosen == NULL
                ? -ENOMEM
                : slow_pages_init(params->ranges, params->n_ranges, &node->pages);
    }
    if (r < 0) {
        slow_node_free(node);
        return errctx_set(ec, -r, "no memory for what is known of a slow node's pages");
    }
    if (uffd < 0)
        node->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (uffd < 0 && node->pagemap_fd < 0) {
        r = errctx_set_os(ec, errno, "open /proc/self/pagemap");
        slow_node_free(node);
        return r;
    }
    node->uffd = uffd;
    *ret_node = node;
    return 0;
}

void slow_node_free(struct slow_node *node)
{
    if (node == NULL)
        return;
    if (node->uffd >= 0)
        (void)close(node->uffd);
    if (node->pagemap_fd >= 0)
        (void)close(node->pagemap_fd);
    slow_pages_fini(&node->pages);
    free(node->chosen);
    free(node);
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
    (void)atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

/* --- touches ---------------------------------------------------------------------------------- */

/* A page that is mapped already, or went from the file meanwhile: who waits tries again. */
static void answer(struct slow_node *node, uint32_t page, uint32_t n)
{
    uint8_t *at = slow_pages_address(&node->pages, page, NULL);

    if (uffd_continue(node->uffd, at, (size_t)n * SLOW_PAGE) < 0)
        uffd_wake(node->uffd, at, (size_t)n * SLOW_PAGE);
    slow_pages_come(&node->pages, page, n);
}

static void answer_free(struct slow_node *node, uint32_t page, uint64_t seen_ns)
{
    uint64_t waited;

    answer(node, page, slow_pages_around(&node->pages, page));
    waited = slow_pages_now_ns() - seen_ns;
    slow_answered_free(&node->slow, waited);
    add(&node->n_spared, 1);
    add(&node->spared_ns, waited);
}

static void touched(struct slow_node *node, uint32_t page, uint64_t now)
{
    const enum slow_page_state state = node->pages.state[page];
    uint64_t charge;

    if (state == SLOW_WAITING)
        return; /* another thread's, which goes on with the first */
    charge = (state == SLOW_CHOSEN || state == SLOW_OUT) &&
                     node->waiting_end - node->waiting_first < WAITING_MAX
                 ? slow_touch(&node->slow, now)
                 : 0;
    if (charge == 0) {
        answer_free(node, page, now);
        return;
    }
    slow_pages_wait(&node->pages, page);
    node->waiting[node->waiting_end++ % WAITING_MAX] =
        (struct waiting){ .page = page, .seen_ns = now, .due_ns = now + charge };
}

static void hear(struct slow_node *node)
{
    struct uffd_fault fault[UFFD_BATCH];
    uint32_t page;
    size_t n;

    while ((n = uffd_read(node->uffd, fault)) > 0)
        for (size_t i = 0; i < n; i++)
            if (slow_pages_find(&node->pages, fault[i].addr, &page))
                touched(node, page, slow_pages_now_ns());
}

static void let_go(struct slow_node *node, uint64_t until_ns)
{
    while (node->waiting_first != node->waiting_end) {
        const struct waiting *w = &node->waiting[node->waiting_first % WAITING_MAX];
        uint64_t now;

        if (w->due_ns > until_ns)
            return;
        answer(node, w->page, 1);
        now = slow_pages_now_ns();
        slow_answered(&node->slow, now, now - w->seen_ns);
        add(&node->n_charged, 1);
        add(&node->waited_ns, now - w->seen_ns);
        node->waiting_first++;
    }
}

/* --- touches that the kernel serves -------------------------------------------------------------- */

static void charge_all(struct slow_node *node, uint32_t n)
{
    const uint64_t now = slow_pages_now_ns(), each = node->params.cost.extra_ns;

    for (uint32_t i = 0; i < n; i++) {
        (void)slow_touch(&node->slow, now);
        slow_answered_free(&node->slow, 0);
    }
    add(&node->n_charged, n);
    add(&node->waited_ns, n * each);
}

static bool is_chosen(const struct slow_node *node, const struct chosen *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (node->pages.state[c->page + i] == SLOW_CHOSEN)
            return true;
    return false;
}

/* Of those that were chosen, all; what has come back as a whole is forgotten. */
static void watch(struct slow_node *node)
{
    uint32_t end = node->chosen_first, came = 0;

    for (uint32_t i = node->chosen_first; i != node->chosen_end; i++) {
        const struct chosen c = node->chosen[i % CHOSEN_MAX];

        came += slow_pages_returned(&node->pages, node->pagemap_fd, c.page, c.n);
        if (is_chosen(node, &c))
            node->chosen[end++ % CHOSEN_MAX] = c;
    }
    node->chosen_end = end;
    charge_all(node, came);
}

/* Of all the others a part: who was not in use may be again. */
static void watch_others(struct slow_node *node)
{
    const uint32_t n = MIN(node->pages.n - node->watch_at, (uint32_t)WATCH_PAGES);

    charge_all(node, slow_pages_returned(&node->pages, node->pagemap_fd, node->watch_at, n));
    node->watch_at = (node->watch_at + n) % node->pages.n;
}

/* --- taking pages out ------------------------------------------------------------------------- */

static void forget(struct slow_node *node)
{
    const struct chosen *c = &node->chosen[node->chosen_first++ % CHOSEN_MAX];

    for (uint32_t i = 0; i < c->n; i++)
        slow_pages_forget(&node->pages, c->page + i);
}

static void forget_until(struct slow_node *node, uint64_t at_ns)
{
    while (node->chosen_first != node->chosen_end &&
           node->chosen[node->chosen_first % CHOSEN_MAX].at_ns <= at_ns)
        forget(node);
}

static void choose(struct slow_node *node, uint64_t now)
{
    const uint64_t tick = slow_tick_ns(&node->slow);

    if (node->choose_at_ns + tick < now)
        node->choose_at_ns = now - tick; /* what was missed longer ago is not made up for */
    for (int i = 0; i < CHOOSE_AT_ONCE && node->choose_at_ns <= now; i++) {
        const uint32_t most = slow_may_take(&node->slow, now);
        uint32_t first, span, n = 0;

        if (most > 0)
            n = slow_pages_choose(&node->pages, most, &first, &span);
        node->choose_at_ns += slow_zap_ns(&node->slow);
        if (n == 0)
            continue;
        add(&node->n_taken, n);
        if (node->chosen_end - node->chosen_first == CHOSEN_MAX)
            forget(node);
        node->chosen[node->chosen_end++ % CHOSEN_MAX] = (struct chosen){ first, span, now };
    }
}

static void tick(struct slow_node *node, uint64_t now)
{
    const uint64_t every = slow_tick_ns(&node->slow);
    const uint64_t kept = MAX(every * CHOSEN_TICKS, (uint64_t)CHOSEN_NS);
    uint64_t in_use;

    node->tick_at_ns = now + every;
    forget_until(node, now - MIN(now, kept));
    slow_pages_look(&node->pages, now + every / LOOK_SHARE);
    if (node->uffd < 0)
        watch_others(node);
    in_use = (uint64_t)node->pages.n_mapped + node->pages.n_chosen;
    slow_tick(&node->slow, now, in_use);
    atomic_store(&node->n_in_use, in_use);
    atomic_store(&node->users, node->slow.users);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Return: false when it is over. */
static bool pass_time(int quit_fd, int uffd, uint64_t until_ns)
{
    struct pollfd fds[2] = { { .fd = quit_fd, .events = POLLIN },
                             { .fd = uffd, .events = POLLIN } }; /* -1 is passed over */
    const uint64_t now = slow_pages_now_ns(), left = until_ns > now ? until_ns - now : 0;
    const struct timespec wait = { .tv_sec = (time_t)(left / 1000000000u),
                                   .tv_nsec = (long)(left % 1000000000u) };

    return ppoll(fds, 2, &wait, NULL) <= 0 || (fds[0].revents & POLLIN) == 0;
}

static uint64_t next_ns(const struct slow_node *node)
{
    uint64_t next = node->tick_at_ns;

    if (node->pages.n_mapped > 0)
        next = MIN(next, node->choose_at_ns);
    if (node->uffd < 0 && node->pages.n_chosen > 0)
        next = MIN(next, slow_pages_now_ns() + WATCH_NS);
    if (node->waiting_first != node->waiting_end)
        next = MIN(next, node->waiting[node->waiting_first % WAITING_MAX].due_ns);
    return next;
}

static int join_all(struct slow_node *node, struct errctx *ec)
{
    if (node->uffd < 0)
        return 0;
    for (size_t i = 0; i < node->pages.n_ranges; i++) {
        const struct slow_range *range = &node->pages.ranges[i];
        int r = uffd_register_minor(node->uffd, range->host, range->len_bytes, ec);

        if (r == 0)
            continue;
        while (i > 0) {
            range = &node->pages.ranges[--i];
            (void)uffd_unregister(node->uffd, range->host, range->len_bytes, NULL);
        }
        return r;
    }
    return 0;
}

static void leave_all(struct slow_node *node)
{
    /* The kernel wakes by itself only who waits for a page that is missing. */
    for (size_t i = 0; node->uffd >= 0 && i < node->pages.n_ranges; i++) {
        const struct slow_range *range = &node->pages.ranges[i];

        (void)uffd_unregister(node->uffd, range->host, range->len_bytes, NULL);
        uffd_wake(node->uffd, range->host, range->len_bytes);
    }
    /* Whoever waits tries again, and finds nobody to wait for. */
    while (node->waiting_first != node->waiting_end)
        slow_pages_come(&node->pages, node->waiting[node->waiting_first++ % WAITING_MAX].page, 1);
    forget_until(node, UINT64_MAX);
}

int slow_node_serve(struct slow_node *node, int quit_fd, struct errctx *ec)
{
    const struct slow_params *p = &node->params;
    uint64_t now = slow_pages_now_ns();
    int r = join_all(node, ec);

    if (r < 0)
        return r;
    slow_init(&node->slow, p->factor_milli, &p->cost, p->max_users, now);
    slow_pages_reset(&node->pages);
    node->choose_at_ns = node->tick_at_ns = now;
    do {
        if (node->uffd >= 0)
            hear(node);
        else
            watch(node);
        now = slow_pages_now_ns();
        let_go(node, now);
        if (now >= node->tick_at_ns)
            tick(node, now);
        choose(node, now);
    } while (pass_time(quit_fd, node->uffd, next_ns(node)));
    leave_all(node);
    return 0;
}

void slow_node_count(const struct slow_node *node, struct slow_counts *ret_counts)
{
    *ret_counts = (struct slow_counts){
        .charged = atomic_load(&node->n_charged),
        .spared = atomic_load(&node->n_spared),
        .waited_ns = atomic_load(&node->waited_ns),
        .spared_ns = atomic_load(&node->spared_ns),
        .taken = atomic_load(&node->n_taken),
        .in_use = atomic_load(&node->n_in_use),
        .users = atomic_load(&node->users),
    };
}
