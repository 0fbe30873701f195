/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a thread may still name: Landlock (landlock(7)). The only caller of its system calls.
 *
 * A ruleset forbids all that the running kernel's version can forbid by path, and connections to
 * abstract Unix sockets of others; what is allowed is added to it. It holds for the thread that
 * enters it and the threads that this one makes afterwards, for good, and never for descriptors
 * that were opened before. Looking at files (stat) and following links stay free.
 *
 * A kernel without Landlock forbids nothing: a ruleset is -1 there, and all functions take that.
 */
#ifndef VMM_BASE_LANDLOCK_H
#define VMM_BASE_LANDLOCK_H

#include <linux/landlock.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

/* Newer than the header of Linux 6.1. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_ACCESS_FS_RESOLVE_UNIX
#define LANDLOCK_ACCESS_FS_RESOLVE_UNIX (1ULL << 16)
#endif

/** landlock_abi() - the running kernel's version: 1 or more; -ENOSYS: not built in; -EOPNOTSUPP:
 *  not switched on at boot; another errno: forbidden, by a container's filter for instance. */
int landlock_abi(void);

/** landlock_rights() - all rights to files (LANDLOCK_ACCESS_FS_*) that version @abi knows and we
 *  do. Pure. */
uint64_t landlock_rights(int abi);

/**
 * landlock_new() - a ruleset that allows nothing, in @ret_ruleset; -1 when the kernel has none.
 * The caller closes the descriptor. Return: 0 or the errno of the call.
 */
int landlock_new(int *ret_ruleset, struct errctx *ec);

/**
 * landlock_allow() - allow @rights (LANDLOCK_ACCESS_FS_*) at @path and, for a folder, beneath it.
 * Rights that the kernel does not know are left out: it does not forbid them.
 * Return: 0, -ENOENT when there is nothing at @path, or another errno.
 */
int landlock_allow(int ruleset, const char *path, uint64_t rights, struct errctx *ec);

/** landlock_enter() - hold the calling thread to the ruleset. It has given its privileges up
 *  (privilege_drop()). Return: 0 or the errno of the call. */
int landlock_enter(int ruleset, struct errctx *ec);

/** landlock_enter_nothing() - as above, nothing allowed; for threads that name no files. */
int landlock_enter_nothing(struct errctx *ec);

#endif
