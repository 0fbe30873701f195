/* SPDX-License-Identifier: Apache-2.0 */
/* Who touches memory behind a shut gate waits, in the kernel too, and finds what was there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory/move_gate.h"
#include "memory/move_splits.h"
#include "memory/pager/uffd.h"
#include "memory/residency.h"

enum { PAGE = 4096, PAGES = 512, LEN = PAGES * PAGE };

struct toucher {
    uint8_t *at;
    bool by_kernel; /* it reads from a pipe into the page */
    int pipe[2];
    _Atomic pid_t tid;
    atomic_bool done;
    uint8_t seen;
};

static void *touch(void *arg)
{
    struct toucher *t = arg;

    atomic_store(&t->tid, (pid_t)syscall(SYS_gettid));
    if (t->by_kernel)
        assert_int_equal(read(t->pipe[0], t->at, 1), 1);
    t->seen = *(volatile uint8_t *)t->at;
    atomic_store(&t->done, true);
    return NULL;
}

/* Until the thread sleeps: state S or D in its stat. */
static void wait_asleep(struct toucher *t)
{
    char path[64], line[128], state = 'R';

    while (atomic_load(&t->tid) == 0)
        (void)sched_yield();
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)atomic_load(&t->tid));
    while (state != 'S' && state != 'D') {
        FILE *f = fopen(path, "r");

        assert_non_null(f);
        assert_non_null(fgets(line, sizeof(line), f));
        state = strrchr(line, ')')[2];
        (void)fclose(f);
    }
}

static int open_uffd(void)
{
    int fd;

    return uffd_open(&fd, NULL) == 0 ? fd : -1;
}

static uint8_t *make(int fd)
{
    uint8_t *at;

    assert_int_equal(ftruncate(fd, LEN), 0);
    at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    memset(at, 42, LEN);
    return at;
}

static void who_comes_waits(void **state)
{
    const int uffd = open_uffd(), fd = memfd_create("gate", MFD_CLOEXEC);
    uint8_t *at, *aside;
    struct move_gate gate;

    (void)state;
    if (uffd < 0)
        skip();
    at = make(fd);
    assert_int_equal(move_gate_init(uffd, false, &gate, NULL), 0);
    for (int by_kernel = 0; by_kernel < 2; by_kernel++) {
        struct toucher t = { .at = at + 7 * PAGE, .by_kernel = by_kernel };
        pthread_t thread;

        assert_int_equal(pipe(t.pipe), 0);
        assert_int_equal(write(t.pipe[1], "k", 1), 1);
        aside = move_gate_take(&gate, at, LEN);
        assert_non_null(aside);
        assert_int_equal(aside[LEN - 1], 42);
        aside[7 * PAGE] = 43;
        assert_int_equal(pthread_create(&thread, NULL, touch, &t), 0);
        wait_asleep(&t);
        assert_false(atomic_load(&t.done));
        assert_int_equal(move_gate_give_back(&gate, at, LEN), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(t.seen, by_kernel ? 'k' : 43);
        assert_int_equal(at[8 * PAGE], 42);
        (void)close(t.pipe[0]);
        (void)close(t.pipe[1]);
    }
    move_gate_fini(&gate);
    (void)munmap(at, LEN);
    (void)close(fd);
    (void)close(uffd);
}

static void what_somebody_else_holds_stays(void **state)
{
    const int mine = open_uffd(), other = open_uffd();
    const int fd = memfd_create("gate", MFD_CLOEXEC);
    struct move_gate gate, another, none;
    uint8_t *at;

    (void)state;
    if (mine < 0 || other < 0)
        skip();
    at = make(fd);
    assert_int_equal(move_gate_init(mine, false, &gate, NULL), 0);
    assert_int_equal(move_gate_init(other, false, &another, NULL), 0);
    assert_int_equal(move_gate_init(-1, false, &none, NULL), 0);
    assert_null(move_gate_take(&none, at, LEN));
    assert_non_null(move_gate_take(&another, at, LEN));
    assert_null(move_gate_take(&gate, at, LEN));
    assert_int_equal(move_gate_give_back(&another, at, LEN), 0);
    assert_int_equal(at[9], 42);
    assert_non_null(move_gate_take(&gate, at, LEN)); /* nothing was left behind */
    assert_int_equal(move_gate_give_back(&gate, at, LEN), 0);
    /* Two mappings are no piece to take; what is there stays. */
    assert_int_equal(mprotect(at, PAGE, PROT_READ), 0);
    assert_null(move_gate_take(&gate, at, LEN));
    assert_int_equal(at[9], 42);
    assert_int_equal(mprotect(at, PAGE, PROT_READ | PROT_WRITE), 0);
    assert_null(move_gate_take(&gate, at, LEN));
    assert_non_null(move_gate_take(&another, at, LEN));
    assert_int_equal(move_gate_give_back(&another, at, LEN), 0);
    move_gate_fini(&none);
    move_gate_fini(&another);
    move_gate_fini(&gate);
    (void)munmap(at, LEN);
    (void)close(fd);
    (void)close(mine);
    (void)close(other);
}

static void splits_are_counted_where_the_kernel_does(void **state)
{
    const int fd = move_splits_open(), text = memfd_create("vmstat", MFD_CLOEXEC);
    static const char lines[] = "thp_split_pmd 7\nthp_migration_split 1234\nnr_x 9\n";
    uint64_t n = 99;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(move_splits_read(-1, &n), -ENOENT);
    assert_int_equal(move_splits_read(text, &n), -ENOENT);
    assert_int_equal(n, 99);
    assert_int_equal(write(text, lines, sizeof(lines) - 1), sizeof(lines) - 1);
    assert_int_equal(move_splits_read(text, &n), 0);
    assert_int_equal(n, 1234);
    (void)close(fd);
    (void)close(text);
}

/* Our own page table knows all of it afterwards, which is what it is for. */
static void shaken_it_stays_mapped(void **state)
{
    const int fd = memfd_create("gate", MFD_CLOEXEC), pagemap = residency_open();
    static uint64_t entry[PAGES];
    struct move_gate gate, fixed;
    uint8_t *at = make(fd);

    (void)state;
    assert_int_equal(move_gate_init(-1, true, &fixed, NULL), 0);
    assert_int_equal(move_gate_shake(&fixed, at, LEN), -ENOTSUP);
    assert_int_equal(move_gate_init(-1, false, &gate, NULL), 0);
    for (int i = 0; i < 3; i++) {
        at[i] = 43;
        assert_int_equal(move_gate_shake(&gate, at, LEN), 0);
        assert_int_equal(
            pread(pagemap, entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * sizeof(entry[0]))),
            sizeof(entry));
        for (size_t p = 0; p < PAGES; p++)
            assert_int_equal(entry[p] >> 63, 1);
        assert_int_equal(at[i], 43);
        assert_int_equal(at[LEN - 1], 42);
    }
    assert_int_equal(mprotect(at, PAGE, PROT_READ), 0); /* two mappings: some kernels refuse */
    (void)move_gate_shake(&gate, at, LEN);
    assert_int_equal(at[LEN - 1], 42);
    move_gate_fini(&fixed);
    move_gate_fini(&gate);
    (void)munmap(at, LEN);
    (void)close(fd);
    (void)close(pagemap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_waits),
        cmocka_unit_test(shaken_it_stays_mapped),
        cmocka_unit_test(what_somebody_else_holds_stays),
        cmocka_unit_test(splits_are_counted_where_the_kernel_does),
    };
    return cmocka_run_group_tests_name("memory/move_gate", tests, NULL, NULL);
}
