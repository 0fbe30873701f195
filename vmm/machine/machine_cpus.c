/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs that are plugged in and out while the guest runs, and what `ctl cpu` asks and shows.
 *
 * KVM's vCPU and its thread are there from the start, for all CPUs of the plan: the sandbox lets none
 * be made later, and KVM none be taken away. While the CPU is not plugged in the thread waits at the
 * gate, so that nothing the guest sends to it has an effect, and as it is plugged in it is put as at
 * power-on. Main thread, but for the guest's taking one away.
 */
#include <errno.h>

#include "devices/cpu_block.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

static void gone(void *ctx, uint32_t cpu)
{
    struct machine *m = ctx;

    vcpu_set_away(m->vcpus[cpu], true);
}

static const struct cpu_block_ops block_ops = { .gone = gone };

int machine_make_cpu_block(struct machine *m, struct device **ret_dev, struct errctx *ec)
{
    struct idset cpus = { 0 };

    for (uint32_t i = 0; i < m->plan->n_vcpus; i++)
        if (m->plan->vcpus[i].later)
            idset_add(&cpus, i);
    *ret_dev = NULL;
    return idset_empty(&cpus) ? 0 : cpu_block_new(&cpus, &block_ops, m, ret_dev, ec);
}

/* While all stand: its own thread may still be on its way to the gate. */
static int plug(struct machine *m, uint32_t cpu, struct errctx *ec)
{
    struct cpu_block_cpu state;
    int r = 0;

    if (!cpu_block_look(m->cpu_block, cpu, &state) || state.there)
        return cpu_block_plug(m->cpu_block, cpu, ec); /* which says why not */
    r = machine_power_on_vcpu(m, cpu, ec);
    if (r == 0)
        r = cpu_block_plug(m->cpu_block, cpu, ec);
    if (r == 0)
        vcpu_set_away(m->vcpus[cpu], false);
    return r;
}

size_t machine_cpus_there(const struct machine *m)
{
    size_t n = 0;

    for (uint32_t i = 0; i < m->n_vcpus; i++) {
        struct cpu_block_cpu state;

        n += m->cpu_block == NULL || !cpu_block_look(m->cpu_block, i, &state) || state.there;
    }
    return n;
}

static json_t *cpus_json(struct machine *m)
{
    json_t *cpus = json_array();

    for (uint32_t i = 0; cpus != NULL && i < m->plan->n_vcpus; i++) {
        struct cpu_block_cpu state;

        if (!cpu_block_look(m->cpu_block, i, &state))
            continue;
        (void)json_array_append_new(
            cpus, json_pack("{s:i, s:i, s:b, s:b, s:b}", "id", (int)i, "node",
                            (int)m->plan->vcpus[i].vnode.v, "there", state.there, "asked",
                            state.asked, "told", state.told));
    }
    return cpus;
}

static int answer(struct machine *m, const struct machine_cpus_request *req, json_t **ret_json,
                  struct errctx *ec)
{
    json_t *cpus;
    int r = 0;

    if (m->cpu_block == NULL)
        return errctx_set(ec, ENODEV, "all CPUs are there from the start (hotplug-cpus=)");
    if (req->wanted && m->paused)
        return errctx_set(ec, EBUSY, "the machine is paused");
    if (req->wanted)
        r = req->there ? plug(m, req->cpu, ec) : cpu_block_ask(m->cpu_block, req->cpu, ec);
    if (r < 0)
        return r;
    if (req->wanted)
        machine_arch_tell_cpus(m);
    cpus = cpus_json(m);
    *ret_json = cpus != NULL ? json_pack("{s:s, s:o}", "name", m->config->name, "cpus", cpus)
                             : NULL;
    return *ret_json == NULL ? errctx_set(ec, ENOMEM, "no memory for the answer") : 0;
}

static void answer_now(struct machine *m, struct machine_ask *ask)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = answer(m, &ask->request.cpus, &json, &ec);

    ask->answer(ask, r, json, &ec);
}

static void cpus_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct errctx ec = { 0 };

    if (stands)
        answer_now(ask->machine, ask);
    else
        ask->answer(ask, machine_ask_ending(&ec), NULL, &ec);
}

static bool comes(const struct machine *m, const struct machine_cpus_request *req)
{
    struct cpu_block_cpu state;

    return req->wanted && req->there && m->cpu_block != NULL &&
           cpu_block_look(m->cpu_block, req->cpu, &state) && !state.there;
}

void machine_cpus(struct machine *m, const struct machine_cpus_request *req,
                  struct machine_ask *ask)
{
    ask->request.cpus = *req;
    if (comes(m, req) && !m->paused)
        machine_ask_when(m, ask, STAND_VCPUS, cpus_now);
    else
        answer_now(m, ask);
}
