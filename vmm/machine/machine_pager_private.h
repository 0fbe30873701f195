/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of struct machine_pager, for machine_pager*.c and machine_lost.c only. A job
 * belongs to the evicting thread from machine_evict() until its message is_over() runs on the main
 * loop; what both look at before is under the lock.
 */
#ifndef VMM_MACHINE_MACHINE_PAGER_PRIVATE_H
#define VMM_MACHINE_MACHINE_PAGER_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/store/domain/domain_client.h"
#include "memory/store/golden/golden.h"
#include "memory/store/swap.h"
#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"
#include "vmm/base/ids.h"
#include "vmm/base/place.h"

struct machine;
struct pager;
struct machine_pager;

/* One virtual node's. */
struct fault_thread {
    struct machine_pager *mp;
    struct vnode_id vnode;
    pthread_t thread;
    bool started;
    int word_fd;              /* readable: look at quit_faults, drains and place */
    atomic_bool drains;       /* somebody wants to know when what it is at has ended */
    struct place_group place; /* where it belongs since its node was moved */
    struct idset cpus;        /* where it was sent; main thread */
};

struct machine_pager {
    struct machine *machine;
    struct pager *pager;
    struct swap_file swap_file;
    struct swap *swap; /* NULL: none */
    struct golden *golden; /* NULL: none */
    struct domain_client *domain; /* NULL: none */
    struct fault_thread *faults; /* one per virtual node */
    atomic_bool quit_faults;
    pthread_t evictor;
    struct place_group evictor_place;
    bool evictor_started;
    unsigned rest_ms; /* the evicting thread's: how long it sleeps; 0: it never did */
    unsigned turn; /* the evicting thread's: what of a tick gets what the budget has */
    sem_t ready; /* posted by a thread that is in its sandbox, or cannot be */

    pthread_mutex_t lock; /* a leaf; covers what follows */
    pthread_cond_t wake;  /* the evicting thread: something below changed */
    pthread_cond_t still; /* who holds: working became false */
    int result;           /* of the start of any thread */
    struct errctx ec;
    bool quit, working, todo;
    unsigned n_held;
    uint64_t evicted_bytes; /* of the job so far */
    struct errctx target_ec; /* why nothing goes toward targets any more; "": it does */

    /* main thread, and the evicting one while job is true */
    bool job, any;
    struct vnode_id vnode; /* of the present or the last job */
    uint64_t want_bytes;
    int job_result;
    struct errctx job_ec;
};

#endif
