/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/measure_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/topology/host_measured.h"

int measure_cache_path(const char *fingerprint, char ret[static MEASURE_CACHE_PATH_MAX],
                       struct errctx *ec)
{
    const char *base = getenv("XDG_CACHE_HOME"), *below = "";
    int n;

    if (base == NULL || base[0] != '/') {
        base = getenv("HOME");
        below = "/.cache";
    }
    if (base == NULL || base[0] != '/')
        return errctx_set(ec, ENOENT, "neither XDG_CACHE_HOME nor HOME names a folder for "
                                      "measurements");
    n = snprintf(ret, MEASURE_CACHE_PATH_MAX, "%s%s/numavisor/host-%s.json", base, below,
                 fingerprint);
    if (n < 0 || n >= MEASURE_CACHE_PATH_MAX)
        return errctx_set(ec, ENAMETOOLONG, "the path of the folder for measurements is too long");
    return 0;
}

/* Every folder above @path; those that are there are left as they are. */
static int make_folders(const char *path, struct errctx *ec)
{
    char dir[MEASURE_CACHE_PATH_MAX];

    (void)snprintf(dir, sizeof(dir), "%s", path);
    for (char *p = dir + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
            return errctx_set_os(ec, errno, "make folder %s", dir);
        *p = '/';
    }
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* Under another name first, so that a reader sees the old file or the new one, whole. */
static int replace(const char *path, const char *text, struct errctx *ec)
{
    char temp[MEASURE_CACHE_PATH_MAX + 8];
    CLEANUP_CLOSE int fd = -1;
    int r;

    (void)snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return errctx_set_os(ec, errno, "make a file beside %s", path);
    r = write_all(fd, text, strlen(text));
    if (r == 0 && rename(temp, path) < 0)
        r = -errno;
    if (r == 0)
        return 0;
    (void)unlink(temp);
    return errctx_set_os(ec, -r, "write %s", path);
}

int measure_cache_store(const struct host_samples *samples, struct errctx *ec)
{
    char path[MEASURE_CACHE_PATH_MAX];
    CLEANUP_FREE char *text = NULL;
    int r = measure_cache_path(samples->fingerprint, path, ec);

    if (r < 0)
        return r;
    text = host_samples_format(samples);
    if (text == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the text of a measurement");
    r = make_folders(path, ec);
    return r < 0 ? r : replace(path, text, ec);
}

/* The whole file, a regular one of sane size. *ret_text is NULL when there is none. */
static int read_file(const char *path, char **ret_text, size_t *ret_len, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    CLEANUP_FREE char *text = NULL;
    struct stat st;
    size_t len = 0;
    ssize_t n;

    *ret_text = NULL;
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : errctx_set_os(ec, errno, "open it");
    if (fstat(fd, &st) < 0)
        return errctx_set_os(ec, errno, "look at it");
    if (!S_ISREG(st.st_mode) || st.st_size > HOST_SAMPLES_FILE_MAX)
        return errctx_set(ec, EINVAL, "not a measurement: no file of at most %d bytes",
                          HOST_SAMPLES_FILE_MAX);
    text = malloc(HOST_SAMPLES_FILE_MAX + 1);
    if (text == NULL)
        return errctx_set(ec, ENOMEM, "no memory to read it");
    while (len <= HOST_SAMPLES_FILE_MAX &&
           (n = read(fd, text + len, HOST_SAMPLES_FILE_MAX + 1 - len)) != 0) {
        if (n < 0)
            return errctx_set_os(ec, errno, "read it");
        len += (size_t)n;
    }
    *ret_text = take_ptr(text);
    *ret_len = len;
    return 0;
}

static int load(struct host_topo *host, const char *fingerprint, const char *path,
                struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    struct host_samples s;
    size_t len = 0;
    int r = read_file(path, &text, &len, ec);

    if (r < 0 || text == NULL)
        return r;
    r = host_samples_parse(text, len, &s, ec);
    if (r < 0)
        return r;
    if (strcmp(s.fingerprint, fingerprint) != 0)
        r = errctx_set(ec, EINVAL, "a measurement of another machine, %s", s.fingerprint);
    else
        r = host_measured_apply(host, s.v, s.n, s.measured_at, ec);
    host_samples_fini(&s);
    return r < 0 ? r : 1;
}

int measure_cache_load(struct host_topo *host, struct errctx *ec)
{
    char fingerprint[HOST_FINGERPRINT_BYTES], path[MEASURE_CACHE_PATH_MAX];
    int r;

    if (!host->this_machine)
        return 0;
    host_fingerprint("", fingerprint);
    if (measure_cache_path(fingerprint, path, NULL) < 0)
        return 0;
    r = load(host, fingerprint, path, ec);
    return r < 0 ? errctx_wrap(ec, r, "%s", path) : r;
}
