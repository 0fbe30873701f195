/* SPDX-License-Identifier: Apache-2.0 */
/* Links as 16 bits and one unit can say them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/test/plan_invariants.h"
#include "vmm/topology/test/spec_text.h"

static struct topo_plan *plan_of(const char *text)
{
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };
    struct guest_spec spec;
    struct host_topo host;

    spec_text_parse(text, &spec);
    assert_int_equal(host_topo_from_synthetic("node:1 core:4 pu:1", &host, &ec), 0);
    if (topo_plan_make(&spec, &host, &plan, &ec) < 0)
        fail_msg("%s: %s", text, ec.msg);
    plan_check_invariants(&spec, &host, plan);
    host_topo_fini(&host);
    guest_spec_fini(&spec);
    return plan;
}

/* Two nodes, three values of a kind: 0 to 0, 0 to 1, 1 to 1. */
struct row {
    const char *text;
    uint64_t unit, value[3];
    const char *note; /* NULL: the values are exact */
};

/* The row's plan, which says whether it rounded. */
static struct topo_plan *plan_of_row(const struct row *row)
{
    struct topo_plan *plan;
    char text[128];

    (void)snprintf(text, sizeof(text), "vnuma=2 cpus=2 memory=1G %s", row->text);
    plan = plan_of(text);
    if (row->note == NULL)
        assert_null(strstr(plan->notes, "rounded"));
    else
        assert_non_null(strstr(plan->notes, row->note));
    return plan;
}

static void latencies_are_what_the_guest_reads(void **state)
{
    static const struct row rows[] = {
        { "l:0-0=90;0 l:0-1=150;0", 30, { 90, 150, 0 }, NULL },
        { "l:0-0=1;0 l:0-1=65534;0 l:1-1=77;0", 1, { 1, 65534, 77 }, NULL },
        { "l:0-0=300;0 l:0-1=900000;0", 300, { 300, 900000, 0 }, NULL },
        { "l:0-0=90;0 l:0-1=70001;0 l:1-1=91;0", 2, { 90, 70002, 92 }, "multiples of 2 ns:" },
        { "l:0-0=67;0 l:0-1=4294967;0 l:1-1=99;0", 66, { 66, 4294950, 132 }, "multiples of 66 ns:" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct topo_plan *plan = plan_of_row(&rows[i]);

        assert_int_equal(plan->latency_unit_ns, rows[i].unit);
        assert_int_equal(plan->bandwidth_unit_mib, 0);
        assert_int_equal(plan->links[0].latency_ns, rows[i].value[0]);
        assert_int_equal(plan->links[1].latency_ns, rows[i].value[1]);
        assert_int_equal(plan->links[3].latency_ns, rows[i].value[2]);
        topo_plan_free(plan);
    }
}

static void bandwidths_are_what_the_guest_reads(void **state)
{
    static const struct row rows[] = {
        { "l:0-0=0;107374182400 l:0-1=0;12884901888", 4096, { 102400, 12288, 0 }, NULL },
        { "l:0-0=0;1048576 l:0-1=0;68717379584", 1, { 1, 65534, 0 }, NULL },
        { "l:0-0=0;1572864 l:0-1=0;3145728", 1, { 2, 3, 0 }, "multiples of 1 MiB/s:" },
        { "l:0-0=0;1048576 l:0-1=0;68717903872", 2, { 2, 65536, 0 }, "multiples of 2 MiB/s:" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct topo_plan *plan = plan_of_row(&rows[i]);

        assert_int_equal(plan->bandwidth_unit_mib, rows[i].unit);
        assert_int_equal(plan->latency_unit_ns, 0);
        assert_true(plan->links[0].bandwidth_bytes_per_s == rows[i].value[0] * MIB);
        assert_true(plan->links[1].bandwidth_bytes_per_s == rows[i].value[1] * MIB);
        assert_true(plan->links[3].bandwidth_bytes_per_s == rows[i].value[2] * MIB);
        topo_plan_free(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latencies_are_what_the_guest_reads),
        cmocka_unit_test(bandwidths_are_what_the_guest_reads),
    };
    return cmocka_run_group_tests_name("topology/plan_links", tests, NULL, NULL);
}
