/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/place.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

#define NICE_STEP 1.25

enum { NICE_ROUNDS = 10 };

void place_name_thread(const char *name)
{
    char cut[16];

    (void)snprintf(cut, sizeof(cut), "%s", name);
    (void)prctl(PR_SET_NAME, cut);
}

void place_wake_sharply(void)
{
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

int place_pin_thread(const struct idset *cpus, struct errctx *ec)
{
    char list[128];

    if (idset_empty(cpus))
        return 0;
    if (sched_setaffinity(0, cpus->n_words * sizeof(cpus->word[0]),
                          (const cpu_set_t *)(const void *)cpus->word) < 0)
        return errctx_set_os(ec, errno, "pin to host CPUs %s",
                             idset_format(cpus, list, sizeof(list)));
    return 0;
}

void place_group_init(struct place_group *g)
{
    (void)pthread_mutex_init(&g->lock, NULL);
    g->cpus = (struct idset){ 0 };
    atomic_init(&g->version, 0);
}

void place_group_fini(struct place_group *g)
{
    (void)pthread_mutex_destroy(&g->lock);
}

void place_group_send(struct place_group *g, const struct idset *cpus)
{
    LOCK_SCOPE(&g->lock);
    g->cpus = *cpus;
    (void)atomic_fetch_add(&g->version, 1);
}

void place_group_follow(struct place_group *g, unsigned *seen)
{
    struct idset cpus;

    if (atomic_load_explicit(&g->version, memory_order_relaxed) == *seen)
        return;
    {
        LOCK_SCOPE(&g->lock);
        cpus = g->cpus;
        *seen = atomic_load(&g->version);
    }
    (void)place_pin_thread(&cpus, NULL);
}

int place_get_thread(struct idset *ret_cpus)
{
    struct idset cpus = { .n_words = IDSET_WORDS };

    if (sched_getaffinity(0, sizeof(cpus.word), (cpu_set_t *)(void *)cpus.word) < 0)
        return -errno;
    *ret_cpus = cpus;
    return 0;
}

/* One step of nice is a quarter more or less of CPU time (sched(7)); half a step decides. */
int place_nice_of_weight(unsigned weight)
{
    const double step = NICE_STEP, half = 1.118;
    double w = 100;
    int nice = 0;

    for (; nice > -20 && w * half < weight; nice--)
        w *= step;
    for (; nice < 19 && w > weight * half; nice++)
        w /= step;
    return nice;
}

/* A thread that ended meanwhile needs nothing. Return: how many had another value, or -errno. */
static int set_all_nice(pid_t pid, int nice)
{
    char path[64];
    DIR *dir;
    const struct dirent *entry;
    int r = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        return errno == ENOENT ? -ESRCH : -errno;
    while (r >= 0 && (entry = readdir(dir)) != NULL) {
        const pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        int now = nice;

        if (tid <= 0 || place_get_nice(tid, &now) < 0 || now == nice)
            continue;
        if (setpriority(PRIO_PROCESS, (id_t)tid, nice) == 0)
            r++;
        else if (errno != ESRCH)
            r = -errno;
    }
    (void)closedir(dir);
    return r;
}

int place_set_nice(pid_t pid, int nice)
{
    int r = 1;

    for (int i = 0; i < NICE_ROUNDS && r > 0; i++)
        r = set_all_nice(pid, nice);
    return MIN(r, 0);
}

int place_get_nice(pid_t pid, int *ret_nice)
{
    int nice;

    errno = 0; /* -1 is a value, too */
    nice = getpriority(PRIO_PROCESS, (id_t)pid);
    if (nice == -1 && errno != 0)
        return -errno;
    *ret_nice = nice;
    return 0;
}

double place_weight_of_nice(int nice)
{
    double w = 1;

    for (; nice < 0; nice++)
        w *= NICE_STEP;
    for (; nice > 0; nice--)
        w /= NICE_STEP;
    return w;
}
