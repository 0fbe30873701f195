/* SPDX-License-Identifier: Apache-2.0 */
/* Where threads run: names, CPU affinity, nice values. The only file with sched_setaffinity(2). */
#ifndef VMM_BASE_PLACE_H
#define VMM_BASE_PLACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"

/** place_name_thread() - name the calling thread; cut to 15 characters by the kernel's limit. */
void place_name_thread(const char *name);

/** place_wake_sharply() - the kernel does not put off the calling thread's timers to have several
 *  expire at a time (50 us, usually). */
void place_wake_sharply(void);

/** place_pin_thread() - let the calling thread run on @cpus only. Empty: no change.
 *  Return: 0 or the errno of sched_setaffinity (EINVAL: none of them is online and allowed). */
int place_pin_thread(const struct idset *cpus, struct errctx *ec);

/* Where several threads run that work for one another, and where they are to go next. */
struct place_group {
    pthread_mutex_t lock; /* a leaf; covers cpus */
    struct idset cpus;
    atomic_uint version; /* of cpus; 0: nobody said anything */
};

void place_group_init(struct place_group *g);
void place_group_fini(struct place_group *g);

/** place_group_send() - its threads belong on @cpus from now on. Any thread. */
void place_group_send(struct place_group *g, const struct idset *cpus);

/** place_group_follow() - go where the group was sent; costs one load when there is nothing new.
 *  @seen: the calling thread's own, 0 at first. A thread that cannot go stays: it serves as well
 *  from where it is. */
void place_group_follow(struct place_group *g, unsigned *seen);

/** place_get_thread() - where the calling thread may run. Return: 0 or a negative errno. */
int place_get_thread(struct idset *ret_cpus);

/** place_nice_of_weight() - the nice value that is nearest to a cgroup's weight of 1 to 10000. */
int place_nice_of_weight(unsigned weight);

/** place_set_nice() - of all threads that process @pid has, and of those that they make. Threads made
 *  meanwhile by one that was not reached yet are looked for again.
 *  Return: 0; -ESRCH (no such process); -EACCES or -EPERM (less nice than now, or not ours). */
int place_set_nice(pid_t pid, int nice);

/** place_get_nice() - of process @pid's first thread; 0 is ourselves. Return: 0 or -errno. */
int place_get_nice(pid_t pid, int *ret_nice);

/** place_weight_of_nice() - of a thread beside others, as the kernel's scheduler weighs them; 1 for
 *  nice 0. */
double place_weight_of_nice(int nice);

#endif
