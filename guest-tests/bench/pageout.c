/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pageout - memory of guests goes and comes back by single pages, natively: through the pager, or
 * by the kernel to the machine's swap.
 *
 *   pageout pager TOUCHES FILE...   our own pager and a store
 *   pageout packed TOUCHES FILE...  the same, after what was kept was packed
 *   pageout swap TOUCHES FILE...    anonymous memory, as another VMM's, and MADV_PAGEOUT
 *   pageout guest-pager|guest-packed|guest-swap ...  the same, touched by a guest (touchguest.h)
 *
 * The pages of the files that are not zeroes are all taken away, then TOUCHES of them, the same on
 * either side, touched one at a time in random order. JSON: CPU time of the process for a page that
 * goes, and the time within which half and 99 % of touches were answered. All on one CPU, as a
 * fault thread is where its guest's vCPU is, and as a real-time process where that is allowed: else
 * the scheduler decides what p99 is, of the side that changes threads.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guest-tests/bench/touchguest.h"
#include "memory/pager/pager.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"

#define GUEST "guest-"
enum { PAGE = 4096, EXTENT = 2 * MIB, MEMORY_BITS = 40 };

struct space {
    uint8_t *at;
    size_t n_pages, bytes;
    bool by_guest; /* it touches, else this process */
};

struct result {
    double out_us, pack_us; /* CPU time a page */
    size_t faults;
    uint64_t *ns; /* of each, sorted */
    uint64_t held_bytes;
};

struct ours {
    struct plan_ram plan;
    struct mem_layout *layout;
    struct guest_mem *mem;
    struct pager *pager;
    pthread_t server;
    int quit_fd;
};

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static _Noreturn void die_of(const struct errctx *ec)
{
    (void)fprintf(stderr, "pageout: %s\n", ec->msg);
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- what is in the files --------------------------------------------------------------------- */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Pages of @path that are not zeroes; copied to @to unless that is NULL. Return: how many. */
static size_t read_pages(const char *path, uint8_t *to)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *p;
    size_t n = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        die(path);
    for (size_t i = 0; i + PAGE <= (size_t)st.st_size; i += PAGE) {
        if (is_zero(p + i))
            continue;
        if (to != NULL)
            memcpy(to + n * PAGE, p + i, PAGE);
        n++;
    }
    (void)munmap(p, (size_t)st.st_size);
    (void)close(fd);
    return n;
}

static void fill(struct space *s, char **files)
{
    uint8_t *to = s->at;

    for (char **file = files; *file != NULL; file++)
        to += read_pages(*file, to) * PAGE;
}

/* --- going and coming back -------------------------------------------------------------------- */

static bool is_there(const uint8_t *page)
{
    unsigned char there;

    if (mincore((void *)(uintptr_t)page, PAGE, &there) < 0)
        die("mincore");
    return (there & 1) != 0;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* How long it took, in ns. */
static uint64_t touch_page(const struct space *s, const struct touch_guest *guest, size_t page)
{
    const volatile uint8_t *at = s->at + page * PAGE;
    struct errctx ec = { 0 };
    uint64_t begin;

    if (s->by_guest) {
        if (touch_guest_ns(guest, page * PAGE, &begin, &ec) < 0)
            die_of(&ec);
        return begin;
    }
    begin = now_ns(CLOCK_MONOTONIC);
    (void)*at;
    return now_ns(CLOCK_MONOTONIC) - begin;
}

/* Pages that came ahead of time are passed over. */
static void touch(const struct space *s, size_t want, struct result *r)
{
    struct touch_guest *guest = NULL;
    struct errctx ec = { 0 };
    uint64_t seed = 4711;

    r->ns = calloc(want, sizeof(*r->ns));
    if (r->ns == NULL)
        die("touch");
    if (s->by_guest && touch_guest_new(s->at, s->bytes, &guest, &ec) < 0)
        die_of(&ec);
    for (size_t i = 0; i < want; i++) {
        size_t page;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        page = (seed >> 16) % s->n_pages;
        if (!is_there(s->at + page * PAGE))
            r->ns[r->faults++] = touch_page(s, guest, page);
    }
    qsort(r->ns, r->faults, sizeof(*r->ns), by_size);
}

static void lost(void *ctx, struct vnode_id vnode, const char *why)
{
    (void)ctx;
    (void)vnode;
    (void)fprintf(stderr, "pageout: a page is lost: %s\n", why);
    exit(1);
}

static bool go_on(void *ctx, uint64_t evicted_bytes)
{
    (void)ctx;
    (void)evicted_bytes;
    return true;
}

static void *serve(void *arg)
{
    struct ours *o = arg;

    pager_serve(o->pager, (struct vnode_id){ 0 }, o->quit_fd);
    return NULL;
}

static void ours_new(struct ours *o, struct space *s)
{
    const uint64_t ram = s->bytes;
    struct pager_params params = { .lost = lost, .budget_milli = 1000 };
    struct errctx ec = { 0 };

    plan_ram_init(&o->plan, 1, &ram);
    if (mem_layout_make(&test_map, &o->plan.plan, MEMORY_BITS, &o->layout, &ec) < 0 ||
        guest_mem_new(&o->plan.plan, o->layout, &o->mem, &ec) < 0)
        die_of(&ec);
    params.mem = o->mem;
    if (pager_new(&params, &o->pager, &ec) < 0)
        die_of(&ec);
    s->at = guest_mem_backing(o->mem, 0)->host;
    o->quit_fd = eventfd(0, EFD_CLOEXEC);
    if (o->quit_fd < 0 || pthread_create(&o->server, NULL, serve, o) != 0)
        die("the fault thread");
}

static void ours_free(struct ours *o)
{
    if (eventfd_write(o->quit_fd, 1) < 0 || pthread_join(o->server, NULL) != 0)
        die("the fault thread");
    (void)close(o->quit_fd);
    pager_free(o->pager);
    guest_mem_free(o->mem);
    mem_layout_free(o->layout);
}

/* As if time passed, until nothing becomes smaller any more. */
static double pack(struct pager *pager)
{
    const uint64_t begin = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t before, now = 1, done = 0;
    struct pager_counts c;
    int same = 0;

    while (same < 8) {
        before = done;
        pager_pack(pager, now += UINT64_C(6000000000));
        (void)pager_count(pager, (struct vnode_id){ 0 }, &c);
        done = c.store.packed_objects;
        same = done == before ? same + 1 : 0;
    }
    return (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin) / 1e3;
}

static void do_pager(struct space *s, char **files, bool packed, size_t touches, struct result *r)
{
    static const struct pager_evict_ops ops = { .between = go_on };
    struct ours o;
    struct errctx ec = { 0 };
    struct pager_counts c;
    uint64_t begin, got;

    ours_new(&o, s);
    fill(s, files);
    begin = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (pager_evict(o.pager, (struct vnode_id){ 0 }, UINT64_MAX, &ops, NULL, &got, &ec) < 0)
        die_of(&ec);
    r->out_us = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin) / 1e3 / (double)s->n_pages;
    if (got != s->n_pages * PAGE) {
        (void)fprintf(stderr, "pageout: %zu pages did not go\n", s->n_pages - (size_t)got / PAGE);
        exit(1);
    }
    if (packed)
        r->pack_us = pack(o.pager) / (double)s->n_pages;
    (void)pager_count(o.pager, (struct vnode_id){ 0 }, &c);
    r->held_bytes = c.store.held_bytes;
    touch(s, touches, r);
    ours_free(&o);
}

static void do_swap(struct space *s, char **files, size_t touches, struct result *r)
{
    uint64_t begin;

    s->at = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->at == MAP_FAILED || madvise(s->at, s->bytes, MADV_NOHUGEPAGE) < 0)
        die("memory");
    fill(s, files);
    begin = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < s->n_pages * PAGE; i += EXTENT)
        if (madvise(s->at + i, MIN((size_t)EXTENT, s->n_pages * PAGE - i), MADV_PAGEOUT) < 0)
            die("MADV_PAGEOUT");
    r->out_us = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin) / 1e3 / (double)s->n_pages;
    touch(s, touches, r);
}

static double percentile_us(const struct result *r, size_t permille)
{
    return r->faults > 0 ? (double)r->ns[r->faults * permille / 1000] / 1e3 : 0;
}

static void on_one_cpu(void)
{
    const struct sched_param first = { .sched_priority = 1 };
    cpu_set_t set;
    const int cpu = sched_getcpu();

    CPU_ZERO(&set);
    CPU_SET(cpu < 0 ? 0 : cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        die("sched_setaffinity");
    (void)sched_setscheduler(0, SCHED_FIFO, &first);
}

int main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[1] : "";
    const bool by_guest = strncmp(what, GUEST, strlen(GUEST)) == 0;
    const size_t touches = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    struct result r = { 0 };
    struct space s = { .by_guest = by_guest };

    what += by_guest ? strlen(GUEST) : 0;
    for (int i = 3; i < argc; i++)
        s.n_pages += read_pages(argv[i], NULL);
    s.bytes = (s.n_pages * PAGE + EXTENT - 1) / EXTENT * EXTENT;
    if (s.n_pages > 0)
        on_one_cpu();
    if (s.n_pages > 0 && (strcmp(what, "pager") == 0 || strcmp(what, "packed") == 0)) {
        do_pager(&s, argv + 3, strcmp(what, "packed") == 0, touches, &r);
    } else if (s.n_pages > 0 && strcmp(what, "swap") == 0) {
        do_swap(&s, argv + 3, touches, &r);
    } else {
        (void)fprintf(stderr, "usage: pageout [guest-]pager|packed|swap TOUCHES FILE...\n");
        return 2;
    }
    (void)printf("{\"pages\": %zu, \"out_us\": %.3f, \"pack_us\": %.3f, \"faults\": %zu, "
                 "\"p50_us\": %.2f, \"p99_us\": %.2f, \"held_bytes\": %llu}\n",
                 s.n_pages, r.out_us, r.pack_us, r.faults, percentile_us(&r, 500),
                 percentile_us(&r, 990), (unsigned long long)r.held_bytes);
    return 0;
}
