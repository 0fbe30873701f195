/* SPDX-License-Identifier: Apache-2.0 */
/* Where a measurement is kept, and that a bad file is a sentence and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/machine/measure_cache.h"
#include "vmm/topology/test/archive.h"

static char *make_home(void)
{
    char *dir = strdup("/tmp/test_measure_cache.XXXXXX");

    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("XDG_CACHE_HOME", dir, 1), 0);
    return dir;
}

static void drop_home(char *dir)
{
    archive_remove(dir);
    free(dir);
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void the_folder_follows_the_environment(void **state)
{
    char path[MEASURE_CACHE_PATH_MAX], far[MEASURE_CACHE_PATH_MAX + 2] = "/";
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(setenv("HOME", "/home/ann", 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", "/var/ann", 1), 0);
    assert_int_equal(measure_cache_path("00ff", path, &ec), 0);
    assert_string_equal(path, "/var/ann/numavisor/host-00ff.json");
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0); /* to be ignored */
    assert_int_equal(measure_cache_path("00ff", path, &ec), 0);
    assert_string_equal(path, "/home/ann/.cache/numavisor/host-00ff.json");
    memset(far + 1, 'x', sizeof(far) - 2);
    assert_int_equal(setenv("HOME", far, 1), 0);
    assert_int_equal(measure_cache_path("00ff", path, &ec), -ENAMETOOLONG);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(measure_cache_path("00ff", path, &ec), -ENOENT);
    assert_string_equal(ec.msg, "neither XDG_CACHE_HOME nor HOME names a folder for measurements");
}

static void what_is_kept_comes_back_on_the_same_machine_only(void **state)
{
    char *home = make_home();
    char path[MEASURE_CACHE_PATH_MAX];
    struct host_topo h = { 0 };
    struct host_sample v;
    struct host_samples s = { .measured_at = 99, .v = &v, .n = 1 };
    struct errctx ec = { 0 };
    struct stat st;

    (void)state;
    assert_int_equal(host_topo_discover("", &h, &ec), 0);
    assert_int_equal(measure_cache_load(&h, &ec), 0); /* nothing there yet */
    assert_false(h.has_measured);
    v = (struct host_sample){ h.nodes[0].id, h.nodes[0].id, 81000, 5, false };
    host_fingerprint("", s.fingerprint);
    if (measure_cache_store(&s, &ec) < 0 || measure_cache_store(&s, &ec) < 0) /* over itself */
        fail_msg("%s", ec.msg);
    assert_int_equal(measure_cache_path(s.fingerprint, path, &ec), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(measure_cache_load(&h, &ec), 1);
    assert_true(h.has_measured);
    assert_int_equal(host_topo_measured(&h, 0, 0)->latency_ps, 81000);
    host_topo_fini(&h);
    assert_int_equal(host_topo_from_synthetic("node:1 core:1 pu:1", &h, NULL), 0);
    assert_int_equal(measure_cache_load(&h, &ec), 0); /* not this machine */
    assert_false(h.has_measured);
    host_topo_fini(&h);
    drop_home(home);
}

static void assert_unusable(const char *sentence)
{
    struct host_topo h = { 0 };
    struct errctx ec = { 0 };

    assert_int_equal(host_topo_discover("", &h, &ec), 0);
    assert_true(measure_cache_load(&h, &ec) < 0);
    if (strstr(ec.msg, sentence) == NULL)
        fail_msg("%s", ec.msg);
    assert_non_null(strstr(ec.msg, "/numavisor/host-"));
    assert_false(h.has_measured);
    host_topo_fini(&h);
}

static void a_bad_file_is_a_sentence(void **state)
{
    char *home = make_home();
    char path[MEASURE_CACHE_PATH_MAX], own[HOST_FINGERPRINT_BYTES];
    struct host_sample v = { { 8000 }, { 8000 }, 1, 1, false };
    struct host_samples s = { .fingerprint = "0123456789abcdef", .v = &v, .n = 1 };
    struct errctx ec = { 0 };
    char *text;

    (void)state;
    host_fingerprint("", own);
    assert_int_equal(measure_cache_path(own, path, NULL), 0);
    memcpy(s.fingerprint, own, sizeof(own));
    assert_int_equal(measure_cache_store(&s, &ec), 0);
    assert_unusable("nothing was measured between the nodes of this machine");
    memcpy(s.fingerprint, "0123456789abcdef", sizeof(own));
    text = host_samples_format(&s);
    put(path, text);
    free(text);
    assert_unusable("a measurement of another machine, 0123456789abcdef");
    put(path, "{");
    assert_unusable("not a measurement: no JSON in line 1");
    assert_int_equal(truncate(path, HOST_SAMPLES_FILE_MAX + 1), 0);
    assert_unusable("not a measurement: no file of at most 1048576 bytes");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes: no waiting */
    assert_unusable("not a measurement: no file of at most 1048576 bytes");
    drop_home(home);
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    char *home = make_home();
    char path[64];
    struct host_sample v = { { 0 }, { 0 }, 1, 1, false };
    struct host_samples s = { .fingerprint = "0123456789abcdef", .v = &v, .n = 1 };
    struct errctx ec = { 0 };

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/numavisor", home);
    put(path, "in the way");
    assert_int_equal(measure_cache_store(&s, &ec), -ENOTDIR);
    assert_non_null(strstr(ec.msg, "make a file beside "));
    (void)snprintf(path, sizeof(path), "%s/numavisor/deep", home);
    assert_int_equal(setenv("XDG_CACHE_HOME", path, 1), 0);
    assert_int_equal(measure_cache_store(&s, &ec), -ENOTDIR);
    assert_non_null(strstr(ec.msg, "make folder "));
    drop_home(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_follows_the_environment),
        cmocka_unit_test(what_is_kept_comes_back_on_the_same_machine_only),
        cmocka_unit_test(a_bad_file_is_a_sentence),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
    };
    return cmocka_run_group_tests_name("machine/measure_cache", tests, NULL, NULL);
}
