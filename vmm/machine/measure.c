/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/measure.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_pairs.h"

static const uint64_t latency_max_ns = 40 * 1000 * 1000, bandwidth_max_ns = 20 * 1000 * 1000;

struct run {
    const struct host_topo *host;
    const struct measure_ops *ops;
    void *ctx;
    uint64_t end_ns;
    bool has_prepared; /* or tried to */
    uint32_t prepared;
    int prepare_result;
    struct measure_result result;
};

static void note_failure(struct run *m, const struct errctx *why)
{
    if (m->result.n_left_out++ == 0)
        m->result.why = *why;
}

/* Measure one pair in about @slice_ns, its memory's preparation included. */
static void measure_pair(struct run *m, const struct host_pair *p, uint64_t slice_ns)
{
    struct host_sample s = { .from = m->host->nodes[p->from].id,
                             .to = m->host->nodes[p->to].id,
                             .check = p->check };
    struct errctx why = { 0 };
    int r;

    if (!m->has_prepared || m->prepared != p->to) {
        m->prepare_result = m->ops->prepare(m->ctx, p->to, &why);
        m->has_prepared = true;
        m->prepared = p->to;
    } else if (m->prepare_result < 0) {
        (void)errctx_set(&why, -m->prepare_result, "node %u cannot be measured", s.to.v);
    }
    r = m->prepare_result;
    if (r == 0)
        r = m->ops->latency(m->ctx, p->from, MIN(slice_ns / 2, latency_max_ns), &s.latency_ps,
                            &why);
    if (r == 0)
        r = m->ops->bandwidth(m->ctx, p->from, MIN(slice_ns / 4, bandwidth_max_ns), &s.bytes_per_s,
                              &why);
    if (r < 0)
        note_failure(m, &why);
    else
        m->result.samples[m->result.n++] = s;
}

static void measure_all(struct run *m, const struct host_pair *pairs, size_t n)
{
    uint64_t dearest = 0;

    for (size_t i = 0; i < n; i++) {
        const uint64_t now = m->ops->now_ns(m->ctx);
        uint64_t took;

        if (now >= m->end_ns || m->end_ns - now < dearest)
            break;
        measure_pair(m, &pairs[i], (m->end_ns - now) / (n - i));
        took = m->ops->now_ns(m->ctx) - now;
        dearest = MAX(dearest, took);
        if (m->ops->progress != NULL)
            m->ops->progress(m->ctx, i + 1, n);
    }
}

int measure_run(const struct host_topo *host, const struct measure_params *params,
                const struct measure_ops *ops, void *ctx, struct measure_result *ret,
                struct errctx *ec)
{
    CLEANUP_FREE struct host_pair *pairs = NULL;
    struct run m = { .host = host, .ops = ops, .ctx = ctx };
    const uint64_t begin = ops->now_ns(ctx);
    size_t n;
    int r = host_pairs_choose(host, params->seed, params->max_pairs, &pairs, &n, ec);

    if (r < 0)
        return r;
    m.result.samples = calloc(n, sizeof(*m.result.samples));
    if (m.result.samples == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu measured pairs", n);
    m.result.n_chosen = n;
    m.end_ns = begin + params->budget_ns;
    measure_all(&m, pairs, n);
    m.result.took_ns = ops->now_ns(ctx) - begin;
    if (m.result.n > 0) {
        *ret = m.result;
        return 0;
    }
    free(m.result.samples);
    if (m.result.n_left_out == 0)
        return errctx_set(ec, ETIMEDOUT, "no time to measure even one pair of nodes");
    if (ec != NULL)
        *ec = m.result.why;
    return -m.result.why.code;
}
