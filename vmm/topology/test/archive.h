/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archived trees of /sys and /proc for tests: one text file of paths and contents, unpacked into
 * a temporary folder, several over each other where one adds to another.
 */
#ifndef VMM_TOPOLOGY_TEST_ARCHIVE_H
#define VMM_TOPOLOGY_TEST_ARCHIVE_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static inline void archive_make_parents(char *path)
{
    for (char *p = path + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(path, 0700);
        *p = '/';
    }
}

/* Write one file; "\n" in @text is a new line, and a real one ends it. */
static inline void archive_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    for (; *text != '\0' && *text != '\n'; text++) {
        if (text[0] == '\\' && text[1] == 'n') {
            (void)fputc('\n', f);
            text++;
        } else {
            (void)fputc(*text, f);
        }
    }
    (void)fputc('\n', f);
    assert_int_equal(fclose(f), 0);
}

static inline void archive_unpack(const char *archive, const char *dir)
{
    FILE *f = fopen(archive, "re");
    char line[2048], path[4096];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        char *tab = strchr(line, '\t');

        if (line[0] == '#')
            continue;
        assert_non_null(tab);
        *tab = '\0';
        (void)snprintf(path, sizeof(path), "%s/%s", dir, line);
        archive_make_parents(path);
        archive_write(path, tab + 1);
    }
    (void)fclose(f);
}

static inline int archive_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* One more file, or another content for one, below an unpacked tree. */
static inline void archive_put(const char *dir, const char *name, const char *text)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    archive_make_parents(path);
    archive_write(path, text);
}

static inline void archive_remove(const char *dir)
{
    assert_int_equal(nftw(dir, archive_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
