/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a machine may still name once it is built: the sockets that it removes at its end,
 * and what a user network reads. The other half of sandbox.h, whose filters see system calls but
 * no paths.
 */
#ifndef VMM_MACHINE_SANDBOX_FILES_H
#define VMM_MACHINE_SANDBOX_FILES_H

#include "vmm/base/errctx.h"
#include "vmm/machine/sandbox.h"

/** sandbox_files_new() - the rules for @req, to be entered with landlock_enter() and closed by
 *  the caller; -1 where the kernel has no Landlock. Return: 0, -ENOMEM, or an errno. */
int sandbox_files_new(const struct sandbox_request *req, int *ret_ruleset, struct errctx *ec);

/**
 * sandbox_files_resolver() - cut @path to what has to be readable for the resolver.
 * @path: where the resolver's configuration really is, without symbolic links.
 *
 * A service that keeps it in a folder of its own below /run replaces the file when the network
 * changes, so there it is the folder. Elsewhere (/etc) the folder holds what is nobody's business:
 * there it is the file. Pure.
 */
void sandbox_files_resolver(char *path);

#endif
