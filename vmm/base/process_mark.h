/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process a number in a file means: process numbers are given anew, and mean something else
 * in another PID namespace. No threads, no state.
 */
#ifndef VMM_BASE_PROCESS_MARK_H
#define VMM_BASE_PROCESS_MARK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process_mark {
    pid_t pid;       /* 0: of nobody */
    uint64_t start;  /* clock ticks after the host's start (proc_pid_stat(5), field 22) */
    uint64_t pid_ns; /* inode of its PID namespace */
};

/** process_mark_make() - of process @pid, as seen by the caller. Return: false where /proc says
 *  nothing of it; @ret_mark is untouched then. */
bool process_mark_make(pid_t pid, struct process_mark *ret_mark);

/** process_mark_holds() - is there still that process, and does its number mean the same here? It
 *  may end right after the answer. */
bool process_mark_holds(const struct process_mark *mark);

#endif
