/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernel a lab boots, which modules it loads, and the archive that they go into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/lab/lab_initramfs.h"
#include "vmm/lab/lab_kernel.h"
#include "vmm/lab/lab_parts.h"

struct fixture {
    char root[32];
};

static void put(const struct fixture *f, const char *path, const void *data, size_t len)
{
    char whole[256];
    FILE *file;

    (void)snprintf(whole, sizeof(whole), "%s/%s", f->root, path);
    for (char *at = strchr(whole + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(whole, 0700);
        *at = '/';
    }
    file = fopen(whole, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void put_text(const struct fixture *f, const char *path, const char *text)
{
    put(f, path, text, strlen(text));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    (void)snprintf(f->root, sizeof(f->root), "/tmp/nv-lab-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    for (int i = 9; i <= 10; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "boot/vmlinuz-6.%d.0-x", i);
        put_text(f, path, "");
        (void)snprintf(path, sizeof(path), "lib/modules/6.%d.0-x/modules.dep", i);
        put_text(f, path, "kernel/fs/far.ko:\nkernel/fs/near-by.ko.xz: kernel/fs/far.ko\n"
                          "kernel/a/top.ko: kernel/fs/near-by.ko.xz kernel/fs/far.ko\n");
        (void)snprintf(path, sizeof(path), "lib/modules/6.%d.0-x/modules.builtin", i);
        put_text(f, path, "kernel/drivers/inside.ko\n");
    }
    put_text(f, "boot/vmlinuz-7.0.0-without", "");
    put_text(f, "boot/config-8", "");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -rf %s", f->root);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void the_newest_kernel_with_modules_is_taken(void **state)
{
    struct fixture *f = *state;
    struct lab_kernel k;

    assert_int_equal(lab_kernel_find(f->root, NULL, true, &k, NULL), 0);
    assert_string_equal(k.release, "6.10.0-x"); /* not 6.9.0 */
    assert_int_equal(lab_kernel_find(f->root, "6.9.0-x", true, &k, NULL), 0);
    assert_string_equal(k.release, "6.9.0-x");
    assert_non_null(strstr(k.image, "/boot/vmlinuz-6.9.0-x"));
}

static void what_is_missing_is_said(void **state)
{
    struct fixture *f = *state;
    struct lab_kernel k = { .release = "as it was" };
    struct errctx ec = { 0 };

    assert_int_equal(lab_kernel_find("/tmp/nv-lab-none", NULL, true, &k, &ec), -ENOENT);
    assert_non_null(strstr(ec.msg, "no kernel that can be read is installed in"));
    assert_int_equal(lab_kernel_find(f->root, "7.0.0-without", true, &k, &ec), -ENOENT);
    assert_non_null(strstr(ec.msg, "kernel 7.0.0-without has no modules in"));
    assert_int_equal(lab_kernel_find(f->root, "6.8", true, &k, &ec), -ENOENT);
    assert_string_equal(k.release, "as it was");
}

static void an_image_says_its_release(void **state)
{
    struct fixture *f = *state;
    uint8_t image[0x300] = { 0 };
    char path[64];
    struct lab_kernel k;
    struct errctx ec = { 0 };

    memcpy(image + 0x202, "HdrS", 4);
    image[0x20e] = 0x80; /* version string at 0x280 */
    memcpy(image + 0x280, "6.9.0-x (somebody) #1", 22);
    put(f, "image", image, sizeof(image));
    (void)snprintf(path, sizeof(path), "%s/image", f->root);
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, NULL), 0);
    assert_string_equal(k.release, "6.9.0-x");
    memcpy(image + 0x280, "../../etc #1", 13);
    put(f, "image", image, sizeof(image));
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, &ec), -EINVAL);
    assert_non_null(strstr(ec.msg, "is no kernel that tells its release"));
}

/* As arm64's Image, which is not packed. Texts of other programs have the words as well. */
static void an_image_that_is_not_packed_says_it_in_its_banner(void **state)
{
    static const char first[] = "Linux version %s", banner[] = "Linux version 6.9.0-x (somebody)";
    struct fixture *f = *state;
    uint8_t image[0x300] = { 0 };
    char path[64];
    struct lab_kernel k;
    struct errctx ec = { 0 };

    memcpy(image + 0x40, first, sizeof(first));
    memcpy(image + 0x100, banner, sizeof(banner));
    put(f, "image", image, sizeof(image));
    (void)snprintf(path, sizeof(path), "%s/image", f->root);
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, NULL), 0);
    assert_string_equal(k.release, "6.9.0-x");
    memcpy(image + 0x100 + 14, "6.8.0-y", 7);
    put(f, "image", image, sizeof(image));
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, &ec), -ENOENT);
    assert_non_null(strstr(ec.msg, "kernel 6.8.0-y has no modules in"));
    put(f, "image", image, 0x100 + sizeof(banner)); /* it has to be whole */
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, &ec), -EINVAL);
}

static void who_needs_no_modules_takes_any_image(void **state)
{
    struct fixture *f = *state;
    char path[64];
    struct lab_kernel k;

    put_text(f, "image", "anything");
    (void)snprintf(path, sizeof(path), "%s/image", f->root);
    assert_int_equal(lab_kernel_find(f->root, path, false, &k, NULL), 0);
    assert_string_equal(k.image, path);
    assert_int_equal(lab_kernel_find(f->root, NULL, false, &k, NULL), 0);
    assert_non_null(strstr(k.image, "/boot/vmlinuz-7.0.0-without"));
    assert_int_equal(lab_kernel_find(f->root, "7.0.0-without", false, &k, NULL), 0);
    assert_int_equal(lab_kernel_find(f->root, "/nowhere/image", false, &k, NULL), -ENOENT);
}

/* An image of another kind says nothing; what stands there is code. */
static void a_name_says_the_release(void **state)
{
    struct fixture *f = *state;
    uint8_t image[0x300] = { 0 };
    char path[64];
    struct lab_kernel k = { .release = "as it was" };
    struct errctx ec = { 0 };

    image[0x20e] = 0x80;
    memcpy(image + 0x280, "6.9.0-x (somebody) #1", 22);
    put(f, "image", image, sizeof(image));
    (void)snprintf(path, sizeof(path), "%s/image", f->root);
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, &ec), -EINVAL);
    assert_non_null(strstr(ec.msg, "nor is it named vmlinuz-RELEASE"));
    assert_string_equal(k.release, "as it was");
    put(f, "vmlinuz-6.9.0-x", image, sizeof(image));
    (void)snprintf(path, sizeof(path), "%s/vmlinuz-6.9.0-x", f->root);
    assert_int_equal(lab_kernel_find(f->root, path, true, &k, NULL), 0);
    assert_string_equal(k.release, "6.9.0-x");
}

static void modules_come_after_what_they_need(void **state)
{
    static const char *const names[] = { "top", "inside", "near_by", "?nowhere", NULL };
    static const char *const bad[] = { "nowhere", NULL };
    struct fixture *f = *state;
    struct lab_modules m = { .n = 0 };
    struct errctx ec = { 0 };
    struct lab_kernel k;

    assert_int_equal(lab_kernel_find(f->root, NULL, true, &k, NULL), 0);
    assert_int_equal(lab_modules_list(&k, names, &m, NULL), 0);
    assert_int_equal(m.n, 3);
    assert_non_null(strstr(m.paths[0], "/kernel/fs/far.ko"));
    assert_non_null(strstr(m.paths[1], "/kernel/fs/near-by.ko.xz"));
    assert_non_null(strstr(m.paths[2], "/kernel/a/top.ko"));
    lab_modules_fini(&m);
    assert_int_equal(lab_modules_list(&k, bad, &m, &ec), -ENOENT);
    assert_string_equal(ec.msg, "kernel 6.10.0-x has no module nowhere, which the lab needs");
}

/* The field of a header, 8 hexadecimal digits. */
static unsigned long field(const char *entry, unsigned i)
{
    char digits[9] = "";

    memcpy(digits, entry + 6 + 8 * i, 8);
    return strtoul(digits, NULL, 16);
}

static void the_archive_has_init_and_modules(void **state)
{
    static const char *const want[] = { "dev", "dev/console", "init", "modules", "modules/000.ko",
                                        "TRAILER!!!" };
    struct fixture *f = *state;
    char path[64];
    struct lab_modules m = { .n = 1, .paths = { path } };
    struct stat st;
    const char *at, *start;
    int fd = -1;

    put_text(f, "m.ko", "module");
    (void)snprintf(path, sizeof(path), "%s/m.ko", f->root);
    assert_int_equal(lab_initramfs_make(&m, false, &fd, NULL), 0);
    assert_int_equal(fstat(fd, &st), 0);
    at = start = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(start, MAP_FAILED);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        const size_t len = field(at, 6), name = field(at, 11);
        const char *data = start + ((size_t)(at - start) + 110 + name + 3) / 4 * 4;

        assert_memory_equal(at, "070701", 6);
        assert_string_equal(at + 110, want[i]);
        if (i == 2)
            assert_memory_equal(data, lab_init_start, (size_t)(lab_init_end - lab_init_start));
        if (i == 4)
            assert_memory_equal(data, "module", 6);
        at = start + ((size_t)(data - start) + len + 3) / 4 * 4;
    }
    assert_int_equal(at - start, st.st_size);
    (void)munmap((void *)(uintptr_t)start, (size_t)st.st_size);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_kernel_with_modules_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(an_image_says_its_release, setup, teardown),
        cmocka_unit_test_setup_teardown(an_image_that_is_not_packed_says_it_in_its_banner, setup, teardown),
        cmocka_unit_test_setup_teardown(who_needs_no_modules_takes_any_image, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_says_the_release, setup, teardown),
        cmocka_unit_test_setup_teardown(modules_come_after_what_they_need, setup, teardown),
        cmocka_unit_test_setup_teardown(the_archive_has_init_and_modules, setup, teardown),
    };
    return cmocka_run_group_tests_name("lab/kernel", tests, NULL, NULL);
}
