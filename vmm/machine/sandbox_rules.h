/* SPDX-License-Identifier: Apache-2.0 */
/* The lists behind vmm/machine/sandbox.h. */
#ifndef VMM_MACHINE_SANDBOX_RULES_H
#define VMM_MACHINE_SANDBOX_RULES_H

#include <stddef.h>
#include <stdint.h>

/* A system call, allowed whatever its arguments, or only where the low half of argument @arg,
 * masked, has @value. Rows of the same call are alternatives. */
struct sandbox_rule {
    int nr;  /* SYS_... */
    int arg; /* -1: any arguments, mask and value say nothing */
    uint32_t mask;
    uint32_t value;
};

struct sandbox_rules {
    const struct sandbox_rule *rules;
    size_t n;
};

extern const struct sandbox_rules sandbox_rules_all;    /* every kind */
extern const struct sandbox_rules sandbox_rules_start;  /* only between build and run */
extern const struct sandbox_rules sandbox_rules_vcpu;
extern const struct sandbox_rules sandbox_rules_io;
extern const struct sandbox_rules sandbox_rules_net;    /* I/O, with a user network */
extern const struct sandbox_rules sandbox_rules_vsock;  /* I/O, with vsock */
extern const struct sandbox_rules sandbox_rules_main;

#endif
