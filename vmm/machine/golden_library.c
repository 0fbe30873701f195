/* SPDX-License-Identifier: Apache-2.0 */
/* See golden_library.h. */
#include "vmm/machine/golden_library.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/store/golden/golden.h"
#include "vmm/base/cleanup.h"

static const char suffix[] = ".golden";

enum { DIR_MAX = 4096 };

const char *golden_library_dir(char *buf, size_t size)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");

    if (data != NULL && data[0] == '/')
        (void)snprintf(buf, size, "%s/numavisor/golden", data);
    else if (geteuid() == 0 || home == NULL || home[0] != '/')
        (void)snprintf(buf, size, "/var/lib/numavisor/golden");
    else
        (void)snprintf(buf, size, "%s/.local/share/numavisor/golden", home);
    return buf;
}

static bool is_name(const char *name)
{
    const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-");

    return n > 0 && n <= 64 && name[n] == '\0' && isalnum((unsigned char)name[0]) != 0;
}

int golden_library_path(const char *name, char **ret_path, struct errctx *ec)
{
    char dir[DIR_MAX];
    char *path = NULL;
    int n;

    if (strchr(name, '/') != NULL)
        n = asprintf(&path, "%s", name);
    else if (is_name(name))
        n = asprintf(&path, "%s/%s%s", golden_library_dir(dir, sizeof(dir)), name, suffix);
    else
        return errctx_set(ec, EINVAL,
                          "\"%.80s\" is no name of a golden file: up to 64 letters, digits, dots, "
                          "dashes and underscores, or a path with a slash",
                          name);
    if (n < 0)
        return errctx_set(ec, ENOMEM, "no memory for a path");
    *ret_path = path;
    return 0;
}

/* @path's folder and those above it, as far as they are missing. */
static int make_folders(char *path, struct errctx *ec)
{
    for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        int r;

        *at = '\0';
        r = mkdir(path, 0755) < 0 && errno != EEXIST ? errctx_set_os(ec, errno, "make %s", path)
                                                     : 0;
        *at = '/';
        if (r < 0)
            return r;
    }
    return 0;
}

static int look(const char *path, bool all, struct golden_info *ret_info, struct errctx *ec)
{
    struct golden_counts c;
    struct golden *golden;
    uint64_t damaged = 0;
    int r = golden_open(path, &golden, ec);

    if (r < 0)
        return r;
    if (all)
        r = golden_verify(golden, &damaged, ec);
    golden_count(golden, &c);
    golden_close(golden);
    if (r == 0)
        *ret_info = (struct golden_info){ .pages = c.pages,
                                          .image_bytes = c.image_bytes,
                                          .file_bytes = c.file_bytes,
                                          .damaged = damaged };
    return r;
}

int golden_library_add(const char *name, const char *const *images, size_t n,
                       struct golden_info *ret_info, struct errctx *ec)
{
    const bool elsewhere = strchr(name, '/') != NULL;
    CLEANUP_FREE char *path = NULL;
    struct golden_info old;
    struct stat st;
    int r = golden_library_path(name, &path, ec);

    if (r == 0 && !elsewhere)
        r = make_folders(path, ec);
    /* As golden_library_remove(): elsewhere nothing goes that is not one. */
    if (r == 0 && elsewhere && lstat(path, &st) == 0 && look(path, false, &old, NULL) < 0)
        r = errctx_set(ec, EEXIST, "%s is there and is no golden file", path);
    if (r == 0)
        r = golden_make(images, n, path, ec);
    return r == 0 ? look(path, false, ret_info, ec) : r;
}

int golden_library_remove(const char *name, struct errctx *ec)
{
    CLEANUP_FREE char *path = NULL;
    struct golden_info info;
    struct stat st;
    int r;

    r = golden_library_path(name, &path, ec);
    if (r < 0)
        return r;
    if (stat(path, &st) < 0)
        return errctx_set_os(ec, errno, "golden file %s", path);
    /* One that is damaged may go, from the folder; from elsewhere nothing that is not one. */
    if (strchr(name, '/') != NULL) {
        r = look(path, false, &info, ec);
        if (r < 0)
            return r;
    }
    return unlink(path) < 0 ? errctx_set_os(ec, errno, "remove %s", path) : 0;
}

int golden_library_verify(const char *name, struct golden_info *ret_info, struct errctx *ec)
{
    CLEANUP_FREE char *path = NULL;
    int r = golden_library_path(name, &path, ec);

    return r == 0 ? look(path, true, ret_info, ec) : r;
}

static int is_golden(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);

    return n > strlen(suffix) && strcmp(entry->d_name + n - strlen(suffix), suffix) == 0;
}

int golden_library_list(void (*found)(void *ctx, const char *name, int r,
                                      const struct golden_info *info, const struct errctx *ec),
                        void *ctx, struct errctx *ec)
{
    struct dirent **entries;
    char dir[DIR_MAX];
    int n = scandir(golden_library_dir(dir, sizeof(dir)), &entries, is_golden, alphasort);

    if (n < 0)
        return errno == ENOENT ? 0 : errctx_set_os(ec, errno, "read %s", dir);
    for (int i = 0; i < n; i++) {
        struct golden_info info = { 0 };
        struct errctx why = { 0 };
        CLEANUP_FREE char *path = NULL;
        int r = asprintf(&path, "%s/%s", dir, entries[i]->d_name) < 0 ? -ENOMEM : 0;

        if (r == 0)
            r = look(path, false, &info, &why);
        entries[i]->d_name[strlen(entries[i]->d_name) - strlen(suffix)] = '\0';
        found(ctx, entries[i]->d_name, r, &info, &why);
        free(entries[i]);
    }
    free(entries);
    return 0;
}
