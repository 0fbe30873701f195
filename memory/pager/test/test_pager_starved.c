/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host without memory for a page that comes back, or is new: it is tried again, for ten seconds,
 * and nothing is lost. The kernel's own refusals, by a limit on this process; and played ones where
 * that cannot be had.
 */
// LDFLAGS: -Wl,--wrap=pager_serve,--wrap=nanosleep,--wrap=uffd_copy,--wrap=uffd_zero,--wrap=pwrite
// LDFLAGS: -Wl,--wrap=uffd_zero_quietly
#include "memory/pager/test/pager_rig.h"

#include <sys/mman.h>
#include <time.h>

#include "memory/pager/test/starve.h"

static __thread bool is_fault_thread;
static __thread uint64_t waited_ns; /* by this fault thread, since the last page */

static struct {
    _Atomic unsigned n_refused; /* by the kernel or by us */
    _Atomic unsigned n_play;    /* so many times more we refuse */
    _Atomic uint64_t longest_ns; /* that a fault thread waited for a page */
    _Atomic bool in_haste;      /* its waits take no time */
    _Atomic unsigned n_short;   /* writes that find no memory */
} host;

void __wrap_pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd);
void __real_pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd);
int __wrap_nanosleep(const struct timespec *want, struct timespec *left);
int __real_nanosleep(const struct timespec *want, struct timespec *left);
int __wrap_uffd_copy(int fd, uint8_t *addr, const void *page);
int __real_uffd_copy(int fd, uint8_t *addr, const void *page);
int __wrap_uffd_zero(int fd, uint8_t *addr, size_t len);
int __real_uffd_zero(int fd, uint8_t *addr, size_t len);
int __wrap_uffd_zero_quietly(int fd, uint8_t *addr, size_t len);
int __real_uffd_zero_quietly(int fd, uint8_t *addr, size_t len);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t off);
ssize_t __real_pwrite(int fd, const void *bytes, size_t len, off_t off);

void __wrap_pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd)
{
    is_fault_thread = true;
    __real_pager_serve(pager, vnode, quit_fd);
}

int __wrap_nanosleep(const struct timespec *want, struct timespec *left)
{
    if (!is_fault_thread)
        return __real_nanosleep(want, left);
    waited_ns += (uint64_t)want->tv_sec * 1000000000u + (uint64_t)want->tv_nsec;
    if (waited_ns > atomic_load(&host.longest_ns))
        atomic_store(&host.longest_ns, waited_ns);
    return atomic_load(&host.in_haste) ? 0 : __real_nanosleep(want, left);
}

/* What becomes of an answer of the host's. */
static int counted(int r)
{
    if (r == -ENOMEM)
        atomic_fetch_add(&host.n_refused, 1);
    else if (r != -EEXIST)
        waited_ns = 0;
    return r;
}

static bool plays(_Atomic unsigned *n)
{
    if (atomic_load(n) == 0)
        return false;
    atomic_fetch_sub(n, 1);
    return true;
}

int __wrap_uffd_copy(int fd, uint8_t *addr, const void *page)
{
    return counted(plays(&host.n_play) ? -ENOMEM : __real_uffd_copy(fd, addr, page));
}

int __wrap_uffd_zero(int fd, uint8_t *addr, size_t len)
{
    return counted(plays(&host.n_play) ? -ENOMEM : __real_uffd_zero(fd, addr, len));
}

int __wrap_uffd_zero_quietly(int fd, uint8_t *addr, size_t len)
{
    return counted(plays(&host.n_play) ? -ENOMEM : __real_uffd_zero_quietly(fd, addr, len));
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t off)
{
    if (is_fault_thread && plays(&host.n_short)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_pwrite(fd, bytes, len, off);
}

/* --- somebody who reads ----------------------------------------------------------------------- */

enum {
    STRIDE = 397, /* pages from one to the next: far enough that nothing is read ahead */
    NO_PAGES = 0xffff,
    TRIES = 1000,
};
#define TRY_NS (UINT64_C(10) * 1000 * 1000)

struct reader {
    struct rig *rig;
    uint32_t node;
    bool is_new; /* its pages: zeroes */
    pthread_t thread;
    _Atomic int go, n_ready;
    _Atomic unsigned n_read, n_bad;
};

static void read_one(struct reader *r, size_t page, uint8_t *want)
{
    memset(want, 0, SMALL);
    if (!r->is_new)
        make(want, page, 1);
    if (memcmp(want, page_at(r->rig, r->node, page), SMALL) != 0)
        atomic_fetch_add(&r->n_bad, 1);
    atomic_fetch_add(&r->n_read, 1);
}

/* All but the first page of each extent, which are there already. */
static void *read_all(void *arg)
{
    struct reader *r = arg;
    uint8_t want[SMALL];

    make(want, 2, 1); /* a stack and code that are there */
    atomic_store(&r->n_ready, 1);
    while (atomic_load(&r->go) == 0)
        (void)sched_yield();
    for (size_t i = 0, page = 0; i < PAGES; i++, page = (page + STRIDE) % PAGES)
        if (page % EXTENT_PAGES != 0)
            read_one(r, page, want);
    return NULL;
}

static void reader_init(struct reader *r, struct rig *rig, uint32_t node, bool is_new)
{
    memset(r, 0, sizeof(*r));
    r->rig = rig;
    r->node = node;
    r->is_new = is_new;
    assert_int_equal(pthread_create(&r->thread, NULL, read_all, r), 0);
    while (atomic_load(&r->n_ready) == 0)
        (void)sched_yield();
}

/* Wait for its end. */
static void reader_fini(struct reader *r)
{
    atomic_store(&r->go, 1);
    assert_int_equal(pthread_join(r->thread, NULL), 0);
    assert_int_equal(atomic_load(&r->n_bad), 0);
    assert_int_equal(atomic_load(&r->n_read), PAGES - NODE_BYTES / EXTENT);
}

/* All of node 0 is away but the first page of each extent, with which the kernel has page tables for
 * the others, so that nobody but the fault thread needs memory; of node 1 those were given back. */
static struct rig *hungry_rig(void)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t gone;

    assert_non_null(rig);
    atomic_store(&host.n_refused, 0);
    atomic_store(&host.longest_ns, 0);
    rig_init(rig);
    for (size_t i = 0; i < PAGES; i++) {
        make(page_at(rig, 0, i), i, 1);
        make(page_at(rig, 1, i), i, 1);
    }
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES);
    assert_int_equal(evict(rig, 1, EXTENT), EXTENT);
    for (size_t i = 0; i < PAGES; i += EXTENT_PAGES) {
        const struct gpa more = { NODE_BYTES + (i + 1) * SMALL };

        touch(rig, i);
        (void)*(volatile uint8_t *)page_at(rig, 1, i);
        assert_int_equal(guest_mem_give_back(rig->mem, more, EXTENT - SMALL, true, &gone), 0);
    }
    return rig;
}

static void rig_free(struct rig *rig)
{
    rig_fini(rig);
    free(rig);
}

/* --- the kernel refuses ----------------------------------------------------------------------- */

/* A thread sanitizer takes memory at each access, and would be what waits. */
#ifdef __SANITIZE_THREAD__
#define SANITIZED_THREADS 1
#else
#define SANITIZED_THREADS 0
#endif

static void need_a_limit(void)
{
    if (SANITIZED_THREADS && starve->why[0] == '\0')
        (void)snprintf(starve->why, sizeof(starve->why), "the thread sanitizer takes memory itself");
    if (starve->why[0] == '\0')
        return;
    print_message("# skip: %s\n", starve->why);
    skip();
}

/* Return: whether it is so within 20 s. */
static bool comes_to(const _Atomic unsigned *value, unsigned least)
{
    for (int i = 0; i < 20 * 1000 && atomic_load(value) < least; i++)
        (void)usleep(1000);
    return atomic_load(value) >= least;
}

/* A limit leaves some memory to those who come first. Return: whether within 20 s the reader is seen
 * to get nothing for a tenth of a second in which more was refused. */
static bool comes_to_wait(const struct reader *r)
{
    for (int i = 0; i < 200; i++) {
        unsigned then = atomic_load(&r->n_read), refused = atomic_load(&host.n_refused);

        (void)usleep(100 * 1000);
        if (atomic_load(&r->n_read) == then && atomic_load(&host.n_refused) > refused)
            return true;
    }
    return false;
}

static void it_waits_for_memory(uint32_t node, bool is_new)
{
    struct rig *rig;
    struct reader r;
    bool was_refused, was_waiting;

    need_a_limit();
    rig = hungry_rig();
    reader_init(&r, rig, node, is_new);
    starve_now(true);
    atomic_store(&r.go, 1);
    was_refused = comes_to(&host.n_refused, 20);
    was_waiting = comes_to_wait(&r);
    starve_now(false);
    reader_fini(&r);
    assert_true(was_refused);
    assert_true(was_waiting);
    assert_int_equal(rig->lost, 0);
    rig_free(rig);
}

static void a_page_that_comes_back_waits_for_memory(void **state)
{
    (void)state;
    it_waits_for_memory(0, false);
}

static void a_new_page_waits_for_memory(void **state)
{
    (void)state;
    it_waits_for_memory(1, true);
}

/* The machine is told, once ten seconds are over, and has the page's content still. */
static void and_not_for_ever(void **state)
{
    struct rig *rig;
    struct reader r;
    unsigned tries;

    (void)state;
    need_a_limit();
    rig = hungry_rig();
    reader_init(&r, rig, 0, false);
    atomic_store(&host.in_haste, true);
    starve_now(true);
    atomic_store(&r.go, 1);
    for (int i = 0; i < 40 * 1000 && atomic_load(&rig->lost) == 0; i++)
        (void)usleep(1000);
    tries = atomic_load(&host.n_refused);
    starve_now(false);
    atomic_store(&host.in_haste, false);
    reader_fini(&r);
    assert_true(tries > TRIES);
    assert_true(rig->lost > 0);
    assert_string_equal(rig->why, "the host has no memory for a page");
    assert_true(atomic_load(&host.longest_ns) >= TRIES * TRY_NS);
    rig_free(rig);
}

/* --- or we do --------------------------------------------------------------------------------- */

static void must_read(struct rig *rig, size_t page)
{
    uint8_t want[SMALL];

    make(want, page, 1);
    assert_memory_equal(page_at(rig, 0, page), want, SMALL);
}

static void so_many_refusals_are_no_matter(void **state)
{
    static const unsigned n_times[] = { 1, 3, TRIES };
    struct rig *rig = hungry_rig();

    (void)state;
    atomic_store(&host.in_haste, true);
    for (size_t i = 0; i < ARRAY_SIZE(n_times); i++) {
        atomic_store(&host.n_refused, 0);
        atomic_store(&host.longest_ns, 0);
        atomic_store(&host.n_play, n_times[i]);
        must_read(rig, 100 * i + 7);
        assert_int_equal(atomic_load(&host.n_refused), n_times[i]);
        assert_int_equal(atomic_load(&host.longest_ns), n_times[i] * TRY_NS);
        atomic_store(&host.n_play, n_times[i]);
        assert_int_equal(*(volatile uint64_t *)page_at(rig, 1, 100 * i + 7), 0);
        assert_int_equal(atomic_load(&host.n_refused), 2 * n_times[i]);
    }
    atomic_store(&host.in_haste, false);
    assert_int_equal(rig->lost, 0);
    rig_free(rig);
}

static void one_more_is_told_and_the_copy_stays(void **state)
{
    struct rig *rig = hungry_rig();

    (void)state;
    atomic_store(&host.in_haste, true);
    atomic_store(&host.n_play, TRIES + 1);
    must_read(rig, 7); /* who waits is woken, and touches it again */
    assert_int_equal(atomic_load(&host.n_play), 0);
    atomic_store(&host.in_haste, false);
    assert_int_equal(rig->lost, 1);
    assert_string_equal(rig->why, "the host has no memory for a page");
    assert_int_equal(count(rig, 0).lost_pages, 1);
    rig_free(rig);
}

/* A page that somebody else put there, which the host cannot have written now; and what is read
 * ahead, which comes when it is asked for. */
static void writes_into_the_file_are_refused(void **state)
{
    struct rig *rig = hungry_rig();
    const uint8_t *other =
        mmap(NULL, NODE_BYTES, PROT_READ, MAP_SHARED, guest_mem_backing(rig->mem, 0)->memfd, 0);

    (void)state;
    assert_true(other != MAP_FAILED);
    assert_int_equal(*(const volatile uint8_t *)(other + 9 * SMALL), 0);
    atomic_store(&host.in_haste, true);
    atomic_store(&host.n_short, 5);
    must_read(rig, 9);
    assert_int_equal(atomic_load(&host.n_short), 0);
    assert_int_equal(atomic_load(&host.longest_ns), 5 * TRY_NS);
    assert_int_equal(count(rig, 0).lost_pages, 0);
    atomic_store(&host.n_short, NO_PAGES);
    for (size_t i = 1; i < PAGES; i++)
        must_read(rig, i);
    assert_in_range(atomic_load(&host.n_short), 1, NO_PAGES - 100);
    assert_int_equal(count(rig, 0).ahead_pages, 0);
    atomic_store(&host.n_short, 0);
    atomic_store(&host.in_haste, false);
    assert_int_equal(rig->lost, 0);
    (void)munmap((void *)(uintptr_t)other, NODE_BYTES);
    rig_free(rig);
}

static int all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_that_comes_back_waits_for_memory),
        cmocka_unit_test(a_new_page_waits_for_memory),
        cmocka_unit_test(and_not_for_ever),
        cmocka_unit_test(so_many_refusals_are_no_matter),
        cmocka_unit_test(one_more_is_told_and_the_copy_stays),
        cmocka_unit_test(writes_into_the_file_are_refused),
    };

    return cmocka_run_group_tests_name("memory/pager/starved", tests, NULL, NULL);
}

int main(void)
{
    return starve_main(all);
}
