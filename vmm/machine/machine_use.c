/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_use.h and docs/placement.md. */
#include "vmm/machine/machine_use.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/macros.h"

enum {
    USE_VERSION = 1,
    CPU_MILLI = 1000,
    WEIGHT_MOST = 10000,
    WHO_BYTES = 160,
    CPUS_BYTES = 8192, /* a thousand numbers of five digits */
    MILLI_MOST = 100000000, /* a hundred thousand CPUs: more is nonsense in a file */
};

/* --- from a plan ---------------------------------------------------------------------------- */

static uint32_t common(const struct idset *a, const struct idset *b)
{
    struct idset both = *a;

    idset_and(&both, b);
    return idset_count(&both);
}

/* The host CPUs that vCPU @v may run on: all, when nothing is said. */
static uint32_t cpus_on(const struct topo_plan *plan, const struct topo_plan_vcpu *v, size_t host)
{
    const struct idset *here = &plan->hosts[host].cpus;

    return idset_empty(&v->host_cpus) ? idset_count(here) : common(&v->host_cpus, here);
}

/* One vCPU, spread over the host nodes by the CPUs that it may use there. */
static void spread_cpu(const struct topo_plan *plan, const struct topo_plan_vcpu *v,
                       uint64_t *micro)
{
    uint32_t all = 0;

    for (size_t h = 0; h < plan->n_hosts; h++)
        all += cpus_on(plan, v, h);
    for (size_t h = 0; h < plan->n_hosts && all > 0; h++)
        micro[h] += 1000000ull * cpus_on(plan, v, h) / all;
}

static void spread_memory(const struct topo_plan *plan, const struct topo_plan_backing *b,
                          struct machine_use_node *nodes)
{
    const struct topo_plan_node *n = &plan->nodes[b->vnode.v];
    uint32_t all = 0, here;

    for (int add = 0; add < 2; add++) {
        for (size_t h = 0; h < plan->n_hosts; h++) {
            if (!idset_empty(&b->host_nodes))
                here = idset_has(&b->host_nodes, plan->hosts[h].id.v);
            else if (!idset_empty(&n->cpus))
                here = cpus_on(plan, &plan->vcpus[idset_next(&n->cpus, 0)], h);
            else
                here = 1; /* memory without CPUs and not bound: anywhere */
            if (add == 0)
                all += here;
            else if (all > 0)
                nodes[h].mem_bytes += b->len_bytes / all * here;
        }
    }
}

/* Thousandths, from the millionths of CPUs that vCPUs may have on each host node. */
static void fill_nodes(const struct machine_config *config, const struct topo_plan *plan,
                       const uint64_t *micro, struct machine_use_node *nodes)
{
    const struct guest_cpu_share *share = &config->spec.share;
    uint64_t all = 0, wanted = (uint64_t)plan->n_vcpus * CPU_MILLI;

    if (share->max_milli > 0)
        wanted = MIN(wanted, (uint64_t)share->max_milli);
    for (size_t h = 0; h < plan->n_hosts; h++)
        all += micro[h];
    for (size_t h = 0; h < plan->n_hosts && all > 0; h++) {
        nodes[h].cpu_milli = (uint32_t)(wanted * micro[h] / all);
        nodes[h].reserve_milli =
            (uint32_t)(((uint64_t)share->reserve_milli * micro[h] + all - 1) / all);
    }
}

int machine_use_make(const struct machine_config *config, const struct topo_plan *plan,
                     struct machine_use *ret_use, struct errctx *ec)
{
    const struct guest_cpu_share *share = &config->spec.share;
    struct machine_use use = { .weight = share->weight > 0 ? share->weight : MACHINE_WEIGHT_DEFAULT,
                               .reserve_milli = share->reserve_milli };
    uint64_t *micro;

    if (share->reserve_milli > plan->n_vcpus * CPU_MILLI)
        return errctx_set(ec, EINVAL,
                          "--cpu-reserve %g: the guest's %zu virtual CPU%s cannot use as much",
                          share->reserve_milli / 1000.0, plan->n_vcpus,
                          plan->n_vcpus == 1 ? "" : "s");
    micro = calloc(plan->n_hosts + 1, sizeof(*micro));
    use.nodes = calloc(plan->n_hosts + 1, sizeof(*use.nodes));
    if (micro == NULL || use.nodes == NULL) {
        free(micro);
        free(use.nodes);
        return errctx_set(ec, ENOMEM, "no memory to tell what the machine takes");
    }
    if (config->name != NULL)
        (void)snprintf(use.name, sizeof(use.name), "%s", config->name);
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct idset *cpus = &plan->vcpus[i].host_cpus;

        spread_cpu(plan, &plan->vcpus[i], micro);
        if (config->spec.pin == GUEST_PIN_DEDICATED && idset_count(cpus) == 1)
            idset_or(&use.cpus, cpus);
    }
    fill_nodes(config, plan, micro, use.nodes);
    for (size_t i = 0; i < plan->n_backings; i++)
        spread_memory(plan, &plan->backings[i], use.nodes);
    for (size_t h = 0; h < plan->n_hosts; h++) {
        use.nodes[h].node = plan->hosts[h].id;
        if (use.nodes[h].cpu_milli > 0 || use.nodes[h].mem_bytes > 0)
            use.nodes[use.n_nodes++] = use.nodes[h];
    }
    free(micro);
    *ret_use = use;
    return 0;
}

static const struct idset *cpus_at(const struct topo_plan *plan, int node)
{
    for (size_t h = 0; h < plan->n_hosts; h++)
        if ((int)plan->hosts[h].id.v == node)
            return &plan->hosts[h].cpus;
    return NULL;
}

int machine_use_moved(const struct machine_config *config, const struct topo_plan *plan,
                      const int *at, struct machine_use *ret_use, struct errctx *ec)
{
    struct topo_plan copy = *plan;
    int r;

    copy.vcpus = calloc(plan->n_vcpus, sizeof(*copy.vcpus));
    copy.backings = calloc(plan->n_backings + 1, sizeof(*copy.backings));
    if (copy.vcpus == NULL || copy.backings == NULL) {
        free(copy.vcpus);
        free(copy.backings);
        return errctx_set(ec, ENOMEM, "no memory to tell what the machine takes");
    }
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const int node = at[plan->vcpus[i].vnode.v];
        const struct idset *cpus = node >= 0 ? cpus_at(plan, node) : NULL;

        copy.vcpus[i] = plan->vcpus[i];
        if (cpus != NULL && !idset_empty(cpus))
            copy.vcpus[i].host_cpus = *cpus;
    }
    for (size_t i = 0; i < plan->n_backings; i++) {
        const int node = at[plan->backings[i].vnode.v];

        copy.backings[i] = plan->backings[i];
        if (node < 0)
            continue;
        copy.backings[i].host_nodes = (struct idset){ 0 };
        idset_add(&copy.backings[i].host_nodes, (uint32_t)node);
    }
    r = machine_use_make(config, &copy, ret_use, ec);
    free(copy.vcpus);
    free(copy.backings);
    return r;
}

const struct machine_use_node *machine_use_on(const struct machine_use *use, struct hnode_id id)
{
    for (size_t i = 0; i < use->n_nodes; i++)
        if (use->nodes[i].node.v == id.v)
            return &use->nodes[i];
    return NULL;
}

int machine_use_hold(const struct machine_use *before, const struct machine_use *after,
                     struct machine_use *ret_use, struct errctx *ec)
{
    struct machine_use use = *before;

    use.nodes = calloc(before->n_nodes + after->n_nodes + 1, sizeof(*use.nodes));
    if (use.nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to tell what the machine takes");
    for (size_t i = 0; i < before->n_nodes; i++)
        use.nodes[i] = before->nodes[i];
    for (size_t i = 0; i < after->n_nodes; i++) {
        const struct machine_use_node *a = &after->nodes[i], *b = machine_use_on(before, a->node);
        const uint32_t had = b != NULL ? b->reserve_milli : 0;
        struct machine_use_node *n =
            &use.nodes[b != NULL ? (size_t)(b - before->nodes) : use.n_nodes++];

        n->node = a->node;
        n->held_milli = a->reserve_milli - MIN(had, a->reserve_milli);
        n->mem_bytes = MAX(n->mem_bytes, a->mem_bytes);
    }
    *ret_use = use;
    return 0;
}

void machine_use_fini(struct machine_use *use)
{
    free(use->nodes);
    *use = (struct machine_use){ 0 };
}

/* --- as a file ------------------------------------------------------------------------------ */

json_t *machine_use_to_json(const struct machine_use *use)
{
    json_t *nodes = json_array();
    char cpus[CPUS_BYTES];

    for (size_t i = 0; i < use->n_nodes; i++) {
        const struct machine_use_node *n = &use->nodes[i];

        if (json_array_append_new(nodes, json_pack("{si sI sI sI sI}", "node", (int)n->node.v,
                                                   "cpu", (json_int_t)n->cpu_milli, "reserve",
                                                   (json_int_t)n->reserve_milli, "held",
                                                   (json_int_t)n->held_milli, "memory",
                                                   (json_int_t)n->mem_bytes)) < 0) {
            json_decref(nodes);
            return NULL;
        }
    }
    return json_pack("{si ss ss s{sI sI sI} sI sI ss so}", "version", USE_VERSION, "name",
                     use->name, "cgroup", use->cgroup, "process", "pid",
                     (json_int_t)use->process.pid, "start", (json_int_t)use->process.start,
                     "pid_ns", (json_int_t)use->process.pid_ns, "weight", (json_int_t)use->weight,
                     "reserve", (json_int_t)use->reserve_milli, "cpus",
                     idset_format(&use->cpus, cpus, sizeof(cpus)), "nodes", nodes);
}

static bool number(const json_t *object, const char *name, json_int_t most, json_int_t *ret)
{
    const json_t *v = json_object_get(object, name);

    *ret = json_integer_value(v);
    return json_is_integer(v) && *ret >= 0 && *ret <= most;
}

static bool text(const json_t *object, const char *name, char *buf, size_t size)
{
    const char *s = json_string_value(json_object_get(object, name));

    return s != NULL && (size_t)snprintf(buf, size, "%s", s) < size;
}

static bool read_node(const json_t *json, struct machine_use_node *n)
{
    json_int_t node, cpu, reserve, held = 0, memory;

    if (!number(json, "node", IDSET_MAX - 1, &node) || !number(json, "cpu", MILLI_MOST, &cpu) ||
        !number(json, "reserve", MILLI_MOST, &reserve) ||
        (json_object_get(json, "held") != NULL && !number(json, "held", MILLI_MOST, &held)) ||
        !number(json, "memory", INT64_MAX, &memory))
        return false;
    *n = (struct machine_use_node){ .node = { (uint32_t)node },
                                    .cpu_milli = (uint32_t)cpu,
                                    .reserve_milli = (uint32_t)reserve,
                                    .held_milli = (uint32_t)held,
                                    .mem_bytes = (uint64_t)memory };
    return true;
}

/* It may be missing: nobody sets its nice values then. */
static bool read_process(const json_t *json, struct process_mark *ret)
{
    json_int_t pid, start, pid_ns;

    if (json == NULL)
        return true;
    if (!number(json, "pid", INT32_MAX, &pid) || !number(json, "start", INT64_MAX, &start) ||
        !number(json, "pid_ns", INT64_MAX, &pid_ns))
        return false;
    *ret = (struct process_mark){ .pid = (pid_t)pid,
                                  .start = (uint64_t)start,
                                  .pid_ns = (uint64_t)pid_ns };
    return true;
}

int machine_use_from_json(const json_t *json, struct machine_use *ret_use)
{
    const json_t *nodes = json_object_get(json, "nodes");
    const json_t *cpus = json_object_get(json, "cpus");
    json_int_t version, weight, reserve;
    struct machine_use use = { 0 };

    if (!number(json, "version", USE_VERSION, &version) || version != USE_VERSION ||
        !number(json, "weight", WEIGHT_MOST, &weight) || weight == 0 ||
        !number(json, "reserve", MILLI_MOST, &reserve) || !json_is_array(nodes) ||
        json_array_size(nodes) > IDSET_MAX || !text(json, "name", use.name, sizeof(use.name)) ||
        !text(json, "cgroup", use.cgroup, sizeof(use.cgroup)) ||
        (cpus != NULL && (!json_is_string(cpus) ||
                          idset_parse(json_string_value(cpus), &use.cpus, NULL) < 0)))
        return -EINVAL;
    if (!read_process(json_object_get(json, "process"), &use.process))
        return -EINVAL;
    use.weight = (uint32_t)weight;
    use.reserve_milli = (uint32_t)reserve;
    use.nodes = calloc(json_array_size(nodes) + 1, sizeof(*use.nodes));
    if (use.nodes == NULL)
        return -ENOMEM;
    for (; use.n_nodes < json_array_size(nodes); use.n_nodes++) {
        if (!read_node(json_array_get(nodes, use.n_nodes), &use.nodes[use.n_nodes])) {
            machine_use_fini(&use);
            return -EINVAL;
        }
    }
    *ret_use = use;
    return 0;
}

/* --- of several machines -------------------------------------------------------------------- */

/* A CPU that a machine has alone is taken, whatever part of it may be used. */
static uint64_t taken_milli(const struct machine_use *use, const struct host_node *node)
{
    const struct machine_use_node *u = machine_use_on(use, node->id);
    struct idset own = use->cpus;

    idset_and(&own, &node->cpus);
    return MAX((uint64_t)(u != NULL ? u->cpu_milli : 0), idset_count(&own) * (uint64_t)CPU_MILLI) +
           (u != NULL ? u->held_milli : 0);
}

void machine_use_sum(const struct host_topo *host, const struct machine_use *uses, size_t n,
                     struct place_use *ret_used)
{
    for (size_t h = 0; h < host->n_nodes; h++) {
        uint64_t milli = 0, bytes = 0;

        for (size_t i = 0; i < n; i++) {
            const struct machine_use_node *u = machine_use_on(&uses[i], host->nodes[h].id);

            milli += taken_milli(&uses[i], &host->nodes[h]);
            bytes += u != NULL ? MIN(u->mem_bytes, UINT64_MAX - bytes) : 0;
        }
        ret_used[h] = (struct place_use){ (uint32_t)MIN(milli, (uint64_t)UINT32_MAX), bytes };
    }
}

/* "web 2, db 1.5" */
static const char *who_has(const struct machine_use *others, size_t n, struct hnode_id id,
                           char buf[static WHO_BYTES])
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < n && len < WHO_BYTES; i++) {
        const struct machine_use_node *u = machine_use_on(&others[i], id);

        if (u != NULL && u->reserve_milli + u->held_milli > 0)
            len += (size_t)snprintf(buf + len, WHO_BYTES - len, "%s%s %g", len > 0 ? ", " : "",
                                    others[i].name, (u->reserve_milli + u->held_milli) / 1000.0);
    }
    return buf;
}

static uint64_t reserved(const struct machine_use *uses, size_t n, struct hnode_id id, bool held)
{
    uint64_t milli = 0;

    for (size_t i = 0; i < n; i++) {
        const struct machine_use_node *u = machine_use_on(&uses[i], id);

        if (u != NULL)
            milli += u->reserve_milli + (held ? u->held_milli : 0);
    }
    return milli;
}

static int admit_on(const struct host_node *node, const struct machine_use *others, size_t n,
                    uint32_t wanted, struct errctx *ec)
{
    uint64_t has = (uint64_t)idset_count(&node->cpus) * CPU_MILLI;
    uint64_t taken = reserved(others, n, node->id, true);
    char who[WHO_BYTES];

    if (taken + wanted <= has)
        return 0;
    if (taken == 0)
        return errctx_set(ec, ENOSPC,
                          "--cpu-reserve: host node %u has %g CPUs, and %g would be reserved",
                          node->id.v, (double)has / 1000.0, wanted / 1000.0);
    return errctx_set(ec, ENOSPC,
                      "--cpu-reserve: host node %u has %g CPUs, %g of them are reserved by other "
                      "machines (%s), and %g more would be",
                      node->id.v, (double)has / 1000.0, (double)taken / 1000.0,
                      who_has(others, n, node->id, who), wanted / 1000.0);
}

int machine_use_admit(const struct host_topo *host, const struct machine_use *others, size_t n,
                      const struct machine_use *use, struct errctx *ec)
{
    uint64_t all = use->reserve_milli;
    int r = 0;

    if (use->reserve_milli == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        all += others[i].reserve_milli;
    if (host->limits.has_cpu && all > host->limits.cpu_milli)
        return errctx_set(ec, ENOSPC,
                          "--cpu-reserve: the cgroup %s allows %g CPUs (cpu.max), and all machines "
                          "together would have %g reserved",
                          host->limits.cpu_cgroup, (double)host->limits.cpu_milli / 1000.0,
                          (double)all / 1000.0);
    for (size_t h = 0; r == 0 && h < host->n_nodes; h++) {
        const struct machine_use_node *u = machine_use_on(use, host->nodes[h].id);

        if (u != NULL && u->reserve_milli > 0)
            r = admit_on(&host->nodes[h], others, n, u->reserve_milli, ec);
    }
    return r;
}

int machine_use_admit_move(const struct host_topo *host, const struct machine_use *others, size_t n,
                           const struct machine_use *before, const struct machine_use *after,
                           struct errctx *ec)
{
    int r = 0;

    for (size_t h = 0; r == 0 && h < host->n_nodes; h++) {
        const struct machine_use_node *a = machine_use_on(after, host->nodes[h].id);
        const struct machine_use_node *b = machine_use_on(before, host->nodes[h].id);

        if (a != NULL && a->reserve_milli > (b != NULL ? b->reserve_milli : 0))
            r = admit_on(&host->nodes[h], others, n, a->reserve_milli, ec);
    }
    return r;
}

/* The part of machine @use's vCPUs that is on a host node. */
static double part_on(const struct machine_use *use, struct hnode_id id)
{
    const struct machine_use_node *u = machine_use_on(use, id);
    double all = 0;

    for (size_t k = 0; k < use->n_nodes; k++)
        all += use->nodes[k].cpu_milli;
    return u != NULL && all > 0 ? u->cpu_milli / all : 0;
}

/* What a weight of one gets on a node beyond reservations, in CPUs. */
static double left_on(const struct host_node *node, const struct machine_use *uses, size_t n)
{
    double left = idset_count(&node->cpus) - (double)reserved(uses, n, node->id, false) / 1000.0;
    double want = 0;

    for (size_t i = 0; i < n; i++)
        want += uses[i].weight * part_on(&uses[i], node->id);
    return want > 0 && left > 0 ? left / want : 0;
}

/* A machine's CPUs: what it reserved, and by its weight as much more as the fullest of its nodes
 * allows. */
static double cpus_of(const struct host_topo *host, const struct machine_use *uses, size_t n,
                      const struct machine_use *use)
{
    double least = -1;

    for (size_t h = 0; h < host->n_nodes; h++) {
        double left;

        if (part_on(use, host->nodes[h].id) <= 0)
            continue;
        left = left_on(&host->nodes[h], uses, n);
        least = least < 0 || left < least ? left : least;
    }
    return use->reserve_milli / 1000.0 + MAX(least, 0.0) * use->weight;
}

void machine_use_weights(const struct host_topo *host, const struct machine_use *uses, size_t n,
                         uint32_t *ret_weights)
{
    double cpus = 0, asked = 0, most = 0, scale;
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        double w = cpus_of(host, uses, n, &uses[i]);

        any = any || uses[i].reserve_milli > 0;
        cpus += w;
        most = MAX(most, w);
        asked += MAX(uses[i].weight, (uint32_t)MACHINE_WEIGHT_DEFAULT);
    }
    scale = cpus > 0 ? MIN(asked / cpus, WEIGHT_MOST / most) : 0;
    for (size_t i = 0; i < n; i++) {
        double w = cpus_of(host, uses, n, &uses[i]);

        ret_weights[i] = uses[i].weight;
        if (any && cpus > 0) /* rounded for who reserved: up for him, down for the others */
            ret_weights[i] = (uint32_t)(w * scale + (uses[i].reserve_milli > 0));
        ret_weights[i] = MIN(MAX(ret_weights[i], 1u), (uint32_t)WEIGHT_MOST);
    }
}
