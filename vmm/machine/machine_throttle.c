/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_throttle.h, and vcpu/policy/bandwidth.h for when it holds. */
#include "vmm/machine/machine_throttle.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "vcpu/policy/bandwidth.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

enum { CPU_MILLI = 1000 };

#define PERIOD_NS UINT64_C(100000000) /* as a cgroup's, if nobody says otherwise */
#define LEAST_NS  UINT64_C(1000000)

struct throttle {
    struct machine *machine;
    pthread_t thread;
    bool started;
    sem_t ready; /* posted when the thread is in its sandbox, or cannot be */
    int result;  /* of that */
    struct errctx ec;
    pthread_mutex_t lock; /* a leaf; covers the two below */
    bool quit;
    struct bandwidth bandwidth;
    pthread_cond_t wake; /* quit changed; by the monotonic clock */
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t = { 0 };

    (void)clock_gettime(clock, &t); /* these two cannot fail */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* How many CPUs the process can use at once: so fast is a quota used up. */
static uint32_t most_busy(const struct machine *m)
{
    size_t cpus = 0;

    for (size_t h = 0; h < m->plan->n_hosts; h++)
        cpus += idset_count(&m->plan->hosts[h].cpus);
    return (uint32_t)MAX(MIN(cpus, m->n_vcpus + m->n_io), (size_t)1);
}

/* Kicks come after the wish, so that none is lost (run_gate.h). */
static void hold(const struct throttle *t, bool hold_them)
{
    struct machine *m = t->machine;

    run_gate_hold(&m->gate, hold_them);
    for (size_t i = 0; hold_them && i < m->n_vcpus; i++)
        vcpu_kick(m->vcpus[i]);
}

/* Return: false when it is over. */
static bool wait_until(struct throttle *t, uint64_t at_ns)
{
    const struct timespec at = { .tv_sec = (time_t)(at_ns / 1000000000u),
                                 .tv_nsec = (long)(at_ns % 1000000000u) };
    LOCK_SCOPE(&t->lock);

    while (!t->quit && clock_ns(CLOCK_MONOTONIC) < at_ns)
        (void)pthread_cond_timedwait(&t->wake, &t->lock, &at);
    return !t->quit;
}

static struct bandwidth_next look(struct throttle *t, uint32_t n_threads)
{
    LOCK_SCOPE(&t->lock);

    return bandwidth_look(&t->bandwidth, clock_ns(CLOCK_MONOTONIC),
                          clock_ns(CLOCK_PROCESS_CPUTIME_ID), n_threads, LEAST_NS);
}

static void keep(struct throttle *t)
{
    const uint32_t n_threads = most_busy(t->machine);
    struct bandwidth_next next;
    bool held = false;

    do {
        next = look(t, n_threads);
        if (next.hold != held)
            hold(t, next.hold);
        held = next.hold;
    } while (wait_until(t, next.at_ns));
    hold(t, false);
}

static void *throttle_main(void *arg)
{
    struct throttle *t = arg;
    const struct sandbox *sandbox = t->machine->sandbox;

    place_name_thread("throttle");
    t->result = sandbox != NULL ? sandbox_enter(sandbox, SANDBOX_THROTTLE, &t->ec) : 0;
    (void)sem_post(&t->ready);
    if (t->result == 0)
        keep(t);
    return NULL;
}

static struct throttle *new_throttle(struct machine *m)
{
    struct throttle *t = calloc(1, sizeof(*t));
    pthread_condattr_t attr;

    if (t == NULL)
        return NULL;
    t->machine = m;
    (void)sem_init(&t->ready, 0, 0);
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    bandwidth_init(&t->bandwidth, PERIOD_NS, m->max_milli * (PERIOD_NS / CPU_MILLI),
                   clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID));
    return t;
}

int machine_start_throttle(struct machine *m, struct errctx *ec)
{
    struct throttle *t;
    int r;

    if (m->max_milli == 0)
        return 0;
    t = m->throttle = new_throttle(m);
    if (t == NULL)
        return errctx_set(ec, ENOMEM, "no memory to keep --cpu-max");
    r = pthread_create(&t->thread, NULL, throttle_main, t);
    if (r != 0)
        return errctx_set_os(ec, r, "thread that keeps --cpu-max");
    t->started = true;
    while (sem_wait(&t->ready) < 0)
        ; /* interrupted */
    return t->result == 0
               ? 0
               : errctx_set(ec, -t->result, "thread that keeps --cpu-max: %s", t->ec.msg);
}

void machine_stop_throttle(struct machine *m)
{
    struct throttle *t = m->throttle;

    if (t == NULL)
        return;
    if (t->started) {
        {
            LOCK_SCOPE(&t->lock);
            t->quit = true;
            (void)pthread_cond_broadcast(&t->wake);
        }
        (void)pthread_join(t->thread, NULL);
    }
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_mutex_destroy(&t->lock);
    (void)sem_destroy(&t->ready);
    free(t);
    m->throttle = NULL;
}

json_t *machine_throttle_json(const struct machine *m)
{
    struct throttle *t = m->throttle;

    if (t == NULL)
        return NULL;
    LOCK_SCOPE(&t->lock);
    return json_pack("{s:I, s:I, s:I, s:I}", "usage_usec",
                     (json_int_t)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000), "nr_periods",
                     (json_int_t)t->bandwidth.n_periods, "nr_throttled",
                     (json_int_t)t->bandwidth.n_throttled, "throttled_usec",
                     (json_int_t)(t->bandwidth.throttled_ns / 1000));
}

void machine_limit_cpu(struct machine *m, uint32_t max_milli)
{
    m->max_milli = max_milli;
}
