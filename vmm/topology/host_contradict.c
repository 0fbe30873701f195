/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where measured pairs contradict the firmware's distances.
 *
 * Of two distances the slowest pair of the nearer one and the fastest pair of the farther one are
 * held against each other: when the near one takes longer by more than noise, the order is wrong
 * somewhere, and these two say where best.
 */
#include "vmm/topology/host_measured.h"

#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_pairs.h"

/* A sample with what it is compared by. */
struct judged {
    const struct host_sample *sample;
    uint64_t class;
    uint32_t distance;
};

static int compare_judged(const void *a, const void *b)
{
    const struct judged *x = a, *y = b;

    if (x->class != y->class) /* the distance is its upper half */
        return x->class < y->class ? -1 : 1;
    return x->sample->latency_ps < y->sample->latency_ps    ? -1
           : x->sample->latency_ps > y->sample->latency_ps;
}

/* The worst ones so far, worst first, and how many there were. */
struct verdict {
    struct host_contradiction *list;
    size_t max, n;
};

static uint32_t percent_of(uint32_t a, uint32_t b)
{
    return (uint32_t)MIN((uint64_t)a * 100 / MAX(b, 1u), (uint64_t)UINT32_MAX);
}

static void add(struct verdict *v, const struct host_contradiction *c)
{
    size_t at = MIN(v->n, v->max);

    v->n++;
    if (at == v->max && (at == 0 || v->list[at - 1].percent >= c->percent))
        return;
    if (at == v->max)
        at--;
    for (; at > 0 && v->list[at - 1].percent < c->percent; at--)
        v->list[at] = v->list[at - 1];
    v->list[at] = *c;
}

/* The end of the run of equal distances that begins at @i. */
static size_t run_end(const struct judged *list, size_t n, size_t i)
{
    size_t end = i + 1;

    while (end < n && list[end].distance == list[i].distance)
        end++;
    return end;
}

static const struct judged *extreme(const struct judged *list, size_t first, size_t end, bool slow)
{
    const struct judged *best = &list[first];

    for (size_t i = first + 1; i < end; i++)
        if (slow ? list[i].sample->latency_ps > best->sample->latency_ps
                 : list[i].sample->latency_ps < best->sample->latency_ps)
            best = &list[i];
    return best;
}

static void judge_order(const struct judged *list, size_t n, struct verdict *v)
{
    for (size_t i = 0, i_end; i < n; i = i_end) {
        const struct judged *slow;

        i_end = run_end(list, n, i);
        slow = extreme(list, i, i_end, true);
        for (size_t k = i_end, k_end; k < n; k = k_end) {
            const struct judged *fast;
            struct host_contradiction c;

            k_end = run_end(list, n, k);
            fast = extreme(list, k, k_end, false);
            c = (struct host_contradiction){
                .kind = HOST_CONTRADICTS_ORDER,
                .slow = *slow->sample,
                .other = *fast->sample,
                .slow_distance = slow->distance,
                .other_distance = fast->distance,
                .percent = percent_of(slow->sample->latency_ps, fast->sample->latency_ps),
            };
            if (c.percent > HOST_ORDER_TOLERANCE)
                add(v, &c);
        }
    }
}

/* @list is sorted by class and latency, so a class's median is in its middle. */
static void judge_classes(const struct judged *list, size_t n, struct verdict *v)
{
    for (size_t i = 0, run; i < n; i += run) {
        struct host_sample median;

        for (run = 1; i + run < n && list[i + run].class == list[i].class; run++)
            ;
        median = *list[i + (run - 1) / 2].sample;
        for (size_t k = i; k < i + run; k++) {
            struct host_contradiction c = {
                .kind = HOST_CONTRADICTS_CLASS,
                .slow = *list[k].sample,
                .other = median,
                .slow_distance = list[k].distance,
                .other_distance = list[k].distance,
                .percent = percent_of(list[k].sample->latency_ps, median.latency_ps),
            };

            if (c.percent > HOST_CLASS_TOLERANCE)
                add(v, &c);
        }
    }
}

size_t host_measured_judge(const struct host_topo *host, struct host_contradiction *ret, size_t max)
{
    CLEANUP_FREE uint32_t *packages = calloc(host->n_nodes + 1, sizeof(*packages));
    CLEANUP_FREE struct judged *list = calloc(host->n_samples + 1, sizeof(*list));
    struct verdict v = { .list = ret, .max = max };

    if (!host->has_measured || packages == NULL || list == NULL)
        return 0;
    host_pairs_packages(host, packages);
    for (size_t i = 0; i < host->n_samples; i++) {
        const struct host_sample *s = &host->samples[i];
        const size_t from = (size_t)host_topo_node_index(host, s->from);
        const size_t to = (size_t)host_topo_node_index(host, s->to);

        list[i] = (struct judged){ s, host_pairs_class(host, packages, from, to),
                                   host_topo_distance(host, from, to) };
    }
    qsort(list, host->n_samples, sizeof(*list), compare_judged);
    if (host->has_distances) /* assumed ones cannot be wrong */
        judge_order(list, host->n_samples, &v);
    judge_classes(list, host->n_samples, &v);
    return v.n;
}

const char *host_contradiction_text(const struct host_contradiction *c, char *buf, size_t size)
{
    const struct host_sample *a = &c->slow, *b = &c->other;
    const uint32_t a_ns = a->latency_ps / 1000, b_ns = b->latency_ps / 1000;

    if (c->kind == HOST_CONTRADICTS_ORDER)
        (void)snprintf(buf, size,
                       "node %u to %u has distance %u but took %u.%u ns, longer than %u to %u with "
                       "distance %u, %u.%u ns",
                       a->from.v, a->to.v, c->slow_distance, a_ns, a->latency_ps % 1000 / 100,
                       b->from.v, b->to.v, c->other_distance, b_ns, b->latency_ps % 1000 / 100);
    else
        (void)snprintf(buf, size,
                       "node %u to %u took %u.%u ns, %u %% of what pairs like it take (distance %u)",
                       a->from.v, a->to.v, a_ns, a->latency_ps % 1000 / 100, c->percent,
                       c->slow_distance);
    return buf;
}
