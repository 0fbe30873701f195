/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mover: a thread that sleeps until it is given a move, and what the main loop does when one is
 * over. See machine_move.h.
 *
 * A job belongs to the mover's thread from machine_move() until its message is_over() runs on the
 * main loop, results included. What both look at before is a copy, under the lock.
 */
#include "vmm/machine/machine_move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory/mem_move.h"
#include "memory/pager/pager.h"
#include "memory/policy/move_policy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"
#include "vmm/topology/ledger.h"

struct mover {
    struct machine *machine;
    pthread_t thread;
    sem_t ready; /* the thread is in its sandbox, or cannot be */
    int result;  /* valid once ready */
    struct errctx ec;

    pthread_mutex_t lock; /* a leaf; covers what follows */
    pthread_cond_t wake;  /* the mover: something below changed */
    bool quit, held;
    bool working; /* on pages, at this moment */
    enum mem_move_word word;
    struct mem_move *todo; /* handed over to the mover's thread */
    struct mem_move_progress progress;

    /* main thread */
    struct mem_move *job; /* from machine_move() until it is over; the mover's thread uses it */
    struct machine_move_request request; /* of the present or the last move */
    bool any, over;
    bool breaks;    /* it was forced, and had to be */
    struct stand_wish follows; /* once memory has arrived */
    int job_result; /* of mem_move_run(); job_ec has its sentence */
    struct errctx job_ec;
};

static void stand_locked(struct mover *mv)
{
    mv->working = false;
    if (mv->held)
        machine_stand_tell(mv->machine);
}

/* Wait for a word, for @ready_ns, and while held. With the lock. */
static void wait_locked(struct mover *mv, uint64_t ready_ns)
{
    const struct timespec until = { .tv_sec = (time_t)(ready_ns / 1000000000u),
                                    .tv_nsec = (long)(ready_ns % 1000000000u) };

    stand_locked(mv);
    while (!mv->quit) {
        if (mv->held)
            (void)pthread_cond_wait(&mv->wake, &mv->lock);
        else if (mv->word == MEM_MOVE_GO && evloop_now_ns() < ready_ns)
            (void)pthread_cond_timedwait(&mv->wake, &mv->lock, &until);
        else
            break;
    }
    mv->working = !mv->quit;
}

static enum mem_move_word between(void *ctx, const struct mem_move_progress *progress,
                                  uint64_t ready_ns)
{
    struct mover *mv = ctx;
    enum mem_move_word word;
    LOCK_SCOPE(&mv->lock);

    mv->progress = *progress;
    if (mv->held || mv->quit || (ready_ns > 0 && ready_ns > evloop_now_ns()))
        wait_locked(mv, ready_ns);
    word = mv->quit ? MEM_MOVE_QUIT : mv->word;
    mv->word = MEM_MOVE_GO;
    return word;
}

/* --- main loop -------------------------------------------------------------------------------- */

static const struct idset *cpus_of(const struct machine *m, struct hnode_id node)
{
    for (size_t i = 0; i < m->plan->n_hosts; i++)
        if (m->plan->hosts[i].id.v == node.v)
            return &m->plan->hosts[i].cpus;
    return NULL;
}

/* One sentence about how a move ended that did not arrive; "" for others. */
static void explain(const struct mover *mv, const struct mem_move_progress *p, char *buf,
                    size_t size)
{
    buf[0] = '\0';
    if (!mv->over || p->phase == MOVE_ARRIVED)
        return;
    if (mv->job_result < 0)
        (void)snprintf(buf, size, "%s", mv->job_ec.msg);
    else if (p->was_full)
        (void)snprintf(buf, size, "host node %u has no room for more", mv->request.to.v);
    else if (p->cancelled)
        (void)snprintf(buf, size, "cancelled");
    else
        (void)snprintf(buf, size, "some pages are in use");
}

static void finish(struct mover *mv)
{
    const struct mem_move_progress *p = mem_move_progress(mv->job);
    struct machine *m = mv->machine;
    char why[ERRCTX_MSG_MAX];

    if (m->hooks.moved != NULL)
        m->hooks.moved(m->hooks.ctx, mv->request.vnode, mv->request.to, p->phase == MOVE_ARRIVED);
    {
        LOCK_SCOPE(&mv->lock);
        mv->progress = *p;
    }
    mem_move_free(mv->job);
    mv->job = NULL;
    machine_pager_release(m);
    mv->over = true;
    explain(mv, &mv->progress, why, sizeof(why));
    machine_balancer_moved(m, mv->request.vnode, mv->request.to,
                           mv->progress.phase == MOVE_ARRIVED, why);
}

static void follow(struct stand_wish *wish, bool stands)
{
    struct mover *mv = container_of(wish, struct mover, follows);
    const struct machine_move_request *req = &mv->request;
    struct machine *m = mv->machine;
    struct errctx ec = { 0 };

    if (!stands) /* nobody needs it any more */
        return;
    if (machine_follow(m, req->vnode, req->to, cpus_of(m, req->to), &ec) < 0)
        machine_request_end(m, MACHINE_END_FAILURE, 0, ec.msg);
    finish(mv);
}

/* Memory is where it stays: the rest follows. */
static void is_over(void *ctx)
{
    struct mover *mv = ctx;
    struct machine *m = mv->machine;

    if (mv->job == NULL)
        return;
    mem_move_record(mv->job, m->mem);
    if (mem_move_progress(mv->job)->phase != MOVE_ARRIVED) {
        finish(mv);
        return;
    }
    (mv->breaks ? idset_add : idset_del)(&m->forced, mv->request.vnode.v);
    mv->follows = (struct stand_wish){ .level = STAND_VCPUS, .run = follow };
    machine_stand_ask(m, &mv->follows);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* While what was evicted of the node is moved. Its end is part of the move, but cannot be
 * cancelled. */
struct store_move {
    struct mover *mv;
    struct move_rate rate;
    uint64_t began_ns, done_bytes; /* of the present part; so far */
};

static bool between_parts(void *ctx, uint64_t done_bytes)
{
    struct store_move *sm = ctx;
    struct mover *mv = sm->mv;
    LOCK_SCOPE(&mv->lock);

    move_rate_spend(&sm->rate, sm->began_ns, done_bytes - sm->done_bytes);
    sm->done_bytes = done_bytes;
    mv->word = MEM_MOVE_GO;
    if (mv->held || mv->quit || sm->rate.ready_ns > evloop_now_ns())
        wait_locked(mv, sm->rate.ready_ns);
    sm->began_ns = evloop_now_ns();
    return !mv->quit;
}

static void move_store(struct mover *mv)
{
    static const struct pager_follow_ops ops = { .between = between_parts };
    struct store_move sm = { .mv = mv, .rate = { .bytes_per_s = mv->request.bytes_per_s },
                             .began_ns = evloop_now_ns() };

    /* Where it cannot go it stays, and serves from there. */
    (void)machine_pager_follow_memory(mv->machine, mv->request.vnode, mv->request.to, &ops, &sm,
                                      NULL);
}

static void run_job(struct mover *mv, struct mem_move *job)
{
    static const struct mem_move_ops ops = { .between = between };
    struct errctx ec = { 0 };
    const int r = mem_move_run(job, &ops, mv, &ec);

    if (r == 0 && mem_move_progress(job)->phase == MOVE_ARRIVED)
        move_store(mv);
    {
        LOCK_SCOPE(&mv->lock);
        mv->job_result = r;
        mv->job_ec = ec;
        stand_locked(mv);
        if (mv->quit)
            return;
    }
    if (evloop_post(mv->machine->main_loop, is_over, mv) < 0)
        machine_request_end(mv->machine, MACHINE_END_FAILURE, 0, "no memory to end a move");
}

/* The next job, or NULL to end. */
static struct mem_move *next_job(struct mover *mv)
{
    struct mem_move *job;
    LOCK_SCOPE(&mv->lock);

    while (!mv->quit && (mv->held || mv->todo == NULL))
        (void)pthread_cond_wait(&mv->wake, &mv->lock);
    if (mv->quit)
        return NULL;
    mv->working = true;
    job = mv->todo;
    mv->todo = NULL;
    return job;
}

static void *mover_main(void *arg)
{
    struct mover *mv = arg;
    const struct sandbox *sandbox = mv->machine->sandbox;
    struct mem_move *job;

    place_name_thread("mover");
    mv->result = sandbox != NULL ? sandbox_enter(sandbox, SANDBOX_MOVER, &mv->ec) : 0;
    (void)sem_post(&mv->ready);
    while (mv->result == 0 && (job = next_job(mv)) != NULL)
        run_job(mv, job);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

static int make_places(struct machine *m, struct errctx *ec)
{
    m->places = calloc(m->plan->n_nodes, sizeof(m->places[0]));
    m->pins = calloc(m->plan->n_vcpus + 1, sizeof(m->pins[0]));
    if (m->places == NULL || m->pins == NULL) {
        free(m->places);
        free(m->pins);
        m->places = NULL;
        m->pins = NULL;
        return errctx_set(ec, ENOMEM, "no memory for moving");
    }
    if (m->plan->n_vcpus > 0)
        memcpy(m->pins, m->plan->vcpus, m->plan->n_vcpus * sizeof(m->pins[0]));
    for (size_t i = 0; i < m->plan->n_nodes; i++)
        (void)pthread_mutex_init(&m->places[i].lock, NULL);
    return 0;
}

static void free_places(struct machine *m)
{
    for (size_t i = 0; m->places != NULL && i < m->plan->n_nodes; i++)
        (void)pthread_mutex_destroy(&m->places[i].lock);
    free(m->places);
    m->places = NULL;
    free(m->pins);
    m->pins = NULL;
}

static void free_mover(struct mover *mv)
{
    mem_move_free(mv->job);
    (void)pthread_cond_destroy(&mv->wake);
    (void)pthread_mutex_destroy(&mv->lock);
    (void)sem_destroy(&mv->ready);
    free(mv);
}

static struct mover *new_mover(struct machine *m)
{
    struct mover *mv = calloc(1, sizeof(*mv));
    pthread_condattr_t attr;

    if (mv == NULL)
        return NULL;
    mv->machine = m;
    (void)sem_init(&mv->ready, 0, 0);
    (void)pthread_mutex_init(&mv->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&mv->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    return mv;
}

int machine_start_mover(struct machine *m, struct errctx *ec)
{
    struct mover *mv;
    int r;

    if (m->plan->n_hosts < 2)
        return 0;
    r = make_places(m, ec);
    if (r < 0)
        return r;
    mv = new_mover(m);
    if (mv == NULL)
        return errctx_set(ec, ENOMEM, "no memory for moving");
    r = pthread_create(&mv->thread, NULL, mover_main, mv);
    if (r != 0) {
        free_mover(mv);
        return errctx_set_os(ec, r, "thread that moves memory");
    }
    m->mover = mv;
    while (sem_wait(&mv->ready) < 0)
        ; /* interrupted */
    return mv->result < 0 ? errctx_set(ec, -mv->result, "thread that moves memory: %s", mv->ec.msg)
                          : 0;
}

void machine_stop_mover(struct machine *m)
{
    struct mover *mv = m->mover;

    if (mv != NULL) {
        {
            LOCK_SCOPE(&mv->lock);
            mv->quit = true;
            (void)pthread_cond_broadcast(&mv->wake);
        }
        (void)pthread_join(mv->thread, NULL);
        free_mover(mv);
        m->mover = NULL;
    }
    free_places(m);
}

void machine_mover_hold(struct machine *m)
{
    struct mover *mv = m->mover;

    if (mv == NULL)
        return;
    LOCK_SCOPE(&mv->lock);
    mv->held = true;
}

bool machine_mover_is_still(const struct machine *m)
{
    struct mover *mv = m->mover;

    if (mv == NULL)
        return true;
    LOCK_SCOPE(&mv->lock);
    return !mv->working;
}

void machine_mover_release(struct machine *m)
{
    struct mover *mv = m->mover;

    if (mv == NULL)
        return;
    LOCK_SCOPE(&mv->lock);
    mv->held = false;
    (void)pthread_cond_broadcast(&mv->wake);
}

bool machine_mover_busy(const struct machine *m, struct vnode_id *ret_vnode)
{
    if (m->mover == NULL || m->mover->job == NULL)
        return false;
    *ret_vnode = m->mover->request.vnode;
    return true;
}

/* --- what the control socket asks for --------------------------------------------------------- */

static int judge(const struct machine *m, const struct machine_move_request *req, struct errctx *ec)
{
    struct vnode_id other;

    if (m->mover == NULL)
        return errctx_set(ec, ENOTSUP, "this host has one node: there is nowhere to move to");
    for (size_t i = 0; i < m->config->n_devices; i++)
        if (m->config->devices[i].type->shares_memory && !req->force)
            return errctx_set(ec, ENOTSUP, "a back end of --%s maps the guest's memory, of which "
                              "what it has touched stays on its host node: say --force to move the "
                              "rest", m->config->devices[i].type->name);
    if (req->vnode.v >= m->plan->n_nodes)
        return errctx_set(ec, ENOENT, "there is no virtual node %u (0 to %zu)", req->vnode.v,
                          m->plan->n_nodes - 1);
    if (cpus_of(m, req->to) == NULL)
        return errctx_set(
            ec, ENOENT, "there is no host node %u, or it is not this machine's to use", req->to.v);
    if (m->paused)
        return errctx_set(ec, EBUSY, "the machine is paused");
    if (m->mover->job != NULL)
        return errctx_set(ec, EBUSY, "virtual node %u is being moved", m->mover->request.vnode.v);
    if (machine_pager_busy(m, &other))
        return errctx_set(ec, EBUSY, "memory of virtual node %u is being evicted", other.v);
    return 0;
}

/* Would the move break a distance that the guest was told? */
static int judge_distance(const struct machine *m, const struct machine_move_request *req,
                          bool *ret_breaks, struct errctx *ec)
{
    struct idset *homes = calloc(m->plan->n_nodes, sizeof(*homes));
    struct ledger_pair pair;

    if (homes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to judge a move");
    for (uint32_t i = 0; i < m->plan->n_nodes; i++)
        guest_mem_home(m->mem, (struct vnode_id){ i }, &homes[i]);
    *ret_breaks = ledger_breaks(m->plan, homes, req->vnode, req->to, &pair);
    free(homes);
    if (!*ret_breaks || req->force)
        return 0;
    return errctx_set(ec, EDOM,
                      "virtual node %u would be %u from node %u, and the guest was told %u: say "
                      "--force to break that",
                      req->vnode.v, pair.real, pair.from == req->vnode.v ? pair.to : pair.from,
                      pair.told);
}

/* A job for it. Nothing is evicted until the move is over: both make huge pages, and mappings that
 * are not watched now are not watched before. */
static int make_job(const struct machine *m, const struct machine_move_request *req,
                    struct mem_move **ret_job, struct errctx *ec)
{
    const struct mem_move_params params = {
        .mem = m->mem,
        .vnode = req->vnode,
        .to = req->to,
        .bytes_per_s = req->bytes_per_s,
        .stay = req->stay,
        .pagemap = m->pagemap,
        .gate = m->move_gate,
        .vmstat = m->move_vmstat,
        .paged = machine_pager_watches(m, req->vnode),
    };

    return mem_move_new(&params, ret_job, ec);
}

/* While nothing is evicted. */
static int begin_move(struct machine *m, const struct machine_move_request *req, struct errctx *ec)
{
    struct mover *mv = m->mover;
    struct mem_move *job = NULL;
    bool breaks = false;
    int r = judge(m, req, ec);

    if (r == 0 && machine_is_slow(m, req->vnode))
        r = errctx_set(ec, EBUSY, "virtual node %u is slow (--slow), and such a node is not moved",
                       req->vnode.v);
    if (r < 0)
        return r;
    machine_pager_ask(m); /* and stays so until finish() */
    r = make_job(m, req, &job, ec);
    if (r == 0)
        r = judge_distance(m, req, &breaks, ec);
    if (r == 0 && !req->force)
        r = machine_judge_cpus(m, req->vnode, req->to, ec);
    if (r == 0 && m->hooks.may_move != NULL)
        r = m->hooks.may_move(m->hooks.ctx, req->vnode, req->to, ec);
    if (r < 0) {
        mem_move_free(job);
        machine_pager_release(m);
        return r;
    }
    mv->request = *req;
    mv->breaks = breaks;
    mv->any = true;
    mv->over = false;
    mv->job = job;
    LOCK_SCOPE(&mv->lock);
    mv->progress = *mem_move_progress(job);
    mv->word = MEM_MOVE_GO;
    mv->todo = job;
    (void)pthread_cond_broadcast(&mv->wake);
    return 0;
}

static void move_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct errctx ec = { 0 };
    const int r = stands ? begin_move(ask->machine, &ask->request.move, &ec)
                         : machine_ask_ending(&ec);

    ask->answer(ask, r, NULL, &ec);
}

void machine_move(struct machine *m, const struct machine_move_request *req,
                  struct machine_ask *ask)
{
    ask->request.move = *req;
    machine_ask_when(m, ask, STAND_EVICTOR, move_now);
}

int machine_move_cancel(struct machine *m, bool stay, struct errctx *ec)
{
    struct mover *mv = m->mover;

    if (mv == NULL || mv->job == NULL)
        return errctx_set(ec, EALREADY, "no node is being moved");
    LOCK_SCOPE(&mv->lock);
    mv->word = stay ? MEM_MOVE_CANCEL_STAY : MEM_MOVE_CANCEL;
    (void)pthread_cond_broadcast(&mv->wake);
    return 0;
}

static const char *state_word(const struct mover *mv, const struct mem_move_progress *p)
{
    if (!mv->over)
        return p->phase == MOVE_BACK ? "returning" : "moving";
    return p->phase == MOVE_ARRIVED    ? "arrived"
           : p->phase == MOVE_RETURNED ? "returned"
                                       : "half-way";
}

static void add_threads(const struct mover *mv, json_t *status)
{
    struct vnode_place *p = &mv->machine->places[mv->request.vnode.v];
    LOCK_SCOPE(&p->lock);

    (void)json_object_set_new(status, "vcpus", json_integer(p->n_asked));
    (void)json_object_set_new(status, "vcpus_there", json_integer(p->n_there));
    (void)json_object_set_new(status, "widened", json_boolean(p->n_asked > 0 && p->widened));
    if (p->failed.msg[0] != '\0')
        (void)json_object_set_new(status, "vcpus_error", json_string(p->failed.msg));
}

json_t *machine_move_status(struct machine *m)
{
    struct mover *mv = m->mover;
    struct mem_move_progress p;
    char why[ERRCTX_MSG_MAX];
    json_t *status;
    bool held;

    if (mv == NULL || !mv->any)
        return json_pack("{s:s}", "state", "none");
    {
        LOCK_SCOPE(&mv->lock);
        p = mv->progress;
        held = mv->held;
    }
    explain(mv, &p, why, sizeof(why));
    status = json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:s}", "state",
                       state_word(mv, &p), "vnode", (int)mv->request.vnode.v, "host",
                       (int)mv->request.to.v, "memory", (json_int_t)p.total_bytes, "visited",
                       (json_int_t)p.seen_bytes, "moved", (json_int_t)p.moved_bytes, "left",
                       (json_int_t)p.left_bytes, "split", (json_int_t)p.split_bytes, "hot",
                       (json_int_t)p.hot_bytes, "pass", (int)p.pass, "held", held, "why", why);
    if (mv->over && p.phase == MOVE_ARRIVED)
        add_threads(mv, status);
    return status;
}
