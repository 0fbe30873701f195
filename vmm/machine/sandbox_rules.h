/* SPDX-License-Identifier: Apache-2.0 */
/* The lists behind vmm/machine/sandbox.h. */
#ifndef VMM_MACHINE_SANDBOX_RULES_H
#define VMM_MACHINE_SANDBOX_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A system call, allowed whatever its arguments, or only where the low half of argument @arg,
 * masked, has @value. Rows of the same call are alternatives. */
struct sandbox_rule {
    int nr;  /* SCMP_SYS(...) */
    int arg; /* -1: any arguments, mask and value say nothing */
    uint32_t mask;
    uint32_t value;
};

struct sandbox_rules {
    const struct sandbox_rule *rules;
    size_t n;
};

/* Stands for our process's number, which is known when a program is loaded; no process has it,
 * since the kernel numbers them below 2^22. */
#define SANDBOX_OWN_PID 0x7ffffacdu

/* Who loads a program: the whole process, or threads of one kind. */
enum sandbox_role {
    SANDBOX_ROLE_PROCESS,
    SANDBOX_ROLE_VCPU,
    SANDBOX_ROLE_IO,
    SANDBOX_ROLE_MAIN,
    SANDBOX_ROLE_MOVER,
    SANDBOX_ROLE_BALANCER,
    SANDBOX_ROLE_FAULT,
    SANDBOX_ROLE_EVICT,
    SANDBOX_ROLE_EVICT_DOMAIN,
    SANDBOX_ROLE_THROTTLE, /* has what every kind has */
    SANDBOX_ROLE_SLOW,
    SANDBOX_ROLE_RECLAIM,
    SANDBOX_ROLES,
};

enum { SANDBOX_MAX_LISTS = 17 };

extern const struct sandbox_rules sandbox_rules_all;    /* every kind */
extern const struct sandbox_rules sandbox_rules_start;  /* only between build and run */
extern const struct sandbox_rules sandbox_rules_vcpu;
extern const struct sandbox_rules sandbox_rules_vcpu_arch; /* per architecture, as is the next */
extern const struct sandbox_rules sandbox_rules_main_arch;
extern const struct sandbox_rules sandbox_rules_io;
extern const struct sandbox_rules sandbox_rules_net;    /* I/O, with a user network */
extern const struct sandbox_rules sandbox_rules_vsock;  /* I/O, with vsock */
extern const struct sandbox_rules sandbox_rules_main;
extern const struct sandbox_rules sandbox_rules_mover;
extern const struct sandbox_rules sandbox_rules_balancer;
extern const struct sandbox_rules sandbox_rules_fault;
extern const struct sandbox_rules sandbox_rules_evict;
extern const struct sandbox_rules sandbox_rules_domain; /* in a trust domain */
extern const struct sandbox_rules sandbox_rules_slow;
extern const struct sandbox_rules sandbox_rules_reclaim;

/** sandbox_role_has_devices() - does the program of @role depend on which devices there are? Pure. */
bool sandbox_role_has_devices(enum sandbox_role role);

/** sandbox_rules_of() - the lists whose union a program allows. @ret ends with NULL. Pure. */
void sandbox_rules_of(enum sandbox_role role, bool has_net, bool has_vsock,
                      const struct sandbox_rules *ret[static SANDBOX_MAX_LISTS]);

#endif
