/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebalancing: should a virtual node of a running machine move to another host node, and which?
 *
 * Pure: no system call, no clock, integers only. What is known of the host and the machine comes
 * in as a snapshot once every epoch, what was known before is kept in struct balance; the same
 * snapshots in the same order give the same decisions, so a recorded trace can be replayed.
 * docs/placement.md ("Rebalancing") states cost, thresholds and units.
 *
 * Host nodes and virtual nodes are indices. Costs and gains are CPU time, in millionths of a CPU.
 * One thread at a time for each struct balance.
 */
#ifndef VCPU_POLICY_BALANCE_H
#define VCPU_POLICY_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

enum {
    BALANCE_MAX_NODES = 1024,
    BALANCE_MAX_VNODES = 128,
    BALANCE_LOCAL = 1000, /* the host's smallest distance */
    BALANCE_MAX_DISTANCE = 1000000,
    BALANCE_MAX_MILLI = 1000000,      /* wanted by one virtual node */
    BALANCE_MAX_NODE_MILLI = 8000000, /* of a host node, had or wanted by others */
    BALANCE_CPU = 1000000,            /* one CPU's time, as costs and gains count it */
    BALANCE_LOG = 64,                 /* decisions that are remembered */
    BALANCE_STEP = 8,                 /* moves that are decided together */
    BALANCE_STALL_ALL = 10000,        /* all the time, in hundredths of a per cent */
};

#define BALANCE_MAX_BYTES (UINT64_C(1) << 50) /* of memory, of a host node or a virtual one */

struct balance_node {
    uint32_t capacity_milli; /* of its CPUs that are online, less what heat takes */
    uint32_t others_milli;   /* wanted there by others than this machine */
    uint64_t mem_bytes, free_bytes;
};

struct balance_vnode {
    uint32_t demand_milli; /* CPU time used or waited for */
    uint32_t home;         /* host node of its vCPUs, and where its memory belongs */
    bool fixed;            /* it is not to be moved */
};

/* All that a decision depends on. Arrays are the caller's and are not kept. */
struct balance_snapshot {
    uint64_t time_ns; /* grows */
    uint32_t n_nodes, n_vnodes;
    const struct balance_node *nodes;
    const uint32_t *distances; /* n_nodes², row = from, BALANCE_LOCAL the smallest */
    const struct balance_vnode *vnodes;
    const uint64_t *at_bytes; /* n_vnodes * n_nodes: resident memory, where it really is */
    const uint32_t *told;     /* n_vnodes², what the guest was told, 10 local; NULL: nothing */
    uint32_t stall; /* part of the time in which all tasks of the host waited for memory */
};

struct balance_params {
    uint64_t horizon_ns;     /* a gain counts so long */
    uint64_t residency_ns;   /* between two moves of one virtual node, at least */
    uint64_t bytes_per_s;    /* moving goes so fast, and takes the time of two CPUs meanwhile */
    uint32_t min_gain_milli; /* what gains less is not worth a move */
    uint32_t gib_gain_milli; /* so much more for each GiB that moves */
    uint32_t confirm;        /* a step must pay in so many epochs, one after the other */
    uint32_t most_stall;     /* beyond it nothing moves: copying would add to it */
};

/** balance_defaults() - horizon 5 min, residency 1 min, 1 GiB/s, 250 + 20 a GiB, 3 epochs, 10 %. */
struct balance_params balance_defaults(void);

/* Virtual nodes that move together, in this order: a group that should stay near each other, or one
 * that makes room for another. Where from and to are one node, stray memory is gathered there. */
struct balance_step {
    uint32_t n;
    uint32_t vnode[BALANCE_STEP], from[BALANCE_STEP], to[BALANCE_STEP];
};

enum balance_outcome {
    BALANCE_WAITING,  /* not known yet */
    BALANCE_DONE,     /* the nodes went there; achieved is valid */
    BALANCE_NOT_DONE, /* not all did, though there was time for it */
};

struct balance_decision {
    uint64_t time_ns;
    struct balance_step step;
    uint64_t bytes;     /* that had to move */
    int64_t predicted;  /* gain, without the cost of moving */
    int64_t threshold;  /* that it had to exceed, with the cost of moving in it */
    uint32_t ping_pong; /* the counter at that time */
    enum balance_outcome outcome;
    int64_t achieved; /* by the load afterwards: what going back would cost */
};

struct balance;

/** balance_new() - for machines and hosts of one size. Return: 0, -EINVAL (sizes) or -ENOMEM. */
int balance_new(const struct balance_params *params, uint32_t n_nodes, uint32_t n_vnodes,
                struct balance **ret_balance, struct errctx *ec);
void balance_free(struct balance *b);

/**
 * balance_epoch() - take one snapshot, decide.
 * @ret_decision: receives what is to be done now; untouched unless the result is 1. It is also in
 *      the log. A decision that is not carried out is not repeated within the residency time.
 * Return: 1; 0 for nothing to do; -EINVAL for a snapshot that contradicts itself or the sizes,
 * with a sentence, and nothing is remembered of it.
 */
int balance_epoch(struct balance *b, const struct balance_snapshot *snap,
                  struct balance_decision *ret_decision, struct errctx *ec);

/** balance_log() - the @i-th decision, the oldest first; NULL beyond the last one. */
const struct balance_decision *balance_log(const struct balance *b, size_t i);

/** balance_cost() - of the machine as it is at @homes (NULL: as the snapshot has it), memory of
 *  nodes that differ from the snapshot gathered there. The snapshot must be a valid one.
 *  Return: 0 or -ENOMEM. */
int balance_cost(const struct balance_snapshot *snap, const uint32_t *homes, int64_t *ret_cost,
                 struct errctx *ec);

/** balance_check() - is it one that balance_epoch() takes? Return: 0 or -EINVAL. */
int balance_check(const struct balance_snapshot *snap, struct errctx *ec);

#endif
