/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where control sockets live: one folder per user that nobody else can enter.
 *
 *   $XDG_RUNTIME_DIR/numavisor   when the variable is set and absolute
 *   /run/numavisor               for root otherwise
 *   /tmp/numavisor-UID           for everybody else
 *
 * NAME.sock is the socket, NAME.use says what the machine takes of the host (neighbours.h),
 * NAME.lock is held with flock() for as long as the machine lives, so files without a held lock are
 * stale.
 */
#ifndef VMM_MACHINE_CONTROL_DIR_H
#define VMM_MACHINE_CONTROL_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"

/* The host service's socket in that folder (vmm/host/); no machine's, which end with .sock. */
#define CONTROL_DIR_SERVICE "numavisord"

/** control_dir_path() - the folder's path for this user, in @buf. Makes nothing. */
const char *control_dir_path(char *buf, size_t size);

/**
 * control_dir_open() - open @path, a folder that must be ours, closed to others and no symlink.
 * @make: make it when it is not there.
 * Return: 0 with a descriptor in @ret_fd; -ENOENT; -EPERM when the folder is not safe (the
 * sentence says why); or the errno of the call.
 */
int control_dir_open(const char *path, bool make, int *ret_fd, struct errctx *ec);

/**
 * control_dir_lock() - take NAME.lock. Held until the descriptor is closed.
 * Return: 0, -EADDRINUSE when a running machine holds it, or the errno of the call.
 */
int control_dir_lock(int dir_fd, const char *name, int *ret_fd, struct errctx *ec);

/** control_dir_is_live() - does a running machine hold NAME.lock? */
bool control_dir_is_live(int dir_fd, const char *name);

/**
 * control_dir_tidy() - remove what a machine left whose guard was killed with it.
 *
 * Does nothing while the machine lives. The caller holds the admission lock (neighbours.h), so that
 * no machine of the name is starting.
 */
void control_dir_tidy(int dir_fd, const char *name);

/**
 * control_dir_listen() - bind NAME.sock, replacing a stale one, mode 0600, non-blocking.
 * The caller holds the lock. Return: 0, -ENAMETOOLONG, or the errno of the call.
 */
int control_dir_listen(int dir_fd, const char *dir, const char *name, int *ret_fd,
                       struct errctx *ec);

/** control_dir_remove() - unlink all files of the machine, the lock still held. */
void control_dir_remove(int dir_fd, const char *name);

/** control_dir_connect() - a blocking stream to NAME. -ENOENT / -ECONNREFUSED when no machine of
 *  that name runs. */
int control_dir_connect(const char *dir, const char *name, int *ret_fd, struct errctx *ec);

#endif
