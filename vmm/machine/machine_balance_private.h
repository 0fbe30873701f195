/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balancer, for machine_balance.c (its life and the main loop), machine_balance_look.c (what
 * its thread does) and machine_balance_act.c (what comes of it).
 */
#ifndef VMM_MACHINE_MACHINE_BALANCE_PRIVATE_H
#define VMM_MACHINE_MACHINE_BALANCE_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>

#include "vmm/machine/balance_live.h"
#include "vmm/machine/machine_private.h"

/* What was done about a decision. */
struct balance_note {
    uint64_t time_ns; /* of the decision; 0: a free place */
    bool advised;     /* it was only said */
    char why[200];    /* it was not carried out; "" when it was, or is not known yet */
};

/* A virtual node, as the main loop knows it. */
struct balance_vnode_state {
    struct idset pinned; /* CPUs that its threads belong on; empty: not pinned */
    struct idset away;   /* where they run instead while none of these is online; empty: at home */
    uint32_t home;       /* index of a host node; 0 when it has none */
    const char *stays;   /* why it is not moved; NULL: it may be */
};

struct balancer {
    struct machine *machine;
    pthread_t thread;
    bool started;
    sem_t ready; /* the thread is in its sandbox, or cannot be */
    int result;  /* valid once ready */
    struct errctx ec;

    pthread_mutex_t lock; /* a leaf; covers what follows */
    pthread_cond_t wake;  /* the thread: something below changed */
    bool quit, held, working, todo;

    /* From handing a job over until its message runs on the main loop, the thread's; else the main
     * thread's. */
    struct host_watch *watch;
    struct host_reading before;
    bool has_before;
    uint64_t before_ns;
    struct balance *policy;
    struct balance_live_vnode *vnodes;
    uint64_t *used_ns, *used_before_ns; /* per virtual node, since its threads began */
    uint64_t *at;                       /* bytes by virtual node and host node */
    struct balance_line line;           /* the last snapshot */
    bool has_line;
    uint32_t round; /* which part of a large memory is looked at */
    struct balance_head head;
    int trace_fd;       /* -1: none */
    bool trace_began;   /* its first line is written */
    int trace_error;    /* errno that ended it */
    struct idset online;
    struct host_pressure cpu_pressure, memory_pressure;
    int job_result; /* 1: decided; 0; a negative errno, job_ec has its sentence */
    bool looked;    /* there is a new snapshot */
    struct errctx job_ec;
    struct balance_decision decided;

    /* The main thread's. */
    struct evloop_timer *timer;
    enum guest_balance mode;
    uint64_t epoch_ns, due_ns;
    bool busy; /* the thread has a job */
    struct balance_vnode_state *states;
    json_t *seen; /* the last snapshot for `ctl`; NULL: none yet */
    struct balance_decision log[BALANCE_LOG]; /* a copy of the policy's */
    size_t n_log;
    struct balance_note notes[BALANCE_LOG];
    size_t next_note;
    struct balance_step doing; /* being carried out; .n 0: nothing is */
    uint64_t doing_ns;         /* the time of its decision */
    uint32_t next;             /* move of it */
    bool moving;               /* the mover has it, or will */
    struct machine_ask ask;    /* by which it gets it */
    bool asking;
    uint64_t n_epochs, n_skipped, n_decided, n_moves, n_failed;
    char complaint[ERRCTX_MSG_MAX]; /* of the last job, "" when there was none */
};

/* machine_balance_look.c: one job; the balancer's thread. */
void balancer_look(struct balancer *b);

/* machine_balance_act.c, main thread. */
void balancer_act(struct balancer *b);
void balancer_go_on(struct balancer *b);
json_t *balancer_json(const struct balancer *b);

#endif
