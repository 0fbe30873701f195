/* SPDX-License-Identifier: Apache-2.0 */
/* Single moves of a page's word: what is refused, and what leases are worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "memory/pager/page_word.h"

static void moves_are_refused_from_other_states(void **state)
{
    uint32_t object;
    page_word word = 0;

    (void)state;
    assert_false(page_keep(&word, 7));
    assert_false(page_punch(&word));
    assert_int_equal(page_cancel(&word), 0);
    assert_true(page_arm(&word));
    assert_false(page_arm(&word));
    assert_false(page_pin(&word));
    assert_false(page_punch(&word));
    assert_true(page_keep(&word, 7));
    assert_false(page_pin(&word));
    assert_int_equal(page_object(word), 7);
    assert_true(page_punch(&word));
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_WAIT);
    page_emptied(&word);
    assert_int_equal(page_cancel(&word), 0);
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_FILL);
    assert_int_equal(object, 7);
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_WAIT);
    page_filled(&word);
    assert_int_equal(page_state(word), PAGE_RESIDENT);
    assert_int_equal(page_object(word), 0);
    assert_true(page_pin(&word));
    assert_false(page_arm(&word));
}

static void a_page_with_leases_is_not_armed(void **state)
{
    uint32_t object;
    page_word word = 0;

    (void)state;
    assert_true(page_lease(&word, &object));
    assert_true(page_lease(&word, &object));
    assert_false(page_arm(&word));
    page_unlease(&word);
    assert_false(page_arm(&word));
    page_unlease(&word);
    assert_true(page_arm(&word));
    assert_true(page_keep(&word, 9));
    assert_true(page_lease(&word, &object)); /* the copy may be old in a moment */
    assert_int_equal(object, 9);
    assert_int_equal(page_state(word), PAGE_RESIDENT);
}

static void a_lease_outlives_the_way_back(void **state)
{
    uint32_t object;
    page_word word = 0;

    (void)state;
    assert_true(page_arm(&word) && page_keep(&word, 3) && page_punch(&word));
    assert_true(page_lease(&word, &object));
    assert_int_equal(object, 0);
    page_emptied(&word);
    assert_int_equal(page_leases(word), 1);
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_FILL);
    assert_int_equal(object, 3);
    page_filled(&word);
    assert_false(page_arm(&word));
}

static void too_many_leases_are_refused(void **state)
{
    uint32_t object;
    page_word word = 0;

    (void)state;
    for (int i = 0; i < PAGE_LEASES_MAX; i++)
        assert_true(page_lease(&word, &object));
    assert_false(page_lease(&word, &object));
    /* a fault is served all the same */
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_MAP);
    page_touched(&word);
    assert_int_equal(page_leases(word), PAGE_LEASES_MAX);
    page_unlease(&word);
    assert_true(page_lease(&word, &object));
}

static void what_is_lost_stays_so_until_nobody_wants_it(void **state)
{
    enum page_state was;
    uint32_t object;
    page_word word = 0;

    (void)state;
    assert_true(page_arm(&word) && page_keep(&word, 3) && page_punch(&word));
    page_emptied(&word);
    assert_int_equal(page_fetch(&word), 3);
    page_lose(&word, EBADMSG);
    assert_int_equal(page_state(word), PAGE_LOST);
    assert_int_equal(page_object(word), EBADMSG);
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_LOST);
    assert_int_equal(object, 0);
    assert_false(page_arm(&word));
    assert_false(page_pin(&word));
    assert_int_equal(page_fetch(&word) + page_cancel(&word), 0);
    assert_false(page_is_away(word));
    assert_true(page_lease(&word, &object));
    assert_int_equal(object, 0);
    page_unlease(&word);
    assert_int_equal(page_state(word), PAGE_LOST);
    assert_true(page_forget(&word, false, &object, &was));
    assert_int_equal(object, 0);
    assert_int_equal(was, PAGE_LOST);
    assert_int_equal(page_state(word), PAGE_RESIDENT);
    page_unlease(&word);
    assert_true(page_arm(&word));
}

static void what_is_plugged_out_is_left_alone(void **state)
{
    enum page_state was;
    uint32_t object;
    page_word word = 0;

    (void)state;
    assert_true(page_lease(&word, &object));
    assert_false(page_close(&word, &object, &was)); /* a device has it */
    page_unlease(&word);
    assert_true(page_arm(&word) && page_keep(&word, 5) && page_punch(&word));
    assert_false(page_close(&word, &object, &was));
    page_emptied(&word);
    assert_true(page_close(&word, &object, &was));
    assert_int_equal(object, 5);
    assert_int_equal(was, PAGE_EMPTY);
    assert_int_equal(page_object(word), 0);
    assert_false(page_arm(&word) || page_pin(&word) || page_lease(&word, &object));
    assert_int_equal(page_fetch(&word), 0);
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_NONE);
    assert_true(page_forget(&word, true, &object, &was)); /* late, and in vain */
    page_unlease(&word);
    assert_int_equal(page_state(word), PAGE_CLOSED);
    assert_int_equal(object, 0);
    page_open(&word);
    assert_int_equal(page_state(word), PAGE_RESIDENT);
    assert_true(page_arm(&word));
    page_open(&word);
    assert_int_equal(page_state(word), PAGE_ARMED);
    assert_true(page_keep(&word, 4) && page_punch(&word));
    page_emptied(&word);
    assert_int_equal(page_fetch(&word), 4);
    page_lose(&word, EBADMSG);
    page_open(&word);
    assert_int_equal(page_state(word), PAGE_LOST);
    assert_true(page_close(&word, &object, &was));
    assert_int_equal(object, 0);
    assert_int_equal(was, PAGE_LOST);
    assert_int_equal(page_touch(&word, &object), PAGE_TOUCH_NONE);
    page_open(&word);
    assert_int_equal(page_state(word), PAGE_RESIDENT);
    assert_int_equal(page_object(word), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_are_refused_from_other_states),
        cmocka_unit_test(a_page_with_leases_is_not_armed),
        cmocka_unit_test(a_lease_outlives_the_way_back),
        cmocka_unit_test(too_many_leases_are_refused),
        cmocka_unit_test(what_is_lost_stays_so_until_nobody_wants_it),
        cmocka_unit_test(what_is_plugged_out_is_left_alone),
    };
    return cmocka_run_group_tests_name("memory/pager/page_word", tests, NULL, NULL);
}
