/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that page, and their life. See machine_pager.h. */
#include "vmm/machine/machine_pager.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "memory/pager/pager.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_config.h"
#include "vmm/machine/golden_library.h"
#include "vmm/machine/machine_pager_private.h"
#include "vmm/machine/machine_private.h"

enum {
    TICK_MS = 100,     /* between two looks for something to do by itself */
    REST_MS = 10000,   /* the longest between two looks for a service alone ... */
    MEND_REST_MS = 1000, /* ... and for what could be huge pages */
    MEND_PER_CENT = 10 /* of a CPU that making huge pages may take */
};

/* --- threads ---------------------------------------------------------------------------------- */

/* In its sandbox, or not: tell who waits for that. */
static int begin_thread(struct machine_pager *mp, enum sandbox_kind kind, const struct idset *cpus)
{
    const struct sandbox *sandbox = mp->machine->sandbox;
    struct errctx ec = { 0 };
    int r = place_pin_thread(cpus, &ec);

    if (r == 0 && sandbox != NULL)
        r = sandbox_enter(sandbox, kind, &ec);
    if (r < 0) {
        LOCK_SCOPE(&mp->lock);
        mp->result = r;
        mp->ec = ec;
    }
    (void)sem_post(&mp->ready);
    return r;
}

static void *fault_main(void *arg)
{
    struct fault_thread *ft = arg;
    struct machine_pager *mp = ft->mp;
    unsigned place_seen = 0;
    eventfd_t word;
    char name[16];

    (void)snprintf(name, sizeof(name), "fault%u", ft->vnode.v);
    place_name_thread(name);
    if (begin_thread(mp, SANDBOX_FAULT, &ft->cpus) < 0)
        return NULL;
    while (!atomic_load(&mp->quit_faults)) {
        pager_serve(mp->pager, ft->vnode, ft->word_fd);
        (void)eventfd_read(ft->word_fd, &word);
        if (atomic_exchange(&ft->drains, false))
            machine_stand_tell(mp->machine);
        place_group_follow(&ft->place, &place_seen);
    }
    return NULL;
}

/* A page that cannot come back reaches nobody: the machine ends before a vCPU goes on. */
static void page_is_lost(void *ctx, struct vnode_id vnode, const char *why)
{
    struct machine_pager *mp = ctx;

    (void)vnode;
    machine_request_end(mp->machine, MACHINE_END_LOST, 0, why);
}

/* Who holds or stops the evicting thread waits for the end of what it is at. */
static bool hurry(void *ctx)
{
    struct machine_pager *mp = ctx;
    LOCK_SCOPE(&mp->lock);

    return mp->n_held > 0 || mp->quit;
}

static void stand_locked(struct machine_pager *mp)
{
    mp->working = false;
    (void)pthread_cond_broadcast(&mp->still);
    if (mp->n_held > 0)
        machine_stand_tell(mp->machine);
}

static bool between(void *ctx, uint64_t evicted_bytes)
{
    struct machine_pager *mp = ctx;
    LOCK_SCOPE(&mp->lock);

    mp->evicted_bytes = evicted_bytes;
    if (mp->n_held > 0) {
        stand_locked(mp);
        while (mp->n_held > 0 && !mp->quit)
            (void)pthread_cond_wait(&mp->wake, &mp->lock);
        mp->working = true;
    }
    return !mp->quit;
}

/* On the main loop. */
static void is_over(void *ctx)
{
    struct machine_pager *mp = ctx;

    mp->job = false;
}

static void run_job(struct machine_pager *mp)
{
    static const struct pager_evict_ops ops = { .between = between };
    uint64_t evicted = 0;

    mp->job_ec = (struct errctx){ 0 };
    mp->job_result = pager_evict(mp->pager, mp->vnode, mp->want_bytes, &ops, mp, &evicted,
                                 &mp->job_ec);
    {
        LOCK_SCOPE(&mp->lock);
        mp->evicted_bytes = evicted;
        stand_locked(mp);
        if (mp->quit)
            return;
    }
    if (evloop_post(mp->machine->main_loop, is_over, mp) < 0)
        machine_request_end(mp->machine, MACHINE_END_FAILURE, 0, "no memory to end an eviction");
}

enum errand { ERRAND_QUIT, ERRAND_JOB, ERRAND_TICK };

/* How long to sleep when nobody wakes this thread. Where nothing was evicted there is nothing to offer,
 * and nobody asks for anything: a service that comes is soon enough found when there is, and few
 * extents become complete, so that looks for them become rare. */
static unsigned next_rest_ms(const struct machine_pager *mp)
{
    if (pager_active(mp->pager) || mp->rest_ms == 0)
        return TICK_MS;
    return MIN(2 * mp->rest_ms,
               (unsigned)(pager_watches_any(mp->pager) ? MEND_REST_MS : REST_MS));
}

static struct timespec from_now(unsigned ms)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000L;
    t.tv_nsec %= 1000000000L;
    return t;
}

/* Where nothing was ever evicted nothing comes up by itself, and nobody is woken, unless a service
 * may come. */
static enum errand wait_for_errand(struct machine_pager *mp)
{
    struct timespec until;
    bool late = false;
    LOCK_SCOPE(&mp->lock);

    mp->rest_ms = next_rest_ms(mp);
    until = from_now(mp->rest_ms);
    while (!mp->quit && (mp->n_held > 0 || (!mp->todo && !late))) {
        if (mp->rest_ms > TICK_MS && pager_active(mp->pager)) { /* woken: a target was set */
            mp->rest_ms = TICK_MS;
            until = from_now(TICK_MS);
        }
        if (!late && (mp->domain != NULL || pager_active(mp->pager) ||
                      pager_watches_any(mp->pager)))
            late = pthread_cond_timedwait(&mp->wake, &mp->lock, &until) == ETIMEDOUT;
        else
            (void)pthread_cond_wait(&mp->wake, &mp->lock);
    }
    if (mp->quit)
        return ERRAND_QUIT;
    mp->working = true;
    if (!mp->todo)
        return ERRAND_TICK;
    mp->todo = false;
    return ERRAND_JOB;
}

static void tick(struct machine_pager *mp)
{
    /* A budget that is too small for all serves all, by turns. */
    static void (*const by_turns[])(struct pager *pager, uint64_t now_ns) = {
        pager_pack, pager_look, pager_domain,
    };
    struct errctx ec = { 0 };
    bool failed;

    {
        LOCK_SCOPE(&mp->lock);
        failed = mp->target_ec.msg[0] != '\0';
    }
    mp->turn++;
    for (unsigned i = 0; i < ARRAY_SIZE(by_turns); i++)
        by_turns[(mp->turn + i) % ARRAY_SIZE(by_turns)](mp->pager, evloop_now_ns());
    if (pager_mend(mp->pager, TICK_MS * UINT64_C(1000000) * MEND_PER_CENT / 100))
        mp->rest_ms = 0; /* there is more */
    if (!failed && pager_evict_cold(mp->pager, &ec) < 0)
        failed = true;
    LOCK_SCOPE(&mp->lock);
    if (failed && mp->target_ec.msg[0] == '\0')
        mp->target_ec = ec;
    stand_locked(mp);
}

static void *evict_main(void *arg)
{
    struct machine_pager *mp = arg;
    unsigned place_seen = 0;

    place_name_thread("evict");
    if (begin_thread(mp, mp->domain != NULL ? SANDBOX_EVICT_DOMAIN : SANDBOX_EVICT,
                     &mp->machine->threads->main.host_cpus) < 0)
        return NULL;
    for (;;) {
        const enum errand errand = wait_for_errand(mp);

        if (errand == ERRAND_QUIT)
            return NULL;
        place_group_follow(&mp->evictor_place, &place_seen);
        if (errand == ERRAND_JOB)
            run_job(mp);
        else
            tick(mp);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

/* 1 % of a CPU for each 16 GiB or part of it. */
static uint32_t budget_milli(const struct machine *m)
{
    const uint64_t unit = UINT64_C(16) * GIB;
    uint64_t bytes = 0;

    if (m->config->pager_budget_milli > 0)
        return m->config->pager_budget_milli;
    for (size_t i = 0; i < m->plan->n_nodes; i++)
        bytes += m->plan->nodes[i].ram_bytes;
    return (uint32_t)MIN((bytes + unit - 1) / unit * 10, UINT64_C(1000));
}

static int make_faults(struct machine_pager *mp, struct errctx *ec)
{
    const struct topo_plan *plan = mp->machine->plan;

    mp->faults = calloc(plan->n_nodes, sizeof(mp->faults[0]));
    if (mp->faults == NULL)
        return errctx_set(ec, ENOMEM, "no memory for paging");
    for (size_t i = 0; i < plan->n_nodes; i++) {
        struct fault_thread *ft = &mp->faults[i];

        *ft = (struct fault_thread){ .mp = mp, .vnode = plan->nodes[i].vnode };
        place_group_init(&ft->place);
        machine_threads_cpus(plan, ft->vnode.v, &ft->cpus);
        ft->word_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    for (size_t i = 0; i < plan->n_nodes; i++)
        if (mp->faults[i].word_fd < 0)
            return errctx_set(ec, EMFILE, "no descriptors for the threads that page");
    return 0;
}

static void free_faults(struct machine_pager *mp)
{
    for (size_t i = 0; mp->faults != NULL && i < mp->machine->plan->n_nodes; i++) {
        if (mp->faults[i].word_fd >= 0)
            (void)close(mp->faults[i].word_fd);
        place_group_fini(&mp->faults[i].place);
    }
    free(mp->faults);
}

static int make_swap(struct machine_pager *mp, const char *path, struct errctx *ec)
{
    int r = swap_file_open(path, &mp->swap_file, ec);

    if (r == 0)
        r = swap_new(&mp->swap_file, &mp->swap, ec);
    return r < 0 ? errctx_wrap(ec, r, "--pager-swap") : 0;
}

static int open_golden(struct machine_pager *mp, const char *name, struct errctx *ec)
{
    CLEANUP_FREE char *path = NULL;
    int r = golden_library_path(name, &path, ec);

    if (r == 0)
        r = golden_open(path, &mp->golden, ec);
    if (r == 0) /* fault threads, and the one that evicts */
        r = golden_set_readers(mp->golden, mp->machine->plan->n_nodes + 1, ec);
    return r < 0 ? errctx_wrap(ec, r, "--golden") : 0;
}

/* The service is not there, or not yet: nothing depends on it. */
static int make_domain(struct machine_pager *mp, struct errctx *ec)
{
    char path[320];
    const struct machine_config *config = mp->machine->config;
    int r = domain_client_new(machine_config_domain_socket(config, path, sizeof(path)),
                              config->domain, &mp->domain, ec);

    return r < 0 ? errctx_wrap(ec, r, "--domain") : 0;
}

int machine_make_pager(struct machine *m, struct errctx *ec)
{
    struct machine_pager *mp;
    pthread_condattr_t attr;
    int r;

    if (m->config->pager == CONFIG_PAGER_OFF)
        return 0;
    mp = calloc(1, sizeof(*mp));
    if (mp == NULL)
        return errctx_set(ec, ENOMEM, "no memory for paging");
    mp->machine = m;
    mp->swap_file.fd = -1;
    (void)sem_init(&mp->ready, 0, 0);
    (void)pthread_mutex_init(&mp->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&mp->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_cond_init(&mp->still, NULL);
    place_group_init(&mp->evictor_place);
    m->pager = mp;
    r = make_faults(mp, ec);
    if (r == 0 && m->config->pager_swap != NULL)
        r = make_swap(mp, m->config->pager_swap, ec);
    if (r == 0 && m->config->golden != NULL)
        r = open_golden(mp, m->config->golden, ec);
    if (r == 0 && m->config->domain != NULL)
        r = make_domain(mp, ec);
    if (r == 0)
        r = pager_new(&(struct pager_params){ .mem = m->mem, .lost = page_is_lost,
                                              .hurry = hurry, .ctx = mp,
                                              .budget_milli = budget_milli(m),
                                              .store_bytes = m->config->pager_store_bytes,
                                              .swap = mp->swap, .golden = mp->golden,
                                              .domain = mp->domain },
                      &mp->pager, ec);
    if (r < 0) {
        machine_free_pager(m);
        return errctx_wrap(ec, r, "--pager on");
    }
    return 0;
}

void machine_free_pager(struct machine *m)
{
    struct machine_pager *mp = m->pager;
    struct swap_counts c;

    if (mp == NULL)
        return;
    pager_free(mp->pager);
    domain_client_free(mp->domain);
    golden_close(mp->golden);
    if (mp->swap != NULL) {
        swap_count(mp->swap, &c);
        mp->swap_file.late = c.trouble == ETIMEDOUT;
    }
    swap_free(mp->swap);
    swap_file_close(&mp->swap_file);
    free_faults(mp);
    place_group_fini(&mp->evictor_place);
    (void)pthread_cond_destroy(&mp->still);
    (void)pthread_cond_destroy(&mp->wake);
    (void)pthread_mutex_destroy(&mp->lock);
    (void)sem_destroy(&mp->ready);
    free(mp);
    m->pager = NULL;
}

static void wait_ready(struct machine_pager *mp)
{
    while (sem_wait(&mp->ready) < 0)
        ; /* interrupted */
}

int machine_start_pager(struct machine *m, struct errctx *ec)
{
    struct machine_pager *mp = m->pager;
    int r = 0;

    if (mp == NULL)
        return 0;
    for (size_t i = 0; r == 0 && i < m->plan->n_nodes; i++) {
        if (m->plan->nodes[i].ram_bytes == 0)
            continue;
        r = pthread_create(&mp->faults[i].thread, NULL, fault_main, &mp->faults[i]);
        if (r == 0) {
            mp->faults[i].started = true;
            wait_ready(mp);
        }
    }
    if (r == 0)
        r = pthread_create(&mp->evictor, NULL, evict_main, mp);
    if (r != 0)
        return errctx_set_os(ec, r, "threads that page");
    mp->evictor_started = true;
    wait_ready(mp);
    {
        LOCK_SCOPE(&mp->lock);
        if (mp->result < 0)
            return errctx_set(ec, -mp->result, "threads that page: %s", mp->ec.msg);
    }
    return machine_pager_make_huge(m, ec);
}

void machine_stop_pager(struct machine *m)
{
    struct machine_pager *mp = m->pager;

    if (mp == NULL)
        return;
    {
        LOCK_SCOPE(&mp->lock);
        mp->quit = true;
        (void)pthread_cond_broadcast(&mp->wake);
    }
    if (mp->evictor_started)
        (void)pthread_join(mp->evictor, NULL);
    atomic_store(&mp->quit_faults, true);
    for (size_t i = 0; i < m->plan->n_nodes; i++) {
        if (!mp->faults[i].started)
            continue;
        (void)eventfd_write(mp->faults[i].word_fd, 1);
        (void)pthread_join(mp->faults[i].thread, NULL);
    }
    machine_free_pager(m);
}

void machine_pager_hold(const struct machine *m)
{
    struct machine_pager *mp = m->pager;

    if (mp == NULL)
        return;
    LOCK_SCOPE(&mp->lock);
    mp->n_held++;
    while (mp->working)
        (void)pthread_cond_wait(&mp->still, &mp->lock);
}

void machine_pager_ask(const struct machine *m)
{
    struct machine_pager *mp = m->pager;

    if (mp == NULL)
        return;
    LOCK_SCOPE(&mp->lock);
    mp->n_held++;
}

bool machine_pager_is_still(const struct machine *m)
{
    struct machine_pager *mp = m->pager;

    if (mp == NULL)
        return true;
    LOCK_SCOPE(&mp->lock);
    return !mp->working;
}

void machine_pager_drain(struct machine *m)
{
    struct machine_pager *mp = m->pager;

    for (size_t i = 0; mp != NULL && i < m->plan->n_nodes; i++) {
        if (!mp->faults[i].started)
            continue;
        atomic_store(&mp->faults[i].drains, true);
        (void)eventfd_write(mp->faults[i].word_fd, 1);
    }
}

bool machine_pager_is_drained(const struct machine *m)
{
    const struct machine_pager *mp = m->pager;

    for (size_t i = 0; mp != NULL && i < m->plan->n_nodes; i++)
        if (atomic_load(&mp->faults[i].drains))
            return false;
    return true;
}

void machine_pager_release(const struct machine *m)
{
    struct machine_pager *mp = m->pager;

    if (mp == NULL)
        return;
    LOCK_SCOPE(&mp->lock);
    mp->n_held--;
    (void)pthread_cond_broadcast(&mp->wake);
}

bool machine_pager_watches(const struct machine *m, struct vnode_id vnode)
{
    return m->pager != NULL && pager_watches(m->pager->pager, vnode);
}

int machine_pager_make_huge(struct machine *m, struct errctx *ec)
{
    struct machine_pager *mp = m->pager;
    int r;

    if (mp == NULL)
        return 0;
    r = pager_make_huge(mp->pager, ec);
    LOCK_SCOPE(&mp->lock);
    (void)pthread_cond_broadcast(&mp->wake);
    return r;
}

int machine_pager_reset(struct machine *m, struct errctx *ec)
{
    return m->pager != NULL ? pager_reset(m->pager->pager, ec) : 0;
}

void machine_pager_follow(struct machine *m, const struct topo_plan *now)
{
    struct machine_pager *mp = m->pager;
    struct idset cpus;

    for (size_t i = 0; mp != NULL && i < m->plan->n_nodes; i++) {
        struct fault_thread *ft = &mp->faults[i];

        machine_threads_cpus(now, ft->vnode.v, &cpus);
        if (!ft->started || idset_empty(&cpus) || idset_equal(&cpus, &ft->cpus))
            continue;
        ft->cpus = cpus;
        place_group_send(&ft->place, &cpus);
        (void)eventfd_write(ft->word_fd, 1);
    }
    if (mp != NULL && !idset_empty(&m->threads->main.host_cpus))
        place_group_send(&mp->evictor_place, &m->threads->main.host_cpus);
}

int machine_pager_follow_memory(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                                const struct pager_follow_ops *ops, void *ctx, struct errctx *ec)
{
    return m->pager != NULL ? pager_follow(m->pager->pager, vnode, to, ops, ctx, ec) : 0;
}

bool machine_pager_busy(const struct machine *m, struct vnode_id *ret_vnode)
{
    if (m->pager == NULL || !m->pager->job)
        return false;
    *ret_vnode = m->pager->vnode;
    return true;
}
