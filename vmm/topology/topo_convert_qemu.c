/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of QEMU that describes the same machine (qemu-system-x86_64(1), -smp, -numa), an
 * option a line, no blank within a value: for "qemu-system-x86_64 $(cat FILE) ...".
 *
 * QEMU has its initiators to be nodes with CPUs, and wants one for every node as soon as it writes
 * an HMAT. CPUs come before latencies, which are refused for nodes that have none yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/topo_convert.h"

enum { QEMU_NODES_MAX = 128, APIC_ID_PLAIN_MAX = 254 };

static uint32_t cores_per_die(const struct topo_plan *plan)
{
    return plan->apic.cores_per_complex * plan->apic.complexes_per_die;
}

static int check(const struct topo_plan *plan, struct topo_notes *notes, struct errctx *ec)
{
    const struct topo_apic_layout *a = &plan->apic;
    const uint64_t all = (uint64_t)a->n_sockets * a->dies_per_socket * cores_per_die(plan) *
                         a->threads_per_core;
    bool windows = false, devices = false, later = false;

    if (plan->n_nodes > QEMU_NODES_MAX)
        return errctx_set(ec, EINVAL, "QEMU has at most %d nodes, and there are %zu",
                          QEMU_NODES_MAX, plan->n_nodes);
    if (all != plan->n_vcpus)
        return errctx_set(ec, EINVAL, "QEMU wants the same number of cores and threads in every "
                          "socket and die, and here they differ");
    for (size_t i = 0; i < plan->n_nodes; i++) {
        windows = windows || plan->nodes[i].hotplug_bytes > 0;
        devices = devices || plan->nodes[i].generic_initiator;
    }
    if (devices)
        topo_note(notes, "QEMU's options, as written here, do not hold generic initiators: QEMU has "
                  "them from version 9.0 on (acpi-generic-initiator).");
    if (windows)
        topo_note(notes, "QEMU's options, as written here, do not hold windows for memory that is "
                  "added later.");
    for (size_t i = 0; !later && i < plan->n_vcpus; i++)
        later = plan->vcpus[i].later;
    if (later)
        topo_note(notes, "QEMU's options, as written here, have all CPUs there from the start.");
    if (plan->n_caches > 0)
        topo_note(notes, "QEMU's options do not hold the caches: they are its CPU model's.");
    if (plan->max_apic_id > APIC_ID_PLAIN_MAX)
        topo_note(notes, "With APIC ids above %d QEMU wants -machine kernel-irqchip=split and "
                  "-device intel-iommu,intremap=on,eim=on, too.", APIC_ID_PLAIN_MAX);
    return 0;
}

/* Whose CPUs are named for @node's memory. */
static size_t initiator_of(const struct topo_plan *plan, size_t node, struct topo_notes *notes)
{
    size_t best = SIZE_MAX;

    if (plan->nodes[node].has_initiator &&
        !idset_empty(&plan->nodes[plan->nodes[node].initiator.v].cpus))
        return plan->nodes[node].initiator.v;
    for (size_t k = 0; k < plan->n_nodes; k++)
        if (!idset_empty(&plan->nodes[k].cpus) &&
            (best == SIZE_MAX || plan->distances[k * plan->n_nodes + node] <
                                     plan->distances[best * plan->n_nodes + node]))
            best = k;
    topo_note(notes, "QEMU wants an initiator for every node: node %zu gets %zu, which is nearest.",
              node, best);
    return best;
}

static void write_nodes(const struct topo_plan *plan, bool hmat, struct topo_notes *notes, FILE *out)
{
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        if (n->ram_bytes > 0)
            (void)fprintf(out, "-object memory-backend-ram,id=mem%zu,size=%" PRIu64 "M\n", i,
                          n->ram_bytes / MIB);
        (void)fprintf(out, "-numa node,nodeid=%zu", i);
        if (n->ram_bytes > 0)
            (void)fprintf(out, ",memdev=mem%zu", i);
        if (hmat && idset_empty(&n->cpus))
            (void)fprintf(out, ",initiator=%zu", initiator_of(plan, i, notes));
        (void)fputc('\n', out);
    }
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];

        (void)fprintf(out, "-numa cpu,node-id=%u,socket-id=%u", v->vnode.v, v->socket);
        if (plan->apic.dies_per_socket > 1)
            (void)fprintf(out, ",die-id=%u", v->die);
        (void)fprintf(out, ",core-id=%u,thread-id=%u\n",
                      v->complex * plan->apic.cores_per_complex + v->core, v->thread);
    }
    for (size_t i = 0; i < plan->n_nodes; i++)
        for (size_t k = 0; k < plan->n_nodes; k++)
            if (i != k)
                (void)fprintf(out, "-numa dist,src=%zu,dst=%zu,val=%" PRIu32 "\n", i, k,
                              plan->distances[i * plan->n_nodes + k]);
}

static void write_links(const struct topo_plan *plan, FILE *out)
{
    for (size_t i = 0; plan->links != NULL && i < plan->n_nodes; i++)
        for (size_t k = 0; k < plan->n_nodes; k++) {
            const struct topo_plan_link *l = &plan->links[i * plan->n_nodes + k];

            if (idset_empty(&plan->nodes[i].cpus))
                continue;
            if (l->latency_ns > 0)
                (void)fprintf(out, "-numa hmat-lb,initiator=%zu,target=%zu,hierarchy=memory,"
                              "data-type=access-latency,latency=%" PRIu64 "\n", i, k, l->latency_ns);
            if (l->bandwidth_bytes_per_s > 0)
                (void)fprintf(out, "-numa hmat-lb,initiator=%zu,target=%zu,hierarchy=memory,"
                              "data-type=access-bandwidth,bandwidth=%" PRIu64 "M\n", i, k,
                              l->bandwidth_bytes_per_s / MIB);
        }
}

/* QEMU wants to know both of a node from somebody, before it takes a cache of it. */
static bool has_latency_and_bandwidth(const struct topo_plan *plan, size_t target)
{
    bool latency = false, bandwidth = false;

    for (size_t i = 0; plan->links != NULL && i < plan->n_nodes; i++) {
        const struct topo_plan_link *l = &plan->links[i * plan->n_nodes + target];

        if (idset_empty(&plan->nodes[i].cpus))
            continue;
        latency = latency || l->latency_ns > 0;
        bandwidth = bandwidth || l->bandwidth_bytes_per_s >= MIB;
    }
    return latency && bandwidth;
}

static void write_mem_caches(const struct topo_plan *plan, struct topo_notes *notes, FILE *out)
{
    static const char *const assoc[] = { "none", "direct", "complex" };
    static const char *const policy[] = { "none", "write-back", "write-through" };

    for (size_t i = 0; i < plan->n_nodes; i++) {
        if (plan->nodes[i].n_mem_caches > 0 && !has_latency_and_bandwidth(plan, i)) {
            topo_note(notes, "QEMU takes memory-side caches only of nodes whose latency and bandwidth "
                      "it knows: those of node %zu are left out.", i);
            continue;
        }
        for (uint32_t k = 0; k < plan->nodes[i].n_mem_caches; k++) {
            const struct guest_mem_cache_spec *c = &plan->nodes[i].mem_cache[k];

            (void)fprintf(out, "-numa hmat-cache,node-id=%zu,size=%" PRIu64 "K,level=%u,"
                          "associativity=%s,policy=%s,line=%u\n", i, c->size_bytes / 1024, k + 1,
                          assoc[c->assoc], policy[c->write], c->line_bytes);
        }
    }
}

int topo_convert_qemu(const struct topo_plan *plan, struct topo_notes *notes, FILE *out,
                      struct errctx *ec)
{
    bool hmat = plan->links != NULL;
    uint64_t memory = 0;
    int r = check(plan, notes, ec);

    if (r < 0)
        return r;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        memory += plan->nodes[i].ram_bytes;
        hmat = hmat || (plan->nodes[i].n_mem_caches > 0 && has_latency_and_bandwidth(plan, i));
    }
    (void)fprintf(out, "-machine q35%s\n-m %" PRIu64 "M\n", hmat ? ",hmat=on" : "", memory / MIB);
    (void)fprintf(out, "-smp %zu,sockets=%u,dies=%u,cores=%u,threads=%u\n", plan->n_vcpus,
                  plan->apic.n_sockets, plan->apic.dies_per_socket, cores_per_die(plan),
                  plan->apic.threads_per_core);
    write_nodes(plan, hmat, notes, out);
    write_links(plan, out);
    write_mem_caches(plan, notes, out);
    return 0;
}
