/* SPDX-License-Identifier: Apache-2.0 */
/* What `ctl status` and `ctl stats` show. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/kvm_stats.h"
#include "vmm/machine/machine_private.h"

/* What it is, or will be as soon as it stands. */
static const char *state_word(struct machine *m)
{
    LOCK_SCOPE(&m->request_lock);

    return m->request == REQUEST_END                              ? "ending"
           : m->request == REQUEST_RESET || m->n_resetting > 0 ? "resetting"
           : m->pausing                                           ? "pausing"
           : m->paused                                            ? "paused"
                                                                  : "running";
}

json_t *machine_status(struct machine *m)
{
    json_t *nodes = json_array();

    for (size_t i = 0; i < m->plan->n_nodes; i++) {
        const struct topo_plan_node *n = &m->plan->nodes[i];

        (void)json_array_append_new(
            nodes, json_pack("{s:i, s:I, s:I}", "id", (int)n->vnode.v, "memory",
                             (json_int_t)n->ram_bytes, "resident",
                             (json_int_t)guest_mem_resident_bytes(m->mem, n->vnode)));
    }
    return json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:s, s:o, s:o}", "name", m->config->name,
                     "state", state_word(m), "pid", (int)getpid(), "vcpus",
                     (json_int_t)m->n_vcpus, "vcpus_there", (json_int_t)machine_cpus_there(m),
                     "resets", (json_int_t)m->n_resets, "balance",
                     machine_balance_mode(m), "nodes", nodes,
                     "threads", machine_threads_json(m->config, m->threads));
}

static void add_counter(void *ctx, const char *name, uint64_t value)
{
    (void)json_object_set_new(ctx, name, json_integer((json_int_t)value));
}

int machine_stats_open(struct machine *m, struct errctx *ec)
{
    m->stats_fds = calloc(m->n_vcpus + 1, sizeof(int));
    if (m->stats_fds == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu counters", m->n_vcpus);
    for (size_t i = 0; i < m->n_vcpus; i++)
        m->stats_fds[i] = kvm_stats_open(vcpu_kvm(m->vcpus[i])->fd, NULL);
    m->stats_fds[m->n_vcpus] = kvm_stats_open(m->vm.fd, NULL);
    return 0;
}

void machine_stats_close(struct machine *m)
{
    for (size_t i = 0; m->stats_fds != NULL && i <= m->n_vcpus; i++)
        if (m->stats_fds[i] >= 0)
            (void)close(m->stats_fds[i]);
    free(m->stats_fds);
    m->stats_fds = NULL;
}

static void add_kvm_counters(json_t *into, const char *key, int fd)
{
    json_t *counters;

    if (fd < 0)
        return; /* an older kernel; the member is then absent */
    counters = json_object();
    (void)kvm_stats_each(fd, add_counter, counters, NULL);
    (void)json_object_set_new(into, key, counters);
}

/* What "memory" has of the pager, too, without counting pages. */
static void add_pager(json_t *into, const struct machine *m)
{
    json_t *nodes = json_array(), *domain = machine_domain_json(m);

    for (size_t i = 0; i < m->plan->n_nodes; i++) {
        json_t *counts = machine_pager_json(m, m->plan->nodes[i].vnode);

        if (counts != NULL)
            (void)json_array_append_new(nodes, json_pack("{s:i, s:o}", "id",
                                                         (int)m->plan->nodes[i].vnode.v, "pager",
                                                         counts));
    }
    if (json_array_size(nodes) > 0)
        (void)json_object_set(into, "nodes", nodes);
    json_decref(nodes);
    if (domain != NULL)
        (void)json_object_set_new(into, "domain", domain);
}

json_t *machine_stats(const struct machine *m)
{
    static const struct {
        uint32_t kind;
        const char *name;
    } kinds[] = {
        { KVM_EXIT_IO, "io" },
        { KVM_EXIT_MMIO, "mmio" },
        { KVM_EXIT_IOAPIC_EOI, "ioapic_eoi" },
        { KVM_EXIT_SHUTDOWN, "shutdown" },
        { KVM_EXIT_SYSTEM_EVENT, "system_event" },
    };
    json_t *vcpus = json_array(), *all = json_object();

    for (size_t i = 0; i < m->n_vcpus; i++) {
        json_t *vcpu = json_object(), *exits = json_object();

        (void)json_object_set_new(vcpu, "id", json_integer((json_int_t)i));
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
            (void)json_object_set_new(
                exits, kinds[k].name,
                json_integer((json_int_t)vcpu_exit_count(m->vcpus[i], kinds[k].kind)));
        (void)json_object_set_new(vcpu, "user_exits", exits);
        add_kvm_counters(vcpu, "kvm", m->stats_fds[i]);
        (void)json_array_append_new(vcpus, vcpu);
    }
    (void)json_object_set_new(all, "vcpus", vcpus);
    add_kvm_counters(all, "kvm", m->stats_fds[m->n_vcpus]);
    if (m->throttle != NULL)
        (void)json_object_set_new(all, "cpu", machine_throttle_json(m));
    add_pager(all, m);
    return all;
}
