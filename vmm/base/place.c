/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/place.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "vmm/base/cleanup.h"

void place_name_thread(const char *name)
{
    char cut[16];

    (void)snprintf(cut, sizeof(cut), "%s", name);
    (void)prctl(PR_SET_NAME, cut);
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
    const double step = 1.25, half = 1.118;
    double w = 100;
    int nice = 0;

    for (; nice > -20 && w * half < weight; nice--)
        w *= step;
    for (; nice < 19 && w > weight * half; nice++)
        w /= step;
    return nice;
}

int place_set_nice(int nice)
{
    return setpriority(PRIO_PROCESS, 0, nice) < 0 ? -errno : 0;
}
