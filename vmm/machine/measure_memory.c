/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a pair is measured.
 *
 * 8 MiB on the memory's node, in huge pages where there are some, hold a ring: every 128 bytes
 * (two lines, because the adjacent one is fetched along) the offset of the next step, in an order
 * drawn at random, so that no prefetcher guesses it. Before each use all lines are flushed from
 * all caches; each is then visited once, so every step goes to memory, however large the caches
 * are, and the buffer can be small. Steps are timed by the thousand; the median of these leaves
 * out the times when the thread was interrupted.
 *
 * Bandwidth: a thread on each core of the node, at most 16, flushes and then reads its part; they
 * begin together, and a pass takes from the first one's start to the last one's end. The best of
 * the passes counts: what else runs on the machine can only take away.
 *
 * The ring's offsets are made once and copied: writing it in the ring's order would be a random
 * access per step to memory far away.
 */
#include "vmm/machine/measure_memory.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "memory/numa_policy.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/base/units.h"
#include "vmm/machine/measure_cpu.h"

enum {
    STEP_BYTES = 128,
    LINE_BYTES = MEASURE_CPU_LINE,
    BUFFER_BYTES = 8 * MIB,
    BUFFER_MIN_BYTES = 1 * MIB,
    ALIGN_BYTES = 2 * MIB,
    CHUNK_STEPS = 1024,
    MAX_CHUNKS = BUFFER_BYTES / STEP_BYTES / CHUNK_STEPS,
    MAX_READERS = 16,
    MAX_PASSES = 64,
    SPARE = 4, /* a node must have this many times the buffer free */
};

struct measure_memory {
    const struct host_topo *host;
    uint8_t *mapping; /* BUFFER_BYTES + ALIGN_BYTES of addresses */
    uint8_t *buffer;  /* aligned, inside */
    size_t len;       /* bytes of it in use; 0: nothing is prepared */
    uint32_t *ring;   /* per step the offset of the next one, for the whole buffer */
    size_t ring_steps;
};

uint64_t measure_memory_now_ns(void *ctx)
{
    struct timespec t;

    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One ring through all steps: Sattolo's shuffle leaves no smaller cycle. */
static void make_ring(struct measure_memory *m, size_t steps)
{
    uint64_t x = 0x9e3779b97f4a7c15ull;

    if (m->ring_steps == steps)
        return;
    for (size_t i = 0; i < steps; i++)
        m->ring[i] = (uint32_t)(i * STEP_BYTES);
    for (size_t i = steps - 1; i > 0; i--) {
        size_t k;
        uint32_t t;

        x ^= x << 13; /* xorshift64 */
        x ^= x >> 7;
        x ^= x << 17;
        k = x % i;
        t = m->ring[i];
        m->ring[i] = m->ring[k];
        m->ring[k] = t;
    }
    m->ring_steps = steps;
}

int measure_memory_new(const struct host_topo *host, struct measure_memory **ret, struct errctx *ec)
{
    struct measure_memory *m = calloc(1, sizeof(*m));
    void *ring = malloc(BUFFER_BYTES / STEP_BYTES * sizeof(*m->ring));

    if (m == NULL || ring == NULL) {
        free(ring);
        free(m);
        return errctx_set(ec, ENOMEM, "no memory to measure with");
    }
    m->host = host;
    m->ring = ring;
    *ret = m;
    return 0;
}

static void drop_buffer(struct measure_memory *m)
{
    if (m->mapping != NULL)
        (void)munmap(m->mapping, BUFFER_BYTES + ALIGN_BYTES);
    m->mapping = NULL;
    m->len = 0;
}

void measure_memory_free(struct measure_memory *m)
{
    if (m == NULL)
        return;
    drop_buffer(m);
    free(m->ring);
    free(m);
}

/* How much of the node's memory may be taken: a bound page that is not there ends in the
 * out-of-memory killer. */
static int choose_len(const struct measure_memory *m, const struct host_node *node, size_t *ret_len,
                      struct errctx *ec)
{
    const struct host_limits *l = &m->host->limits;
    size_t len = BUFFER_BYTES;
    char left[32];

    while (node->mem_free_bytes > 0 && len * SPARE > node->mem_free_bytes &&
           len > BUFFER_MIN_BYTES)
        len /= 2;
    if (node->mem_free_bytes > 0 && len * SPARE > node->mem_free_bytes)
        return errctx_set(ec, ENOSPC, "node %u has only %s free", node->id.v,
                          units_format_human(node->mem_free_bytes, left, sizeof(left)));
    if (l->has_memory && l->memory_left_bytes < len * SPARE)
        return errctx_set(ec, ENOSPC, "the cgroup %s has only %s of memory left",
                          l->memory_left_cgroup,
                          units_format_human(l->memory_left_bytes, left, sizeof(left)));
    *ret_len = len;
    return 0;
}

/* Do the first and the last byte lie where they should? */
static int check_place(const struct measure_memory *m, const struct host_node *node,
                       struct errctx *ec)
{
    const uint8_t *at[] = { m->buffer, m->buffer + m->len - 1 };

    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        struct hnode_id where;
        int r = numa_policy_where(at[i], &where, ec);

        if (r < 0)
            return r;
        if (where.v != node->id.v)
            return errctx_set(ec, EXDEV, "memory asked of node %u came from node %u", node->id.v,
                              where.v);
    }
    return 0;
}

int measure_memory_prepare(void *ctx, size_t node_index, struct errctx *ec)
{
    struct measure_memory *m = ctx;
    const struct host_node *node = &m->host->nodes[node_index];
    struct idset bind = { 0 };
    void *mapping;
    int r;

    drop_buffer(m);
    mapping = mmap(NULL, BUFFER_BYTES + ALIGN_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED)
        return errctx_set_os(ec, errno, "map memory to measure with");
    m->mapping = mapping;
    m->buffer = m->mapping + (ALIGN_BYTES - (uintptr_t)mapping % ALIGN_BYTES) % ALIGN_BYTES;
    r = choose_len(m, node, &m->len, ec);
    if (r < 0)
        return r;
    (void)madvise(m->buffer, m->len, MADV_HUGEPAGE); /* small pages only add noise */
    if (m->host->n_nodes > 1) {
        idset_add(&bind, node->id.v);
        r = numa_policy_bind(m->buffer, m->len, &bind, ec);
        if (r < 0)
            return r;
    }
    make_ring(m, m->len / STEP_BYTES);
    for (size_t i = 0; i < m->ring_steps; i++)
        memcpy(m->buffer + i * STEP_BYTES, &m->ring[i], sizeof(m->ring[i]));
    return m->host->n_nodes > 1 ? check_place(m, node, ec) : 0;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static uint64_t median(uint64_t *v, size_t n)
{
    qsort(v, n, sizeof(*v), compare_u64);
    return v[(n - 1) / 2];
}

/* --- latency -------------------------------------------------------------------------------- */

struct chase {
    const struct measure_memory *m;
    struct idset cpu;
    uint64_t budget_ns;
    uint32_t latency_ps;
    int result;
    struct errctx why;
};

static void *chase_thread(void *arg)
{
    struct chase *c = arg;
    const uint8_t *base = c->m->buffer;
    uint64_t took[MAX_CHUNKS];
    const size_t chunks = c->m->ring_steps / CHUNK_STEPS;
    volatile uint32_t sink;
    uint64_t begin, now;
    uint32_t at = 0;
    size_t n = 0;

    place_name_thread("measure");
    c->result = place_pin_thread(&c->cpu, &c->why);
    if (c->result < 0)
        return NULL;
    measure_cpu_flush(base, c->m->len);
    begin = now = measure_memory_now_ns(NULL);
    while (n < chunks && (n == 0 || now - begin < c->budget_ns)) {
        const uint64_t before = now;

        for (int i = 0; i < CHUNK_STEPS; i++)
            at = *(const uint32_t *)(const void *)(base + at);
        sink = at;
        now = measure_memory_now_ns(NULL);
        took[n++] = now - before;
    }
    (void)sink;
    now = median(took, n) * 1000 / CHUNK_STEPS;
    c->latency_ps = (uint32_t)MIN(MAX(now, (uint64_t)1), (uint64_t)UINT32_MAX);
    return NULL;
}

static struct idset first_cpu(const struct host_node *node)
{
    struct idset one = { 0 };

    idset_add(&one, idset_next(&node->cpus, 0));
    return one;
}

int measure_memory_latency(void *ctx, size_t from, uint64_t budget_ns, uint32_t *ret_ps,
                           struct errctx *ec)
{
    struct measure_memory *m = ctx;
    struct chase c = { .m = m,
                       .cpu = first_cpu(&m->host->nodes[from]),
                       .budget_ns = budget_ns };
    pthread_t thread;
    int r = pthread_create(&thread, NULL, chase_thread, &c);

    if (r != 0)
        return errctx_set_os(ec, r, "start a thread to measure with");
    (void)pthread_join(thread, NULL);
    if (c.result < 0) {
        if (ec != NULL)
            *ec = c.why;
        return c.result;
    }
    *ret_ps = c.latency_ps;
    return 0;
}

/* --- bandwidth ------------------------------------------------------------------------------ */

/* What the readers share. Each pass: flush, meet, read, meet. */
struct stream {
    const struct measure_memory *m;
    size_t n;    /* readers */
    size_t part; /* bytes that each of them reads */
    uint64_t end_ns;
    atomic_uint arrived, round;
    atomic_int failed; /* errno of a reader that could not be pinned */
    atomic_bool stop;  /* set by reader 0 between two meetings */
    uint64_t began[MAX_READERS], ended[MAX_READERS];
    uint64_t rate; /* the best; this and the next written by reader 0 */
    unsigned n_passes;
};

struct reader {
    struct stream *s;
    size_t index;
    struct idset cpu;
    pthread_t thread;
};

/* All readers, or none, go on. Spins, since passes are shorter than a wake-up; yields, since two
 * readers may have one CPU between them for a while. */
static void meet(struct stream *s)
{
    const unsigned round = atomic_load(&s->round);

    if (atomic_fetch_add(&s->arrived, 1) + 1 == s->n) {
        atomic_store(&s->arrived, 0);
        atomic_fetch_add(&s->round, 1);
        return;
    }
    for (unsigned spins = 0; atomic_load(&s->round) == round; spins++) {
        if (spins < 2000)
            measure_cpu_relax();
        else
            (void)sched_yield();
    }
}

static void note_pass(struct stream *s)
{
    uint64_t began = s->began[0], ended = s->ended[0];

    for (size_t i = 1; i < s->n; i++) {
        began = MIN(began, s->began[i]);
        ended = MAX(ended, s->ended[i]);
    }
    s->rate = MAX(s->rate, (uint64_t)((double)(s->part * s->n) * 1e9 /
                                      (double)MAX(ended - began, (uint64_t)1)));
    if (++s->n_passes == MAX_PASSES || ended >= s->end_ns)
        atomic_store(&s->stop, true);
}

static void *reader_thread(void *arg)
{
    struct reader *r = arg;
    struct stream *s = r->s;
    const uint8_t *mine = s->m->buffer + r->index * s->part;
    volatile uint64_t sink;
    int res;

    place_name_thread("measure");
    res = place_pin_thread(&r->cpu, NULL);
    if (res < 0)
        atomic_store(&s->failed, -res);
    meet(s);
    while (!atomic_load(&s->stop) && atomic_load(&s->failed) == 0) {
        measure_cpu_flush(mine, s->part);
        meet(s);
        s->began[r->index] = measure_memory_now_ns(NULL);
        sink = measure_cpu_read(mine, s->part);
        s->ended[r->index] = measure_memory_now_ns(NULL);
        (void)sink;
        meet(s);
        if (r->index == 0)
            note_pass(s);
        meet(s);
    }
    return NULL;
}

/* One reader per core of the node. */
static size_t choose_readers(struct measure_memory *m, size_t from, struct stream *s,
                             struct reader readers[static MAX_READERS])
{
    struct idset cores = { 0 };
    size_t n = 0;

    for (size_t i = 0; i < m->host->n_cpus && n < MAX_READERS; i++) {
        const struct host_cpu *c = &m->host->cpus[i];

        if (c->node != from || idset_has(&cores, c->core))
            continue;
        idset_add(&cores, c->core);
        readers[n] = (struct reader){ .s = s, .index = n };
        idset_add(&readers[n++].cpu, c->id.v);
    }
    return n;
}

int measure_memory_bandwidth(void *ctx, size_t from, uint64_t budget_ns, uint64_t *ret_rate,
                             struct errctx *ec)
{
    struct measure_memory *m = ctx;
    struct stream s = { .m = m, .end_ns = measure_memory_now_ns(NULL) + budget_ns };
    struct reader readers[MAX_READERS];
    size_t started = 0;
    int r = 0;

    s.n = choose_readers(m, from, &s, readers);
    if (s.n == 0)
        return errctx_set(ec, ENODEV, "node %u has no CPU to read with", m->host->nodes[from].id.v);
    s.part = m->len / s.n / (4 * LINE_BYTES) * (4 * LINE_BYTES);
    for (; started < s.n && r == 0; started += r == 0)
        r = pthread_create(&readers[started].thread, NULL, reader_thread, &readers[started]);
    if (r != 0) { /* those that wait go on and end at once: stand in for the missing ones */
        atomic_store(&s.failed, r);
        for (size_t i = started; i < s.n; i++)
            if (atomic_fetch_add(&s.arrived, 1) + 1 == s.n)
                atomic_fetch_add(&s.round, 1);
    }
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(readers[i].thread, NULL);
    if (atomic_load(&s.failed) != 0)
        return errctx_set_os(ec, atomic_load(&s.failed), "start and pin threads to measure with");
    *ret_rate = s.rate;
    return 0;
}
