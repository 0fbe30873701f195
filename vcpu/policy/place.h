/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement: which host node each virtual node lives on, and which host CPUs each vCPU.
 *
 * Pure: no system call, no clock, no globals; the same problem gives the same answer. Budgets
 * are counts of search steps. docs/placement.md states the cost, its units and the algorithm.
 *
 * Nodes of the host are indices here, as in struct host_topo; sets hold the kernel's numbers.
 * Any thread; one place_host may serve several searches at once.
 */
#ifndef VCPU_POLICY_PLACE_H
#define VCPU_POLICY_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"
#include "vmm/topology/guest_place.h"
#include "vmm/topology/host_topo.h"

enum {
    PLACE_MAX_VNODES = 4096, /* of all guests of a problem together */
    PLACE_MAX_NODES = 1024,  /* of the host */
    PLACE_LOCAL = 1000,      /* distances inside the planner: the host's smallest one */
    PLACE_GUEST_UNIT = PLACE_LOCAL / GUEST_DISTANCE_LOCAL, /* one step of a guest's distance */
    PLACE_ANYWHERE = -1, /* not placed yet, and no index of a node */
    PLACE_SPREAD = -2,   /* on several host nodes, see place_result_nodes() */
    PLACE_BUDGET_DEFAULT = 60, /* a guest, divided by its virtual nodes */
    PLACE_BUDGET_LEAST = 4,
    PLACE_MAX_DEMAND_MILLI = 8000000, /* of all virtual nodes together: sums stay in 63 bits */
};

#define PLACE_COST_CPU INT64_C(4096000000) /* the cost of one CPU's time */

/* What is worked out once for a host: neighbour orders, capacities, cache groups. */
struct place_host;

/** place_host_new() - @topo is not kept. Return: 0, -ENOMEM, or -E2BIG above PLACE_MAX_NODES. */
int place_host_new(const struct host_topo *topo, struct place_host **ret_host, struct errctx *ec);
void place_host_free(struct place_host *host);

/** place_host_measured() - are its distances measured ones? So they are where every pair has a
 *  value; else they are the firmware's. */
bool place_host_measured(const struct place_host *host);

/* What others use of a host node already. Memory that the host counts as not free is known. */
struct place_use {
    uint32_t cpu_milli; /* 1000: one CPU */
    uint64_t mem_bytes;
};

struct place_vnode {
    uint32_t n_vcpus;           /* 0: memory only */
    uint32_t demand_milli;      /* CPU time its vCPUs want together */
    uint64_t mem_bytes;         /* must be free on its host node */
    uint32_t llc_vcpus;         /* vCPUs that share one virtual last-level cache; 0: no matter */
    const struct idset *only;   /* it is on one of these host nodes; NULL: any that fits */
    const struct idset *spread; /* it is on all of these, decided by the user; NULL: planned */
    int current;                /* host node it would move from, or PLACE_ANYWHERE */
};

/* A guest: neighbours in the array of virtual nodes. */
struct place_guest {
    uint32_t first, n;
    const uint32_t *distances; /* n * n, row = from, 10 local: what the guest was told */
    const uint32_t *traffic;   /* n * n, row = from, milli-CPUs; NULL: place_traffic() guesses */
};

struct place_problem {
    const struct place_host *host;
    const struct place_use *used; /* per host node; NULL: nothing */
    const struct place_vnode *vnodes;
    size_t n_vnodes;
    const struct place_guest *guests;
    size_t n_guests;
    enum guest_objective objective;
    bool own_cpus;   /* no CPU may be shared: the pinning level is dedicated */
    uint32_t budget; /* nodes of the search tree; 0: by PLACE_BUDGET_DEFAULT */
};

/* What the plan adds to the host, PLACE_COST_CPU each CPU. Stranding may be negative. */
struct place_terms {
    int64_t traffic, overload, stranded, contention, moving, broken;
};

int64_t place_terms_total(const struct place_terms *terms);

struct place_result {
    int *node; /* per virtual node: index, or PLACE_SPREAD */
    uint32_t n_vnodes;
    struct idset *spread; /* n_spread sets, for the virtual nodes that are PLACE_SPREAD, in order */
    uint32_t n_spread;
    struct place_terms terms;
    int64_t bound;     /* no plan costs less; equal to the cost when proved */
    bool proved;       /* this is an optimum */
    bool kept;         /* no real distance is above what was told, and no order turned round */
    uint32_t expanded; /* nodes of the search tree */
};

/**
 * place_solve() - find places for all virtual nodes of a problem.
 * @ret_result: untouched on failure; release with place_result_fini().
 *
 * Return: 0, or
 *   -EINVAL  the problem contradicts itself (sizes, overlapping guests);
 *   -ENOENT  a host node that is named does not exist;
 *   -ENOSPC  no plan was found in which memory, and with own_cpus the CPUs, suffice; the
 *            sentence names the virtual node that was left over;
 *   -ENOMEM.
 */
int place_solve(const struct place_problem *problem, struct place_result *ret_result,
                struct errctx *ec);
void place_result_fini(struct place_result *result);

/** place_result_nodes() - the host nodes of a virtual node, the kernel's numbers. */
void place_result_nodes(const struct place_result *result, const struct place_host *host,
                        uint32_t vnode, struct idset *ret_nodes);

/**
 * place_evaluate() - what a plan made elsewhere costs; fills terms and kept of @result from its
 * node[] and spread[]. Limits of memory and CPUs are not looked at.
 * Return: 0, -EINVAL, -ENOENT or -ENOMEM.
 */
int place_evaluate(const struct place_problem *problem, struct place_result *result,
                   struct errctx *ec);

/** place_distance() - the larger of both directions, PLACE_LOCAL for the nearest. */
uint32_t place_distance(const struct place_host *host, uint32_t from, uint32_t to);

/** place_traffic() - milli-CPUs of access from node @from to the memory of node @to of a guest,
 *  as guessed from demand, memory and the distances that the guest was told. */
uint32_t place_traffic(const struct place_problem *problem, const struct place_guest *guest,
                       uint32_t from, uint32_t to);

/* A vCPU as the second step sees it. */
struct place_vcpu {
    uint32_t vnode;
    uint32_t core, llc;     /* guest-wide numbers: equal for siblings, for sharers of a cache */
    struct idset *ret_cpus; /* receives where it may run */
};

/**
 * place_vcpus() - the host CPUs of each vCPU of one guest, whose nodes are placed.
 * @taken: host CPUs that nobody may have, with GUEST_PIN_DEDICATED; receives those given out.
 * @notes: receives sentences, one per line, about what could not be had; always terminated.
 * Return: 0, -ENOSPC (dedicated: not enough CPUs; the sentence names the node), or -ENOMEM.
 */
int place_vcpus(const struct place_host *host, const struct place_result *result,
                const struct place_vcpu *vcpus, size_t n_vcpus, enum guest_pin pin,
                struct idset *taken, char *notes, size_t notes_size, struct errctx *ec);

#endif
