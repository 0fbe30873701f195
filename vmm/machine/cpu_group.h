/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's own cgroup (version 2) with the cpu controller: weight and limit of all its threads.
 *
 * The group is made below the first of these that lets us: our own group, then those above it. A
 * group that has processes of its own cannot hand out the controller (but for the root), which is
 * why it is usually our parent; on a desktop that is the user's own tree. The guard process stays
 * outside and removes the group, because nobody can remove the group he is in.
 *
 * States: chosen (cpu_group_choose) -> entered -> left. Main thread, before others are made and
 * after they ended; changing values and reading them at any time.
 */
#ifndef VMM_MACHINE_CPU_GROUP_H
#define VMM_MACHINE_CPU_GROUP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"

enum { CPU_GROUP_PATH = 512 };

struct cpu_group {
    char dir[CPU_GROUP_PATH]; /* "": none was chosen */
    bool entered;
    int home_fd; /* cgroup.procs of where we came from; -1 unless entered */
    int stat_fd; /* cpu.stat; -1 unless entered */
    int weight_fd; /* cpu.weight, which others set, too; likewise */
    uint32_t max_milli; /* in force; 0: not set */
};

#define CPU_GROUP_NONE { .home_fd = -1, .stat_fd = -1, .weight_fd = -1 }

/**
 * cpu_group_choose() - where the group will be: "numavisor-NAME.PID". Makes nothing, but may hand
 * the cpu controller down to the children of a group.
 * Return: 0, or -ENOTSUP with the reason why there can be none.
 */
int cpu_group_choose(const char *kernel_root, const char *name, pid_t pid,
                     struct cpu_group *ret_group, struct errctx *ec);

/** cpu_group_possible() - would cpu_group_choose() find a place? Hands nothing down. */
int cpu_group_possible(const char *kernel_root, struct errctx *ec);

/** cpu_group_enter() - make it, set what is not 0, and move this process, all threads of it, there.
 *  Return: 0, or the errno of a call with nothing left behind. */
int cpu_group_enter(struct cpu_group *group, uint32_t weight, uint32_t max_milli,
                    struct errctx *ec);

/** cpu_group_set_weight() - of the group in folder @dir, ours or another machine's. 0 or -errno. */
int cpu_group_set_weight(const char *dir, uint32_t weight);

/** cpu_group_leave() - go back to where we came from. Return: false when we could not, so that the
 *  group can only be removed after our end. */
bool cpu_group_leave(struct cpu_group *group);

/** cpu_group_remove() - an empty group, or none. Its processes may be just ending: tries for some
 *  time. Any process. */
void cpu_group_remove(const char *dir);

/** cpu_group_status() - {"cgroup", "weight", "max"} as of now; cpu_group_stat() - the kernel's
 *  counters. Both are new objects, without members where there is no group. */
json_t *cpu_group_status(const struct cpu_group *group);
json_t *cpu_group_stat(const struct cpu_group *group);

#endif
