/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded snapshots: a trace that is read back decides the same; what is no snapshot is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vcpu/policy/test/balance_cases.h"
#include "vmm/machine/balance_trace.h"

static void a_trace_read_back_decides_the_same(void **state)
{
    const struct balance_params p = balance_defaults();
    struct balance_decision live, replayed;
    struct balance *a, *b;
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
            struct balance_line line;
            char *text;
            int r;

            c.snap.time_ns += UINT64_C(10000000000);
            json = balance_trace_to_json(&c.snap);
            text = json_dumps(json, JSON_COMPACT);
            again = json_loads(text, 0, NULL);
            assert_int_equal(balance_trace_from_json(again, &line, NULL), 0);
            r = balance_epoch(a, &c.snap, &live, NULL);
            assert_int_equal(balance_epoch(b, &line.snap, &replayed, NULL), r);
            if (r == 1) {
                assert_memory_equal(&live, &replayed, sizeof(live));
                (void)case_obey(&c, &live);
                decided++;
            }
            balance_line_fini(&line);
            json_decref(json);
            json_decref(again);
            free(text);
        }
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
    };
    struct errctx ec = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        json_t *json = json_loads(lines[i], 0, NULL);
        struct balance_line line = { .told = (void *)0x1 };

        assert_int_equal(balance_trace_from_json(json, &line, &ec), -EINVAL);
        assert_string_not_equal(ec.msg, "");
        assert_ptr_equal(line.told, (void *)0x1);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_read_back_decides_the_same),
        cmocka_unit_test(what_is_no_snapshot_is_refused),
    };
    return cmocka_run_group_tests_name("vmm/machine/balance_trace", tests, NULL, NULL);
}
