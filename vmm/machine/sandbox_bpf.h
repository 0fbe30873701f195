/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of allowed system calls as a program for the kernel's seccomp(2). */
#ifndef VMM_MACHINE_SANDBOX_BPF_H
#define VMM_MACHINE_SANDBOX_BPF_H

#include <linux/filter.h>

#include "vmm/base/errctx.h"
#include "vmm/machine/sandbox_rules.h"

struct sandbox_program {
    struct sock_filter *insns; /* from malloc() */
    unsigned short n;
};

/**
 * sandbox_bpf_make() - the program that allows what any of @lists allows and kills the process
 * for anything else, calls of another architecture or of the x32 interface among it.
 * @lists: ends with NULL; not kept.
 * @ret:   untouched on failure; the caller frees its insns.
 * Pure. Return: 0, -ENOMEM, or -E2BIG (more instructions than the kernel takes).
 */
int sandbox_bpf_make(const struct sandbox_rules *const *lists, struct sandbox_program *ret,
                     struct errctx *ec);

#endif
