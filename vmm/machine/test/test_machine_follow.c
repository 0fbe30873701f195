/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vCPU threads are told when their node's memory has moved: host node 0 has CPUs, 1 to 3 have
 * memory alone. The two vCPUs carry out at once what they are asked.
 */
// LDFLAGS: -Wl,--wrap=numa_policy_prefer -Wl,--wrap=place_pin_thread -Wl,--wrap=vcpu_ask -Wl,--wrap=machine_remap_memory
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "memory/numa_policy.h"
#include "memory/test/plan_ram.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

enum { VCPUS = 2, HOSTS = 4, CPU = 7 };

int __wrap_numa_policy_prefer(const struct idset *host_nodes, struct errctx *ec);
int __wrap_place_pin_thread(const struct idset *cpus, struct errctx *ec);
void __wrap_vcpu_ask(struct vcpu *vcpu);
int __wrap_machine_remap_memory(struct machine *m, struct vnode_id vnode, struct errctx *ec);

static struct {
    struct machine *machine;
    char vcpus[VCPUS]; /* stand for the vCPUs: only their addresses count */
    struct idset pinned, prefers;
    unsigned n_asked, n_remapped;
    int refuses; /* errno of the next preference */
} seen;

int __wrap_numa_policy_prefer(const struct idset *host_nodes, struct errctx *ec)
{
    seen.prefers = *host_nodes;
    return seen.refuses == 0 ? 0 : errctx_set(ec, seen.refuses, "prefer");
}

int __wrap_place_pin_thread(const struct idset *cpus, struct errctx *ec)
{
    (void)ec;
    seen.pinned = *cpus;
    return 0;
}

void __wrap_vcpu_ask(struct vcpu *vcpu)
{
    const ptrdiff_t i = (char *)vcpu - seen.vcpus;

    assert_in_range(i, 0, VCPUS - 1);
    seen.n_asked++;
    machine_follow_vcpu(seen.machine, (struct vcpu_id){ (uint32_t)i });
}

int __wrap_machine_remap_memory(struct machine *m, struct vnode_id vnode, struct errctx *ec)
{
    (void)m;
    (void)vnode;
    (void)ec;
    seen.n_remapped++;
    return 0;
}

struct fixture {
    struct plan_ram ram;
    struct topo_plan_host hosts[HOSTS];
    struct topo_plan_vcpu planned[VCPUS], pins[VCPUS];
    struct vcpu *vcpus[VCPUS];
    struct vnode_place place;
    struct machine_config config;
    struct machine m;
};

/* A machine, paused, whose one virtual node was started on @home; ~0: nobody said where. */
static void begin(struct fixture *f, uint32_t home)
{
    static const uint64_t bytes[] = { 2 * MIB };
    struct machine *m = &f->m;

    memset(f, 0, sizeof(*f));
    memset(&seen, 0, sizeof(seen));
    plan_ram_init(&f->ram, 1, bytes);
    for (uint32_t i = 0; i < HOSTS; i++)
        f->hosts[i].id.v = i;
    idset_add(&f->hosts[0].cpus, CPU);
    if (home != ~0u)
        idset_add(&f->ram.nodes[0].host_nodes, home);
    f->ram.plan.hosts = f->hosts;
    f->ram.plan.n_hosts = HOSTS;
    f->ram.plan.vcpus = f->planned;
    f->ram.plan.n_vcpus = VCPUS;
    for (size_t i = 0; i < VCPUS; i++)
        f->vcpus[i] = (struct vcpu *)(void *)&seen.vcpus[i];
    m->plan = &f->ram.plan;
    m->config = &f->config;
    m->vcpus = f->vcpus;
    m->n_vcpus = VCPUS;
    m->pins = f->pins;
    m->places = &f->place;
    m->paused = true;
    (void)pthread_mutex_init(&f->place.lock, NULL);
    seen.machine = m;
}

static void go(struct fixture *f, uint32_t to)
{
    seen.n_asked = seen.n_remapped = 0;
    assert_int_equal(machine_follow(&f->m, (struct vnode_id){ 0 }, (struct hnode_id){ to },
                                    &f->hosts[to].cpus, NULL),
                     0);
    assert_int_equal(seen.n_remapped, 1);
    assert_int_equal(f->place.n_asked, seen.n_asked);
}

static bool is_only(const struct idset *set, uint32_t id)
{
    return idset_count(set) == 1 && idset_has(set, id);
}

static void end(struct fixture *f)
{
    (void)pthread_mutex_destroy(&f->place.lock);
}

static void page_tables_go_from_one_node_without_cpus_to_another(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 1);
    for (uint32_t to = 2; to < HOSTS; to++) { /* where they were started, where they went */
        go(&f, to);
        assert_int_equal(seen.n_asked, VCPUS);
        assert_int_equal(f.place.n_there, VCPUS);
        assert_true(is_only(&seen.prefers, to));
        assert_true(idset_empty(&seen.pinned)); /* free as before */
    }
    seen.refuses = EINVAL;
    go(&f, 1);
    assert_int_equal(f.place.n_there, 0);
    assert_string_equal(f.place.failed.msg, "prefer");
    end(&f);
}

static void page_tables_stay_where_the_cpus_are(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 1);
    go(&f, 0);
    assert_int_equal(seen.n_asked, VCPUS);
    assert_true(is_only(&seen.prefers, 0));
    assert_true(is_only(&seen.pinned, CPU));
    go(&f, 2);
    assert_int_equal(seen.n_asked, 0);
    assert_true(is_only(&seen.prefers, 0));
    end(&f);
    begin(&f, 0);
    go(&f, 3);
    assert_int_equal(seen.n_asked, 0);
    end(&f);
}

static void who_prefers_no_node_still_does_not(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, ~0u);
    go(&f, 1);
    assert_int_equal(seen.n_asked, 0);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_tables_go_from_one_node_without_cpus_to_another),
        cmocka_unit_test(page_tables_stay_where_the_cpus_are),
        cmocka_unit_test(who_prefers_no_node_still_does_not),
    };

    return cmocka_run_group_tests_name("machine/machine_follow", tests, NULL, NULL);
}
