/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded snapshots: a trace that is read back decides the same; what is no snapshot is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vcpu/policy/test/balance_cases.h"
#include "vmm/machine/balance_say.h"
#include "vmm/machine/balance_trace.h"

static void a_trace_read_back_decides_the_same(void **state)
{
    const struct balance_params p = balance_defaults();
    struct balance_decision live, replayed;
    struct balance *a, *b;
    struct balance_line before, line;
    struct balance_case c;
    unsigned decided = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        case_make(&c, seed);
        case_aim(&c, c.snap.n_nodes, c.snap.n_vnodes);
        assert_int_equal(balance_new(&p, c.snap.n_nodes, c.snap.n_vnodes, &a, NULL), 0);
        assert_int_equal(balance_new(&p, c.snap.n_nodes, c.snap.n_vnodes, &b, NULL), 0);
        for (int i = 0; i < 20; i++) {
            json_t *json, *again;
            char *text;
            int r;

            c.snap.time_ns += UINT64_C(10000000000);
            json = balance_trace_to_json(&c.snap, i > 0 ? &before.snap : NULL);
            assert_int_equal(json_object_get(json, "distances") == NULL, i > 0);
            assert_int_equal(json_object_get(json, "told") == NULL, i > 0);
            text = json_dumps(json, JSON_COMPACT);
            again = json_loads(text, 0, NULL);
            assert_int_equal(balance_trace_from_json(again, i > 0 ? &before : NULL, &line, NULL), 0);
            r = balance_epoch(a, &c.snap, &live, NULL);
            assert_int_equal(balance_epoch(b, &line.snap, &replayed, NULL), r);
            if (r == 1) {
                assert_memory_equal(&live, &replayed, sizeof(live));
                (void)case_obey(&c, &live);
                decided++;
            }
            if (i > 0)
                balance_line_fini(&before);
            before = line;
            json_decref(json);
            json_decref(again);
            free(text);
        }
        balance_line_fini(&before);
        balance_free(a);
        balance_free(b);
    }
    assert_true(decided > 0);
}

static void what_is_no_snapshot_is_refused(void **state)
{
    static const char *const lines[] = {
        "{}",
        "{\"time\": 1, \"nodes\": [], \"vnodes\": [], \"distances\": [], \"at\": []}",
        "{\"time\": -1, \"nodes\": [[8, 0, 9, 9]], \"vnodes\": [[1, 0, 0]], \"distances\": [1000], "
        "\"at\": [0]}",
        "{\"time\": 1, \"nodes\": [[8, 0, 9, 10]], \"vnodes\": [[1, 0, 0]], \"distances\": [1000], "
        "\"at\": [0]}",
        "{\"time\": 1, \"nodes\": [[8, 0, 9, 9]], \"vnodes\": [[1, 1, 0]], \"distances\": [1000], "
        "\"at\": [0]}",
        "{\"time\": 1, \"nodes\": [[8, 0, 9, 9]], \"vnodes\": [[1, 0, 0]], \"distances\": [1, 2], "
        "\"at\": [0]}",
        "{\"time\": 1, \"nodes\": [[8, 0, 9, 9]], \"vnodes\": [[1, 0, 0]], \"at\": [0]}",
        "{\"time\": 1, \"nodes\": [[8, 0, 9, 9]], \"vnodes\": [[1, 0, 0]], \"distances\": [1000], "
        "\"at\": [0], \"stall\": 10001}",
    };
    struct errctx ec = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        json_t *json = json_loads(lines[i], 0, NULL);
        struct balance_line line = { .told = (void *)0x1 };

        assert_int_equal(balance_trace_from_json(json, NULL, &line, &ec), -EINVAL);
        assert_string_not_equal(ec.msg, "");
        assert_ptr_equal(line.told, (void *)0x1);
        json_decref(json);
    }
}

static void a_first_line_comes_back_as_it_was(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "{}",
        "{\"trace\": \"numavisor\", \"version\": 1}",
        "{\"trace\": \"numavisor balance\", \"version\": 2}",
        "{\"trace\": \"numavisor balance\", \"version\": 1, \"hosts\": [0]}",
    };
    struct balance_head head = { .params = balance_defaults(), .n_hosts = 3, .hosts = { 0, 2, 7 } };
    struct balance_head again = { .n_hosts = 9 };
    struct errctx ec = { 0 };
    json_t *json;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        json = json_loads(wrong[i], 0, NULL);
        assert_int_equal(balance_head_from_json(json, &again, &ec), -EINVAL);
        assert_int_equal(again.n_hosts, 9);
        json_decref(json);
    }
    json = balance_head_to_json(&head);
    assert_int_equal(balance_head_from_json(json, &again, &ec), 0);
    assert_memory_equal(&again.params, &head.params, sizeof(head.params));
    assert_int_equal(again.n_hosts, 3);
    assert_memory_equal(again.hosts, head.hosts, 3 * sizeof(head.hosts[0]));
    json_decref(json);
}

static void decisions_are_said_in_the_hosts_numbers(void **state)
{
    static const uint32_t hosts[] = { 0, 4, 8 };
    struct balance_decision d = { .time_ns = 7,
                                  .step = { .n = 2, .vnode = { 3, 1 }, .from = { 0, 2 }, .to = { 1, 2 } },
                                  .bytes = 3 << 20,
                                  .predicted = 1500000,
                                  .threshold = 250000 };
    char text[256];
    json_t *json;

    (void)state;
    assert_string_equal(balance_say(&d, hosts, text, sizeof(text)),
                        "virtual node 3 from host node 0 to 4, all memory of virtual node 1 to host "
                        "node 8 (3 MiB in all): gains 1.50 CPUs, 0.25 needed");
    assert_string_equal(balance_say_outcome(&d, text, sizeof(text)), "not known yet");
    json = balance_decision_json(&d, hosts);
    assert_true(json_is_null(json_object_get(json, "achieved")));
    json_decref(json);
    d.outcome = BALANCE_DONE;
    d.achieved = 1250000;
    assert_string_equal(balance_say_outcome(&d, text, sizeof(text)),
                        "gained 1.25 CPUs of 1.50 expected");
    d.outcome = BALANCE_NOT_DONE;
    assert_string_equal(balance_say_outcome(&d, text, sizeof(text)), "did not arrive");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_read_back_decides_the_same),
        cmocka_unit_test(what_is_no_snapshot_is_refused),
        cmocka_unit_test(a_first_line_comes_back_as_it_was),
        cmocka_unit_test(decisions_are_said_in_the_hosts_numbers),
    };
    return cmocka_run_group_tests_name("vmm/machine/balance_trace", tests, NULL, NULL);
}
