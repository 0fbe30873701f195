/* SPDX-License-Identifier: Apache-2.0 */
/* The error object: what is said, in which order, and what happens when it is too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/errctx.h"

static void set_keeps_code_and_sentence(void **state)
{
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(errctx_set(&ec, EINVAL, "node %d has no memory", 3), -EINVAL);
    assert_int_equal(ec.code, EINVAL);
    assert_string_equal(ec.msg, "node 3 has no memory");
}

static void set_os_adds_the_systems_text(void **state)
{
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(errctx_set_os(&ec, ENOENT, "open %s", "/x"), -ENOENT);
    assert_int_equal(ec.code, ENOENT);
    assert_string_equal(ec.msg, "open /x: No such file or directory");
}

static void wrap_puts_phrases_in_front_and_keeps_the_code(void **state)
{
    struct errctx ec = { 0 };
    int r = errctx_set(&ec, ENOSPC, "mbind");

    (void)state;
    r = errctx_wrap(&ec, r, "bind to host node %u", 3u);
    r = errctx_wrap(&ec, r, "virtual node %u", 1u);
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(ec.code, ENOSPC);
    assert_string_equal(ec.msg, "virtual node 1: bind to host node 3: mbind");
}

static void null_is_allowed_everywhere(void **state)
{
    (void)state;
    assert_int_equal(errctx_set(NULL, EIO, "%s", "x"), -EIO);
    assert_int_equal(errctx_set_os(NULL, EIO, "%s", "x"), -EIO);
    assert_int_equal(errctx_wrap(NULL, -7, "%s", "x"), -7);
}

static void a_long_sentence_is_cut_and_terminated(void **state)
{
    char text[2 * ERRCTX_MSG_MAX];
    struct {
        struct errctx ec;
        char guard;
    } g = { .guard = 'g' };

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(errctx_set(&g.ec, EINVAL, "%s", text), -EINVAL);
    assert_int_equal(strlen(g.ec.msg), ERRCTX_MSG_MAX - 1);
    assert_int_equal(errctx_set_os(&g.ec, EIO, "%s", text), -EIO);
    assert_int_equal(strlen(g.ec.msg), ERRCTX_MSG_MAX - 1);
    assert_int_equal(g.guard, 'g');
}

static void wrapping_a_full_message_keeps_the_front(void **state)
{
    char text[ERRCTX_MSG_MAX];
    struct errctx ec = { 0 };

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)errctx_set(&ec, EINVAL, "%s", text);
    assert_int_equal(errctx_wrap(&ec, -EINVAL, "outer"), -EINVAL);
    assert_memory_equal(ec.msg, "outer: aaa", 10);
    assert_int_equal(strlen(ec.msg), ERRCTX_MSG_MAX - 1);
    assert_int_equal(errctx_wrap(&ec, -EINVAL, "%s", text), -EINVAL);
    assert_int_equal(strlen(ec.msg), ERRCTX_MSG_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_keeps_code_and_sentence),
        cmocka_unit_test(set_os_adds_the_systems_text),
        cmocka_unit_test(wrap_puts_phrases_in_front_and_keeps_the_code),
        cmocka_unit_test(null_is_allowed_everywhere),
        cmocka_unit_test(a_long_sentence_is_cut_and_terminated),
        cmocka_unit_test(wrapping_a_full_message_keeps_the_front),
    };

    return cmocka_run_group_tests_name("base/errctx", tests, NULL, NULL);
}
