/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_threads.h and docs/placement.md. */
#include "vmm/machine/machine_threads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

/* The virtio console is a device that nobody describes; it comes first and is on node 0. */
static bool has_console(const struct machine_config *config)
{
    return config->console == CONSOLE_VIRTIO;
}

/* Behind the described devices: one for the memory that can be plugged into each node. */
static uint32_t count_windows(const struct machine_config *config)
{
    uint32_t n = 0;

    for (size_t i = 0; i < config->spec.n_nodes; i++)
        n += config->spec.nodes[i].hotplug_bytes > 0;
    return n;
}

static size_t count_devices(const struct machine_config *config)
{
    return has_console(config) + config->n_devices + count_windows(config);
}

static bool is_described(const struct machine_config *config, size_t device)
{
    return device >= has_console(config) && device - has_console(config) < config->n_devices;
}

/* Windows in the order of their nodes; the console is on node 0. */
uint32_t machine_device_vnode(const struct machine_config *config, size_t device)
{
    size_t window;

    if (is_described(config, device))
        return config->devices[device - has_console(config)].vnode;
    if (device < has_console(config))
        return 0;
    window = device - has_console(config) - config->n_devices;
    for (size_t i = 0; i < config->spec.n_nodes; i++)
        if (config->spec.nodes[i].hotplug_bytes > 0 && window-- == 0)
            return (uint32_t)i;
    return 0;
}

static bool reclaims(const struct machine_config *config, size_t device)
{
    if (is_described(config, device))
        return config->devices[device - has_console(config)].type->reclaims;
    return device >= has_console(config);
}

const char *machine_thread_name(const struct machine_threads *t, uint32_t i, char *buf)
{
    if (t->io[i].reclaims)
        return strcpy(buf, "reclaim");
    (void)snprintf(buf, MACHINE_THREAD_NAME, "io%u", i);
    return buf;
}

const char *machine_device_name(const struct machine_config *config, size_t i, char *buf)
{
    const size_t at = i - has_console(config);
    unsigned number = 0;

    if (has_console(config) && i == 0)
        return strcpy(buf, "console0");
    if (!is_described(config, i)) {
        (void)snprintf(buf, MACHINE_DEVICE_NAME, "mem%zu", at - config->n_devices);
        return buf;
    }
    for (size_t k = 0; k < at; k++)
        number += config->devices[k].type == config->devices[at].type;
    (void)snprintf(buf, MACHINE_DEVICE_NAME, "%.16s%u", config->devices[at].type->name, number);
    return buf;
}

static uint32_t count(const struct machine_config *config, const struct idset *vnodes)
{
    struct idset seen = { 0 };

    for (size_t i = 0; i < count_devices(config); i++)
        if (!reclaims(config, i) && !idset_has(vnodes, machine_device_vnode(config, i)))
            idset_add(&seen, machine_device_vnode(config, i));
    return idset_count(&seen);
}

/* The thread for a device on @vnode, of the first @n: its node's emptiest, or an unused one that no
 * node still needs, or just the emptiest. */
static uint32_t choose(const struct machine_threads *t, uint32_t n, uint32_t vnode,
                       uint32_t nodes_to_come)
{
    uint32_t least = 0, own = UINT32_MAX, idle = UINT32_MAX, n_idle = 0;
    bool first = true;

    for (uint32_t i = 0; i < n; i++) {
        const struct machine_thread *io = &t->io[i];

        if (io->n_devices < t->io[least].n_devices)
            least = i;
        if (io->n_devices == 0) {
            n_idle++;
            idle = MIN(idle, i);
        } else if (idset_has(&io->vnodes, vnode)) {
            first = false;
            if (idset_count(&io->vnodes) == 1 &&
                (own == UINT32_MAX || io->n_devices < t->io[own].n_devices))
                own = i;
        }
    }
    if (idle != UINT32_MAX && (first || n_idle > nodes_to_come))
        return idle;
    return own != UINT32_MAX ? own : least;
}

static void spread_devices(const struct machine_config *config, struct machine_threads *t)
{
    const uint32_t n_plain = (uint32_t)t->n_io - t->io[t->n_io - 1].reclaims;
    struct idset seen = { 0 };

    for (size_t i = 0; i < t->n_devices; i++) {
        const uint32_t vnode = machine_device_vnode(config, i);
        struct machine_thread *io;

        if (reclaims(config, i)) {
            t->device[i] = n_plain;
            t->io[n_plain].n_devices++;
            continue;
        }
        idset_add(&seen, vnode);
        t->device[i] = choose(t, n_plain, vnode, count(config, &seen));
        io = &t->io[t->device[i]];
        io->n_devices++;
        idset_add(&io->vnodes, vnode);
    }
}

void machine_threads_cpus(const struct topo_plan *plan, uint32_t vnode, struct idset *ret_cpus)
{
    const struct topo_plan_node *n = &plan->nodes[vnode];

    *ret_cpus = (struct idset){ 0 };
    if (idset_empty(&n->cpus) && n->has_initiator)
        n = &plan->nodes[n->initiator.v];
    IDSET_FOREACH(cpu, &n->cpus) {
        if (idset_empty(&plan->vcpus[cpu].host_cpus)) {
            *ret_cpus = (struct idset){ 0 };
            return;
        }
        idset_or(ret_cpus, &plan->vcpus[cpu].host_cpus);
    }
}

/* Dedicated CPUs are not for others: the rest of their host nodes, if there is any. */
static void step_aside(const struct topo_plan *plan, struct idset *cpus)
{
    struct idset beside = { 0 };

    for (size_t h = 0; h < plan->n_hosts; h++)
        if (idset_intersects(&plan->hosts[h].cpus, cpus))
            idset_or(&beside, &plan->hosts[h].cpus);
    for (size_t i = 0; i < plan->n_vcpus; i++)
        IDSET_FOREACH(cpu, &plan->vcpus[i].host_cpus)
            idset_del(&beside, cpu);
    if (!idset_empty(&beside))
        *cpus = beside;
}

static void place(const struct machine_config *config, const struct topo_plan *plan,
                  struct machine_thread *thread)
{
    struct idset cpus;

    IDSET_FOREACH(vnode, &thread->vnodes) {
        if (vnode >= plan->n_nodes)
            continue; /* refused when the device is made */
        machine_threads_cpus(plan, vnode, &cpus);
        if (idset_empty(&cpus)) {
            thread->host_cpus = cpus;
            return;
        }
        idset_or(&thread->host_cpus, &cpus);
    }
    if (config->spec.pin == GUEST_PIN_DEDICATED && !idset_empty(&thread->host_cpus))
        step_aside(plan, &thread->host_cpus);
}

static bool any_reclaims(const struct machine_config *config)
{
    for (size_t i = 0; i < count_devices(config); i++)
        if (reclaims(config, i))
            return true;
    return false;
}

static void serve_all_nodes(const struct topo_plan *plan, struct machine_thread *thread)
{
    for (size_t i = 0; i < plan->n_nodes; i++)
        if (!idset_empty(&plan->nodes[i].cpus))
            idset_add(&thread->vnodes, (uint32_t)i);
}

int machine_threads_plan(const struct machine_config *config, const struct topo_plan *plan,
                         struct machine_threads **ret_threads, struct errctx *ec)
{
    struct machine_threads *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the plan of threads");
    t->n_io = MAX(config->io_threads, 1u) + any_reclaims(config);
    t->n_devices = count_devices(config);
    t->io = calloc(t->n_io, sizeof(*t->io));
    t->device = calloc(t->n_devices + 1, sizeof(*t->device));
    if (t->io == NULL || t->device == NULL) {
        machine_threads_free(t);
        return errctx_set(ec, ENOMEM, "no memory for the plan of threads");
    }
    t->io[t->n_io - 1].reclaims = any_reclaims(config);
    spread_devices(config, t);
    if (t->io[t->n_io - 1].reclaims)
        serve_all_nodes(plan, &t->io[t->n_io - 1]);
    for (size_t i = 0; i < t->n_io; i++)
        place(config, plan, &t->io[i]);
    serve_all_nodes(plan, &t->main);
    place(config, plan, &t->main);
    *ret_threads = t;
    return 0;
}

void machine_threads_free(struct machine_threads *threads)
{
    if (threads == NULL)
        return;
    free(threads->io);
    free(threads->device);
    free(threads);
}

enum { LIST_BYTES = 1024 };

static json_t *thread_json(const char *name, const struct machine_thread *thread, json_t *devices)
{
    char cpus[LIST_BYTES], nodes[LIST_BYTES];

    return json_pack("{ss ss ss so}", "name", name, "host_cpus",
                     idset_format(&thread->host_cpus, cpus, sizeof(cpus)), "nodes",
                     idset_format(&thread->vnodes, nodes, sizeof(nodes)), "devices", devices);
}

json_t *machine_threads_json(const struct machine_config *config,
                             const struct machine_threads *t)
{
    json_t *list = json_array();
    bool ok = json_array_append_new(list, thread_json("main", &t->main, json_array())) == 0;

    for (uint32_t i = 0; ok && i < t->n_io; i++) {
        json_t *devices = json_array();
        char name[MACHINE_DEVICE_NAME];

        if (t->io[i].n_devices == 0) {
            json_decref(devices);
            continue;
        }
        for (size_t d = 0; d < t->n_devices; d++)
            if (t->device[d] == i)
                (void)json_array_append_new(devices,
                                            json_string(machine_device_name(config, d, name)));
        (void)machine_thread_name(t, i, name);
        ok = json_array_append_new(list, thread_json(name, &t->io[i], devices)) == 0;
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return list;
}
