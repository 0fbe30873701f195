/* SPDX-License-Identifier: Apache-2.0 */
/* How a guest wants to be placed: words that the description and the planner share. */
#ifndef VMM_TOPOLOGY_GUEST_PLACE_H
#define VMM_TOPOLOGY_GUEST_PLACE_H

#include <stdint.h>

/* What a vCPU is pinned to. */
enum guest_pin {
    GUEST_PIN_UNSAID,
    GUEST_PIN_DEDICATED, /* one host CPU of its own; virtual siblings on physical siblings */
    GUEST_PIN_LLC,       /* the CPUs of one last-level cache, one cache for a virtual one */
    GUEST_PIN_NODE,      /* the CPUs of its host nodes */
    GUEST_PIN_SOCKET,    /* the CPUs of the packages of its host nodes */
};

/* Which terms of the cost count; docs/placement.md has the weights. */
enum guest_objective {
    GUEST_OBJECTIVE_UNSAID, /* as ALL */
    GUEST_OBJECTIVE_ALL,
    GUEST_OBJECTIVE_LOAD,
    GUEST_OBJECTIVE_NUMA,
    GUEST_OBJECTIVE_CACHE,
};

/* Whether a running machine's nodes move by themselves when the host changes. */
enum guest_balance {
    GUEST_BALANCE_OFF,
    GUEST_BALANCE_ADVISE, /* it is only said what would be done */
    GUEST_BALANCE_ON,
};

extern const char *const guest_balance_words[]; /* by value, up to NULL */

/* How much of the host's CPU time; 0: not said. Of the whole machine, its I/O threads included. */
struct guest_cpu_share {
    uint32_t weight;        /* beside other machines, 1 to 10000; 100 when not said */
    uint32_t max_milli;     /* never more, in thousandths of a CPU */
    uint32_t reserve_milli; /* never less when it wants it */
};

#endif
