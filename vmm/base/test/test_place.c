/* SPDX-License-Identifier: Apache-2.0 */
/* Where threads run: the part that can be seen without two CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/place.h"

static void a_weight_has_the_nearest_nice_value(void **state)
{
    (void)state;
    assert_int_equal(place_nice_of_weight(100), 0);
    assert_int_equal(place_nice_of_weight(105), 0);
    assert_int_equal(place_nice_of_weight(125), -1);
    assert_int_equal(place_nice_of_weight(80), 1);
    assert_int_equal(place_nice_of_weight(50), 3);
    assert_int_equal(place_nice_of_weight(200), -3);
    assert_int_equal(place_nice_of_weight(1), 19);
    assert_int_equal(place_nice_of_weight(10000), -20);
    for (unsigned w = 2; w <= 10000; w++)
        assert_true(place_nice_of_weight(w) <= place_nice_of_weight(w - 1));
}

static void a_thread_goes_where_it_may(void **state)
{
    struct idset before, one = { 0 }, after;

    (void)state;
    assert_int_equal(place_get_thread(&before), 0);
    assert_false(idset_empty(&before));
    idset_add(&one, idset_next(&before, 0));
    assert_int_equal(place_pin_thread(&one, NULL), 0);
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &one));
    assert_int_equal(place_pin_thread(&before, NULL), 0);
}

static void a_group_goes_where_it_is_sent(void **state)
{
    struct idset before, one = { 0 }, after;
    struct place_group g;
    unsigned seen = 0;

    (void)state;
    place_group_init(&g);
    assert_int_equal(place_get_thread(&before), 0);
    place_group_follow(&g, &seen); /* nobody said anything */
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &before));
    idset_add(&one, idset_next(&before, 0));
    place_group_send(&g, &one);
    place_group_follow(&g, &seen);
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &one));
    assert_int_equal(place_pin_thread(&before, NULL), 0);
    place_group_follow(&g, &seen); /* nothing new */
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &before));
    place_group_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weight_has_the_nearest_nice_value),
        cmocka_unit_test(a_thread_goes_where_it_may),
        cmocka_unit_test(a_group_goes_where_it_is_sent),
    };
    return cmocka_run_group_tests_name("base/place", tests, NULL, NULL);
}
