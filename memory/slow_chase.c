/* SPDX-License-Identifier: Apache-2.0 */
/* See slow_chase.h. */
#include "memory/slow_chase.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "memory/slow_pages.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/kvm/kvm_chase.h"

_Static_assert((int)SLOW_CHASE_BYTES <= (int)KVM_CHASE_MAX_BYTES, "a guest can chase through it");

enum {
    LINE_BYTES = 64,
    LINES = SLOW_CHASE_BYTES / LINE_BYTES,
    STEPS_AT_ONCE = 64, /* between two looks at whether it is over */
    ENOUGH_STEPS = 1024,
};
#define PATIENCE_NS UINT64_C(10000000000)

struct line {
    uint64_t next; /* bytes from the first line */
    uint8_t rest[LINE_BYTES - sizeof(uint64_t)];
};

struct slow_chase {
    struct line *lines;
    int memfd;
    struct kvm_chase *guest; /* NULL: ->steps and ->stop are the thread's */
    _Atomic uint64_t steps;
    atomic_bool stop;
    pthread_t thread;
    sem_t begun;
    int schedstat_fd; /* the thread's; -1: a kernel without */
};

/* splitmix64 */
static uint32_t dice(uint64_t *seed, uint32_t below)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)(((z ^ z >> 31) >> 32) * below >> 32);
}

/* One cycle through all of them (Sattolo). */
static void weave(struct line *lines)
{
    uint64_t seed = 1;

    for (uint32_t i = 0; i < LINES; i++)
        lines[i].next = (uint64_t)i * LINE_BYTES;
    for (uint32_t i = LINES - 1; i > 0; i--) {
        const uint32_t k = dice(&seed, i);
        const uint64_t next = lines[i].next;

        lines[i].next = lines[k].next;
        lines[k].next = next;
    }
}

static void chase_here(struct slow_chase *c)
{
    const uint8_t *const base = (const uint8_t *)c->lines;
    uint64_t at = 0;

    while (!atomic_load_explicit(&c->stop, memory_order_relaxed)) {
        for (int i = 0; i < STEPS_AT_ONCE; i++)
            at = *(const volatile uint64_t *)(const void *)(base + at);
        atomic_fetch_add_explicit(&c->steps, STEPS_AT_ONCE, memory_order_relaxed);
    }
}

static void *chase_main(void *arg)
{
    struct slow_chase *c = arg;

    place_name_thread("slow-chase");
    c->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    (void)sem_post(&c->begun);
    if (c->guest == NULL)
        chase_here(c);
    else
        (void)kvm_chase_run(c->guest, NULL); /* who does not get on is seen by that */
    return NULL;
}

static int make_ground(struct slow_chase *c, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = memfd_create("slow-measure", MFD_CLOEXEC);
    void *at;

    if (fd < 0 || ftruncate(fd, SLOW_CHASE_BYTES) < 0)
        return errctx_set_os(ec, errno, "memory to measure with");
    at = mmap(NULL, SLOW_CHASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return errctx_set_os(ec, errno, "memory to measure with");
    c->lines = at;
    c->memfd = take_fd(&fd);
    weave(c->lines);
    return 0;
}

static void free_all(struct slow_chase *c)
{
    kvm_chase_free(c->guest);
    if (c->lines != NULL)
        (void)munmap(c->lines, SLOW_CHASE_BYTES);
    if (c->memfd >= 0)
        (void)close(c->memfd);
    if (c->schedstat_fd >= 0)
        (void)close(c->schedstat_fd);
    (void)sem_destroy(&c->begun);
    free(c);
}

int slow_chase_start(const struct kvm_sys *sys, struct slow_chase **ret_chase, struct errctx *ec)
{
    struct slow_chase *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return errctx_set(ec, ENOMEM, "no memory to measure with");
    c->memfd = c->schedstat_fd = -1;
    (void)sem_init(&c->begun, 0, 0);
    r = make_ground(c, ec);
    if (r == 0 && sys != NULL &&
        kvm_chase_new(sys, c->lines, SLOW_CHASE_BYTES, &c->guest, NULL) < 0)
        c->guest = NULL; /* on a thread, then */
    if (r == 0) {
        r = pthread_create(&c->thread, NULL, chase_main, c);
        r = r != 0 ? errctx_set_os(ec, r, "thread to measure with") : 0;
    }
    if (r < 0) {
        free_all(c);
        return r;
    }
    while (sem_wait(&c->begun) < 0)
        ; /* interrupted */
    *ret_chase = c;
    return 0;
}

void slow_chase_stop(struct slow_chase *chase)
{
    if (chase == NULL)
        return;
    atomic_store(&chase->stop, true);
    if (chase->guest != NULL)
        kvm_chase_stop(chase->guest);
    (void)pthread_join(chase->thread, NULL);
    free_all(chase);
}

struct slow_range slow_chase_range(const struct slow_chase *chase)
{
    return (struct slow_range){ (uint8_t *)chase->lines, SLOW_CHASE_BYTES, chase->memfd };
}

bool slow_chase_in_guest(const struct slow_chase *chase)
{
    return chase->guest != NULL;
}

static uint64_t steps_of(const struct slow_chase *c)
{
    return c->guest != NULL ? kvm_chase_steps(c->guest) : atomic_load(&c->steps);
}

/* For how long it could have run and did not, because others did (Documentation/scheduler/
 * sched-stats.rst: time run, time waited, number of turns). */
static uint64_t queued_ns(const struct slow_chase *c)
{
    char text[128];
    const ssize_t n = pread(c->schedstat_fd, text, sizeof(text) - 1, 0);
    uint64_t waited;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%*s %" SCNu64, &waited) == 1 ? waited : 0;
}

/* On a host that is busy with others the chase may not have its turn in that time. What it waited for
 * a turn is told at the turn's begin: it may be more than what has passed here. */
uint64_t slow_chase_step_ps(const struct slow_chase *chase, uint64_t ns)
{
    const struct timespec nap = { .tv_sec = (time_t)(ns / 1000000000u),
                                  .tv_nsec = (long)(ns % 1000000000u) };
    const uint64_t begin = slow_pages_now_ns(), was = steps_of(chase), queued = queued_ns(chase);
    uint64_t passed, took, steps;

    do {
        (void)nanosleep(&nap, NULL);
        passed = slow_pages_now_ns() - begin;
        took = passed - MIN(passed, queued_ns(chase) - queued);
        steps = steps_of(chase) - was;
    } while ((steps < ENOUGH_STEPS || took < ns / 2) && passed < PATIENCE_NS);
    return steps > 0 ? MAX(took * 1000 / steps, UINT64_C(1)) : 0;
}
