/* SPDX-License-Identifier: Apache-2.0 */
/* What machines take of a host: told, summed, admitted, weighed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/machine/machine_use.h"
#include "vmm/topology/test/spec_text.h"

#define HOST "numa:3(memory=8GiB) l3:1 core:4 pu:1" /* CPUs 0-3, 4-7, 8-11 */

static struct host_topo host;

static int read_host(void **state)
{
    (void)state;
    return host_topo_from_synthetic(HOST, &host, NULL);
}

static int free_host(void **state)
{
    (void)state;
    host_topo_fini(&host);
    return 0;
}

static int make(const char *spec, enum guest_pin pin, struct guest_cpu_share share,
                struct machine_use *ret_use, struct errctx *ec)
{
    struct machine_config config;
    struct topo_plan *plan;
    int r;

    config_init(&config);
    config.name = strdup("web");
    spec_text_parse(spec, &config.spec);
    config.spec.pin = pin;
    config.spec.share = share;
    assert_int_equal(machine_plan_make(&config.spec, &host, NULL, &plan, NULL, NULL), 0);
    r = machine_use_make(&config, plan, ret_use, ec);
    topo_plan_free(plan);
    config_fini(&config);
    return r;
}

/* "0:4000/1500+1024M 1:..." - wanted, reserved, memory */
static const char *tell(const struct machine_use *use, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < use->n_nodes; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%u:%u/%u+%uM", i > 0 ? " " : "",
                                use->nodes[i].node.v, use->nodes[i].cpu_milli,
                                use->nodes[i].reserve_milli,
                                (unsigned)(use->nodes[i].mem_bytes / MIB));
    return buf;
}

static void a_machine_takes_where_it_may_run(void **state)
{
    static const struct {
        const char *spec;
        enum guest_pin pin;
        struct guest_cpu_share share;
        const char *use;
    } row[] = {
        { "cpus=3 memory=3G", GUEST_PIN_UNSAID, { 0 },
          "0:1000/0+1024M 1:1000/0+1024M 2:1000/0+1024M" },
        { "cpus=3 memory=3G", GUEST_PIN_NODE, { 0 }, "0:3000/0+3072M" },
        { "cpus=4 memory=2G vnuma=2", GUEST_PIN_NODE, { .reserve_milli = 1500 },
          "0:4000/1500+2048M" },
        { "cpus=8 memory=2G vnuma=2", GUEST_PIN_NODE, { .reserve_milli = 3000 },
          "0:4000/1500+1024M 1:4000/1500+1024M" },
        { "cpus=8 memory=2G vnuma=2", GUEST_PIN_NODE, { .max_milli = 2000 },
          "0:2000/0+2048M" },
        /* memory is where it is bound */
        { "node:cpus=0;memory=1G;host=2 node:memory=2G;host=1", GUEST_PIN_UNSAID, { 0 },
          "1:0/0+2048M 2:1000/0+1024M" },
    };
    char buf[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct machine_use use;
        struct errctx ec = { 0 };

        if (make(row[i].spec, row[i].pin, row[i].share, &use, &ec) < 0)
            fail_msg("%s: %s", row[i].spec, ec.msg);
        if (strcmp(tell(&use, buf, sizeof(buf)), row[i].use) != 0)
            print_error("%s\n", row[i].spec);
        assert_string_equal(tell(&use, buf, sizeof(buf)), row[i].use);
        assert_int_equal(use.weight, MACHINE_WEIGHT_DEFAULT);
        machine_use_fini(&use);
    }
}

static void what_was_moved_is_counted_where_it_is(void **state)
{
    struct guest_cpu_share share = { .reserve_milli = 3000 };
    const int at[] = { -1, 2 };
    struct machine_config config;
    struct machine_use use;
    struct topo_plan *plan;
    char buf[256];

    (void)state;
    config_init(&config);
    spec_text_parse("cpus=8 memory=2G vnuma=2", &config.spec);
    config.spec.share = share;
    assert_int_equal(machine_plan_make(&config.spec, &host, NULL, &plan, NULL, NULL), 0);
    assert_int_equal(machine_use_moved(&config, plan, at, &use, NULL), 0);
    assert_string_equal(tell(&use, buf, sizeof(buf)),
                        "0:4000/1500+1024M 2:4000/1500+1024M");
    assert_true(idset_has(&plan->vcpus[7].host_cpus, 4)); /* the plan stays what it is */
    machine_use_fini(&use);
    topo_plan_free(plan);
    config_fini(&config);
}

static void more_than_the_vcpus_can_use_is_not_reserved(void **state)
{
    struct machine_use use = { .n_nodes = 77 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(make("cpus=2", GUEST_PIN_NODE,
                          (struct guest_cpu_share){ .reserve_milli = 2500 }, &use, &ec),
                     -EINVAL);
    assert_string_equal(ec.msg, "--cpu-reserve 2.5: the guest's 2 virtual CPUs cannot use as much");
    assert_int_equal(use.n_nodes, 77);
}

static void what_is_told_is_read_back(void **state)
{
    static const char *const bad[] = {
        "{}", "[]", "{\"version\":2}", "null",
        "{\"version\":1,\"name\":\"a\",\"cgroup\":\"\",\"weight\":0,\"reserve\":0,\"nodes\":[]}",
        "{\"version\":1,\"name\":\"a\",\"cgroup\":\"\",\"weight\":1,\"reserve\":-1,\"nodes\":[]}",
        "{\"version\":1,\"name\":\"a\",\"cgroup\":\"\",\"weight\":1,\"reserve\":0,\"nodes\":[{}]}",
        ("{\"version\":1,\"name\":\"a\",\"cgroup\":\"\",\"weight\":1,\"reserve\":0,\"nodes\":[{"
         "\"node\":9999999,\"cpu\":1,\"reserve\":0,\"memory\":0}]}"),
        ("{\"version\":1,\"name\":\"a\",\"cgroup\":\"\",\"weight\":1,\"reserve\":0,\"cpus\":\"3-1\","
         "\"nodes\":[]}"),
        "{\"version\":1,\"name\":7,\"cgroup\":\"\",\"weight\":1,\"reserve\":0,\"nodes\":[]}",
    };
    struct machine_use use, again = { .weight = 77 };
    char a[256], b[256];
    json_t *json;

    (void)state;
    assert_int_equal(make("cpus=8 memory=2G vnuma=2", GUEST_PIN_NODE,
                          (struct guest_cpu_share){ .weight = 300, .reserve_milli = 3000 }, &use,
                          NULL),
                     0);
    (void)snprintf(use.cgroup, sizeof(use.cgroup), "/sys/fs/cgroup/x");
    json = machine_use_to_json(&use);
    assert_int_equal(machine_use_from_json(json, &again), 0);
    assert_string_equal(tell(&use, a, sizeof(a)), tell(&again, b, sizeof(b)));
    assert_string_equal(again.name, "web");
    assert_string_equal(again.cgroup, use.cgroup);
    assert_int_equal(again.weight, 300);
    assert_int_equal(again.reserve_milli, 3000);
    json_decref(json);
    machine_use_fini(&again);
    machine_use_fini(&use);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json = json_loads(bad[i], JSON_DECODE_ANY, NULL);
        assert_non_null(json);
        again.weight = 77;
        if (machine_use_from_json(json, &again) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(again.weight, 77);
        json_decref(json);
    }
}

/* Where the others' CPUs are is known, not only how many. */
static void dedicated_cpus_are_given_to_one_machine(void **state)
{
    struct machine_use uses[6]; /* of two CPUs each: all that there are */
    struct neighbours others = { .dir_fd = -1, .lock_fd = -1, .uses = uses };
    struct topo_plan *plan = NULL;
    struct machine_config config;
    struct idset given = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    config_init(&config);
    spec_text_parse("cpus=2 memory=64M", &config.spec);
    config.spec.pin = GUEST_PIN_DEDICATED;
    for (; others.n < ARRAY_SIZE(uses); others.n++) {
        struct machine_use use;
        json_t *json;

        if (machine_plan_make(&config.spec, &host, &others, &plan, NULL, &ec) < 0)
            fail_msg("%s", ec.msg);
        assert_int_equal(machine_use_make(&config, plan, &use, NULL), 0);
        topo_plan_free(plan);
        json = machine_use_to_json(&use); /* as it is told */
        assert_int_equal(machine_use_from_json(json, &uses[others.n]), 0);
        json_decref(json);
        machine_use_fini(&use);
        assert_int_equal(idset_count(&uses[others.n].cpus), 2);
        idset_or(&given, &uses[others.n].cpus);
        assert_int_equal(idset_count(&given), 2 * (others.n + 1));
    }
    assert_int_equal(machine_plan_make(&config.spec, &host, &others, &plan, NULL, &ec), -ENOSPC);
    config_fini(&config);
    while (others.n > 0)
        machine_use_fini(&uses[--others.n]);
}

struct pen {
    struct machine_use use[8];
    struct machine_use_node node[8][3];
    size_t n;
};

static struct machine_use *add(struct pen *p, const char *name, uint32_t weight)
{
    struct machine_use *use = &p->use[p->n];

    *use = (struct machine_use){ .weight = weight, .nodes = p->node[p->n++] };
    (void)snprintf(use->name, sizeof(use->name), "%s", name);
    return use;
}

static void on(struct machine_use *use, uint32_t node, uint32_t cpu, uint32_t reserve)
{
    use->nodes[use->n_nodes++] =
        (struct machine_use_node){ .node = { node }, .cpu_milli = cpu, .reserve_milli = reserve,
                                   .mem_bytes = MIB };
    use->reserve_milli += reserve;
}

/* What has a CPU alone has all of it, however little of it may be used (--cpu-max). */
static void a_dedicated_cpu_counts_whole(void **state)
{
    struct pen p = { .n = 0 };
    struct neighbours others = { .dir_fd = -1, .lock_fd = -1, .uses = p.use };
    struct topo_plan *plan = NULL;
    struct machine_config config;
    struct place_use used[3];
    struct errctx ec = { 0 };
    struct machine_use *use;

    (void)state;
    use = add(&p, "small", 100);
    on(use, 0, 500, 0);
    for (uint32_t c = 0; c < 4; c++)
        idset_add(&use->cpus, c);
    use = add(&p, "shared", 100);
    on(use, 0, 1000, 0);
    on(use, 1, 2000, 0);
    on(use, 2, 2000, 0);
    others.n = p.n;
    machine_use_sum(&host, p.use, p.n, used);
    assert_int_equal(used[0].cpu_milli, 5000);
    assert_int_equal(used[1].cpu_milli, 2000);
    config_init(&config);
    spec_text_parse("cpus=2 memory=64M", &config.spec);
    config.spec.pin = GUEST_PIN_DEDICATED;
    if (machine_plan_make(&config.spec, &host, &others, &plan, NULL, &ec) < 0)
        fail_msg("%s", ec.msg);
    topo_plan_free(plan);
    config_fini(&config);
}

static void no_node_is_reserved_twice(void **state)
{
    struct pen p = { .n = 0 };
    struct errctx ec = { 0 };
    struct machine_use *mine;

    (void)state;
    on(add(&p, "web", 100), 1, 4000, 2500);
    on(add(&p, "db", 100), 1, 4000, 1000);
    mine = add(&p, "mine", 100);
    on(mine, 1, 4000, 500);
    assert_int_equal(machine_use_admit(&host, p.use, 2, mine, &ec), 0);
    mine->nodes[0].reserve_milli = mine->reserve_milli = 501;
    assert_int_equal(machine_use_admit(&host, p.use, 2, mine, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "--cpu-reserve: host node 1 has 4 CPUs, 3.5 of them are reserved by "
                                "other machines (web 2.5, db 1), and 0.501 more would be");
    assert_int_equal(machine_use_admit(&host, NULL, 0, mine, &ec), 0);
    mine->nodes[0].reserve_milli = mine->reserve_milli = 4500;
    assert_int_equal(machine_use_admit(&host, NULL, 0, mine, &ec), -ENOSPC);
    assert_string_equal(ec.msg,
                        "--cpu-reserve: host node 1 has 4 CPUs, and 4.5 would be reserved");
    /* Nor more than a cgroup allows. */
    mine->nodes[0].reserve_milli = mine->reserve_milli = 500;
    host.limits.has_cpu = true;
    host.limits.cpu_milli = 3600;
    (void)snprintf(host.limits.cpu_cgroup, sizeof(host.limits.cpu_cgroup), "/box");
    assert_int_equal(machine_use_admit(&host, p.use, 2, mine, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "--cpu-reserve: the cgroup /box allows 3.6 CPUs (cpu.max), and all "
                                "machines together would have 4 reserved");
    host.limits.has_cpu = false;
    /* Who reserves nothing is admitted anywhere. */
    mine->nodes[0].reserve_milli = mine->reserve_milli = 0;
    p.use[0].nodes[0].reserve_milli = 99000;
    assert_int_equal(machine_use_admit(&host, p.use, 2, mine, &ec), 0);
}

static void what_moves_is_reserved_at_both_ends_meanwhile(void **state)
{
    struct pen p = { .n = 0 };
    struct machine_use *before, *after, *db, *late, both, again;
    struct place_use used[3];
    uint32_t weights[2], still[2];
    struct errctx ec = { 0 };
    json_t *json;

    (void)state;
    before = add(&p, "web", 100);
    on(before, 0, 4000, 1000);
    on(before, 1, 4000, 1000);
    after = add(&p, "web", 100); /* what was on node 0 is on node 1, beside what was there */
    on(after, 1, 8000, 2000);
    db = add(&p, "db", 100);
    on(db, 1, 4000, 2500);
    assert_int_equal(machine_use_admit_move(&host, db, 1, before, after, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "--cpu-reserve: host node 1 has 4 CPUs, 2.5 of them are reserved by "
                                "other machines (db 2.5), and 2 more would be");
    db->nodes[0].reserve_milli = db->reserve_milli = 2000;
    assert_int_equal(machine_use_admit_move(&host, db, 1, before, after, &ec), 0);
    /* A node that takes nothing more is not asked, however full it is. */
    db->nodes[0].reserve_milli = db->reserve_milli = 4000;
    assert_int_equal(machine_use_admit_move(&host, db, 1, after, before, &ec), 0);

    assert_int_equal(machine_use_hold(before, after, &both, NULL), 0);
    json = machine_use_to_json(&both);
    assert_int_equal(machine_use_from_json(json, &again), 0);
    json_decref(json);
    assert_int_equal(again.n_nodes, 2);
    assert_int_equal(again.nodes[0].reserve_milli, 1000);
    assert_int_equal(again.nodes[0].held_milli, 0);
    assert_int_equal(again.nodes[1].reserve_milli, 1000);
    assert_int_equal(again.nodes[1].held_milli, 1000);
    /* Nobody else is given what is held; and it runs nowhere yet, so it weighs nothing. */
    late = add(&p, "late", 100);
    on(late, 1, 4000, 2001);
    assert_int_equal(machine_use_admit(&host, &again, 1, late, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "--cpu-reserve: host node 1 has 4 CPUs, 2 of them are reserved by "
                                "other machines (web 2), and 2.001 more would be");
    machine_use_sum(&host, &again, 1, used);
    assert_int_equal(used[1].cpu_milli, 5000);
    p.use[0] = again;
    p.use[1] = *late;
    machine_use_weights(&host, p.use, 2, weights);
    again.nodes[1].held_milli = 0;
    machine_use_weights(&host, p.use, 2, still);
    assert_memory_equal(weights, still, sizeof(weights));
    machine_use_fini(&again);
    machine_use_fini(&both);
}

static void the_planner_sees_the_sum(void **state)
{
    struct place_use used[3];
    struct pen p = { .n = 0 };

    (void)state;
    on(add(&p, "web", 100), 1, 4000, 0);
    on(add(&p, "db", 100), 1, 500, 0);
    on(&p.use[1], 2, 100, 0);
    on(&p.use[1], 77, 100, 0); /* a node that is gone */
    machine_use_sum(&host, p.use, 2, used);
    assert_int_equal(used[0].cpu_milli, 0);
    assert_int_equal(used[1].cpu_milli, 4500);
    assert_int_equal(used[1].mem_bytes, 2 * MIB);
    assert_int_equal(used[2].cpu_milli, 100);
}

static void weights_are_as_asked_for_where_nothing_is_reserved(void **state)
{
    struct pen p = { .n = 0 };
    uint32_t w[3];

    (void)state;
    on(add(&p, "web", 100), 1, 4000, 0);
    on(add(&p, "db", 700), 1, 500, 0);
    machine_use_weights(&host, p.use, 2, w);
    assert_int_equal(w[0], 100);
    assert_int_equal(w[1], 700);
    /* Half of four CPUs are web's; of the other half each gets its part. */
    p.use[0].nodes[0].reserve_milli = p.use[0].reserve_milli = 2000;
    machine_use_weights(&host, p.use, 2, w);
    assert_in_range(w[0], 450, 452); /* 2.25 CPUs of 4, of 800 */
    assert_in_range(w[1], 349, 350);
    /* That another node is given away whole is no matter to them. */
    on(add(&p, "full", 100), 2, 4000, 4000);
    machine_use_weights(&host, p.use, 3, w);
    assert_in_range(w[0], 253, 254); /* 2.25 CPUs of 8, of 900 */
    assert_in_range(w[1], 196, 197);
    assert_in_range(w[2], 450, 451);
}

static uint32_t roll(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}

/* On every node, when all machines are busy there, each gets what it reserved: its weight, spread
 * as its vCPUs are, is that part of all weights at least. One in a hundred is rounding. */
static void admitted_reservations_hold(void **state)
{
    uint64_t seed = 0x853c49e6748fea9bull;
    unsigned tight = 0;

    (void)state;
    for (unsigned round = 0; round < 5000; round++) {
        struct pen p = { .n = 0 };
        uint32_t n = 1 + roll(&seed, 6), w[8];

        for (uint32_t i = 0; i < n; i++) {
            uint32_t vcpus = 1 + roll(&seed, 8), split = roll(&seed, vcpus + 1);
            uint32_t reserve = roll(&seed, 3) == 0 ? 0 : roll(&seed, vcpus * 1000);
            struct machine_use *use = add(&p, "vm", 1 + roll(&seed, 10000));
            uint32_t node = roll(&seed, 3);

            if (split > 0)
                on(use, node, split * 1000, reserve * split / vcpus);
            if (split < vcpus)
                on(use, (node + 1) % 3, (vcpus - split) * 1000, reserve * (vcpus - split) / vcpus);
            if (machine_use_admit(&host, p.use, p.n - 1, use, NULL) < 0)
                p.n--;
        }
        if (p.n == 0)
            continue;
        machine_use_weights(&host, p.use, p.n, w);
        for (uint32_t h = 0; h < 3; h++) {
            double all = 0, part[8] = { 0 };
            uint32_t reserved = 0;

            for (size_t i = 0; i < p.n; i++) {
                double sum = 0, here = 0;

                for (size_t k = 0; k < p.use[i].n_nodes; k++) {
                    sum += p.use[i].nodes[k].cpu_milli;
                    here += p.use[i].nodes[k].node.v == h ? p.use[i].nodes[k].cpu_milli : 0;
                    if (p.use[i].nodes[k].node.v == h)
                        reserved += p.use[i].nodes[k].reserve_milli;
                }
                part[i] = w[i] * here / sum;
                all += part[i];
                assert_in_range(w[i], 1, 10000);
            }
            tight += reserved > 3000;
            for (size_t i = 0; i < p.n; i++)
                for (size_t k = 0; k < p.use[i].n_nodes; k++)
                    if (p.use[i].nodes[k].node.v == h && p.use[i].nodes[k].reserve_milli > 0)
                        assert_true(part[i] / all * 4000 * 1.01 + 1 >=
                                    p.use[i].nodes[k].reserve_milli);
        }
    }
    assert_true(tight > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_takes_where_it_may_run),
        cmocka_unit_test(what_was_moved_is_counted_where_it_is),
        cmocka_unit_test(more_than_the_vcpus_can_use_is_not_reserved),
        cmocka_unit_test(what_is_told_is_read_back),
        cmocka_unit_test(dedicated_cpus_are_given_to_one_machine),
        cmocka_unit_test(a_dedicated_cpu_counts_whole),
        cmocka_unit_test(no_node_is_reserved_twice),
        cmocka_unit_test(what_moves_is_reserved_at_both_ends_meanwhile),
        cmocka_unit_test(the_planner_sees_the_sum),
        cmocka_unit_test(weights_are_as_asked_for_where_nothing_is_reserved),
        cmocka_unit_test(admitted_reservations_hold),
    };
    return cmocka_run_group_tests_name("machine/machine_use", tests, read_host, free_host);
}
