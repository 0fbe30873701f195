/* SPDX-License-Identifier: Apache-2.0 */
/* Distances of known shapes, and as a matrix in a text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/guest_distances.h"

static uint32_t value(const struct guest_spec *spec, uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < spec->n_distances; i++)
        if (spec->distances[i].from == from && spec->distances[i].to == to)
            return spec->distances[i].value;
    return 0;
}

static void shapes_count_hops(void **state)
{
    static const struct {
        const char *word;
        uint32_t n;
        uint32_t far[3]; /* from 0 to 1, 2 and the last */
    } rows[] = {
        { "flat", 5, { 20, 20, 20 } },     { "line", 5, { 20, 30, 50 } },
        { "ring", 5, { 20, 30, 20 } },     { "one-way", 5, { 20, 30, 50 } },
        { "mesh", 9, { 20, 30, 50 } },     { "torus", 9, { 20, 20, 30 } },
        { "hypercube", 8, { 20, 20, 40 } }, { "mesh", 5, { 20, 30, 30 } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct guest_spec spec = { 0 };

        assert_true(guest_distances_is_shape(rows[i].word));
        assert_int_equal(guest_distances_shape(&spec, rows[i].word, rows[i].n, NULL), 0);
        assert_int_equal(spec.n_distances, rows[i].n * (rows[i].n - 1));
        assert_int_equal(value(&spec, 0, 1), rows[i].far[0]);
        assert_int_equal(value(&spec, 0, 2), rows[i].far[1]);
        assert_int_equal(value(&spec, 0, rows[i].n - 1), rows[i].far[2]);
        guest_spec_fini(&spec);
    }
}

static void only_one_way_depends_on_the_direction(void **state)
{
    (void)state;
    for (size_t s = 0; guest_distance_shapes[s] != NULL; s++) {
        struct guest_spec spec = { 0 };
        bool same = true;

        assert_int_equal(guest_distances_shape(&spec, guest_distance_shapes[s], 6, NULL), 0);
        for (uint32_t i = 0; i < 6; i++)
            for (uint32_t k = 0; k < 6; k++)
                same = same && value(&spec, i, k) == value(&spec, k, i);
        assert_int_equal(same, strcmp(guest_distance_shapes[s], "one-way") != 0);
        guest_spec_fini(&spec);
    }
}

static void many_nodes_have_shorter_hops(void **state)
{
    (void)state;
    for (size_t s = 0; guest_distance_shapes[s] != NULL; s++) {
        struct guest_spec spec = { 0 };

        assert_int_equal(guest_distances_shape(&spec, guest_distance_shapes[s], 128, NULL), 0);
        for (size_t i = 0; i < spec.n_distances; i++)
            assert_in_range(spec.distances[i].value, GUEST_DISTANCE_LOCAL + 1, GUEST_DISTANCE_MAX);
        guest_spec_fini(&spec);
    }
}

static void a_matrix_is_read(void **state)
{
    static const char text[] = "# from row to column\n10 21\t31\n\n 22,10 32 # second\r\n23 33 10";
    struct guest_spec spec = { 0 };

    (void)state;
    assert_int_equal(guest_distances_matrix(&spec, text, strlen(text), 3, NULL), 0);
    assert_int_equal(spec.n_distances, 6);
    assert_int_equal(value(&spec, 0, 2), 31);
    assert_int_equal(value(&spec, 1, 0), 22);
    assert_int_equal(value(&spec, 2, 1), 33);
    guest_spec_fini(&spec);
}

static void what_is_wrong_with_a_matrix_has_a_place(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        { "10 20\n", "it has 1 lines of distances, there are 2 nodes" },
        { "10 20\n20\n", "line 2 has less than 2 distances, one for each node" },
        { "10 20 30\n20 10\n", "line 1 has more than 2 distances, one for each node" },
        { "10 20\n20 10\n\n10 20", "line 4 is one too many, there are 2 nodes" },
        { "10 twenty\n20 10\n", "line 1, number 2: a distance is expected here" },
        { "10 20\n4294967306 10\n", "line 2, number 1: the greatest distance is 254" },
        { "10 9\n20 10\n",
          "line 1, number 2: 9, but a node is 10 from itself and more than that from others" },
        { "11 20\n20 10\n",
          "line 1, number 1: 11, but a node is 10 from itself and more than that from others" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct guest_spec spec = { 0 };
        struct errctx ec = { 0 };

        assert_true(guest_distances_matrix(&spec, rows[i].text, strlen(rows[i].text), 2, &ec) < 0);
        assert_string_equal(ec.msg, rows[i].sentence);
        guest_spec_fini(&spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_count_hops),
        cmocka_unit_test(only_one_way_depends_on_the_direction),
        cmocka_unit_test(many_nodes_have_shorter_hops),
        cmocka_unit_test(a_matrix_is_read),
        cmocka_unit_test(what_is_wrong_with_a_matrix_has_a_place),
    };

    return cmocka_run_group_tests_name("topology/guest_distances", tests, NULL, NULL);
}
