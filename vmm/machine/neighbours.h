/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other running machines of this user, by what each one says that it takes of the host.
 *
 * Beside its socket and its lock a machine has NAME.use in the folder of control_dir.h, a JSON
 * object as machine_use.h makes it. Like the socket it counts only while the lock is held. A second
 * lock, ".admission", makes reading all of them, planning and publishing one's own one step, so
 * that two machines that start, or move, at the same time see each other.
 */
#ifndef VMM_MACHINE_NEIGHBOURS_H
#define VMM_MACHINE_NEIGHBOURS_H

#include <stdbool.h>

#include "vmm/machine/machine_use.h"

enum { NEIGHBOURS_LOCK_MS = 10 * 1000 };

struct neighbours {
    int dir_fd, lock_fd;      /* -1: none */
    struct machine_use *uses; /* owned */
    size_t n;
    size_t n_silent; /* running machines that say nothing */
};

/**
 * neighbours_read() - who runs.
 * @dir:  NULL for control_dir_path().
 * @lock_ms: take the admission lock first, waiting for up to so long; makes the folder, and
 *        removes what machines left there that are no more. 0: only look.
 * Return: 0 (no machine and no folder are no error); -EBUSY when another machine has been starting
 * or moving for too long; or the errno of a call. Release with neighbours_fini().
 */
int neighbours_read(const char *dir, unsigned lock_ms, struct neighbours *ret, struct errctx *ec);

/** neighbours_publish() - say what we take, the lock of our name and the admission lock held; also
 *  anew, after a move. Who only looks in just that moment may take us for silent.
 *  control_dir_remove() takes it away. Return: 0, -ENOMEM or the errno of a call. */
int neighbours_publish(const struct neighbours *nb, const struct machine_use *use,
                       struct errctx *ec);

/** neighbours_unlock() - let others start; the descriptors of child processes do not count. */
void neighbours_unlock(struct neighbours *nb);
void neighbours_fini(struct neighbours *nb);

#endif
