/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of ids: the list form in both directions, and the operations against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/idset.h"
#include "vmm/base/macros.h"

static struct idset parsed(const char *text)
{
    struct idset s = { 0 };
    struct errctx ec = { 0 };

    if (idset_parse(text, &s, &ec) < 0)
        fail_msg("%s", ec.msg);
    return s;
}

static void assert_list(const struct idset *s, const char *expected)
{
    char buf[256];

    assert_string_equal(idset_format(s, buf, sizeof(buf)), expected);
}

static void lists_are_read_and_written_in_the_kernels_form(void **state)
{
    static const char *const lists[] = { "", "0", "0-3,8,10-11", "63-64", "8191", "0-8191" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        const struct idset s = parsed(lists[i]);

        assert_list(&s, lists[i]);
    }
    const struct idset unsorted = parsed("5,1,3-4,2");
    assert_list(&unsorted, "1-5");
}

static void what_is_no_list_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *text, *sentence;
    } bad[] = {
        { "x", "\"x\" is not a list such as 0-3,8" },
        { "-1", "\"-1\" is not a list such as 0-3,8" },
        { " 1", "\" 1\" is not a list such as 0-3,8" },
        { "+1", "\"+1\" is not a list such as 0-3,8" },
        { "1,", "\"1,\" is not a list such as 0-3,8" },
        { ",1", "\",1\" is not a list such as 0-3,8" },
        { "1,,2", "\"1,,2\" is not a list such as 0-3,8" },
        { "1-", "\"1-\" is not a list such as 0-3,8" },
        { "1-2-3", "\"1-2-3\" is not a list such as 0-3,8" },
        { "1 2", "\"1 2\" is not a list such as 0-3,8" },
        { "3-1", "\"3-1\" holds a range that runs backwards" },
        { "1,1", "\"1,1\" names 1 twice" },
        { "0-4,2-3", "\"0-4,2-3\" names 2 twice" },
        { "8192", "\"8192\" holds a number above 8191" },
        { "0-8192", "\"0-8192\" holds a number above 8191" },
        { "99999999999999999999999", "\"99999999999999999999999\" holds a number above 8191" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct idset s = { 0 };
        struct errctx ec = { 0 };

        idset_add(&s, 77);
        assert_int_equal(idset_parse(bad[i].text, &s, &ec), -EINVAL);
        assert_int_equal(ec.code, EINVAL);
        assert_string_equal(ec.msg, bad[i].sentence);
        assert_list(&s, "77"); /* untouched */
        assert_int_equal(idset_parse(bad[i].text, &s, NULL), -EINVAL);
    }
}

static void a_list_that_does_not_fit_is_marked(void **state)
{
    const struct idset s = parsed("1,3,5,7,9,11,13");
    char buf[12];

    (void)state;
    assert_string_equal(idset_format(&s, buf, sizeof(buf)), "1,3,5,7...");
    assert_string_equal(idset_format(&s, buf, 4), "...");
    assert_string_equal(idset_format(&s, buf, 1), "");
    for (size_t size = 1; size <= sizeof(buf); size++) {
        memset(buf, 'x', sizeof(buf));
        assert_true(strlen(idset_format(&s, buf, size)) < size);
    }
}

static void operations_agree_with_a_plain_array(void **state)
{
    uint32_t seed = 12345;

    (void)state;
    for (int round = 0; round < 200; round++) {
        bool in_a[200] = { 0 }, in_b[200] = { 0 };
        struct idset a = { 0 }, b = { 0 }, both, any;
        uint32_t count = 0;
        bool intersects = false, subset = true, equal = true;

        for (int i = 0; i < 60; i++) {
            seed = seed * 1103515245u + 12345u;
            const uint32_t id = (seed >> 16) % (round % 2 ? 200 : 20);

            switch (seed >> 8 & 3) {
            case 0:
                idset_add(&a, id);
                in_a[id] = true;
                break;
            case 1:
                idset_add(&b, id);
                in_b[id] = true;
                break;
            case 2:
                idset_del(&a, id);
                in_a[id] = false;
                break;
            default:
                idset_add(&a, id);
                idset_add(&b, id);
                in_a[id] = in_b[id] = true;
            }
        }
        both = any = a;
        idset_and(&both, &b);
        idset_or(&any, &b);
        for (uint32_t id = 0; id < 200; id++) {
            assert_int_equal(idset_has(&a, id), in_a[id]);
            assert_int_equal(idset_has(&both, id), in_a[id] && in_b[id]);
            assert_int_equal(idset_has(&any, id), in_a[id] || in_b[id]);
            count += in_a[id];
            intersects |= in_a[id] && in_b[id];
            subset &= !in_a[id] || in_b[id];
            equal &= in_a[id] == in_b[id];
        }
        assert_int_equal(idset_count(&a), count);
        assert_int_equal(idset_empty(&a), count == 0);
        assert_int_equal(idset_intersects(&a, &b), intersects);
        assert_int_equal(idset_subset(&a, &b), subset);
        assert_int_equal(idset_equal(&a, &b), equal);
        uint32_t next = 0;
        IDSET_FOREACH (id, &a) {
            for (; next < id; next++)
                assert_false(in_a[next]);
            assert_true(in_a[id]);
            next = id + 1;
        }
    }
}

static void ids_out_of_range_are_ignored(void **state)
{
    struct idset s = { 0 };

    (void)state;
    idset_add(&s, IDSET_MAX);
    idset_add(&s, UINT32_MAX);
    idset_del(&s, UINT32_MAX);
    assert_true(idset_empty(&s));
    assert_false(idset_has(&s, IDSET_MAX));
    assert_int_equal(idset_next(&s, 0), IDSET_MAX);
    assert_int_equal(idset_next(&s, UINT32_MAX), IDSET_MAX);
    idset_add_range(&s, IDSET_MAX - 2, UINT32_MAX); /* ends in time, too */
    assert_list(&s, "8190-8191");
    idset_add_range(&s, UINT32_MAX, 5); /* must not wrap round to 0 */
    assert_list(&s, "8190-8191");
}

/* Set before or after: the words in use differ, the sets do not. */
static void emptied_words_do_not_count(void **state)
{
    struct idset a = parsed("1,500"), b = parsed("1");

    (void)state;
    idset_del(&a, 500);
    assert_true(idset_equal(&a, &b));
    assert_true(idset_equal(&b, &a));
    assert_true(idset_subset(&a, &b));
    idset_del(&a, 1);
    assert_true(idset_empty(&a));
    assert_list(&a, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read_and_written_in_the_kernels_form),
        cmocka_unit_test(what_is_no_list_is_refused_with_a_sentence),
        cmocka_unit_test(a_list_that_does_not_fit_is_marked),
        cmocka_unit_test(operations_agree_with_a_plain_array),
        cmocka_unit_test(ids_out_of_range_are_ignored),
        cmocka_unit_test(emptied_words_do_not_count),
    };

    return cmocka_run_group_tests_name("base/idset", tests, NULL, NULL);
}
