/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a vCPU's exit and the devices, and from either to the machine.
 *
 * A request (reset, end) is recorded under the request lock, the first one wins; the gate is
 * set at once, so that the vCPU which asked does not run on, and the main loop does the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/ioapic.h"
#include "devices/vm_events.h"
#include "memory/numa_policy.h"
#include "vmm/base/cleanup.h"
#include "vmm/machine/machine_private.h"

static void kick_all(struct machine *m)
{
    for (size_t i = 0; i < m->n_vcpus; i++)
        vcpu_kick(m->vcpus[i]);
}

static void post_request(struct machine *m, enum machine_request request,
                         const struct machine_end *end)
{
    bool post = false;

    {
        LOCK_SCOPE(&m->request_lock);
        if (m->request == REQUEST_END || (m->request == REQUEST_RESET && request == REQUEST_RESET))
            return;
        m->request = request;
        m->end = *end;
        run_gate_set(&m->gate, RUN_STATE_PAUSE);
        if (!m->posted && m->running)
            m->posted = post = true;
    }
    kick_all(m);
    if (post && evloop_post(m->main_loop, machine_serve_request, m) < 0)
        evloop_stop(m->main_loop); /* out of memory: the run ends with what was recorded */
}

void machine_request_reset(struct machine *m, const char *why)
{
    struct machine_end end = { .kind = MACHINE_END_RESET };

    (void)snprintf(end.reason, sizeof(end.reason), "the guest reset itself (%s)", why);
    post_request(m, m->config->on_reset == ON_RESET_EXIT ? REQUEST_END : REQUEST_RESET, &end);
}

void machine_request_end(struct machine *m, enum machine_end_kind kind, uint32_t code,
                         const char *reason)
{
    struct machine_end end = { .kind = kind, .code = code };

    (void)snprintf(end.reason, sizeof(end.reason), "%s", reason);
    post_request(m, REQUEST_END, &end);
}

/* --- what devices ask for --------------------------------------------------------------------- */

static void event_reset(void *ctx, const char *why)
{
    machine_request_reset(ctx, why);
}

static void event_power_off(void *ctx)
{
    machine_request_end(ctx, MACHINE_END_POWER_OFF, 0, "");
}

static void event_guest_code(void *ctx, uint32_t code)
{
    char why[64];

    (void)snprintf(why, sizeof(why), "the guest ended with code %u", code);
    machine_request_end(ctx, MACHINE_END_GUEST_CODE, code, why);
}

const struct vm_events_ops machine_events_ops = {
    .request_reset = event_reset,
    .power_off = event_power_off,
    .guest_code = event_guest_code,
};

/* --- what vCPUs need -------------------------------------------------------------------------- */

static void exit_pio(void *ctx, uint16_t port, bool is_write, void *data, size_t size)
{
    const struct machine *m = ctx;

    if (is_write)
        (void)bus_write(m->port_bus, port, data, size);
    else
        (void)bus_read(m->port_bus, port, data, size);
}

static bool exit_mmio(void *ctx, struct gpa addr, bool is_write, void *data, size_t size)
{
    const struct machine *m = ctx;

    return is_write ? bus_write(m->mem_bus, addr.v, data, size)
                    : bus_read(m->mem_bus, addr.v, data, size);
}

static void exit_ioapic_eoi(void *ctx, uint8_t vector)
{
    const struct machine *m = ctx;

    ioapic_eoi(m->ioapic, vector);
}

static bool exit_is_ram(void *ctx, struct gpa addr)
{
    const struct machine *m = ctx;
    const struct layout_range *range = mem_layout_find(m->layout, addr);

    return range != NULL && range->kind == LAYOUT_RAM;
}

static bool exit_no_page(void *ctx)
{
    return machine_touched_unplugged(ctx);
}

static void exit_broadcast(void *ctx, struct vcpu_id vcpu)
{
    const struct machine *m = ctx;

    for (size_t i = 0; i < m->n_vcpus; i++)
        if (i != vcpu.v)
            vcpu_broadcast(m->vcpus[i]);
}

static void exit_event(void *ctx, struct vcpu_id vcpu, enum vcpu_event event, const char *why)
{
    struct machine *m = ctx;

    (void)vcpu;
    switch (event) {
    case VCPU_EVENT_SHUTDOWN:
    case VCPU_EVENT_RESET:
        machine_request_reset(m, why);
        break;
    case VCPU_EVENT_POWER_OFF:
        machine_request_end(m, MACHINE_END_POWER_OFF, 0, "");
        break;
    case VCPU_EVENT_LOST:
        machine_request_end(m, MACHINE_END_LOST, 0, why);
        break;
    case VCPU_EVENT_FAILED:
        machine_request_end(m, MACHINE_END_FAILURE, 0, why);
        break;
    }
}

static int exit_thread_setup(void *ctx, struct vcpu_id vcpu, struct errctx *ec)
{
    const struct machine *m = ctx;
    const struct vnode_id vnode = m->plan->vcpus[vcpu.v].vnode;
    const struct idset *home = &m->plan->nodes[vnode.v].host_nodes;

    /* KVM takes second-level page tables from where the thread that faults prefers. Where policies
     * are forbidden they come from where it runs; `numavisor check` tells. */
    if (!idset_empty(home)) {
        struct errctx why = { 0 };
        const int r = numa_policy_prefer(home, &why);

        if (r < 0 && r != -EPERM && r != -ENOSYS)
            return errctx_set(ec, -r, "%s", why.msg);
    }
    return m->sandbox != NULL ? sandbox_enter(m->sandbox, SANDBOX_VCPU, ec) : 0;
}

static void exit_errand(void *ctx, struct vcpu_id vcpu)
{
    machine_follow_vcpu(ctx, vcpu);
}

const struct vcpu_exit_ops machine_exit_ops = {
    .pio = exit_pio,
    .mmio = exit_mmio,
    .ioapic_eoi = exit_ioapic_eoi,
    .is_ram = exit_is_ram,
    .no_page = exit_no_page,
    .lost_page = machine_lost_page,
    .lost_memory = machine_lost_memory,
    .broadcast = exit_broadcast,
    .event = exit_event,
    .thread_setup = exit_thread_setup,
    .errand = exit_errand,
};
