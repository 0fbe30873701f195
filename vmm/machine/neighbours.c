/* SPDX-License-Identifier: Apache-2.0 */
/* See neighbours.h. */
#include "vmm/machine/neighbours.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/control_dir.h"

enum {
    USE_FILE_MAX = 256 * 1024, /* a machine on 1,024 host nodes needs less than half */
    LOCK_WAIT_MS = 10, /* between two tries */
    NEIGHBOURS_MAX = 4096,
};

static const char admission[] = ".admission"; /* no name of a machine starts with a dot */

static int take_lock(struct neighbours *nb, unsigned lock_ms, struct errctx *ec)
{
    const struct timespec wait = { .tv_nsec = LOCK_WAIT_MS * 1000 * 1000 };

    nb->lock_fd = openat(nb->dir_fd, admission, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (nb->lock_fd < 0)
        return errctx_set_os(ec, errno, "open %s", admission);
    for (unsigned i = 0; i <= lock_ms / LOCK_WAIT_MS; i++) {
        if (flock(nb->lock_fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return errctx_set_os(ec, errno, "lock %s", admission);
        (void)nanosleep(&wait, NULL);
    }
    return errctx_set(ec, EBUSY, "another machine has been starting for %g seconds",
                      lock_ms / 1000.0);
}

/* "web.lock" -> "web": every running machine has a lock, whatever it says. */
static bool machine_name(const char *file, char name[static MACHINE_USE_NAME])
{
    const char *suffix = strrchr(file, '.');

    if (suffix == NULL || strcmp(suffix, ".lock") != 0 ||
        (size_t)(suffix - file) >= MACHINE_USE_NAME)
        return false;
    memcpy(name, file, (size_t)(suffix - file));
    name[suffix - file] = '\0';
    return config_name_ok(name);
}

static int read_use(int dir_fd, const char *name, struct machine_use *ret_use)
{
    CLEANUP_FREE char *text = malloc(USE_FILE_MAX);
    char file[MACHINE_USE_NAME + 8];
    CLEANUP_CLOSE int fd = -1;
    json_t *json;
    ssize_t len;
    int r;

    (void)snprintf(file, sizeof(file), "%s.use", name);
    fd = openat(dir_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (text == NULL || fd < 0)
        return text == NULL ? -ENOMEM : -errno;
    len = read(fd, text, USE_FILE_MAX);
    if (len < 0)
        return -errno;
    json = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
    r = machine_use_from_json(json, ret_use);
    json_decref(json);
    if (r == 0)
        (void)snprintf(ret_use->name, sizeof(ret_use->name), "%s", name);
    return r;
}

static int read_all(struct neighbours *nb, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = openat(nb->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    char name[MACHINE_USE_NAME];
    const struct dirent *entry;
    int r = 0;

    if (dir == NULL)
        return errctx_set_os(ec, errno, "look for running machines");
    fd = -1; /* the stream's by now */
    while (r == 0 && nb->n < NEIGHBOURS_MAX && (entry = readdir(dir)) != NULL) {
        struct machine_use *grown;

        if (!machine_name(entry->d_name, name))
            continue;
        if (!control_dir_is_live(nb->dir_fd, name)) {
            if (nb->lock_fd >= 0) /* then no machine is starting, either */
                control_dir_tidy(nb->dir_fd, name);
            continue;
        }
        grown = realloc(nb->uses, (nb->n + 1) * sizeof(*grown));
        if (grown == NULL) {
            r = errctx_set(ec, ENOMEM, "no memory for the list of machines");
            break;
        }
        nb->uses = grown;
        if (read_use(nb->dir_fd, name, &nb->uses[nb->n]) == 0)
            nb->n++;
        else
            nb->n_silent++;
    }
    (void)closedir(dir);
    return r;
}

int neighbours_read(const char *dir, unsigned lock_ms, struct neighbours *ret, struct errctx *ec)
{
    struct neighbours nb = { .dir_fd = -1, .lock_fd = -1 };
    char path[256];
    int r = control_dir_open(dir != NULL ? dir : control_dir_path(path, sizeof(path)), lock_ms > 0,
                             &nb.dir_fd, ec);

    if (r == -ENOENT && lock_ms == 0) { /* no machine ever ran */
        *ret = nb;
        return 0;
    }
    if (r == 0 && lock_ms > 0)
        r = take_lock(&nb, lock_ms, ec);
    if (r == 0)
        r = read_all(&nb, ec);
    if (r < 0)
        neighbours_fini(&nb);
    else
        *ret = nb;
    return r;
}

/* Blanks over what a longer text leaves: who only looks finds an object at any time but this. */
static int say(int fd, const struct machine_use *use)
{
    json_t *json = machine_use_to_json(use);
    CLEANUP_FREE char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    CLEANUP_FREE char *padded = NULL;
    size_t len, all;
    struct stat st;

    json_decref(json);
    if (text == NULL || strlen(text) >= USE_FILE_MAX)
        return -ENOMEM;
    if (fstat(fd, &st) < 0)
        return -errno;
    len = strlen(text);
    all = MAX(len, MIN((size_t)st.st_size, (size_t)USE_FILE_MAX));
    padded = malloc(all);
    if (padded == NULL)
        return -ENOMEM;
    memset(padded, ' ', all);
    memcpy(padded, text, len);
    return pwrite(fd, padded, all, 0) == (ssize_t)all ? 0 : -EIO;
}

int neighbours_publish(const struct neighbours *nb, const struct machine_use *use,
                       struct errctx *ec)
{
    char file[MACHINE_USE_NAME + 8];
    CLEANUP_CLOSE int fd = -1;
    int r;

    (void)snprintf(file, sizeof(file), "%s.use", use->name);
    fd = openat(nb->dir_fd, file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errctx_set_os(ec, errno, "make %s", file);
    r = say(fd, use);
    return r < 0 ? errctx_set_os(ec, -r, "write %s", file) : 0;
}

void neighbours_unlock(struct neighbours *nb)
{
    if (nb->lock_fd < 0)
        return;
    (void)flock(nb->lock_fd, LOCK_UN); /* not just closed: a child may have it for a moment */
    (void)close(nb->lock_fd);
    nb->lock_fd = -1;
}

void neighbours_fini(struct neighbours *nb)
{
    neighbours_unlock(nb);
    for (size_t i = 0; i < nb->n; i++)
        machine_use_fini(&nb->uses[i]);
    free(nb->uses);
    if (nb->dir_fd >= 0)
        (void)close(nb->dir_fd);
    *nb = (struct neighbours){ .dir_fd = -1, .lock_fd = -1 };
}
