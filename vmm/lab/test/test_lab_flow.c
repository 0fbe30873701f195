/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of the lab between pipes and sockets that are slow, full, or closed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/lab/lab_flow.h"

struct fixture {
    struct lab_flow flow;
    int from[2], to[2]; /* pipes; ours are from[1] and to[0] */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(pipe2(f->from, O_CLOEXEC), 0);
    assert_int_equal(pipe2(f->to, O_CLOEXEC), 0);
    f->flow.from = f->from[0];
    f->flow.to = f->to[1];
    (void)signal(SIGPIPE, SIG_IGN);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        if (f->from[i] >= 0)
            (void)close(f->from[i]);
        if (f->to[i] >= 0)
            (void)close(f->to[i]);
    }
    free(f);
    return 0;
}

/* Until nothing is possible any more. */
static void run(struct lab_flow *flow)
{
    struct pollfd p[2];

    for (;;) {
        lab_flow_wants(flow, p);
        if (flow->done || poll(p, 2, 0) == 0)
            return;
        lab_flow_step(flow, p);
    }
}

static void bytes_arrive_and_the_end_does(void **state)
{
    struct fixture *f = *state;
    char got[16] = "";

    assert_int_equal(write(f->from[1], "a\0b", 3), 3);
    run(&f->flow);
    assert_int_equal(read(f->to[0], got, sizeof(got)), 3);
    assert_memory_equal(got, "a\0b", 3);
    assert_false(f->flow.done);
    assert_int_equal(write(f->from[1], "c", 1), 1);
    (void)close(f->from[1]);
    f->from[1] = -1;
    run(&f->flow);
    assert_true(f->flow.done);
    assert_int_equal(read(f->to[0], got, sizeof(got)), 1);
}

static void a_full_pipe_is_waited_for(void **state)
{
    struct fixture *f = *state;
    char chunk[4096], got[65536];
    size_t in = 0, out = 0;

    /* Blocking pipes: a write without room would never come back. */
    assert_int_equal(fcntl(f->to[1], F_SETPIPE_SZ, 4096), 4096);
    for (int i = 0; i < 12; i++) {
        memset(chunk, i, sizeof(chunk));
        assert_int_equal(write(f->from[1], chunk, sizeof(chunk)), sizeof(chunk));
        in += sizeof(chunk);
    }
    (void)close(f->from[1]);
    f->from[1] = -1;
    while (!f->flow.done || out < in) {
        ssize_t n;

        run(&f->flow);
        n = read(f->to[0], got, 1000);
        assert_true(n > 0);
        out += (size_t)n;
    }
    assert_int_equal(out, in);
}

static void who_reads_no_more_ends_it(void **state)
{
    struct fixture *f = *state;

    (void)close(f->to[0]);
    f->to[0] = -1;
    run(&f->flow); /* nothing was written, and it is noticed */
    assert_true(f->flow.done);
    assert_int_equal(f->flow.error, 0);
}

static void a_file_can_be_the_end(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/nv-flow-XXXXXX", got[8] = "";
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    f->flow.to = fd;
    assert_int_equal(write(f->from[1], "text", 4), 4);
    (void)close(f->from[1]);
    f->from[1] = -1;
    run(&f->flow);
    assert_true(f->flow.done);
    assert_int_equal(pread(fd, got, sizeof(got), 0), 4);
    assert_string_equal(got, "text");
    (void)close(fd);
    (void)unlink(path);
}

static void a_full_disk_is_no_reader_gone(void **state)
{
    struct fixture *f = *state;
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_true(full >= 0);
    f->flow.to = full;
    assert_int_equal(write(f->from[1], "text", 4), 4);
    run(&f->flow);
    assert_true(f->flow.done);
    assert_int_equal(f->flow.error, ENOSPC);
    (void)close(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_arrive_and_the_end_does, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_pipe_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(who_reads_no_more_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_can_be_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_no_reader_gone, setup, teardown),
    };
    return cmocka_run_group_tests_name("lab/flow", tests, NULL, NULL);
}
