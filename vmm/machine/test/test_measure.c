/* SPDX-License-Identifier: Apache-2.0 */
/* The order and the time of measuring, on machines and with a clock made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine/measure.h"

#define BIG_HOST "vmm/topology/test/hosts/eight-socket-128-node.xml"

/* A machine on which each step takes a known time and each pair has a known value. */
struct fake {
    const struct host_topo *host;
    uint64_t now_ns, prepare_ns, least_ns; /* least: what a measurement takes at the least */
    size_t prepared, n_prepared, n_latency;
    size_t bad_node; /* cannot be prepared */
    size_t bad_from; /* cannot be measured from */
    size_t progress, progress_of;
};

static uint64_t fake_now(void *ctx)
{
    return ((struct fake *)ctx)->now_ns;
}

static int fake_prepare(void *ctx, size_t node, struct errctx *ec)
{
    struct fake *f = ctx;

    f->now_ns += f->prepare_ns;
    f->n_prepared++;
    f->prepared = node;
    if (node == f->bad_node)
        return errctx_set(ec, ENOSPC, "node %zu is full", node);
    return 0;
}

static int fake_latency(void *ctx, size_t from, uint64_t budget_ns, uint32_t *ret_ps,
                        struct errctx *ec)
{
    struct fake *f = ctx;

    if (from == f->bad_from)
        return errctx_set(ec, EINVAL, "node %zu is locked", from);
    f->now_ns += budget_ns > f->least_ns ? budget_ns : f->least_ns;
    f->n_latency++;
    *ret_ps = host_topo_distance(f->host, from, f->prepared) * 8000;
    return 0;
}

static int fake_bandwidth(void *ctx, size_t from, uint64_t budget_ns, uint64_t *ret_rate,
                          struct errctx *ec)
{
    struct fake *f = ctx;

    (void)ec;
    f->now_ns += budget_ns > f->least_ns ? budget_ns : f->least_ns;
    *ret_rate = 1000 + from;
    return 0;
}

static void fake_progress(void *ctx, size_t done, size_t n)
{
    struct fake *f = ctx;

    assert_int_equal(done, f->progress + 1);
    f->progress = done;
    f->progress_of = n;
}

static const struct measure_ops ops = {
    .now_ns = fake_now,
    .prepare = fake_prepare,
    .latency = fake_latency,
    .bandwidth = fake_bandwidth,
    .progress = fake_progress,
};

static const struct measure_params params = {
    .budget_ns = 5000000000u, .seed = 1, .max_pairs = MEASURE_MAX_PAIRS
};

static struct host_topo big_host(void)
{
    struct host_topo h = { 0 };

    assert_int_equal(host_topo_from_xml(BIG_HOST, &h, NULL), 0);
    return h;
}

static struct fake fake_of(const struct host_topo *h)
{
    return (struct fake){ .host = h,
                          .now_ns = 77,
                          .prepare_ns = 5000000,
                          .bad_node = SIZE_MAX,
                          .bad_from = SIZE_MAX };
}

static void all_chosen_pairs_of_128_nodes_fit_in_five_seconds(void **state)
{
    struct host_topo h = big_host();
    struct fake f = fake_of(&h);
    struct measure_result m = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    if (measure_run(&h, &params, &ops, &f, &m, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_true(m.took_ns <= params.budget_ns);
    assert_true(m.took_ns == f.now_ns - 77);
    assert_int_equal(m.n, m.n_chosen);
    assert_true(m.n > 64 && m.n < 200);
    assert_int_equal(m.n_left_out, 0);
    assert_true(f.n_prepared < m.n / 2); /* memory is prepared once for many pairs */
    assert_int_equal(f.progress, m.n);
    assert_int_equal(f.progress_of, m.n);
    for (size_t i = 0; i < m.n; i++) {
        const struct host_sample *s = &m.samples[i];

        assert_int_equal(s->latency_ps,
                         host_topo_distance(&h, (size_t)host_topo_node_index(&h, s->from),
                                            (size_t)host_topo_node_index(&h, s->to)) * 8000);
        assert_true(s->bytes_per_s >= 1000);
    }
    assert_false(m.samples[0].check);
    assert_true(m.samples[m.n - 1].check);
    free(m.samples);
    host_topo_fini(&h);
}

static void a_slow_machine_stops_in_time_with_what_it_has(void **state)
{
    struct host_topo h = big_host();
    struct fake f = fake_of(&h);
    struct measure_result m = { 0 };
    struct idset distances = { 0 };

    (void)state;
    f.prepare_ns = 100000000;
    f.least_ns = 50000000;
    assert_int_equal(measure_run(&h, &params, &ops, &f, &m, NULL), 0);
    assert_true(m.took_ns <= params.budget_ns);
    assert_true(m.n >= 24 && m.n < m.n_chosen);
    for (size_t i = 0; i < m.n; i++)
        idset_add(&distances, m.samples[i].latency_ps / 8000);
    for (size_t i = 0; i < 128 * 128; i++) /* every distance came first */
        assert_true(idset_has(&distances, h.distances[i]));
    free(m.samples);
    host_topo_fini(&h);
}

static void what_cannot_be_measured_is_left_out_and_named(void **state)
{
    struct host_topo h = { 0 };
    struct fake f;
    struct measure_result m = { 0 };

    (void)state;
    assert_int_equal(host_topo_from_synthetic("pack:4 numa:1 core:2 pu:1", &h, NULL), 0);
    f = fake_of(&h);
    f.bad_node = 2;
    assert_int_equal(measure_run(&h, &params, &ops, &f, &m, NULL), 0);
    assert_int_equal(m.n_chosen, 16); /* 4 packages, each pair a class of its own */
    assert_int_equal(m.n_left_out, 4);
    assert_string_equal(m.why.msg, "node 2 is full");
    assert_int_equal(m.n, 12);
    assert_int_equal(f.n_latency, 12);
    free(m.samples);

    f = fake_of(&h);
    f.bad_from = 1;
    assert_int_equal(measure_run(&h, &params, &ops, &f, &m, NULL), 0);
    assert_int_equal(m.n, 12);
    assert_string_equal(m.why.msg, "node 1 is locked");
    free(m.samples);
    host_topo_fini(&h);
}

static void nothing_measured_is_a_failure_untouched(void **state)
{
    struct measure_params none = params;
    struct measure_result m = { .n = 4711 };
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };
    struct fake f;

    (void)state;
    assert_int_equal(host_topo_from_synthetic("pack:1 numa:1 core:2 pu:1", &h, NULL), 0);
    f = fake_of(&h);
    f.bad_node = 0;
    assert_int_equal(measure_run(&h, &params, &ops, &f, &m, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "node 0 is full");
    none.budget_ns = 0;
    assert_int_equal(measure_run(&h, &none, &ops, &f, &m, &ec), -ETIMEDOUT);
    h.nodes[0].cpus = (struct idset){ 0 };
    assert_int_equal(measure_run(&h, &params, &ops, &f, &m, &ec), -ENODEV);
    assert_int_equal(m.n, 4711);
    host_topo_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_chosen_pairs_of_128_nodes_fit_in_five_seconds),
        cmocka_unit_test(a_slow_machine_stops_in_time_with_what_it_has),
        cmocka_unit_test(what_cannot_be_measured_is_left_out_and_named),
        cmocka_unit_test(nothing_measured_is_a_failure_untouched),
    };
    return cmocka_run_group_tests_name("machine/measure", tests, NULL, NULL);
}
