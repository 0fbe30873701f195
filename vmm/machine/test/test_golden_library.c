/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files by name, in a folder that is made up. */
#include "memory/store/test/golden_file.h"

#include <errno.h>

#include "vmm/machine/golden_library.h"

struct library {
    struct golden_files files;
    char file[160], other[160];
};

static void library_init(struct library *l)
{
    golden_files_init(&l->files);
    assert_int_equal(setenv("XDG_DATA_HOME", l->files.dir, 1), 0);
    (void)snprintf(l->file, sizeof(l->file), "%s/numavisor/golden/one.golden", l->files.dir);
    (void)snprintf(l->other, sizeof(l->other), "%s/other", l->files.dir);
}

static void library_fini(struct library *l)
{
    char dir[160];

    assert_int_equal(rmdir(golden_library_dir(dir, sizeof(dir))), 0);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(rmdir(dir), 0);
    golden_files_fini(&l->files);
}

struct listed {
    unsigned n, n_bad;
    char last[80], why[512];
};

static void note(void *ctx, const char *name, int r, const struct golden_info *info,
                 const struct errctx *ec)
{
    struct listed *l = ctx;

    assert_true(r < 0 || info->pages > 0);
    l->n++;
    l->n_bad += r < 0;
    (void)snprintf(l->last, sizeof(l->last), "%s", name);
    (void)snprintf(l->why, sizeof(l->why), "%s", ec->msg);
}

static struct listed list(void)
{
    struct listed l = { 0 };

    assert_int_equal(golden_library_list(note, &l, NULL), 0);
    return l;
}

static void they_come_and_go_by_name(void **state)
{
    struct golden_info info = { 0 };
    struct library l;
    const char *images[] = { l.files.image };

    (void)state;
    library_init(&l);
    assert_int_equal(list().n, 0); /* there is no folder yet */
    golden_write_image(l.files.image, 0, 20);
    assert_int_equal(golden_library_add("one", images, 1, &info, NULL), 0);
    assert_int_equal(info.pages, 19);
    assert_int_equal(access(l.file, R_OK), 0);
    assert_int_equal(list().n, 1);
    assert_string_equal(list().last, "one");
    assert_int_equal(golden_library_verify("one", &info, NULL), 0);
    assert_int_equal(info.damaged, 0);
    golden_flip(l.file, 4096 + 20);
    assert_int_equal(golden_library_verify("one", &info, NULL), 0);
    assert_int_equal(info.damaged, 1);
    golden_write_image(l.files.image, 0, 10);
    assert_int_equal(golden_library_add("one", images, 1, &info, NULL), 0); /* in its place */
    assert_int_equal(info.pages, 9);
    assert_int_equal(list().n, 1);
    golden_flip(l.file, 3);
    assert_int_equal(list().n_bad, 1);
    assert_non_null(strstr(list().why, "is not a golden file"));
    assert_int_equal(golden_library_remove("one", NULL), 0); /* it may be damaged */
    assert_int_equal(golden_library_remove("one", NULL), -ENOENT);
    assert_int_equal(list().n, 0);
    library_fini(&l);
}

static void elsewhere_only_golden_files_are_touched(void **state)
{
    struct stat before, after;
    struct errctx ec = { 0 };
    struct golden_info info;
    struct library l;
    const char *images[] = { l.files.image };

    (void)state;
    library_init(&l);
    golden_write_image(l.files.image, 0, 20);
    assert_int_equal(chmod(l.files.image, 0640), 0);
    assert_int_equal(stat(l.files.image, &before), 0);
    assert_int_equal(golden_library_add("one", images, 1, &info, NULL), 0);
    assert_int_equal(golden_library_add(l.other, images, 1, &info, NULL), 0);
    assert_int_equal(golden_library_remove(l.files.image, NULL), -EINVAL);
    assert_int_equal(access(l.files.image, F_OK), 0);
    assert_int_equal(golden_library_add(l.files.image, images, 1, &info, &ec), -EEXIST);
    assert_non_null(strstr(ec.msg, " is there and is no golden file"));
    assert_int_equal(stat(l.files.image, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(golden_library_add(l.other, images, 1, &info, NULL), 0); /* anew */
    assert_int_equal(stat(l.other, &after), 0);
    assert_int_equal(after.st_mode & 0777, 0440); /* as the image, and no writing */
    assert_int_equal(golden_library_remove(l.other, NULL), 0);
    assert_int_equal(access(l.other, F_OK), -1);
    assert_int_equal(golden_library_remove("one", NULL), 0);
    library_fini(&l);
}

static void names_are_names(void **state)
{
    static const char *const bad[] = { "", ".", "..", ".one", "-one", "a b", "one\n", "\xc3\xa4" };
    char *path = NULL;

    (void)state;
    assert_int_equal(setenv("XDG_DATA_HOME", "/data", 1), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(golden_library_path(bad[i], &path, NULL), -EINVAL);
        assert_null(path);
    }
    assert_int_equal(golden_library_path("debian-12.5_x", &path, NULL), 0);
    assert_string_equal(path, "/data/numavisor/golden/debian-12.5_x.golden");
    free(path);
    assert_int_equal(golden_library_path("./x y", &path, NULL), 0);
    assert_string_equal(path, "./x y");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_come_and_go_by_name),
        cmocka_unit_test(elsewhere_only_golden_files_are_touched),
        cmocka_unit_test(names_are_names),
    };
    return cmocka_run_group_tests_name("vmm/machine/golden_library", tests, NULL, NULL);
}
