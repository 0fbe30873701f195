/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest sees, what it should see after a change, and where the two differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/facts_view.h"

#define TWO_NODES                                                                   \
    "nodes 0-1\ncpus 0-3\nnode0.cpus 0-1\nnode0.memory 1024\nnode1.cpus 2-3\n"       \
    "node1.memory 2048\n"

static int view(const char *text, struct facts_view *ret_view, struct errctx *ec)
{
    struct facts facts;
    int r;

    assert_int_equal(facts_parse(text, &facts, NULL), 0);
    r = facts_view_of(&facts, ret_view, ec);
    facts_fini(&facts);
    return r;
}

static struct facts_view *two_nodes(void)
{
    struct facts_view *v = calloc(1, sizeof(*v));

    assert_non_null(v);
    assert_int_equal(view(TWO_NODES, v, NULL), 0);
    return v;
}

static void changes_lead_to_what_is_seen_then(void **state)
{
    static const char after[] = "nodes 0-2\ncpus 0-2\nnode0.cpus 0-1\nnode0.memory 1024\n"
                                "node1.cpus 2\nnode1.memory 2048\nnode2.cpus -\n"
                                "node2.memory 512\n";
    struct facts_view *a = two_nodes(), *b = two_nodes();
    char text[200] = "";

    (void)state;
    assert_int_equal(view(after, b, NULL), 0);
    assert_int_equal(facts_view_node_of(a, 3), 1);
    assert_int_equal(facts_view_node_of(a, 4), UINT32_MAX);
    facts_view_set_cpu(a, 3, 1, false);
    facts_view_add_memory(a, 2, 512, false);
    assert_false(facts_view_differ(a, b, text, sizeof(text)));
    facts_view_set_cpu(a, 3, 1, true);
    facts_view_add_memory(a, 2, 512, true); /* no memory, no CPUs: not online */
    assert_int_equal(view(TWO_NODES, b, NULL), 0);
    assert_false(facts_view_differ(a, b, text, sizeof(text)));
    assert_string_equal(text, "");
    free(a);
    free(b);
}

static void a_generic_initiator_keeps_its_node(void **state)
{
    static const char text[] = "nodes 0-1\ngeneric_initiators 1\ncpus 0\nnode0.cpus 0\n"
                               "node0.memory 1024\nnode1.cpus -\nnode1.memory 512\n";
    struct facts_view *v = two_nodes();

    (void)state;
    assert_int_equal(view(text, v, NULL), 0);
    facts_view_add_memory(v, 1, 512, true);
    assert_true(idset_has(&v->nodes, 1));
    facts_view_add_memory(v, 0, 1024, true);
    assert_true(idset_has(&v->nodes, 0)); /* it has a CPU */
    free(v);
}

static void a_difference_is_a_sentence(void **state)
{
    struct facts_view *a = two_nodes(), *b = two_nodes();
    char text[200];

    (void)state;
    facts_view_set_cpu(a, 3, 1, false);
    assert_true(facts_view_differ(a, b, text, sizeof(text)));
    assert_string_equal(text, "node 1 has CPUs 2-3, expected 2");
    idset_del(&b->node[1].cpus, 3);
    assert_true(facts_view_differ(a, b, text, sizeof(text)));
    assert_string_equal(text, "CPUs 0-3 are online, expected 0-2");
    facts_view_add_memory(a, 0, 24, true);
    assert_true(facts_view_differ(a, b, text, sizeof(text)));
    assert_string_equal(text, "node 0 has 1024 KiB, expected 1000");
    facts_view_add_memory(a, 5, 1, false);
    assert_true(facts_view_differ(a, b, text, sizeof(text)));
    assert_string_equal(text, "nodes 0-1 are online, expected 0-1,5");
    free(a);
    free(b);
}

static void facts_that_are_no_view_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "cpus 0\n", "nodes: there is no such fact" },
        { "nodes 0\n", "cpus: there is no such fact" },
        { "nodes 0\ncpus 0\n", "node 0: CPUs of a node: there is no such fact" },
        { "nodes 128\ncpus 0\n", "node 128 is more than there are" },
    };
    struct facts_view *v = two_nodes();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };

        assert_int_equal(view(rows[i].text, v, &ec), -EINVAL);
        assert_string_equal(ec.msg, rows[i].says);
        assert_int_equal(facts_view_node_of(v, 2), 1); /* untouched */
    }
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_lead_to_what_is_seen_then),
        cmocka_unit_test(a_generic_initiator_keeps_its_node),
        cmocka_unit_test(a_difference_is_a_sentence),
        cmocka_unit_test(facts_that_are_no_view_are_refused),
    };

    return cmocka_run_group_tests_name("topology/facts_view", tests, NULL, NULL);
}
