/* SPDX-License-Identifier: Apache-2.0 */
/* The architectures whose machines are told by a device tree. */
#ifndef FIRMWARE_FDT_ARCHES_H
#define FIRMWARE_FDT_ARCHES_H

#include "firmware/fdt.h"

/* By name, up to a NULL: NAME has one whose folder firmware/NAME/ has a NAME_fdt.c with an
 * fdt_arch_NAME. The Makefile writes it. */
extern const struct fdt_arch *const fdt_arches[];

/**
 * fdt_arch_choose() - one of @list, which ends with a NULL.
 * @wanted: its name; NULL: @own, this machine's, or the only one where that is NULL.
 * Pure. Return: 0, or -EINVAL with a sentence that names those that there are.
 */
int fdt_arch_choose(const struct fdt_arch *const *list, const struct fdt_arch *own,
                    const char *wanted, const struct fdt_arch **ret_arch, struct errctx *ec);

#endif
