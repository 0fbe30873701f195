/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slow memory: what is in it stays, touches wait and are counted, new pages become slow, too, and at
 * the end everybody goes on, as often as it begins anew. How slow it is depends on what else this
 * machine does, so of that only what must hold is asserted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/slow_measure.h"
#include "memory/slow_node.h"
#include "memory/slow_pages.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"

enum { PIECE = 8 * MIB, PAGES = 2 * PIECE / SLOW_PAGE, PATIENCE_S = 30 };

struct fixture {
    struct slow_range ranges[2];
    uint8_t *gap; /* addresses of both, and one page between them that is neither's */
    struct slow_node *node;
    int quit_fd;
    pthread_t server, user;
    atomic_bool stop;
    atomic_uint wrong, rounds;
    uint32_t first, n; /* pages that are used */
    uint64_t least_ns; /* that a touch which is charged waits for */
    struct errctx ec;
    int result;
};

static uint8_t *page_at(const struct fixture *f, uint32_t i)
{
    const uint32_t half = PAGES / 2;

    return f->ranges[i / half].host + (size_t)(i % half) * SLOW_PAGE;
}

static void make_ranges(struct fixture *f)
{
    f->gap = mmap(NULL, 2 * PIECE + SLOW_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f->gap, MAP_FAILED);
    for (size_t i = 0; i < 2; i++) {
        const int fd = memfd_create("slow", MFD_CLOEXEC);
        uint8_t *at = f->gap + i * (PIECE + SLOW_PAGE);

        assert_int_equal(ftruncate(fd, PIECE), 0);
        assert_ptr_equal(mmap(at, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), at);
        f->ranges[i] = (struct slow_range){ at, PIECE, fd };
    }
}

static void *serve(void *arg)
{
    struct fixture *f = arg;

    place_wake_sharply();
    f->result = slow_node_serve(f->node, f->quit_fd, &f->ec);
    return NULL;
}

/* Each page counts its rounds. */
static void *use(void *arg)
{
    struct fixture *f = arg;
    uint32_t round = 0, i = 0;

    while (!atomic_load(&f->stop)) {
        volatile uint32_t *word = (volatile uint32_t *)(void *)page_at(f, f->first + i);

        if (*word != round)
            atomic_fetch_add(&f->wrong, 1);
        *word = round + 1;
        if (++i < f->n)
            continue;
        i = 0;
        round++;
        atomic_fetch_add(&f->rounds, 1);
    }
    return NULL;
}

static void start_user(struct fixture *f, uint32_t first, uint32_t n)
{
    f->first = first;
    f->n = n;
    atomic_store(&f->stop, false);
    assert_int_equal(pthread_create(&f->user, NULL, use, f), 0);
}

static void stop_user(struct fixture *f)
{
    atomic_store(&f->stop, true);
    assert_int_equal(pthread_join(f->user, NULL), 0);
}

static void start_server(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->server, NULL, serve, f), 0);
}

static void stop_server(struct fixture *f)
{
    eventfd_t word;

    assert_int_equal(eventfd_write(f->quit_fd, 1), 0);
    assert_int_equal(pthread_join(f->server, NULL), 0);
    assert_int_equal(eventfd_read(f->quit_fd, &word), 0);
    assert_int_equal(f->result, 0);
}

static void begin_with(struct fixture *f, int uffd, const struct slow_cost *cost)
{
    const struct slow_params params = { .ranges = f->ranges, .n_ranges = 2, .factor_milli = 4000,
                                        .max_users = 2, .cost = *cost };

    make_ranges(f);
    f->quit_fd = eventfd(0, EFD_CLOEXEC);
    f->least_ns = MAX(cost->charge_ns, cost->extra_ns);
    assert_int_equal(slow_node_new(&params, uffd, &f->node, &f->ec), 0);
}

static void begin(struct fixture *f)
{
    const struct slow_cost cost = { .charge_ns = SLOW_CHARGE_MIN_NS };
    int uffd = -1;

    *f = (struct fixture){ 0 };
    if (uffd_open(&uffd, NULL) < 0)
        skip(); /* not allowed here */
    begin_with(f, uffd, &cost);
}

/* Without userfaultfd; a touch is said to cost 5 us. */
static void begin_plain(struct fixture *f)
{
    const struct slow_cost cost = { .extra_ns = 5000, .burst_ns = SLOW_CHARGE_MIN_NS };

    *f = (struct fixture){ 0 };
    begin_with(f, -1, &cost);
}

static void end(struct fixture *f)
{
    slow_node_free(f->node);
    (void)munmap(f->gap, 2 * PIECE + SLOW_PAGE);
    (void)close(f->ranges[0].memfd);
    (void)close(f->ranges[1].memfd);
    (void)close(f->quit_fd);
}

/* Until @n more touches waited. */
static void await_charged(const struct fixture *f, uint64_t n)
{
    const uint64_t until = slow_pages_now_ns() + PATIENCE_S * UINT64_C(1000000000);
    struct slow_counts c;

    slow_node_count(f->node, &c);
    n += c.charged;
    while (c.charged < n) {
        assert_true(slow_pages_now_ns() < until);
        (void)usleep(1000);
        slow_node_count(f->node, &c);
    }
    assert_true(c.waited_ns >= c.charged * f->least_ns);
}

static void what_is_in_slow_memory_stays(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    start_user(&f, 0, PAGES);
    start_server(&f);
    await_charged(&f, 50);
    stop_server(&f); /* with somebody who waits, most of the time */
    stop_user(&f);
    assert_int_equal(f.wrong, 0);
    assert_true(f.rounds > 0);
    end(&f);
}

static void it_ends_and_begins_anew(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    start_user(&f, 0, PAGES);
    for (int i = 0; i < 5; i++) {
        start_server(&f);
        await_charged(&f, 10);
        stop_server(&f);
    }
    stop_user(&f);
    assert_int_equal(f.wrong, 0);
    end(&f);
}

static void memory_that_is_taken_later_is_slow_too(void **state)
{
    struct slow_counts c;
    struct fixture f;

    (void)state;
    begin(&f);
    start_server(&f);
    (void)usleep(50000);
    slow_node_count(f.node, &c);
    assert_int_equal(c.in_use, 0);
    start_user(&f, PAGES / 4, PAGES / 2); /* of both files, which had no pages until now */
    await_charged(&f, 20);
    slow_node_count(f.node, &c);
    assert_in_range(c.in_use, SLOW_SET_PAGES / 2, PAGES / 2);
    stop_user(&f);
    stop_server(&f);
    assert_int_equal(f.wrong, 0);
    end(&f);
}

static void memory_that_went_comes_back_as_it_is(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    memset(f.ranges[0].host, 1, PIECE);
    start_server(&f);
    start_user(&f, PAGES / 2, PAGES / 2);
    await_charged(&f, 5);
    for (int i = 0; i < 50; i++) { /* punched while it is slow: zeroes, and nobody hangs */
        const off_t off = (off_t)(i % 16) * SLOW_PAGE * 32;

        assert_int_equal(fallocate(f.ranges[0].memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   off, SLOW_PAGE * 32), 0);
        for (int k = 0; k < 32; k++) {
            volatile uint8_t *byte = f.ranges[0].host + off + k * SLOW_PAGE;

            assert_int_equal(*byte, 0);
            *byte = 2;
        }
        (void)usleep(2000);
    }
    stop_user(&f);
    stop_server(&f);
    assert_int_equal(f.ranges[0].host[SLOW_PAGE * 31], 2);
    end(&f);
}

static void what_nobody_uses_is_taken_out_once(void **state)
{
    const uint64_t until = slow_pages_now_ns() + PATIENCE_S * UINT64_C(1000000000);
    struct slow_counts was, is;
    struct fixture f;

    (void)state;
    begin(&f);
    memset(f.ranges[0].host, 1, PIECE);
    start_server(&f);
    do {
        assert_true(slow_pages_now_ns() < until);
        (void)usleep(10000);
        slow_node_count(f.node, &was);
    } while (was.taken == 0 || was.in_use > 0);
    (void)usleep(100000);
    slow_node_count(f.node, &is);
    stop_server(&f);
    assert_int_equal(was.taken, PIECE / SLOW_PAGE);
    assert_int_equal(is.taken, was.taken);
    end(&f);
}

static void without_userfaultfd_what_comes_back_is_seen(void **state)
{
    struct slow_counts was, is;
    struct fixture f;

    (void)state;
    begin_plain(&f);
    start_user(&f, 0, PAGES);
    for (int i = 0; i < 3; i++) {
        start_server(&f);
        await_charged(&f, 5000);
        slow_node_count(f.node, &was);
        stop_server(&f);
        assert_true(was.taken > 0 && was.spared == 0);
    }
    stop_user(&f);
    assert_int_equal(f.wrong, 0);
    slow_node_count(f.node, &is);
    assert_true(is.charged <= is.taken);
    end(&f);
}

static void without_userfaultfd_too_what_nobody_uses_stays_out(void **state)
{
    const uint64_t until = slow_pages_now_ns() + PATIENCE_S * UINT64_C(1000000000);
    struct slow_counts c;
    struct fixture f;

    (void)state;
    begin_plain(&f);
    memset(f.ranges[0].host, 1, PIECE);
    start_server(&f);
    do {
        assert_true(slow_pages_now_ns() < until);
        (void)usleep(10000);
        slow_node_count(f.node, &c);
    } while (c.taken == 0 || c.in_use > 0);
    assert_int_equal(c.taken, PIECE / SLOW_PAGE);
    assert_int_equal(c.charged, 0);
    start_user(&f, 0, PAGES / 2); /* it was out, and is used again */
    await_charged(&f, PAGES / 2);
    stop_user(&f);
    stop_server(&f);
    end(&f);
}

static void a_host_is_measured_without_userfaultfd(void **state)
{
    struct slow_measured m;

    (void)state;
    assert_int_equal(slow_measure(NULL, false, 4000, &m, NULL), 0);
    assert_int_equal(m.cost.charge_ns, 0);
    assert_true(m.cost.extra_ns > 0 && m.cost.burst_ns > 0 && m.step_ps > 0);
    assert_int_equal(m.factor_milli, 4000);
}

static void a_host_is_measured(void **state)
{
    struct slow_measured m;
    int uffd;

    (void)state;
    if (uffd_open(&uffd, NULL) < 0)
        skip(); /* not allowed here */
    (void)close(uffd);
    assert_int_equal(slow_measure(NULL, true, 4000, &m, NULL), 0);
    assert_in_range(m.cost.charge_ns, SLOW_CHARGE_MIN_NS, SLOW_CHARGE_MAX_NS);
    assert_true(m.cost.extra_ns > 0 && m.step_ps > 0);
    assert_true(m.ratio_milli > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_slow_memory_stays),
        cmocka_unit_test(it_ends_and_begins_anew),
        cmocka_unit_test(memory_that_is_taken_later_is_slow_too),
        cmocka_unit_test(memory_that_went_comes_back_as_it_is),
        cmocka_unit_test(what_nobody_uses_is_taken_out_once),
        cmocka_unit_test(without_userfaultfd_what_comes_back_is_seen),
        cmocka_unit_test(without_userfaultfd_too_what_nobody_uses_stays_out),
        cmocka_unit_test(a_host_is_measured),
        cmocka_unit_test(a_host_is_measured_without_userfaultfd),
    };

    return cmocka_run_group_tests_name("memory/slow_node", tests, NULL, NULL);
}
