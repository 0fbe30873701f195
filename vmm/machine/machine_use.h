/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine takes of its host, as other machines of the same user need to know it: CPU time
 * wanted, memory and reserved CPU time per host node, and its weight. And what follows from all of
 * them: the load that a planner finds, whether a reservation is admitted, and the weights with
 * which reservations hold. Pure.
 */
#ifndef VMM_MACHINE_MACHINE_USE_H
#define VMM_MACHINE_MACHINE_USE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "vcpu/policy/place.h"
#include "vmm/base/process_mark.h"
#include "vmm/config/config.h"
#include "vmm/topology/topo_plan.h"

enum { MACHINE_USE_NAME = 65, MACHINE_USE_CGROUP = 512, MACHINE_WEIGHT_DEFAULT = 100 };

struct machine_use_node {
    struct hnode_id node;
    uint32_t cpu_milli;     /* wanted */
    uint32_t reserve_milli; /* promised */
    uint32_t held_milli;    /* promised as well, to what is on its way here and does not run here yet */
    uint64_t mem_bytes;
};

struct machine_use {
    char name[MACHINE_USE_NAME];
    char cgroup[MACHINE_USE_CGROUP]; /* folder of its own group; "": none */
    struct process_mark process;     /* whose threads these are; of nobody: not told */
    uint32_t weight;                 /* as asked for, 1 to 10000 */
    uint32_t reserve_milli;          /* of all nodes together */
    struct idset cpus;               /* host CPUs that it has alone; none after they were moved */
    size_t n_nodes;
    struct machine_use_node *nodes; /* only host nodes of which it takes something; owned */
};

/**
 * machine_use_make() - what the guest of @plan takes.
 *
 * A vCPU wants one CPU, all of them no more than --cpu-max, spread over the host nodes of the CPUs
 * that it may run on; what is reserved is spread the same way. Memory is where it is bound, else
 * where the node's vCPUs run.
 * Return: 0, -ENOMEM, or -EINVAL when more is reserved than the vCPUs can use.
 */
int machine_use_make(const struct machine_config *config, const struct topo_plan *plan,
                     struct machine_use *ret_use, struct errctx *ec);
void machine_use_fini(struct machine_use *use);

/**
 * machine_use_moved() - the same after nodes were moved.
 * @at: per virtual node the host node that it was moved to, or -1 where it is as planned.
 */
int machine_use_moved(const struct machine_config *config, const struct topo_plan *plan,
                      const int *at, struct machine_use *ret_use, struct errctx *ec);

/** machine_use_on() - what it takes of one host node; NULL: nothing. */
const struct machine_use_node *machine_use_on(const struct machine_use *use, struct hnode_id id);

/** machine_use_hold() - @before, and of what @after has more, memory and reservations, the latter
 *  as held: what a machine takes while it moves from one to the other. Return: 0, -ENOMEM. */
int machine_use_hold(const struct machine_use *before, const struct machine_use *after,
                     struct machine_use *ret_use, struct errctx *ec);

/** machine_use_to_json() - NULL without memory. machine_use_from_json() - 0, -ENOMEM, or -EINVAL
 *  for what is no such thing. */
json_t *machine_use_to_json(const struct machine_use *use);
int machine_use_from_json(const json_t *json, struct machine_use *ret_use);

/** machine_use_sum() - the planner's input, one entry for each node of @host, from @n machines. */
void machine_use_sum(const struct host_topo *host, const struct machine_use *uses, size_t n,
                     struct place_use *ret_used);

/**
 * machine_use_admit() - may @use reserve what it says beside @n others?
 *
 * On no host node, and under no cgroup's cpu.max, is more reserved than there is.
 * Return: 0, or -ENOSPC with a sentence that names the node and who has what.
 */
int machine_use_admit(const struct host_topo *host, const struct machine_use *others, size_t n,
                      const struct machine_use *use, struct errctx *ec);

/** machine_use_admit_move() - the same of a machine that takes @before and is to take @after, on
 *  the host nodes of which it would reserve more. */
int machine_use_admit_move(const struct host_topo *host, const struct machine_use *others, size_t n,
                           const struct machine_use *before, const struct machine_use *after,
                           struct errctx *ec);

/**
 * machine_use_weights() - weights with which every admitted reservation holds when all are busy.
 *
 * Each machine counts what it reserved, and beyond that a part of what nobody reserved, by its own
 * weight: of every node the machines' parts together are no more than the node, so a machine's
 * share of it is no less than what it reserved, but for a hundredth that rounding costs. All
 * weights together stay what they were without reservations (100 a machine at least), so that other
 * programs are not worse off. Where nothing is reserved, weights are as asked for.
 * @ret_weights: @n values from 1 to 10000.
 */
void machine_use_weights(const struct host_topo *host, const struct machine_use *uses, size_t n,
                         uint32_t *ret_weights);

#endif
