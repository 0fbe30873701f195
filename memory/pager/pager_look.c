/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding what is in use, without counters of the hardware, by asking about an extent that stands
 * for others (heat.h).
 *
 * Every kernel: it is taken out of our page table, which costs some microseconds and no content;
 * KVM's tables follow. Who touches it faults, and the fault thread maps all that is there of it
 * again and says so. What is not touched stays out, and costs nothing when it is asked about again.
 *
 * Linux 7.3 can protect pages instead (UFFD_FEATURE_RWP): the kernel itself gives a page back to
 * who touches it, and tells later which it gave. Nobody waits for our thread, and pages need not be
 * mapped anew. It is asked at the next look, which reads the page table. A huge page of a memory
 * file would be taken out of the page table by that, too, and at four times the price: such extents
 * are asked about in the first way.
 *
 * The words of pages do not change by this: a page that is out of the page table may be RESIDENT.
 */
#include <sys/mman.h>

#include "memory/page_table.h"
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "vmm/base/macros.h"

enum { COLD_BELOW = HEAT_MAX / 20 };

static bool ask(struct pager_node *node, uint32_t extent)
{
    const struct pager_span s = pager_span_at(node, extent);
    _Atomic uint8_t *known = pager_span_extent(&s);
    uint8_t was;

    atomic_fetch_and(known, (uint8_t)~EXTENT_SEEN);
    was = atomic_fetch_or(known, EXTENT_ZAPPED); /* before it is so: the first fault finds it */
    if (s.region->is_rwp && (was & EXTENT_WHOLE) == 0) {
        pager_add(&node->n.protected, 1);
        return uffd_protect(node->uffd, pager_span_address(&s, 0), s.n * PAGER_PAGE) == 0;
    }
    return (was & EXTENT_ZAPPED) != 0 ||
           madvise(pager_span_address(&s, 0), s.n * PAGER_PAGE, MADV_DONTNEED) == 0;
}

/* By a fault that the fault thread was told of, or one that the kernel served by itself. */
static bool is_touched(const struct pager_span *s)
{
    return (atomic_load(pager_span_extent(s)) & EXTENT_SEEN) != 0 ||
           (s->region->is_rwp &&
            page_table_accessed(s->node->pager->pagemap, pager_span_address(s, 0),
                                s->n * PAGER_PAGE) != 0);
}

static void hear(struct pager_node *node)
{
    for (size_t i = 0; i < node->n_asked; i++) {
        const struct pager_span s = pager_span_at(node, node->asked[i].extent);

        heat_note(&node->heat, node->asked[i].region, is_touched(&s));
    }
    node->n_asked = 0;
}

static void publish(struct pager_node *node)
{
    uint64_t hot = 0, warm = 0, cold = 0;

    for (size_t i = 0; i < node->heat.n; i++) {
        const struct heat_region *r = &node->heat.regions[i];
        uint64_t bytes = 0;

        for (uint32_t k = r->first; k < r->first + r->n; k++) {
            const struct pager_span s = pager_span_at(node, k);
            const uint8_t was = atomic_fetch_and(pager_span_extent(&s), (uint8_t)~EXTENT_SPARED);

            bytes += (was & EXTENT_AWAY) == 0 ? s.n * PAGER_PAGE : 0;
        }
        if (r->heat >= LOOK_HOT)
            hot += bytes;
        else if (r->heat >= COLD_BELOW)
            warm += bytes;
        else
            cold += bytes;
    }
    atomic_store(&node->n.hot, hot);
    atomic_store(&node->n.warm, warm);
    atomic_store(&node->n.cold, cold);
    atomic_store(&node->n.regions, node->heat.n);
    pager_add(&node->n.rounds, 1);
}

/* Return: whether time ran out. */
static bool look_at(struct pager_node *node, uint64_t until_cpu_ns)
{
    const size_t most = MIN(node->heat.n, (size_t)LOOK_REGIONS); /* each region once */
    struct pager_sample *at;

    hear(node);
    while (node->n_asked < most) {
        at = &node->asked[node->n_asked];
        if (!heat_pick(&node->heat, &at->region, &at->extent)) {
            if (node->n_asked > 0) /* the answers come first */
                return false;
            heat_end_round(&node->heat);
            publish(node);
            return false;
        }
        if (!ask(node, at->extent))
            continue;
        node->n_asked++;
        pager_add(&node->n.samples, 1);
        if (pager_cpu_ns() >= until_cpu_ns)
            return true;
    }
    return false;
}

void pager_look(struct pager *pager, uint64_t now_ns)
{
    const uint64_t start = pager_cpu_ns(), budget = pager_budget(pager, now_ns);
    uint64_t begin = start;
    bool late = budget == 0;

    for (size_t i = 0; i < pager->n_nodes && !late; i++) {
        struct pager_node *node = &pager->nodes[(pager->look_first + i) % pager->n_nodes];
        uint64_t end;

        if (!pager_wants_looks(node))
            continue;
        late = look_at(node, start + budget);
        end = pager_cpu_ns();
        pager_add(&node->n.look_cpu_ns, end - begin);
        begin = end;
    }
    pager->look_first = (pager->look_first + 1) % pager->n_nodes;
}
