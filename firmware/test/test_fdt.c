/* SPDX-License-Identifier: Apache-2.0 */
/* The tree against the plan, read as a guest reads it; dtc and golden files: test_fdt_golden.c. */
// LDFLAGS: -Wl,--wrap=malloc -Wl,--wrap=calloc
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <libfdt.h>

#include "firmware/arm64/arm64_platform.h"
#include "firmware/test/fdt_cases.h"
#include "vmm/base/units.h"

/* Allocations still allowed; negative: no limit. */
static int allocs_left = -1;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static bool allowed(void)
{
    if (allocs_left > 0)
        allocs_left--;
    else if (allocs_left == 0)
        return false;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return allowed() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return allowed() ? __real_calloc(n, size) : NULL;
}

struct fixture {
    struct topo_plan *plan;
    struct mem_layout *layout;
    struct fdt_input in;
    void *blob;
    size_t len;
    struct errctx ec;
};

static void plan_it(struct fixture *f, const char *spec)
{
    *f = (struct fixture){ 0 };
    if (fdt_case_plan(spec, &f->plan, &f->ec) < 0)
        fail_msg("%s: %s", spec, f->ec.msg);
    assert_int_equal(mem_layout_make(fdt_arch_arm64.map, f->plan, 48, &f->layout, &f->ec), 0);
    f->in = (struct fdt_input){ .plan = f->plan, .layout = f->layout };
}

static void build(struct fixture *f, const char *spec)
{
    plan_it(f, spec);
    if (fdt_build(&fdt_arch_arm64, &f->in, &f->blob, &f->len, &f->ec) < 0)
        fail_msg("%s: %s", spec, f->ec.msg);
    assert_int_equal(fdt_check_full(f->blob, f->len), 0);
    assert_true(f->len <= FDT_LIMIT_BYTES);
}

static void fini(struct fixture *f)
{
    free(f->blob);
    mem_layout_free(f->layout);
    topo_plan_free(f->plan);
}

static uint64_t cells(const struct fixture *f, int node, const char *name, unsigned at, unsigned n)
{
    uint64_t v = 0;
    int len;
    const fdt32_t *p = fdt_getprop(f->blob, node, name, &len);

    assert_non_null(p);
    assert_true((int)((at + n) * sizeof(*p)) <= len);
    for (unsigned i = 0; i < n; i++)
        v = v << 32 | fdt32_to_cpu(p[at + i]);
    return v;
}

static uint32_t u32(const struct fixture *f, int node, const char *name)
{
    return (uint32_t)cells(f, node, name, 0, 1);
}

/* The cache of @level behind @cpu; 0: none. */
static uint32_t cache_of(const struct fixture *f, int cpu, uint32_t level)
{
    while (fdt_getprop(f->blob, cpu, "next-level-cache", NULL) != NULL) {
        const uint32_t handle = u32(f, cpu, "next-level-cache");

        cpu = fdt_node_offset_by_phandle(f->blob, handle);
        assert_true(cpu >= 0);
        if (u32(f, cpu, "cache-level") == level)
            return handle;
    }
    return 0;
}

static void check_cpus(const struct fixture *f)
{
    const struct topo_plan *p = f->plan;
    int cpus = fdt_path_offset(f->blob, "/cpus"), at = fdt_first_subnode(f->blob, cpus);

    for (uint32_t i = 0; i < p->n_vcpus; i++) { /* in the order of their numbers */
        assert_string_equal(fdt_getprop(f->blob, at, "device_type", NULL), "cpu");
        assert_int_equal(u32(f, at, "reg"), (i & 15) | i / 16 << 8);
        assert_int_equal(u32(f, at, "numa-node-id"), p->vcpus[i].vnode.v);
        assert_int_equal(u32(f, at, "d-cache-size"), 64 << 10);
        at = fdt_next_subnode(f->blob, at);
    }
}

/* CPUs share a cache's node exactly where the plan says so. */
static void check_caches(const struct fixture *f)
{
    const struct topo_plan *p = f->plan;
    uint32_t *behind = calloc(p->n_vcpus, sizeof(*behind));

    assert_non_null(behind);
    for (size_t c = 0; c < p->n_caches; c++) {
        const struct topo_plan_cache *cache = &p->caches[c];
        int at = fdt_first_subnode(f->blob, fdt_path_offset(f->blob, "/cpus"));

        if (cache->level < 2)
            continue;
        for (size_t i = 0; i < p->n_vcpus; i++, at = fdt_next_subnode(f->blob, at)) {
            behind[i] = cache_of(f, at, cache->level);
            assert_int_not_equal(behind[i], 0);
        }
        for (size_t i = 0; i < p->n_vcpus; i++)
            for (size_t j = 0; j < i; j++)
                if ((behind[i] == behind[j]) != (p->vcpus[i].apic_id >> cache->apic_shift ==
                                                 p->vcpus[j].apic_id >> cache->apic_shift))
                    fail_msg("CPUs %zu and %zu, level %u", i, j, cache->level);
    }
    free(behind);
}

static int child(const struct fixture *f, int node, const char *name, uint32_t i)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%s%u", name, i);
    return fdt_subnode_offset(f->blob, node, text);
}

/* Walk the map as Linux does, by counting names, and see each CPU at a place of its own kind. */
static void check_map(const struct fixture *f)
{
    const struct topo_plan *p = f->plan;
    int map = fdt_path_offset(f->blob, "/cpus/cpu-map"), s, c, k, t;
    uint32_t seen = 0;

    for (uint32_t i = 0; (s = child(f, map, "socket", i)) >= 0; i++)
        for (uint32_t j = 0; (c = child(f, s, "cluster", j)) >= 0; j++)
            for (uint32_t m = 0; (k = child(f, c, "core", m)) >= 0; m++)
                for (uint32_t n = 0; n < p->apic.threads_per_core; n++) {
                    const struct topo_plan_vcpu *v;

                    t = p->apic.threads_per_core > 1 ? child(f, k, "thread", n) : k;
                    assert_true(t >= 0);
                    v = &p->vcpus[u32(f, t, "cpu") - FDT_HANDLE_CPU];
                    assert_int_equal(v->socket, i);
                    assert_int_equal(v->die * p->apic.complexes_per_die + v->complex, j);
                    assert_int_equal(v->core, m);
                    assert_int_equal(v->thread, n);
                    seen++;
                }
    assert_int_equal(seen, p->n_vcpus);
}

static void check_nodes(const struct fixture *f)
{
    const struct topo_plan *p = f->plan;
    const int map = fdt_path_offset(f->blob, "/distance-map");
    uint64_t ram[GUEST_MAX_VNODES] = { 0 };
    uint32_t bridges = 0;
    int at;

    fdt_for_each_subnode(at, f->blob, 0) {
        const char *type = fdt_getprop(f->blob, at, "device_type", NULL);

        if (type != NULL && strcmp(type, "memory") == 0) {
            assert_true(cells(f, at, "reg", 0, 2) >= ARM64_RAM_BASE);
            ram[u32(f, at, "numa-node-id")] += cells(f, at, "reg", 2, 2);
        }
        if (type != NULL && strcmp(type, "pci") == 0) {
            assert_int_equal(u32(f, at, "numa-node-id"), bridges);
            assert_int_equal(u32(f, at, "linux,pci-domain"), bridges);
            assert_int_equal(u32(f, at, "bus-range"), bridges);
            assert_int_equal(u32(f, at, "msi-map"), bridges << 8);
            assert_true(cells(f, at, "reg", 0, 2) == ARM64_ECAM_BASE + (bridges * MIB));
            bridges++;
        }
    }
    assert_int_equal(bridges, p->n_nodes);
    for (size_t i = 0; i < p->n_nodes; i++)
        assert_true(ram[i] == p->nodes[i].ram_bytes);
    for (unsigned i = 0; i < p->n_nodes * p->n_nodes; i++) {
        assert_int_equal(cells(f, map, "distance-matrix", 3 * i, 1), i / p->n_nodes);
        assert_int_equal(cells(f, map, "distance-matrix", 3 * i + 1, 1), i % p->n_nodes);
        assert_int_equal(cells(f, map, "distance-matrix", 3 * i + 2, 1), p->distances[i]);
    }
}

static void the_tree_says_what_the_plan_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fdt_cases); i++) {
        struct fixture f;

        build(&f, fdt_cases[i].spec);
        check_cpus(&f);
        check_caches(&f);
        check_map(&f);
        check_nodes(&f);
        fini(&f);
    }
}

static void as_many_nodes_and_cpus_as_there_may_be(void **state)
{
    struct fixture f;
    int gic;

    (void)state;
    build(&f, "cpus=1024 vnuma=128 threads=2 memory=2048G");
    gic = fdt_path_offset(f.blob, "/interrupt-controller@8000000");
    assert_true(cells(&f, gic, "reg", 6, 2) == 1024 * ARM64_GICR_LEN);
    check_cpus(&f);
    check_map(&f);
    check_nodes(&f);
    fini(&f);
}

static void chosen_has_what_is_known(void **state)
{
    struct fixture f;
    int chosen;

    (void)state;
    build(&f, "cpus=1 memory=512M");
    chosen = fdt_path_offset(f.blob, "/chosen");
    assert_null(fdt_getprop(f.blob, chosen, "bootargs", NULL));
    assert_null(fdt_getprop(f.blob, chosen, "linux,initrd-start", NULL));
    free(f.blob);
    f.in.cmdline = "quiet";
    f.in.initrd_start = 0x148000000;
    f.in.initrd_end = 0x148001234;
    assert_int_equal(fdt_build(&fdt_arch_arm64, &f.in, &f.blob, &f.len, &f.ec), 0);
    chosen = fdt_path_offset(f.blob, "/chosen");
    assert_string_equal(fdt_getprop(f.blob, chosen, "bootargs", NULL), "quiet");
    assert_true(cells(&f, chosen, "linux,initrd-start", 0, 2) == f.in.initrd_start);
    assert_true(cells(&f, chosen, "linux,initrd-end", 0, 2) == f.in.initrd_end);
    fini(&f);
}

static void refuse(struct fixture *f, int code, const char *sentence)
{
    void *blob = f;
    size_t len = 7;

    assert_int_equal(fdt_build(&fdt_arch_arm64, &f->in, &blob, &len, &f->ec), code);
    assert_string_equal(f->ec.msg, sentence);
    assert_ptr_equal(blob, f); /* untouched */
    assert_int_equal(len, 7);
    fini(f);
}

static void what_a_tree_cannot_say_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    plan_it(&f, "node:cpus=0;memory=1G node:memory=1G;hotplug=2G");
    refuse(&f, -ENOTSUP, "virtual node 1: hotplug=: a device tree cannot tell a guest which node "
                         "memory belongs to that is plugged later");
    plan_it(&f, "cpus=4 memory=1G");
    f.plan->caches[0].apic_shift = f.plan->apic.core_shift + 1;
    refuse(&f, -ENOTSUP, "level 1 caches that cores share: a device tree cannot say them");
    plan_it(&f, "cpus=4 memory=1G");
    f.plan->caches[3].size_bytes = 4ull << 30;
    refuse(&f, -ERANGE, "a level 3 cache of 4294967296 bytes: a device tree can say less than 4 "
                        "GiB");
    plan_it(&f, "cpus=4 memory=1G");
    f.plan->caches[2].level = 3;
    refuse(&f, -ENOTSUP, "level 3 caches for data and for instructions that different CPUs share: "
                         "a device tree cannot say them");
    plan_it(&f, "cpus=1 memory=512M");
    f.in.cmdline = memset(calloc(1, FDT_LIMIT_BYTES + 1), 'x', FDT_LIMIT_BYTES);
    refuse(&f, -E2BIG, "the device tree would exceed 2048 KiB");
    free((void *)(uintptr_t)f.in.cmdline);
}

static void what_a_tree_leaves_out_is_said(void **state)
{
    struct topo_notes notes = { 0 };
    struct fixture f;

    (void)state;
    plan_it(&f, "cpus=2 vnuma=2 memory=1G");
    fdt_note_losses(f.plan, &notes);
    assert_string_equal(notes.text, "");
    fini(&f);
    plan_it(&f, "node:cpus=0;memory=1G;mc=64M node:memory=1G;initiator=0 l:0-1=200;1000000000");
    fdt_note_losses(f.plan, &notes);
    assert_non_null(strstr(notes.text, "cannot say latencies and bandwidths"));
    assert_non_null(strstr(notes.text, "which node's CPUs are nearest"));
    assert_non_null(strstr(notes.text, "caches in front of a node's memory"));
    fini(&f);
}

static void no_memory_is_said_wherever_it_ends(void **state)
{
    struct fixture f;
    int failed = 0, r;

    (void)state;
    plan_it(&f, "cpus=64 vnuma=16 memory=16G");
    do {
        allocs_left = failed;
        r = fdt_build(&fdt_arch_arm64, &f.in, &f.blob, &f.len, &f.ec);
        allocs_left = -1;
        if (r == 0)
            break;
        assert_int_equal(r, -ENOMEM);
        assert_string_equal(f.ec.msg, "no memory for the device tree");
        assert_null(f.blob);
    } while (++failed < 10000);
    assert_in_range(failed, 5, 9999);
    fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_says_what_the_plan_says),
        cmocka_unit_test(as_many_nodes_and_cpus_as_there_may_be),
        cmocka_unit_test(chosen_has_what_is_known),
        cmocka_unit_test(what_a_tree_cannot_say_is_refused),
        cmocka_unit_test(what_a_tree_leaves_out_is_said),
        cmocka_unit_test(no_memory_is_said_wherever_it_ends),
    };
    return cmocka_run_group_tests_name("firmware/fdt", tests, NULL, NULL);
}
