/* SPDX-License-Identifier: Apache-2.0 */
/* How a guest wants to be placed: words that the description and the planner share. */
#ifndef VMM_TOPOLOGY_GUEST_PLACE_H
#define VMM_TOPOLOGY_GUEST_PLACE_H

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

#endif
