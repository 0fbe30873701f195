/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_nice.h and docs/placement.md. */
#include "vmm/machine/machine_nice.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/base/place.h"

enum { NICE_MOST = 19, MILLI = 1000 };

/* Rounding of thousandths, where CPUs are spread over host nodes. */
static const double CLOSE_ENOUGH = 0.99;

/* vCPUs that are busy on a host node. */
static double busy_on(const struct machine_use *use, struct hnode_id id)
{
    const struct machine_use_node *u = machine_use_on(use, id);

    return u != NULL ? (double)u->cpu_milli / MILLI : 0;
}

static double floor_on(const struct machine_use *use, struct hnode_id id)
{
    const struct machine_use_node *u = machine_use_on(use, id);

    return u != NULL ? (double)u->reserve_milli / MILLI * CLOSE_ENOUGH : 0;
}

static double busy(const struct machine_use *use)
{
    double all = 0;

    for (size_t i = 0; i < use->n_nodes; i++)
        all += (double)use->nodes[i].cpu_milli / MILLI;
    return all;
}

/* The nice value that is nearest to a thread's weight; half a step decides. */
static int nice_of(double weight)
{
    const double half = 1.118;
    int nice = 0;

    while (nice < NICE_MOST && place_weight_of_nice(nice) > weight * half)
        nice++;
    return nice;
}

/* Steps of nice from the thread that weighs most, then all pushed up together until nobody is below
 * what he may have. */
static void spread(const struct machine_use *uses, size_t n, const uint32_t *weights,
                   const int *least, int *nice)
{
    double most = 0;
    int up = 0;

    for (size_t i = 0; i < n; i++)
        most = MAX(most, busy(&uses[i]) > 0 ? weights[i] / busy(&uses[i]) : 0);
    for (size_t i = 0; i < n; i++) {
        nice[i] = busy(&uses[i]) > 0 ? nice_of(weights[i] / busy(&uses[i]) / most) : 0;
        up = MAX(up, least[i] - nice[i]);
    }
    for (size_t i = 0; i < n; i++)
        nice[i] = MAX(MIN(nice[i] + up, NICE_MOST), least[i]);
}

/* What a machine gets of a host node when all are busy; a node that is not full gives what is
 * wanted. */
static double share_on(const struct host_node *node, const struct machine_use *uses, size_t n,
                       const int *nice, size_t which)
{
    const double cpus = idset_count(&node->cpus), own = busy_on(&uses[which], node->id);
    double all = 0, wanted = 0;

    for (size_t i = 0; i < n; i++) {
        wanted += busy_on(&uses[i], node->id);
        all += busy_on(&uses[i], node->id) * place_weight_of_nice(nice[i]);
    }
    return wanted <= cpus ? own : MIN(own, cpus * own * place_weight_of_nice(nice[which]) / all);
}

/* Who has most beyond his floor on a node, and still his floor one step further back; @n: nobody.
 */
static size_t richest_on(const struct host_node *node, const struct machine_use *uses, size_t n,
                         int *nice)
{
    double most = 0;
    size_t who = n;

    for (size_t i = 0; i < n; i++) {
        double beyond;

        if (nice[i] == NICE_MOST || busy_on(&uses[i], node->id) <= 0)
            continue;
        nice[i]++;
        beyond = share_on(node, uses, n, nice, i) - floor_on(&uses[i], node->id);
        nice[i]--;
        if (beyond >= most) {
            most = beyond;
            who = i;
        }
    }
    return who;
}

/* A host node where somebody's floor does not hold; NULL: none. */
static const struct host_node *poor_node(const struct host_topo *host,
                                         const struct machine_use *uses, size_t n, const int *nice)
{
    for (size_t h = 0; h < host->n_nodes; h++)
        for (size_t i = 0; i < n; i++)
            if (share_on(&host->nodes[h], uses, n, nice, i) < floor_on(&uses[i], host->nodes[h].id))
                return &host->nodes[h];
    return NULL;
}

int machine_nice_values(const struct host_topo *host, const struct machine_use *uses, size_t n,
                        const int *least, int *ret_nice)
{
    uint32_t *weights = calloc(n + 1, sizeof(*weights));
    const struct host_node *poor;

    if (weights == NULL)
        return -ENOMEM;
    machine_use_weights(host, uses, n, weights);
    spread(uses, n, weights, least, ret_nice);
    free(weights);
    /* Each turn raises one value, so this ends. */
    while ((poor = poor_node(host, uses, n, ret_nice)) != NULL) {
        const size_t rich = richest_on(poor, uses, n, ret_nice);

        if (rich == n)
            return 0;
        ret_nice[rich]++;
    }
    return 1;
}
