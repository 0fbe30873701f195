/* SPDX-License-Identifier: Apache-2.0 */
/* What numactl -H prints, read and written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/guest_from_host.h"
#include "vmm/topology/numactl_text.h"

#define HEAD "available: 2 nodes (0-1)\nnode 0 cpus: 0 1\nnode 0 size: 512 MB\n"
#define NODES HEAD "node 1 cpus:\nnode 1 size: 256 MB\n"

static const char server[] =
    "$ numactl -H\n"
    "available: 3 nodes (0,2,4)\n"
    "node 0 cpus: 0 1 4 5\n"
    "node 0 size: 64215 MB\n"
    "node 0 free: 123 MB\n"
    "node 4 cpus:\n"
    "node 4 size: 131072 MB\n"
    "node 4 free: 131000 MB\n"
    "node 2 cpus: 2 3 6 7\r\n"
    "node 2 size: 0 MB\n"
    "node 2 free: 0 MB\n"
    "node distances:\n"
    "node   0   4   2 \n"
    "  4:  28  10  29 \n"
    "  0:  10  24  21 \n"
    "  2:  22  25  10 \n"
    "\n";

static void a_paste_is_read(void **state)
{
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    assert_true(numactl_text_is(server, strlen(server)));
    if (numactl_text_read(server, strlen(server), &h, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(h.n_nodes, 3);
    assert_int_equal(h.n_cpus, 8);
    assert_int_equal(h.nodes[1].id.v, 2);
    assert_true(h.nodes[0].mem_bytes == 64215ull * MIB);
    assert_true(h.nodes[1].mem_bytes == 0);
    assert_int_equal(h.cpus[3].node, 1);
    assert_int_equal(h.cpus[4].node, 0);
    assert_int_equal(host_topo_distance(&h, 0, 2), 24); /* from 0 to 4 */
    assert_int_equal(host_topo_distance(&h, 2, 0), 28);
    assert_int_equal(host_topo_distance(&h, 1, 2), 25);
    host_topo_fini(&h);
}

static void other_texts_are_not_numactls(void **state)
{
    (void)state;
    assert_false(numactl_text_is("", 0));
    assert_false(numactl_text_is("node 0 cpus: 0", 14));
    assert_false(numactl_text_is("not available: 2", 16));
    assert_false(numactl_text_is("available:", 10));
}

static void what_is_wrong_has_a_line(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        { "available: 1 nodes (0)\n", "line 1: the text ends before any node" },
        { HEAD "node 1 cpus: 2\n", "line 4: the text ends without the size of node 1" },
        { HEAD "node 1 cpus: 1\n", "line 4: CPU 1 is in node 0 already" },
        { HEAD "node 1 cpus: two\n", "line 4: a CPU's number is expected here" },
        { HEAD "node 1 cpus: 99999999999999999999\n", "line 4: a CPU's number is expected here" },
        { HEAD "node 0 size: 512 MB\n", "line 4: the size of node 0 is there twice" },
        { HEAD "node 0 cpus: 5\n", "line 4: the CPUs of node 0 are there twice" },
        { HEAD "node 1 size: 512 GB\n", "line 4: \"MB\" is expected behind the size" },
        { HEAD "node 1 cores: 2\n",
          "line 4: \"cpus:\", \"size:\" or \"free:\" is expected behind the node's number" },
        { HEAD "cpubind: 0 1\n", "line 4: numactl -H prints no such line" },
        { NODES "node distances:\n  0: 10 20\n",
          "line 7: the distances' heading \"node 0 1 ...\" is missing" },
        { NODES "node distances:\nnode 0 1\n  0: 10 20\n",
          "line 8: the text ends without the distances of node 1" },
        { NODES "node distances:\nnode 0 1\n  0: 10 20 30\n",
          "line 8: 2 distances are expected in a row" },
        { NODES "node distances:\nnode 0 1\n  0: 10\n",
          "line 8: 2 distances are expected in a row" },
        { NODES "node distances:\nnode 0 2\n",
          "line 7: the distances' heading names a node that was not described above" },
        { NODES "node distances:\nnode 0 0\n",
          "line 7: the distances' heading names a node twice" },
        { NODES "node distances:\nnode 0 1\n  0: 10 20\n  0: 10 20\n",
          "line 9: a row of distances begins with its node, each once" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct host_topo h = { .n_nodes = 77 };
        struct errctx ec = { 0 };

        assert_true(numactl_text_read(rows[i].text, strlen(rows[i].text), &h, &ec) < 0);
        assert_string_equal(ec.msg, rows[i].sentence);
        assert_int_equal(h.n_nodes, 77); /* untouched on failure */
    }
}

static void more_nodes_than_a_guest_has_are_refused(void **state)
{
    struct host_topo h;
    struct errctx ec = { 0 };
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    (void)fprintf(f, "available: 129 nodes (0-128)\n");
    for (int i = 0; i <= GUEST_MAX_VNODES; i++)
        (void)fprintf(f, "node %d cpus: %d\nnode %d size: 8 MB\n", i, i, i);
    (void)fclose(f);
    assert_true(numactl_text_read(text, len, &h, &ec) < 0);
    assert_string_equal(ec.msg, "line 258: a guest has at most 128 nodes");
    free(text);
}

/* The same lines come out, but for free memory, of what was read. */
static void what_is_written_is_read_back(void **state)
{
    static const struct host_topo nowhere = { 0 };
    char *first = NULL, *second = NULL;
    const char *text = server;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct topo_notes notes = { 0 };
        struct guest_spec spec = { 0 };
        struct host_topo h;
        struct topo_plan *plan;
        size_t len;
        FILE *f = open_memstream(i == 0 ? &first : &second, &len);

        assert_int_equal(numactl_text_read(text, strlen(text), &h, NULL), 0);
        assert_int_equal(guest_from_host(&h, &spec, &notes, NULL), 0);
        assert_int_equal(topo_plan_make(&spec, &nowhere, &plan, NULL), 0);
        numactl_text_write(plan, f);
        (void)fclose(f);
        topo_plan_free(plan);
        guest_spec_fini(&spec);
        host_topo_fini(&h);
        text = first;
    }
    assert_string_equal(first, "available: 3 nodes (0-2)\n"
                               "node 0 cpus: 0 1 4 5\nnode 0 size: 64214 MB\nnode 0 free: 64214 MB\n"
                               "node 1 cpus: 2 3 6 7\nnode 1 size: 0 MB\nnode 1 free: 0 MB\n"
                               "node 2 cpus:\nnode 2 size: 131072 MB\nnode 2 free: 131072 MB\n"
                               "node distances:\nnode    0    1    2 \n"
                               "  0:   10   21   24 \n  1:   22   10   25 \n  2:   28   29   10 \n");
    assert_string_equal(first, second);
    free(first);
    free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paste_is_read),
        cmocka_unit_test(other_texts_are_not_numactls),
        cmocka_unit_test(what_is_wrong_has_a_line),
        cmocka_unit_test(more_nodes_than_a_guest_has_are_refused),
        cmocka_unit_test(what_is_written_is_read_back),
    };

    return cmocka_run_group_tests_name("topology/numactl_text", tests, NULL, NULL);
}
