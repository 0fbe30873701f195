/* SPDX-License-Identifier: Apache-2.0 */
/* Which architecture's tree is meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "firmware/fdt_arches.h"

static const struct fdt_arch a = { .name = "a64" }, b = { .name = "b64" };
static const struct fdt_arch *const none[] = { NULL }, *const one[] = { &a, NULL },
                                   *const two[] = { &a, &b, NULL };

static const struct fdt_arch *chosen(const struct fdt_arch *const *list,
                                     const struct fdt_arch *own, const char *wanted)
{
    const struct fdt_arch *got = NULL;

    assert_int_equal(fdt_arch_choose(list, own, wanted, &got, NULL), 0);
    return got;
}

static void assert_refused(const struct fdt_arch *const *list, const char *wanted,
                           const char *sentence)
{
    const struct fdt_arch *got = &b;
    struct errctx ec = { 0 };

    assert_int_equal(fdt_arch_choose(list, NULL, wanted, &got, &ec), -EINVAL);
    assert_string_equal(ec.msg, sentence);
    assert_ptr_equal(got, &b);
}

static void it_is_the_one_named_or_this_hosts_or_the_only_one(void **state)
{
    (void)state;
    assert_ptr_equal(chosen(two, NULL, "b64"), &b);
    assert_ptr_equal(chosen(two, &a, "b64"), &b);
    assert_ptr_equal(chosen(two, &b, NULL), &b);
    assert_ptr_equal(chosen(one, NULL, NULL), &a);
}

static void what_is_not_clear_is_refused(void **state)
{
    (void)state;
    assert_refused(two, NULL, "which architecture's is to be said, of: a64, b64");
    assert_refused(none, NULL, "which architecture's is to be said, of: ");
    assert_refused(two, "c64", "there is no tree of \"c64\" machines, only of: a64, b64");
}

static void the_build_has_a_list(void **state)
{
    (void)state;
    assert_non_null(fdt_arches[0]);
    for (size_t i = 0; fdt_arches[i] != NULL; i++)
        assert_ptr_equal(chosen(fdt_arches, NULL, fdt_arches[i]->name), fdt_arches[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_one_named_or_this_hosts_or_the_only_one),
        cmocka_unit_test(what_is_not_clear_is_refused),
        cmocka_unit_test(the_build_has_a_list),
    };
    return cmocka_run_group_tests_name("firmware/fdt_choose", tests, NULL, NULL);
}
