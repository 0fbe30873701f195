/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_slow.h. */
#include "vmm/machine/machine_slow.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/slow_measure.h"
#include "memory/slow_node.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

_Static_assert((int)CONFIG_SLOW_MIN_MILLI == (int)SLOW_FACTOR_MIN_MILLI &&
                   (int)CONFIG_SLOW_MAX_MILLI == (int)SLOW_FACTOR_MAX_MILLI,
               "what may be said is what can be done");

enum { OFF_BY_PER_CENT = 25 };
enum slow_state { SLOW_IS_OFF, SLOW_IS_ON, SLOW_IS_OVER };

struct slow_thread {
    struct machine_slow *ms;
    const struct config_slow *config;
    struct slow_measured measured;
    struct slow_node *node;
    int word_fd; /* the state changed */
    pthread_t thread;
    bool started;
    atomic_bool failed;  /* ->why was filled before, and stays */
    struct errctx why;
};

struct machine_slow {
    struct machine *machine;
    struct slow_thread *threads; /* n */
    size_t n;
    _Atomic int state; /* enum slow_state */
    sem_t ready;       /* posted when a thread is in its sandbox, or cannot be */
    int result;        /* of that; the thread that was made last */
    struct errctx ec;
};

/* --- the threads -------------------------------------------------------------------------------- */

static int begin_thread(struct slow_thread *t)
{
    struct machine_slow *ms = t->ms;
    const struct sandbox *sandbox = ms->machine->sandbox;
    char name[16];

    (void)snprintf(name, sizeof(name), "slow%u", t->config->vnode);
    place_name_thread(name);
    place_wake_sharply();
    ms->result = sandbox != NULL ? sandbox_enter(sandbox, SANDBOX_SLOW, &ms->ec) : 0;
    return ms->result;
}

static void serve(struct slow_thread *t)
{
    struct pollfd p = { .fd = t->word_fd, .events = POLLIN };
    eventfd_t word;
    int state;

    while ((state = atomic_load(&t->ms->state)) != SLOW_IS_OVER) {
        if (state == SLOW_IS_OFF || atomic_load(&t->failed))
            (void)poll(&p, 1, -1);
        else if (slow_node_serve(t->node, t->word_fd, &t->why) < 0)
            atomic_store(&t->failed, true);
        (void)eventfd_read(t->word_fd, &word);
    }
}

static void *slow_main(void *arg)
{
    struct slow_thread *t = arg;
    const int r = begin_thread(t);

    (void)sem_post(&t->ms->ready);
    if (r == 0)
        serve(t);
    return NULL;
}

static void set_state(struct machine_slow *ms, enum slow_state state)
{
    atomic_store(&ms->state, state);
    for (size_t i = 0; i < ms->n; i++)
        (void)eventfd_write(ms->threads[i].word_fd, 1);
}

int machine_start_slow(struct machine *m, struct errctx *ec)
{
    struct machine_slow *ms = m->slow;

    if (ms == NULL)
        return 0;
    atomic_store(&ms->state, m->config->slow_later ? SLOW_IS_OFF : SLOW_IS_ON);
    for (size_t i = 0; i < ms->n; i++) {
        struct slow_thread *t = &ms->threads[i];
        int r = pthread_create(&t->thread, NULL, slow_main, t);

        if (r != 0)
            return errctx_set_os(ec, r, "thread that makes memory slow");
        t->started = true;
        while (sem_wait(&ms->ready) < 0)
            ; /* interrupted */
        if (ms->result < 0)
            return errctx_set(ec, -ms->result, "thread that makes memory slow: %s", ms->ec.msg);
    }
    return 0;
}

void machine_stop_slow(struct machine *m)
{
    struct machine_slow *ms = m->slow;

    if (ms == NULL)
        return;
    set_state(ms, SLOW_IS_OVER);
    for (size_t i = 0; i < ms->n; i++)
        if (ms->threads[i].started)
            (void)pthread_join(ms->threads[i].thread, NULL);
    machine_free_slow(m);
}

/* --- making ------------------------------------------------------------------------------------- */

static void say(const struct machine *m, const char *what)
{
    if (m->hooks.give_way != NULL)
        m->hooks.give_way(m->hooks.ctx, what);
}

/* What the user should know of it beyond what was asked for. */
static void tell(const struct machine *m, const struct slow_thread *t)
{
    const uint32_t asked = t->config->factor_milli, is = t->measured.ratio_milli;
    const uint32_t apart = is > asked ? is - asked : asked - is;
    char text[256];

    if ((uint64_t)apart * 100 <= (uint64_t)asked * OFF_BY_PER_CENT)
        return;
    (void)snprintf(text, sizeof(text),
                   "--slow: node=%u: a pointer chase %s was slowed %.2f times instead of %.2f; is this "
                   "host busy?", t->config->vnode,
                   t->measured.in_guest ? "in a guest" : "on this host", is / 1000.0,
                   asked / 1000.0);
    say(m, text);
}

static int find_ranges(const struct machine *m, uint32_t vnode, struct slow_range **ret_ranges,
                       size_t *ret_n, struct errctx *ec)
{
    const size_t n_all = guest_mem_n_backings(m->mem);
    CLEANUP_FREE struct slow_range *ranges = calloc(n_all + 1, sizeof(*ranges));
    size_t n = 0;

    if (ranges == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a slow node");
    for (size_t i = 0; i < n_all; i++) {
        const struct backing *b = guest_mem_backing(m->mem, i);

        if (b->plan->vnode.v != vnode)
            continue;
        if (guest_page_bytes(b->plan->pages) > 0)
            return errctx_set(ec, ENOTSUP, "node=%u has pages of %s from a pool, which stay as "
                              "fast as they are", vnode, guest_page_name(b->plan->pages));
        ranges[n++] = (struct slow_range){ b->host, b->len_bytes, b->memfd };
    }
    if (n == 0)
        return errctx_set(ec, ENOENT, "node=%u has no memory", vnode);
    *ret_ranges = take_ptr(ranges);
    *ret_n = n;
    return 0;
}

/* Where userfaultfd is not for us what a fault costs by itself has to do. */
static int open_uffd(const struct machine *m, int *ret_uffd, struct errctx *ec)
{
    struct errctx why = { 0 };
    char text[sizeof(why.msg) + 96];
    const int r = uffd_open(ret_uffd, &why);

    if (r == 0)
        return 0;
    if (r != -EACCES && r != -EPERM && r != -ENOSYS && r != -ENOTSUP)
        return errctx_set(ec, -r, "%s", why.msg);
    (void)snprintf(text, sizeof(text), "--slow: by what faults cost alone, for one vCPU at a time: %s",
                   why.msg);
    say(m, text);
    *ret_uffd = -1;
    return 0;
}

static int make_thread(struct slow_thread *t, struct errctx *ec)
{
    const struct machine *m = t->ms->machine;
    CLEANUP_FREE struct slow_range *ranges = NULL;
    struct slow_params params = { 0 };
    int uffd = -1, r = find_ranges(m, t->config->vnode, &ranges, &params.n_ranges, ec);

    if (r == 0)
        r = open_uffd(m, &uffd, ec);
    if (r == 0)
        r = slow_measure(&m->sys, uffd >= 0, t->config->factor_milli, &t->measured, ec);
    if (r < 0) {
        if (uffd >= 0)
            (void)close(uffd);
        return errctx_wrap(ec, r, "--slow");
    }
    params.ranges = ranges;
    params.factor_milli = t->measured.factor_milli;
    params.max_users = (uint32_t)m->plan->n_vcpus;
    params.cost = t->measured.cost;
    r = slow_node_new(&params, uffd, &t->node, ec);
    if (r < 0 && uffd >= 0)
        (void)close(uffd);
    if (r == 0)
        tell(m, t);
    return r;
}

static int make_threads(struct machine_slow *ms, struct errctx *ec)
{
    for (size_t i = 0; i < ms->n; i++)
        ms->threads[i] = (struct slow_thread){ .ms = ms, .config = &ms->machine->config->slow[i],
                                               .word_fd = -1 };
    for (size_t i = 0; i < ms->n; i++) {
        struct slow_thread *t = &ms->threads[i];
        int r;

        t->word_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (t->word_fd < 0)
            return errctx_set_os(ec, errno, "eventfd");
        r = make_thread(t, ec);
        if (r < 0)
            return r;
    }
    return 0;
}

int machine_make_slow(struct machine *m, struct errctx *ec)
{
    struct machine_slow *ms;
    int r;

    if (m->config->n_slow == 0)
        return 0;
    ms = calloc(1, sizeof(*ms));
    if (ms == NULL)
        return errctx_set(ec, ENOMEM, "no memory for slow nodes");
    (void)sem_init(&ms->ready, 0, 0);
    ms->machine = m;
    m->slow = ms;
    ms->threads = calloc(m->config->n_slow, sizeof(*ms->threads));
    ms->n = ms->threads != NULL ? m->config->n_slow : 0;
    r = ms->threads == NULL ? errctx_set(ec, ENOMEM, "no memory for slow nodes")
                            : make_threads(ms, ec);
    if (r < 0)
        machine_free_slow(m);
    return r;
}

void machine_free_slow(struct machine *m)
{
    struct machine_slow *ms = m->slow;

    if (ms == NULL)
        return;
    for (size_t i = 0; i < ms->n; i++) {
        slow_node_free(ms->threads[i].node);
        if (ms->threads[i].word_fd >= 0)
            (void)close(ms->threads[i].word_fd);
    }
    free(ms->threads);
    (void)sem_destroy(&ms->ready);
    free(ms);
    m->slow = NULL;
}

bool machine_is_slow(const struct machine *m, struct vnode_id vnode)
{
    for (size_t i = 0; m->slow != NULL && i < m->slow->n; i++)
        if (m->slow->threads[i].config->vnode == vnode.v)
            return true;
    return false;
}

/* --- control ------------------------------------------------------------------------------------ */

static json_t *thread_json(const struct slow_thread *t)
{
    struct slow_counts c;

    slow_node_count(t->node, &c);
    return json_pack("{s:i, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:i, s:s}", "id",
                     (int)t->config->vnode, "factor", t->config->factor_milli / 1000.0, "measured",
                     t->measured.ratio_milli / 1000.0, "charged",
                     (json_int_t)c.charged, "spared", (json_int_t)c.spared, "waited",
                     (json_int_t)c.waited_ns, "taken", (json_int_t)c.taken, "in_use",
                     (json_int_t)c.in_use, "users", (int)c.users, "why",
                     atomic_load(&t->failed) ? t->why.msg : "");
}

int machine_slow(struct machine *m, enum machine_slow_wish wish, json_t **ret_json,
                 struct errctx *ec)
{
    struct machine_slow *ms = m->slow;
    json_t *nodes, *answer;

    if (ms == NULL)
        return errctx_set(ec, ENODEV, "this machine was not started with --slow");
    if (wish != MACHINE_SLOW_TELL)
        set_state(ms, wish == MACHINE_SLOW_ON ? SLOW_IS_ON : SLOW_IS_OFF);
    nodes = json_array();
    for (size_t i = 0; i < ms->n; i++)
        (void)json_array_append_new(nodes, thread_json(&ms->threads[i]));
    answer = json_pack("{s:s, s:b, s:o}", "name", m->config->name, "on",
                       atomic_load(&ms->state) == SLOW_IS_ON, "nodes", nodes);
    if (answer == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the answer");
    *ret_json = answer;
    return 0;
}
