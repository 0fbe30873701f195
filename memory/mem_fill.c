/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work is cut into pieces of at most 64 MiB, each in the queue of the host node that its memory
 * comes from; what comes from several is shared out among them, what comes from anywhere has a
 * queue of its own, served by threads that run anywhere. Threads take pieces from their queue until
 * it is empty. A piece that fails stops all, and so does who is told of the progress.
 */
#include "memory/mem_fill.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/base/units.h"

enum { PIECE_BYTES = 64 * MIB, PROGRESS_MS = 200 };

struct fill_piece {
    const struct backing *backing;
    size_t off, len;
};

struct fill_queue {
    struct fill *fill;
    const struct topo_plan_host *host; /* NULL: memory that comes from anywhere */
    struct fill_piece *pieces;
    size_t n;
    _Atomic size_t next;
};

struct fill {
    struct fill_queue *queues; /* one per host node, and the last for anywhere */
    size_t n_queues;
    uint64_t all_bytes;
    _Atomic uint64_t done_bytes;
    _Atomic bool failed;
    pthread_mutex_t lock; /* covers the two below */
    int result;
    struct fill_piece culprit;
    sem_t ended; /* posted by each thread at its end */
};

static int add_piece(struct fill *f, struct fill_queue *q, const struct backing *b, size_t off,
                     size_t len)
{
    if ((q->n & (q->n - 1)) == 0) { /* room is doubled */
        struct fill_piece *bigger = reallocarray(q->pieces, q->n == 0 ? 1 : 2 * q->n,
                                                 sizeof(*bigger));

        if (bigger == NULL)
            return -ENOMEM;
        q->pieces = bigger;
    }
    q->pieces[q->n++] = (struct fill_piece){ b, off, len };
    f->all_bytes += len;
    return 0;
}

static struct fill_queue *queue_of(struct fill *f, struct hnode_id host)
{
    for (size_t i = 0; i + 1 < f->n_queues; i++)
        if (f->queues[i].host->id.v == host.v)
            return &f->queues[i];
    return &f->queues[f->n_queues - 1];
}

/* [@off, @end) of @b in pieces. */
static int add_range(struct fill *f, struct fill_queue *q, const struct backing *b, size_t off,
                     size_t end)
{
    const size_t piece = MAX((size_t)PIECE_BYTES, backing_page_bytes(b));
    int r = 0;

    for (; r == 0 && off < end; off += piece)
        r = add_piece(f, q, b, off, MIN(piece, end - off));
    return r;
}

/* Equal shares of @b for each of its host nodes, in whole pages. */
static int add_shares(struct fill *f, const struct backing *b)
{
    const struct idset *hosts = &b->plan->host_nodes;
    const size_t unit = guest_page_unit(b->plan->pages), n = idset_count(hosts);
    size_t off = 0, i = 0;
    int r = 0;

    if (n == 0)
        return add_range(f, &f->queues[f->n_queues - 1], b, 0, b->len_bytes);
    IDSET_FOREACH(host, hosts)
    {
        const size_t end = ++i == n ? b->len_bytes : align_down(b->len_bytes / n * i, unit);

        if (r == 0)
            r = add_range(f, queue_of(f, (struct hnode_id){ host }), b, off, end);
        off = end;
    }
    return r;
}

static int add_backing(struct fill *f, const struct backing *b)
{
    const size_t chunk = b->plan->chunk_bytes;
    int r = 0;

    if (chunk == 0)
        return add_shares(f, b);
    for (size_t off = 0; r == 0 && off < b->len_bytes; off += chunk)
        r = add_range(f, queue_of(f, topo_plan_backing_home(b->plan, off)), b, off,
                      MIN(off + chunk, b->len_bytes));
    return r;
}

static void fail(struct fill *f, const struct fill_piece *piece, int r)
{
    LOCK_SCOPE(&f->lock);
    if (f->result == 0) {
        f->result = r;
        f->culprit = *piece;
    }
    atomic_store(&f->failed, true);
}

static void serve(struct fill_queue *q)
{
    struct fill *f = q->fill;

    while (!atomic_load(&f->failed)) {
        const size_t i = atomic_fetch_add(&q->next, 1);
        int r;

        if (i >= q->n)
            return;
        r = backing_take(q->pieces[i].backing, q->pieces[i].off, q->pieces[i].len);
        if (r < 0)
            fail(f, &q->pieces[i], r);
        atomic_fetch_add(&f->done_bytes, q->pieces[i].len);
    }
}

static void *thread_main(void *arg)
{
    struct fill_queue *q = arg;

    place_name_thread("prealloc");
    if (q->host != NULL) /* a node without CPUs is filled from wherever there are some */
        (void)place_pin_thread(&q->host->cpus, NULL);
    serve(q);
    (void)sem_post(&q->fill->ended);
    return NULL;
}

static size_t threads_for(const struct fill *f, const struct fill_queue *q)
{
    size_t busy = 0, cpus = FILL_THREADS_NODE;
    cpu_set_t set;

    for (size_t i = 0; i < f->n_queues; i++)
        busy += f->queues[i].n > 0;
    if (q->host != NULL)
        cpus = idset_count(&q->host->cpus);
    else if (sched_getaffinity(0, sizeof(set), &set) == 0)
        cpus = (size_t)CPU_COUNT(&set);
    cpus = MIN(cpus, (size_t)FILL_THREADS_NODE);
    cpus = MIN(cpus, (size_t)FILL_THREADS_ALL / MAX(busy, (size_t)1));
    return MIN(MAX(cpus, (size_t)1), q->n);
}

static void give_up(struct fill *f)
{
    LOCK_SCOPE(&f->lock);
    if (f->result == 0)
        f->result = -ECANCELED;
    atomic_store(&f->failed, true);
}

static void wait_one(struct fill *f, const struct guest_mem_commit *how)
{
    for (;;) {
        struct timespec until;
        int r;

        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_MS * 1000000l;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        r = sem_timedwait(&f->ended, &until);
        if (how->progress != NULL &&
            !how->progress(how->ctx, atomic_load(&f->done_bytes), f->all_bytes))
            give_up(f);
        if (r == 0)
            return;
    }
}

/* A queue for which no thread can be made is served by this one. */
static void run_threads(struct fill *f, const struct guest_mem_commit *how)
{
    pthread_t *threads = calloc(f->n_queues * FILL_THREADS_NODE, sizeof(*threads));
    size_t n = 0;

    for (size_t i = 0; i < f->n_queues; i++) {
        const size_t want = threads != NULL ? threads_for(f, &f->queues[i]) : 0, before = n;

        for (size_t k = 0; k < want; k++)
            n += pthread_create(&threads[n], NULL, thread_main, &f->queues[i]) == 0;
        if (n == before)
            serve(&f->queues[i]);
    }
    for (size_t i = 0; i < n; i++)
        wait_one(f, how);
    for (size_t i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
    free(threads);
}

static int fill_init(struct fill *f, const struct guest_mem *mem, struct errctx *ec)
{
    const struct topo_plan *plan = guest_mem_plan(mem);
    int r = 0;

    f->n_queues = plan->n_hosts + 1;
    f->queues = calloc(f->n_queues, sizeof(*f->queues));
    if (f->queues == NULL)
        return errctx_set(ec, ENOMEM, "no memory to take the guest's memory");
    for (size_t i = 0; i < f->n_queues; i++) {
        f->queues[i].fill = f;
        f->queues[i].host = i < plan->n_hosts ? &plan->hosts[i] : NULL;
    }
    for (size_t i = 0; r == 0 && i < guest_mem_n_backings(mem); i++)
        if (guest_mem_backing(mem, i)->plan->prealloc)
            r = add_backing(f, guest_mem_backing(mem, i));
    return r < 0 ? errctx_set(ec, ENOMEM, "no memory to take the guest's memory") : 0;
}

static int explain(const struct fill *f, struct errctx *ec)
{
    const struct topo_plan_backing *plan;
    char hosts[64], amount[32];

    if (f->result == -ECANCELED)
        return errctx_set(ec, ECANCELED, "it was given up while the guest's memory was taken");
    plan = f->culprit.backing->plan;
    return errctx_set_os(ec, -f->result,
                         "virtual node %u: take %s in pages of %s from host node %s", plan->vnode.v,
                         units_format_human(f->culprit.len, amount, sizeof(amount)),
                         guest_page_name(plan->pages),
                         idset_empty(&plan->host_nodes)
                             ? "any"
                             : idset_format(&plan->host_nodes, hosts, sizeof(hosts)));
}

int mem_fill(struct guest_mem *mem, const struct guest_mem_commit *how, struct errctx *ec)
{
    struct fill f = { .lock = PTHREAD_MUTEX_INITIALIZER };
    int r = fill_init(&f, mem, ec);

    (void)sem_init(&f.ended, 0, 0);
    if (r == 0 && f.all_bytes > 0) {
        if (how->threads)
            run_threads(&f, how);
        for (size_t i = 0; !how->threads && i < f.n_queues; i++)
            serve(&f.queues[i]);
        r = f.result < 0 ? explain(&f, ec) : 0;
    }
    for (size_t i = 0; f.queues != NULL && i < f.n_queues; i++)
        free(f.queues[i].pieces);
    free(f.queues);
    (void)sem_destroy(&f.ended);
    (void)pthread_mutex_destroy(&f.lock);
    return r;
}
