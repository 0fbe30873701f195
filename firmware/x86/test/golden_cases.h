/* SPDX-License-Identifier: Apache-2.0 */
/* The topologies whose tables are kept byte for byte in firmware/test/golden/NAME/. */
#ifndef FIRMWARE_X86_TEST_GOLDEN_CASES_H
#define FIRMWARE_X86_TEST_GOLDEN_CASES_H

#include "firmware/test/plan_fixture.h"
#include "vmm/base/macros.h"

#define GOLDEN_BASE 0x3ff00000ull

static inline void golden_one(struct plan_fixture *f)
{
    plan_fixture_init(f, 1, 1, 512ull * MIB);
}

/* Four nodes in a ring, one direction of one link slower; RAM on both sides of 4 GiB. */
static inline void golden_four(struct plan_fixture *f)
{
    plan_fixture_init(f, 4, 2, 1ull * GIB);
    for (uint32_t i = 0; i < 4; i++)
        f->plan.distances[i * 4 + (i + 2) % 4] = 30;
    f->plan.distances[1 * 4 + 3] = 35;
}

/* CPUs and memory; CPUs only; memory only, with caches, a hotplug window and links. */
static inline void golden_tiers(struct plan_fixture *f)
{
    struct topo_plan *p = &f->plan;

    plan_fixture_init(f, 3, 2, 1ull * GIB);
    p->nodes[1].ram_bytes = 0;
    plan_fixture_move_cpus(f, 2, 0);
    p->nodes[2].ram_bytes = 4ull * GIB;
    p->nodes[2].hotplug_bytes = 4ull * GIB;
    p->nodes[2].has_initiator = true;
    p->nodes[2].initiator.v = 1;
    p->nodes[2].n_mem_caches = 1;
    p->nodes[2].mem_cache[0] = (struct guest_mem_cache_spec){
        .size_bytes = 256ull * MIB,
        .line_bytes = 64,
        .assoc = MEM_CACHE_ASSOC_DIRECT,
        .write = MEM_CACHE_WRITE_BACK,
    };
    p->links = calloc(9, sizeof(p->links[0]));
    p->latency_unit_ns = 10;
    p->bandwidth_unit_mib = 4096;
    p->links[0] = (struct topo_plan_link){ 80, 100ull * GIB };
    p->links[2] = (struct topo_plan_link){ 350, 12ull * GIB };
    p->links[3] = (struct topo_plan_link){ 140, 60ull * GIB };
    p->links[5] = (struct topo_plan_link){ 250, 20ull * GIB };
}

/* An accelerator's node of its own, which is the initiator of memory without CPUs. */
static inline void golden_initiator(struct plan_fixture *f)
{
    struct topo_plan *p = &f->plan;

    plan_fixture_init(f, 3, 2, 1ull * GIB);
    plan_fixture_move_cpus(f, 2, 0);
    plan_fixture_move_cpus(f, 1, 0);
    p->nodes[1].ram_bytes = 0;
    p->nodes[1].generic_initiator = true;
    p->nodes[1].has_initiator = false;
    p->nodes[2].has_initiator = true;
    p->nodes[2].initiator.v = 1;
    p->links = calloc(9, sizeof(p->links[0]));
    p->latency_unit_ns = 10;
    p->links[0] = (struct topo_plan_link){ 80, 0 };
    p->links[2] = (struct topo_plan_link){ 350, 0 };
    p->links[3] = (struct topo_plan_link){ 140, 0 };
    p->links[5] = (struct topo_plan_link){ 250, 0 };
}

static inline void golden_wide(struct plan_fixture *f)
{
    plan_fixture_init(f, 128, 8, 1ull * GIB);
}

/* The last CPU of each node comes later, if at all. */
static inline void golden_later(struct plan_fixture *f)
{
    plan_fixture_init(f, 2, 2, 512ull * MIB);
    f->plan.vcpus[1].later = f->plan.vcpus[3].later = true;
}

static const struct {
    const char *name;
    void (*make)(struct plan_fixture *f);
} golden_cases[] = {
    { "one", golden_one },
    { "four", golden_four },
    { "tiers", golden_tiers },
    { "initiator", golden_initiator },
    { "wide", golden_wide },
    { "later", golden_later },
};

#endif
