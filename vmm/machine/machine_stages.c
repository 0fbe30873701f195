/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build order of a machine, one row a stage; undone backwards when a later one fails and at
 * the end. The sandbox and the run follow in machine_run.c, because they have no undo.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "memory/move_splits.h"
#include "memory/pager/uffd.h"
#include "memory/residency.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_limits.h"
#include "vmm/machine/machine_private.h"

static const struct machine_stage stages[] = {
    { "images", stage_images_build, stage_images_undo },
    { "kvm", stage_kvm_build, stage_kvm_undo },
    { "layout", stage_layout_build, stage_layout_undo },
    { "memory", stage_memory_build, stage_memory_undo },
    { "irqchip", stage_irqchip_build, stage_irqchip_undo },
    { "devices", stage_devices_build, stage_devices_undo },
    { "firmware", stage_firmware_build, stage_firmware_undo },
    { "vcpus", stage_vcpus_build, stage_vcpus_undo },
};

int machine_new(const struct machine_config *config, const struct topo_plan *plan,
                struct evloop *main_loop, const struct machine_hooks *hooks,
                struct machine **ret_machine, struct errctx *ec)
{
    struct machine *m = calloc(1, sizeof(*m));
    int r;

    if (m == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the machine");
    m->config = config;
    m->plan = plan;
    m->main_loop = main_loop;
    if (hooks != NULL)
        m->hooks = *hooks;
    m->kernel_fd = m->initrd_fd = -1;
    m->console_pipe[0] = m->console_pipe[1] = -1;
    (void)pthread_mutex_init(&m->request_lock, NULL);
    (void)pthread_mutex_init(&m->plug_lock, NULL);
    run_gate_init(&m->gate);
    r = machine_stand_new(m, ec);
    if (r < 0) {
        machine_free(m);
        return r;
    }
    for (; m->n_built < ARRAY_SIZE(stages); m->n_built++) {
        r = stages[m->n_built].build(m, ec);
        if (r < 0) {
            r = errctx_wrap(ec, r, "%s", stages[m->n_built].name);
            machine_free(m);
            return r;
        }
    }
    *ret_machine = m;
    return 0;
}

void machine_free(struct machine *m)
{
    if (m == NULL)
        return;
    while (m->n_built > 0)
        stages[--m->n_built].undo(m);
    machine_stand_free(m);
    run_gate_fini(&m->gate);
    (void)pthread_mutex_destroy(&m->request_lock);
    (void)pthread_mutex_destroy(&m->plug_lock);
    free(m);
}

/* --- kvm: limits first, so that what this host cannot do is refused before anything is made --- */

/* Each vCPU has two descriptors and each queue two more; the usual soft limit of 1024 is there
 * for programs that use select(), which nothing here does. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* what then still fails names itself */
    }
}

static void set_halt_poll(struct machine *m)
{
    struct errctx why = { 0 };
    char text[ERRCTX_MSG_MAX + 64];

    if (!m->config->has_halt_poll ||
        kvm_vm_halt_poll(&m->vm, (uint32_t)m->config->halt_poll_ns, &why) == 0)
        return;
    (void)snprintf(text, sizeof(text), "--halt-poll has no effect: %s", why.msg);
    if (m->hooks.give_way != NULL)
        m->hooks.give_way(m->hooks.ctx, text);
}

int stage_kvm_build(struct machine *m, struct errctx *ec)
{
    struct machine_limits limits;
    int r;

    raise_descriptor_limit();
    r = kvm_sys_open("/dev/kvm", &m->sys, ec);
    if (r < 0)
        return r;
    machine_limits_read(&m->sys, "", &limits);
    r = machine_limits_check(&limits, m->plan, ec);
    if (r < 0)
        goto err_sys;
    r = machine_arch_make_vm(m, ec);
    if (r < 0)
        goto err_sys;
    set_halt_poll(m);
    return 0;

err_sys:
    kvm_sys_close(&m->sys);
    return r;
}

void stage_kvm_undo(struct machine *m)
{
    kvm_vm_close(&m->vm);
    machine_arch_free(m);
    kvm_sys_close(&m->sys);
}

int stage_layout_build(struct machine *m, struct errctx *ec)
{
    return machine_arch_make_layout(m, ec);
}

void stage_layout_undo(struct machine *m)
{
    mem_layout_free(m->layout);
}

/* KVM's slots have less than 2^31 pages (KVM_MEM_MAX_NR_PAGES). Half of that, a power of two, keeps
 * every piece as aligned as its range is. */
#define SLOT_MAX_BYTES (1ull << 42)

/* On failure the slots made so far are left to stage_memory_undo(). */
static int map_range(struct machine *m, const struct guest_mem_slot *s, struct errctx *ec)
{
    uint64_t done = 0;

    while (done < s->len_bytes) {
        const uint64_t len = MIN(s->len_bytes - done, SLOT_MAX_BYTES);
        int r = kvm_vm_map(&m->vm, m->n_mem_slots, (struct gpa){ s->base.v + done }, len,
                           (uint8_t *)s->host + done, ec);

        if (r < 0)
            return r;
        m->n_mem_slots++;
        done += len;
    }
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int stage_memory_build(struct machine *m, struct errctx *ec)
{
    const struct guest_mem_commit commit = {
        .threads = true, .progress = m->hooks.progress, .ctx = m->hooks.ctx
    };
    int r = guest_mem_new(m->plan, m->layout, &m->mem, ec);

    m->pagemap = m->move_gate = m->move_vmstat = -1;
    if (r < 0)
        return r;
    r = guest_mem_commit(m->mem, &commit, ec);
    if (r == 0)
        r = machine_make_pager(m, ec);
    if (r == 0)
        r = machine_make_slow(m, ec);
    for (size_t i = 0; r == 0 && i < guest_mem_n_slots(m->mem); i++) {
        const struct guest_mem_slot s = guest_mem_slot(m->mem, i);

        r = map_range(m, &s, ec);
    }
    if (r < 0) {
        stage_memory_undo(m);
        return r;
    }
    m->pagemap = residency_open();
    if (m->plan->n_hosts > 1) { /* else nothing can move */
        (void)uffd_open(&m->move_gate, NULL); /* -1 where it is not allowed */
        m->move_vmstat = move_splits_open();
    }
    r = host_tables_new("", m->plan->hosts, m->plan->n_hosts, &m->tables, ec);
    if (r < 0)
        stage_memory_undo(m);
    return r;
}

int machine_remap_memory(struct machine *m, struct vnode_id vnode, struct errctx *ec)
{
    uint32_t number = 0;

    for (size_t i = 0; i < guest_mem_n_slots(m->mem); i++) {
        const struct guest_mem_slot s = guest_mem_slot(m->mem, i);

        for (uint64_t done = 0; done < s.len_bytes; done += SLOT_MAX_BYTES, number++) {
            const uint64_t len = MIN(s.len_bytes - done, SLOT_MAX_BYTES);
            int r;

            if (s.vnode.v != vnode.v)
                continue;
            (void)kvm_vm_map(&m->vm, number, (struct gpa){ 0 }, 0, NULL, NULL);
            r = kvm_vm_map(&m->vm, number, (struct gpa){ s.base.v + done }, len,
                           (uint8_t *)s.host + done, ec);
            if (r < 0)
                return r;
        }
    }
    return machine_remap_plugged(m, vnode, ec);
}

void stage_memory_undo(struct machine *m)
{
    close_fd(&m->pagemap);
    close_fd(&m->move_gate);
    close_fd(&m->move_vmstat);
    machine_unmap_plugged(m);
    host_tables_free(m->tables);
    m->tables = NULL;
    while (m->n_mem_slots > 0)
        (void)kvm_vm_map(&m->vm, --m->n_mem_slots, (struct gpa){ 0 }, 0, NULL, NULL);
    machine_free_pager(m);
    machine_free_slow(m);
    guest_mem_free(m->mem);
}
