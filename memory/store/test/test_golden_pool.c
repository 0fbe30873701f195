/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading with a deadline: a file, which the page cache has; and a pipe, which has nothing for
 * anybody until somebody writes to it, as a disk that does not answer. Through this machine's
 * io_uring.
 */
// LDFLAGS: -Wl,--wrap=clock_gettime
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "memory/store/golden/golden_pool.h"
#include "memory/store/swap_ring.h"

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);

static bool hurries; /* each look at the clock takes the whole deadline */
static time_t passed_s;

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    const int r = __real_clock_gettime(clock, t);

    passed_s += hurries ? SWAP_DEADLINE_S : 0;
    t->tv_sec += passed_s;
    return r;
}

static struct golden_pool *must_have(int fd, size_t n)
{
    struct golden_pool *pool = NULL;
    struct errctx ec = { 0 };
    int r = golden_pool_new(fd, n, &pool, &ec);

    hurries = false;
    if (r == -EPERM || r == -ENOSYS || r == -EACCES) {
        print_message("# skip: %s\n", ec.msg);
        skip();
    }
    if (r < 0)
        fail_msg("%s", ec.msg);
    return pool;
}

static void bytes_of_a_file_come_at_once(void **state)
{
    const int fd = memfd_create("golden", MFD_CLOEXEC);
    struct golden_pool *pool = must_have(fd, 1);
    uint8_t want[5000], got[4096];

    (void)state;
    for (size_t i = 0; i < sizeof(want); i++)
        want[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(write(fd, want, sizeof(want)), sizeof(want));
    assert_int_equal(golden_pool_read(pool, got, 4096, 3), 0);
    assert_memory_equal(got, want + 3, 4096);
    assert_int_equal(golden_pool_read(pool, got, 17, 4983), 0);
    assert_memory_equal(got, want + 4983, 17);
    assert_int_equal(golden_pool_read(pool, got, 18, 4983), -ENODATA);
    assert_int_equal(golden_pool_read(pool, got, 1, 5000), -ENODATA);
    golden_pool_free(pool);
    (void)close(fd);
}

static void what_does_not_come_is_not_waited_for(void **state)
{
    struct timespec begin, end;
    struct golden_pool *pool;
    uint8_t got[64];
    int pipes[2];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pool = must_have(pipes[0], 2);
    memset(got, 3, sizeof(got));
    hurries = true;
    (void)__real_clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(golden_pool_read(pool, got, 8, 0), -ETIME);
    assert_int_equal(golden_pool_read(pool, got, 8, 0), -ETIME);
    /* Both rings have a read that is late: nobody asks any more. */
    hurries = false;
    assert_int_equal(golden_pool_read(pool, got, 8, 0), -ETIME);
    (void)__real_clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - begin.tv_sec < SWAP_DEADLINE_S);
    /* What comes late reaches nobody, and makes way for others. */
    assert_int_equal(write(pipes[1], "too late", 8), 8);
    assert_int_equal(write(pipes[1], "too late", 8), 8);
    while (golden_pool_read(pool, got, 0, 0) == -ETIME)
        (void)usleep(1000);
    for (size_t i = 0; i < sizeof(got); i++)
        assert_int_equal(got[i], 3);
    assert_int_equal(write(pipes[1], "in time!", 8), 8);
    assert_int_equal(golden_pool_read(pool, got, 8, 0), 0);
    assert_memory_equal(got, "in time!", 8);
    golden_pool_free(pool);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_a_file_come_at_once),
        cmocka_unit_test(what_does_not_come_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("memory/store/golden_pool", tests, NULL, NULL);
}
