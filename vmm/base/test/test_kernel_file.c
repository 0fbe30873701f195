/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's small files below a movable root: read whole or not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

static void put(const char *root, const char *text)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/f7", root);
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void numbers_lists_and_text_are_read(void **state)
{
    const char *root = *state;
    char text[64], list[64], small[4] = "abc";
    struct idset set = { 0 };
    uint64_t v = 0;

    put(root, "0-3,8\n");
    assert_true(kernel_file_text(text, sizeof(text), root, "/f%d", 7));
    assert_string_equal(text, "0-3,8");
    assert_true(kernel_file_set(&set, root, "/f%d", 7));
    assert_string_equal(idset_format(&set, list, sizeof(list)), "0-3,8");
    assert_true(kernel_file_text(small, sizeof(small), root, "/f%d", 7)); /* its beginning */
    assert_string_equal(small, "0-3");
    put(root, "18446744073709551615\n");
    assert_true(kernel_file_u64(&v, root, "/f%d", 7));
    assert_true(v == UINT64_MAX);
    put(root, "\n");
    assert_true(kernel_file_set(&set, root, "/f%d", 7));
    assert_true(idset_empty(&set));
}

static void what_is_not_as_expected_is_not_there(void **state)
{
    static const char *const no_numbers[] = { "", "max\n", "-1\n", "1 2\n",
                                              "18446744073709551616\n",
                                              "000000000000000000000000000000000001\n" };
    const char *root = *state;
    char text[64] = "before", far[2 * KERNEL_FILE_PATH_MAX];
    struct idset set = { 0 };
    uint64_t v = 42;

    for (size_t i = 0; i < ARRAY_SIZE(no_numbers); i++) {
        put(root, no_numbers[i]);
        assert_false(kernel_file_u64(&v, root, "/f7"));
    }
    put(root, "3-1\n");
    assert_false(kernel_file_set(&set, root, "/f7"));
    assert_false(kernel_file_text(text, sizeof(text), root, "/nothing"));
    assert_false(kernel_file_text(text, sizeof(text), root, "/")); /* a folder */
    memset(far, 'x', sizeof(far));
    far[sizeof(far) - 1] = '\0';
    assert_false(kernel_file_text(text, sizeof(text), root, "/%s", far));
    assert_false(kernel_file_text(text, sizeof(text), far, "/f7"));
    assert_string_equal(text, "before");
    assert_true(v == 42);
    assert_true(idset_empty(&set));
}

static int make_root(void **state)
{
    *state = strdup("/tmp/test_kernel_file.XXXXXX");
    return mkdtemp(*state) == NULL;
}

static int remove_root(void **state)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/f7", (const char *)*state);
    (void)unlink(path);
    (void)rmdir(*state);
    free(*state);
    return 0;
}

static void the_choice_is_what_is_in_brackets(void **state)
{
    static const struct {
        const char *text, *choice;
    } cases[] = {
        { "always within_size [never] deny force\n", "never" },
        { "[always] never\n", "always" },
        { "[]\n", "" },
        { "always never\n", "" },
        { "]always[\n", "" },
        { "[always\n", "" },
        { "[seven77]\n", "seven77" },
        { "[eight888]\n", "" }, /* has no room */
    };
    const char *root = *state;
    char buf[8];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put(root, cases[i].text);
        (void)memset(buf, 'x', sizeof(buf));
        kernel_file_choice(buf, sizeof(buf), root, "/f7");
        assert_string_equal(buf, cases[i].choice);
    }
    kernel_file_choice(buf, sizeof(buf), root, "/nothing");
    assert_string_equal(buf, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_lists_and_text_are_read),
        cmocka_unit_test(what_is_not_as_expected_is_not_there),
        cmocka_unit_test(the_choice_is_what_is_in_brackets),
    };
    return cmocka_run_group_tests_name("base/kernel_file", tests, make_root, remove_root);
}
