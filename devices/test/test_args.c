/* SPDX-License-Identifier: Apache-2.0 */
/* Device options as text and key by key, and the registry's own consistency. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "devices/registry.h"
#include "vmm/base/macros.h"

static int check_pair(const struct device_args *args, struct errctx *ec)
{
    if (device_args_get(args, "ro") != NULL && device_args_get(args, "size") != NULL)
        return errctx_set(ec, EINVAL, "--thing: ro and size= exclude each other");
    return 0;
}

static const struct device_key keys[] = {
    { .name = "file", .kind = DEVICE_KEY_PATH, .required = true },
    { .name = "ro", .kind = DEVICE_KEY_FLAG },
    { .name = "queues", .kind = DEVICE_KEY_UINT, .max = 8 },
    { .name = "size", .kind = DEVICE_KEY_SIZE },
    { .name = "fwd", .kind = DEVICE_KEY_STRING, .repeats = true },
    { .name = NULL },
};

static const struct device_type thing = {
    .name = "thing",
    .first_key = "file",
    .keys = keys,
    .check = check_pair,
};

static const struct device_type plain = { .name = "plain", .keys = keys + 5 };

static void first_word_flags_and_values_are_read(void **state)
{
    struct device_args args = { 0 };

    (void)state;
    assert_int_equal(device_args_parse(&thing, "disk,,1.img,ro,queues=4,node=2", &args, NULL), 0);
    assert_string_equal(device_args_get(&args, "file")->text, "disk,1.img");
    assert_int_equal(device_args_number(&args, "ro", 0), 1);
    assert_int_equal(device_args_number(&args, "queues", 1), 4);
    assert_int_equal(device_args_number(&args, "size", 77), 77);
    assert_null(device_args_get(&args, "size"));
    assert_int_equal(args.vnode, 2);
    assert_int_equal(args.n_args, 3);
    device_args_fini(&args);
    assert_int_equal(args.n_args, 0);
}

static void odd_but_good_forms_are_read(void **state)
{
    struct device_args args = { 0 };

    (void)state;
    assert_int_equal(device_args_parse(&thing, "/data/a=b,fwd=x,size=2G,fwd=y=z", &args, NULL), 0);
    assert_string_equal(device_args_get(&args, "file")->text, "/data/a=b");
    assert_string_equal(args.args[3].text, "y=z");
    assert_int_equal(device_args_number(&args, "size", 0), 2ull << 30);
    device_args_fini(&args);
    assert_int_equal(device_args_parse(&thing, "ro=off,file=x", &args, NULL), 0);
    assert_int_equal(device_args_number(&args, "ro", 1), 0);
    device_args_fini(&args);
    assert_int_equal(device_args_parse(&plain, NULL, &args, NULL), 0);
    assert_int_equal(args.n_args, 0);
    device_args_fini(&args);
    assert_int_equal(device_args_parse(&plain, "node=1", &args, NULL), 0);
    assert_int_equal(args.vnode, 1);
    device_args_fini(&args);
}

static void each_mistake_has_its_sentence(void **state)
{
    static const struct {
        const char *text, *sentence;
    } bad[] = {
        { "", "--thing needs file=" },
        { "ro=on", "--thing needs file=" },
        { "x,fiel=y", "--thing has no key \"fiel\" (it has file, ro, queues, size, fwd, node)" },
        { "fiel=y", "--thing has no key \"fiel\" (it has file, ro, queues, size, fwd, node)" },
        { "x,rw", "--thing has no key \"rw\" (it has file, ro, queues, size, fwd, node)" },
        { "x,ro,ro", "--thing: ro is given twice" },
        { "x,file=y", "--thing: file is given twice" },
        { "x,node=1,node=1", "--thing: node is given twice" },
        { "x,queues", "--thing: queues needs a value" },
        { "x,node", "--thing: node needs a value" },
        { "x,ro=maybe", "--thing ro=: \"maybe\" is neither on nor off" },
        { "x,fwd=", "--thing fwd=: the value is empty" },
        { "x,", "--thing: there is nothing before or after a comma" },
        { ",x", "--thing: there is nothing before or after a comma" },
        { "x,ro,size=1M", "--thing: ro and size= exclude each other" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct device_args args = { .vnode = 99 };
        struct errctx ec = { 0 };

        assert_int_equal(device_args_parse(&thing, bad[i].text, &args, &ec), -EINVAL);
        assert_string_equal(ec.msg, bad[i].sentence);
        assert_int_equal(args.vnode, 99); /* untouched */
    }
}

static void numbers_out_of_range_name_their_key(void **state)
{
    static const char *const bad[] = { "x,queues=9", "x,queues=-1", "x,size=9Q", "x,node=256" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct device_args args = { 0 };
        struct errctx ec = { 0 };

        assert_int_equal(device_args_parse(&thing, bad[i], &args, &ec), -EINVAL);
        assert_int_equal(strncmp(ec.msg, "--thing ", 8), 0);
    }
}

static void keys_can_be_set_one_by_one(void **state)
{
    struct device_args args = { .type = &thing };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(device_args_set(&args, "queues", "2", &ec), 0);
    assert_int_equal(device_args_set(&args, "queues", "2", &ec), -EINVAL);
    assert_int_equal(device_args_check(&args, &ec), -EINVAL);
    assert_int_equal(device_args_set(&args, "file", "a,b", &ec), 0); /* no doubling here */
    assert_int_equal(device_args_check(&args, &ec), 0);
    assert_string_equal(device_args_get(&args, "file")->text, "a,b");
    device_args_fini(&args);
}

static void registry_rows_are_complete(void **state)
{
    const struct device_type *const *types = registry_types();

    (void)state;
    assert_non_null(*types);
    for (; *types != NULL; types++) {
        const struct device_type *t = *types;
        bool first_found = t->first_key == NULL;

        assert_ptr_equal(registry_find(t->name), t); /* and so no name twice */
        assert_non_null(t->help);
        assert_non_null(t->create);
        for (const struct device_key *k = t->keys; k->name != NULL; k++) {
            assert_non_null(k->help);
            assert_string_not_equal(k->name, "node");
            first_found = first_found || strcmp(k->name, t->first_key) == 0;
        }
        assert_true(first_found);
    }
    assert_null(registry_find("toaster"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_word_flags_and_values_are_read),
        cmocka_unit_test(odd_but_good_forms_are_read),
        cmocka_unit_test(each_mistake_has_its_sentence),
        cmocka_unit_test(numbers_out_of_range_name_their_key),
        cmocka_unit_test(keys_can_be_set_one_by_one),
        cmocka_unit_test(registry_rows_are_complete),
    };
    return cmocka_run_group_tests_name("devices/args", tests, NULL, NULL);
}
