/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a placement of a running machine costs, what is remembered of it, and steps: for the files
 * of vcpu/policy/balance*.c only.
 */
#ifndef VCPU_POLICY_BALANCE_PRIVATE_H
#define VCPU_POLICY_BALANCE_PRIVATE_H

#include "vcpu/policy/balance.h"

/* One snapshot with homes that may be changed. Arrays are owned. */
struct balance_view {
    const struct balance_snapshot *snap;
    uint32_t n_nodes, n_vnodes; /* as allocated */
    uint32_t *demand;           /* per virtual node, milli-CPUs; the caller may smooth it */
    uint32_t *home;
    bool *gathered;   /* its memory is at home, all of it */
    uint64_t *bytes;  /* per virtual node, resident */
    uint64_t total;   /* of all of them */
    uint64_t *wanted; /* per host node, milli-CPUs, others included */
    int64_t *room;    /* per host node, bytes free; below 0 between the two halves of a swap */
    uint32_t *stray;  /* per virtual node and host node: mean distance to its memory as it is */
};

int balance_view_init(struct balance_view *v, uint32_t n_nodes, uint32_t n_vnodes,
                      struct errctx *ec);
void balance_view_fini(struct balance_view *v);

/** balance_view_set() - look at @snap, homes as they are. @demand, @others: per virtual and
 *  host node, NULL for the snapshot's. */
void balance_view_set(struct balance_view *v, const struct balance_snapshot *snap,
                      const uint32_t *demand, const uint32_t *others);

int64_t balance_view_cost(const struct balance_view *v);

/** balance_view_put() - @vnode at host node @to, with all its memory. */
void balance_view_put(struct balance_view *v, uint32_t vnode, uint32_t to);

/** balance_view_back() - undo the last balance_view_put() of a node that was at @from. */
void balance_view_back(struct balance_view *v, uint32_t vnode, uint32_t from, bool gathered);

/** balance_view_gain() - what putting @vnode there saves; the view stays as it is. */
int64_t balance_view_gain(struct balance_view *v, uint32_t vnode, uint32_t to);

/** balance_view_missing() - bytes that would have to move for @vnode to be whole at @to. */
uint64_t balance_view_missing(const struct balance_view *v, uint32_t vnode, uint32_t to);

enum { BALANCE_FIXED = 16 }; /* loads are smoothed in sixteenths of a milli-CPU */

struct balance_load {
    int64_t mean, deviation; /* BALANCE_FIXED parts of a milli-CPU */
};

/* What is remembered of a virtual node. */
struct balance_past {
    uint32_t home;
    uint32_t left; /* the host node that it was on before */
    bool moved;    /* ever; then left and moved_ns are valid */
    uint64_t moved_ns;
    uint64_t rest_ns; /* not before this time */
    uint32_t ping_pong;
};

struct balance {
    struct balance_params params;
    struct balance_view view;
    struct balance_past *past;  /* per virtual node */
    struct balance_load *loads; /* of virtual nodes, then what others want of host nodes */
    uint32_t *smooth;           /* their means, milli-CPUs */
    bool any;                   /* a snapshot was seen */
    uint64_t last_ns;
    struct balance_step candidate; /* .n 0: none */
    uint32_t streak;
    uint32_t settle; /* epochs that the last decision's nodes are there */
    int64_t before;  /* the whole cost when it was made */
    struct balance_decision log[BALANCE_LOG];
    size_t n_log; /* all that were ever made; the last BALANCE_LOG of them are there */
};

/* A step and what speaks for it. */
struct balance_offer {
    struct balance_step step;
    int64_t gain, threshold;
    uint64_t bytes;
};

/** balance_is_free() - may @vnode be moved now? */
bool balance_is_free(const struct balance *b, uint32_t vnode);

/** balance_weigh() - fill in what the step of @offer gains. Return: is it possible, does it pay? */
bool balance_weigh(struct balance *b, struct balance_offer *offer);

/** balance_search() - the step that is worth most; .step.n is 0 when none pays. */
void balance_search(struct balance *b, struct balance_offer *ret_offer);

#endif
