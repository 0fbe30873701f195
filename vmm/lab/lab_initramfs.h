/* SPDX-License-Identifier: Apache-2.0 */
/* What a lab's guest boots into: our init and the modules that it loads, as a cpio archive. */
#ifndef VMM_LAB_LAB_INITRAMFS_H
#define VMM_LAB_LAB_INITRAMFS_H

#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/lab/lab_kernel.h"

/** lab_initramfs_make() - in a file without a name, @ret_fd, which the caller closes.
 *  @facts_only: no lab, but one that tells what it sees on its console and ends.
 *  Return: 0, -ENOMEM, or the errno of reading a module or of writing. */
int lab_initramfs_make(const struct lab_modules *modules, bool facts_only, int *ret_fd,
                       struct errctx *ec);

#endif
