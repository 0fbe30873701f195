/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files: what goes in is found, and nothing else; and every byte of them is guarded. */
#include "memory/store/test/golden_file.h"

#include <errno.h>

#include "memory/store/golden/golden_format.h"

static bool has(struct golden *g, uint32_t which)
{
    uint8_t page[CODEC_PAGE], got[CODEC_PAGE];
    struct golden_place place;
    struct golden_hash hash;

    golden_page(which, page);
    hash = golden_hash(page);
    if (!golden_find(g, page, hash, &place))
        return false;
    memset(got, 1, sizeof(got));
    assert_int_equal(golden_get(g, &place, hash, got), 0);
    assert_memory_equal(got, page, CODEC_PAGE);
    return true;
}

static void what_is_in_images_is_found(void **state)
{
    static const uint32_t sizes[] = { 2, 5, 64, 3000 };
    struct golden_files f;

    (void)state;
    golden_files_init(&f);
    for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
        struct golden *g = golden_of(&f, 0, sizes[k]);
        struct golden_counts c;
        uint64_t damaged = 1;

        golden_count(g, &c);
        assert_int_equal(c.pages, sizes[k] - 1); /* zeroes are not there */
        assert_int_equal(c.image_bytes, sizes[k] * CODEC_PAGE);
        assert_true(c.file_bytes < c.image_bytes + 2 * CODEC_PAGE);
        assert_false(has(g, 0));
        for (uint32_t i = 1; i < sizes[k]; i++)
            assert_true(has(g, i));
        for (uint32_t i = sizes[k]; i < 2 * sizes[k] + 1000; i++)
            assert_false(has(g, i));
        assert_int_equal(golden_verify(g, &damaged, NULL), 0);
        assert_int_equal(damaged, 0);
        golden_close(g);
    }
    golden_files_fini(&f);
}

/* The same pages again cost nothing, and the end of an image is filled up. */
static void images_are_joined(void **state)
{
    uint8_t page[CODEC_PAGE] = { 0 };
    char second[sizeof(((struct golden_files *)NULL)->image) + 2];
    struct golden_place place;
    struct golden_counts c;
    struct golden_files f;
    struct golden *g;

    (void)state;
    golden_files_init(&f);
    (void)snprintf(second, sizeof(second), "%s2", f.image);
    golden_write_image(f.image, 0, 50);
    golden_write_image(second, 25, 50);
    assert_int_equal(truncate(second, 49 * CODEC_PAGE + 100), 0);
    assert_int_equal(golden_make((const char *const[]){ f.image, second, f.image }, 3, f.file,
                                 NULL),
                     0);
    assert_int_equal(golden_open(f.file, &g, NULL), 0);
    golden_count(g, &c);
    assert_int_equal(c.pages, 49 + 24 + 1);
    assert_true(has(g, 73));
    assert_false(has(g, 74));
    golden_page(74, page);
    memset(page + 100, 0, CODEC_PAGE - 100);
    assert_true(golden_find(g, page, golden_hash(page), &place));
    golden_close(g);
    assert_int_equal(unlink(second), 0);
    golden_files_fini(&f);
}

static void must_not_make(const char *image, const char *path, int code, const char *why)
{
    struct errctx ec = { 0 };

    assert_int_equal(golden_make(&image, 1, path, &ec), code);
    if (strstr(ec.msg, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", ec.msg, why);
}

static void what_cannot_be_made_leaves_nothing(void **state)
{
    struct golden_files f;

    (void)state;
    golden_files_init(&f);
    must_not_make("/nowhere/image", f.file, -ENOENT, "/nowhere/image");
    must_not_make("/dev/null", f.file, -EINVAL, "neither a file nor a block device");
    golden_write_image(f.image, 0, 1);
    must_not_make(f.image, f.file, -EINVAL, "nothing but zeroes");
    must_not_make(f.image, "/nowhere/file", -ENOENT, "/nowhere/file");
    assert_int_equal(access(f.file, F_OK), -1);
    golden_files_fini(&f);
}

static int open_it(const struct golden_files *f)
{
    struct golden *g = NULL;
    int r = golden_open(f->file, &g, NULL);

    golden_close(g);
    return r;
}

/* Of each byte one bit: header and index are refused, pages are found out. */
static void each_byte_is_guarded(void **state)
{
    enum { PAGES = 40 };
    unsigned n_data = 0, n_found = 0;
    struct golden_files f;
    struct golden *g;
    long size;

    (void)state;
    golden_files_init(&f);
    g = golden_of(&f, 0, PAGES + 1);
    size = golden_file_size(f.file);
    for (long i = 0; i < size; i++) {
        const bool in_index = i >= size - PAGES * (long)sizeof(struct golden_entry);
        const bool in_data = i >= GOLDEN_DATA_AT && !in_index;
        uint64_t damaged = 0;

        if (in_data && i % 61 != 0)
            continue;
        golden_flip(f.file, i);
        if (in_index || i < (long)sizeof(struct golden_header)) {
            assert_int_equal(open_it(&f), -EINVAL);
        } else {
            assert_int_equal(open_it(&f), 0);
            assert_int_equal(golden_verify(g, &damaged, NULL), 0);
            assert_true(damaged <= (in_data ? 1u : 0u));
            n_data += in_data;
            n_found += (unsigned)damaged;
        }
        golden_flip(f.file, i);
    }
    /* The others lie between two pages, or what is decoded from them is the same page. */
    assert_true(n_found > n_data / 2);
    assert_int_equal(open_it(&f), 0);
    golden_close(g);
    golden_files_fini(&f);
}

/* A file that changes under who has it open is not believed, and harms nobody. */
static void what_changes_later_is_found_out(void **state)
{
    uint8_t page[CODEC_PAGE], got[CODEC_PAGE];
    struct golden_place place;
    struct golden_files f;
    struct golden *g;
    uint64_t damaged;

    (void)state;
    golden_files_init(&f);
    g = golden_of(&f, 8, 1); /* noise: all of it is there as it is */
    golden_page(8, page);
    assert_true(golden_find(g, page, golden_hash(page), &place));
    golden_flip(f.file, GOLDEN_DATA_AT + 77);
    assert_int_equal(golden_get(g, &place, golden_hash(page), got), -EUCLEAN);
    assert_false(golden_find(g, page, golden_hash(page), &place));
    assert_int_equal(golden_verify(g, &damaged, NULL), 0);
    assert_int_equal(damaged, 1);
    golden_flip(f.file, GOLDEN_DATA_AT + 77);
    assert_int_equal(golden_get(g, &place, golden_hash(page), got), 0);
    assert_int_equal(truncate(f.file, GOLDEN_DATA_AT + 100), 0);
    assert_int_equal(golden_get(g, &place, golden_hash(page), got), -EUCLEAN);
    assert_false(golden_find(g, page, golden_hash(page), &place));
    assert_int_equal(golden_verify(g, &damaged, NULL), -EIO);
    golden_close(g);
    golden_files_fini(&f);
}

static void must_not_open(const char *path, int code, const char *why)
{
    struct golden *g = (struct golden *)&g;
    struct errctx ec = { 0 };

    assert_int_equal(golden_open(path, &g, &ec), code);
    if (strstr(ec.msg, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", ec.msg, why);
    assert_ptr_equal(g, &g);
}

static void what_is_none_is_refused(void **state)
{
    struct golden_files f;
    struct golden *g;

    (void)state;
    golden_files_init(&f);
    must_not_open("/nowhere/file", -ENOENT, "golden file /nowhere/file");
    must_not_open("/", -EINVAL, "/ is not a file");
    must_not_open("/dev/null", -EINVAL, "is not a file");
    golden_write_image(f.image, 1, 3);
    must_not_open(f.image, -EINVAL, "is not a golden file");
    assert_int_equal(truncate(f.image, 0), 0);
    must_not_open(f.image, -EINVAL, "is not a golden file");
    g = golden_of(&f, 1, 30);
    golden_close(g);
    assert_int_equal(chmod(f.file, 0644), 0);
    assert_int_equal(truncate(f.file, golden_file_size(f.file) + 1), 0);
    must_not_open(f.file, -EINVAL, "header and size do not fit");
    assert_int_equal(truncate(f.file, golden_file_size(f.file) - 25), 0);
    must_not_open(f.file, -EINVAL, "header and size do not fit");
    golden_flip(f.file, 16);
    must_not_open(f.file, -EINVAL, "of version 17");
    golden_files_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_images_is_found),
        cmocka_unit_test(images_are_joined),
        cmocka_unit_test(what_cannot_be_made_leaves_nothing),
        cmocka_unit_test(each_byte_is_guarded),
        cmocka_unit_test(what_changes_later_is_found_out),
        cmocka_unit_test(what_is_none_is_refused),
    };
    return cmocka_run_group_tests_name("memory/store/golden", tests, NULL, NULL);
}
