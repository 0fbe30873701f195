/* SPDX-License-Identifier: Apache-2.0 */
/* Images and golden files of pages that tests make up, in a folder of their own. */
#ifndef MEMORY_STORE_TEST_GOLDEN_FILE_H
#define MEMORY_STORE_TEST_GOLDEN_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/store/codec.h"
#include "memory/store/golden/golden.h"
#include "vmm/base/macros.h"

struct golden_files {
    char dir[64], image[96], file[96];
};

static inline void golden_files_init(struct golden_files *f)
{
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/numavisor-golden.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->image, sizeof(f->image), "%s/image", f->dir);
    (void)snprintf(f->file, sizeof(f->file), "%s/file", f->dir);
}

static inline void golden_files_fini(struct golden_files *f)
{
    (void)unlink(f->image);
    (void)unlink(f->file);
    assert_int_equal(rmdir(f->dir), 0); /* nothing half-made is left */
}

/* Page number @which of an endless choice: 0 is zeroes, others shrink more or less or are noise. */
static inline void golden_page(uint32_t which, uint8_t *page)
{
    uint64_t seed = which * 0x9e3779b97f4a7c15ull + 1;

    memset(page, (int)(which % 251), CODEC_PAGE);
    if (which == 0)
        return;
    for (uint32_t i = 0; i < MIN(which % 9 * 512, (uint32_t)CODEC_PAGE); i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        page[i] = (uint8_t)(seed >> 33);
    }
    memcpy(page + CODEC_PAGE - sizeof(which), &which, sizeof(which));
}

static inline void golden_write_image(const char *path, uint32_t first, uint32_t n)
{
    FILE *f = fopen(path, "we");
    uint8_t page[CODEC_PAGE];

    assert_non_null(f);
    for (uint32_t i = first; i < first + n; i++) {
        golden_page(i, page);
        assert_int_equal(fwrite(page, CODEC_PAGE, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
}

/* A golden file of pages [@first, @first+@n). */
static inline struct golden *golden_of(struct golden_files *f, uint32_t first, uint32_t n)
{
    const char *images[] = { f->image };
    struct golden *golden = NULL;
    struct errctx ec = { 0 };

    golden_write_image(f->image, first, n);
    if (golden_make(images, 1, f->file, &ec) < 0 || golden_open(f->file, &golden, &ec) < 0)
        fail_msg("%s", ec.msg);
    return golden;
}

static inline long golden_file_size(const char *path)
{
    FILE *f = fopen(path, "re");
    long size;

    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size = ftell(f);
    assert_int_equal(fclose(f), 0);
    return size;
}

/* One bit of the byte at @off, although the file is not to be written. */
static inline void golden_flip(const char *path, long off)
{
    int fd;
    char c;

    assert_int_equal(chmod(path, 0644), 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, off), 1);
    c ^= 0x10;
    assert_int_equal(pwrite(fd, &c, 1, off), 1);
    assert_int_equal(close(fd), 0);
}

#endif
