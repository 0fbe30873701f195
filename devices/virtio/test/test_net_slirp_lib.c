/* SPDX-License-Identifier: Apache-2.0 */
/* Loading libslirp: as installed, missing, and one that is not the one we know. */
// LDFLAGS: -Wl,--wrap=dlopen -Wl,--wrap=dlsym -Wl,--wrap=dlclose
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "devices/virtio/net_slirp_lib.h"

static bool no_file;
static const char *no_function;
static int n_open;

void *__real_dlopen(const char *path, int mode);
void *__wrap_dlopen(const char *path, int mode);
void *__real_dlsym(void *handle, const char *name);
void *__wrap_dlsym(void *handle, const char *name);
int __real_dlclose(void *handle);
int __wrap_dlclose(void *handle);

void *__wrap_dlopen(const char *path, int mode)
{
    void *handle = __real_dlopen(no_file ? "libslirp-that-is-not-here.so" : path, mode);

    n_open += handle != NULL;
    return handle;
}

void *__wrap_dlsym(void *handle, const char *name)
{
    return no_function != NULL && strcmp(name, no_function) == 0 ? NULL
                                                                 : __real_dlsym(handle, name);
}

int __wrap_dlclose(void *handle)
{
    n_open--;
    return __real_dlclose(handle);
}

static int reset(void **state)
{
    (void)state;
    no_file = false;
    no_function = NULL;
    n_open = 0;
    return 0;
}

static void the_installed_one_has_all_we_call(void **state)
{
    struct slirp_lib lib = { 0 };
    void *handle;

    (void)state;
    assert_int_equal(slirp_lib_open(&lib, NULL), 0);
    handle = lib.handle;
    assert_non_null(handle);
    assert_ptr_equal((void *)lib.create, __real_dlsym(handle, "slirp_new"));
    assert_ptr_equal((void *)lib.cleanup, __real_dlsym(handle, "slirp_cleanup"));
    assert_ptr_equal((void *)lib.add_hostfwd, __real_dlsym(handle, "slirp_add_hostfwd"));
    assert_ptr_equal((void *)lib.input, __real_dlsym(handle, "slirp_input"));
    assert_ptr_equal((void *)lib.pollfds_fill, __real_dlsym(handle, "slirp_pollfds_fill"));
    assert_ptr_equal((void *)lib.pollfds_poll, __real_dlsym(handle, "slirp_pollfds_poll"));
    slirp_lib_close(&lib);
    assert_int_equal(n_open, 0);
    slirp_lib_close(&lib); /* is not open any more */
    assert_int_equal(n_open, 0);
}

static void a_missing_one_is_named(void **state)
{
    struct slirp_lib lib = { .handle = &lib };
    struct errctx ec = { 0 };

    (void)state;
    no_file = true;
    assert_int_equal(slirp_lib_open(&lib, &ec), -ELIBACC);
    assert_memory_equal(ec.msg, "the user network needs libslirp.so.0: ", 38);
    assert_ptr_equal(lib.handle, &lib);
}

static void a_missing_function_is_named(void **state)
{
    struct slirp_lib lib = { .handle = &lib };
    struct errctx ec = { 0 };

    (void)state;
    no_function = "slirp_input";
    assert_int_equal(slirp_lib_open(&lib, &ec), -ELIBACC);
    assert_string_equal(ec.msg, "libslirp.so.0 has no slirp_input()");
    assert_ptr_equal(lib.handle, &lib);
    assert_int_equal(n_open, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_installed_one_has_all_we_call, reset),
        cmocka_unit_test_setup(a_missing_one_is_named, reset),
        cmocka_unit_test_setup(a_missing_function_is_named, reset),
    };

    return cmocka_run_group_tests_name("virtio/net_slirp_lib", tests, NULL, NULL);
}
