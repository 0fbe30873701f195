/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port's wire to our output: a terminal, a pipe, a socket, a file, nothing at all.
 *
 * The main loop runs in a thread of its own and the tests send as vCPUs do, so that
 * ThreadSanitizer sees what the machine does. The loop's waits are counted at the seam of
 * epoll_wait(), which shows a loop that turns without end.
 */
// LDFLAGS: -Wl,--wrap=epoll_wait
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/machine/machine_console.h"

enum { WAIT_MS = 20000, MS = 1000000 };

static atomic_uint n_waits; /* of the loop */

int __real_epoll_wait(int fd, struct epoll_event *evs, int n, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *evs, int n, int timeout);

int __wrap_epoll_wait(int fd, struct epoll_event *evs, int n, int timeout)
{
    atomic_fetch_add(&n_waits, 1);
    return __real_epoll_wait(fd, evs, n, timeout);
}

struct fixture {
    struct evloop *loop;
    pthread_t thread;
    struct machine_console *console;
    int out, in;         /* our output as a parent gave it, and its reader's side; -1: none */
    atomic_uint n_rooms; /* times that the console asked for more, on its loop */
};

static _Thread_local bool on_loop; /* this thread runs it */

static void on_room(void *ctx)
{
    struct fixture *f = ctx;

    atomic_fetch_add(&f->n_rooms, on_loop ? 1 : 0);
}

static void *serve(void *ctx)
{
    on_loop = true;
    if (evloop_run(ctx, NULL) < 0)
        abort();
    return NULL;
}

/* A console that writes to @out, whose other side is @in. */
static void start(struct fixture *f, int out, int in)
{
    struct errctx ec = { 0 };

    *f = (struct fixture){ .out = out, .in = in };
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    if (machine_console_new(f->loop, out, on_room, f, &f->console, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f->loop), 0);
}

static void stop_loop(struct fixture *f)
{
    evloop_stop(f->loop);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
}

/* As the machine does: the loop has ended, then the console writes what is left. */
static void stop(struct fixture *f)
{
    if (f->console != NULL) {
        stop_loop(f);
        machine_console_free(f->console);
    }
    evloop_free(f->loop);
    if (f->in >= 0)
        (void)close(f->in);
    if (f->out >= 0)
        (void)close(f->out);
}

static void start_pipe(struct fixture *f)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    start(f, ends[1], ends[0]);
}

/* Read @len bytes, or fail. */
static void receive(int fd, uint8_t *data, size_t len)
{
    while (len > 0) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = read(fd, data, len);
        assert_true(n > 0);
        data += n;
        len -= (size_t)n;
    }
}

static bool wait_rooms(struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < WAIT_MS && atomic_load(&f->n_rooms) < n; i++)
        (void)poll(NULL, 0, 1);
    return atomic_load(&f->n_rooms) >= n;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

/* Send the pattern from @from on until the console takes no more. Return: how much it took. */
static size_t send_until_full(struct fixture *f, size_t from)
{
    uint8_t data[1000];
    size_t total = 0, n;

    do {
        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = pattern(from + total + i);
        n = machine_console_send(f->console, data, sizeof(data));
        total += n;
        assert_true(total < 16 * MIB);
    } while (n == sizeof(data));
    return total;
}

/* Send until the pipe is full and the console holds more, however late its loop is. */
static void fill_pipe(struct fixture *f)
{
    struct pollfd p = { .fd = f->out, .events = POLLOUT };

    for (unsigned i = 0; i < WAIT_MS; i++) {
        (void)send_until_full(f, 0);
        if (poll(&p, 1, 0) == 0)
            break;
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(poll(&p, 1, 0), 0);
    (void)send_until_full(f, 0);
}

/* --- kinds of output -------------------------------------------------------------------------- */

static void a_terminal_gets_what_the_guest_writes(void **state)
{
    static const char text[] = "numavisor\r\n\033[1mlogin:\033[0m ";
    struct fixture f;
    struct termios raw;
    uint8_t got[sizeof(text)];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), tty;

    (void)state;
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    tty = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(tty >= 0);
    assert_int_equal(tcgetattr(tty, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(tty, TCSANOW, &raw), 0);

    start(&f, tty, master);
    for (size_t i = 0; i < sizeof(text); i++)
        assert_int_equal(machine_console_send(f.console, &text[i], 1), 1);
    receive(master, got, sizeof(got));
    assert_memory_equal(got, text, sizeof(text));
    assert_int_equal(fcntl(tty, F_GETFL) & O_NONBLOCK, 0); /* the shell's description */
    stop(&f);
}

static void a_pipe_keeps_blocking_for_those_who_share_it(void **state)
{
    struct fixture f;
    uint8_t got[3];

    (void)state;
    start_pipe(&f);
    assert_int_equal(machine_console_send(f.console, "one", 3), 3);
    receive(f.in, got, 3);
    assert_memory_equal(got, "one", 3);
    assert_int_equal(fcntl(f.out, F_GETFL) & O_NONBLOCK, 0);
    stop(&f);
}

static void a_file_is_written_where_its_shared_offset_is(void **state)
{
    struct fixture f;
    char got[32] = { 0 };
    int file = memfd_create("console-test", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(write(file, "before ", 7), 7);
    start(&f, dup(file), -1);
    assert_int_equal(machine_console_send(f.console, "guest ", 6), 6);
    stop(&f);
    assert_int_equal(write(file, "after", 5), 5);
    assert_int_equal(pread(file, got, sizeof(got) - 1, 0), 18);
    assert_string_equal(got, "before guest after");
    (void)close(file);
}

static void without_an_output_everything_is_taken(void **state)
{
    struct fixture f;
    static uint8_t data[256 * KIB];

    (void)state;
    start(&f, -1, -1);
    assert_int_equal(machine_console_send(f.console, data, sizeof(data)), sizeof(data));
    stop(&f);
}

static void a_closed_output_is_an_error_with_a_name(void **state)
{
    struct errctx ec = { 0 };
    struct machine_console *console = (void *)&ec;
    struct evloop *loop;
    const int never_open = 1000000;

    (void)state;
    assert_int_equal(evloop_new(&loop, NULL), 0);
    assert_int_equal(machine_console_new(loop, never_open, on_room, NULL, &console, &ec), -EBADF);
    assert_string_equal(ec.msg, "standard output: Bad file descriptor");
    assert_ptr_equal(console, &ec);
    evloop_free(loop);
}

/* --- pace ------------------------------------------------------------------------------------- */

/* A datagram socket keeps the writes apart: one for what came within a millisecond. */
static void single_bytes_are_written_in_batches(void **state)
{
    enum { TOTAL = 20000 };
    struct fixture f;
    uint8_t data[64 * KIB];
    unsigned n_writes = 0;
    size_t got = 0;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    start(&f, ends[0], ends[1]);
    for (size_t i = 0; i < TOTAL; i++) {
        uint8_t byte = pattern(i);

        assert_int_equal(machine_console_send(f.console, &byte, 1), 1);
    }
    for (; got < TOTAL; n_writes++) {
        struct pollfd p = { .fd = f.in, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = read(f.in, data, sizeof(data));
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++, got++)
            assert_int_equal(data[i], pattern(got));
    }
    assert_int_equal(got, TOTAL);
    assert_in_range(n_writes, 1, TOTAL / 10);
    stop(&f);
}

static void a_slow_reader_makes_the_guest_wait_and_loses_nothing(void **state)
{
    struct fixture f;
    uint8_t *got = malloc(4 * MIB);
    size_t sent = 0;

    (void)state;
    assert_non_null(got);
    start_pipe(&f);
    for (unsigned round = 1; round <= 4; round++) {
        size_t n = send_until_full(&f, sent);

        /* Until the loop has filled the pipe, there is room again. */
        for (unsigned quiet = 0; quiet<20; quiet = n> 0 ? 0 : quiet + 1) {
            sent += n;
            (void)poll(NULL, 0, 2);
            n = send_until_full(&f, sent);
        }
        sent += n;
        atomic_store(&f.n_rooms, 0);
        assert_int_equal(machine_console_send(f.console, "x", 1), 0);
        assert_int_equal(atomic_load(&f.n_rooms), 0); /* nothing has moved */
        assert_true(sent <= 4 * MIB);
        receive(f.in, got, sent);
        for (size_t i = 0; i < sent; i++)
            if (got[i] != pattern(i))
                fail_msg("round %u: byte %zu of %zu is another", round, i, sent);
        assert_true(wait_rooms(&f, 1));
        sent = 0;
    }
    stop(&f);
    free(got);
}

static void a_reader_that_fell_asleep_costs_no_time(void **state)
{
    struct fixture f;
    unsigned before;

    (void)state;
    start_pipe(&f);
    (void)send_until_full(&f, 0);
    (void)poll(NULL, 0, 50);
    (void)send_until_full(&f, 0);
    (void)poll(NULL, 0, 50);
    before = atomic_load(&n_waits);
    (void)poll(NULL, 0, 200);
    assert_in_range(atomic_load(&n_waits) - before, 0, 2); /* waits for room, does not poll */
    stop(&f);
}

static void a_reader_that_left_does_not_stop_the_guest(void **state)
{
    struct fixture f;
    unsigned before;

    (void)state;
    start_pipe(&f);
    assert_int_equal(close(f.in), 0);
    f.in = -1;
    for (unsigned i = 0; i < 50; i++) {
        uint8_t data[8 * KIB] = { 0 };

        for (size_t n = 0; n < sizeof(data);) {
            size_t taken = machine_console_send(f.console, data, sizeof(data) - n);

            n += taken;
            if (taken == 0) {
                assert_true(wait_rooms(&f, 1));
                atomic_store(&f.n_rooms, 0);
            }
        }
    }
    (void)poll(NULL, 0, 20);
    before = atomic_load(&n_waits);
    (void)poll(NULL, 0, 100);
    assert_in_range(atomic_load(&n_waits) - before, 0, 2); /* its end is not reported for ever */
    stop(&f);
}

struct sender {
    pthread_t thread;
    struct fixture *f;
    uint8_t mark;
};

enum { SENDERS = 4, SENDER_BYTES = 40000 };

static void *send_marks(void *ctx)
{
    struct sender *s = ctx;
    size_t sent = 0;

    while (sent < SENDER_BYTES) {
        size_t n = machine_console_send(s->f->console, &s->mark, 1);

        sent += n;
        if (n == 0)
            (void)poll(NULL, 0, 1);
    }
    return NULL;
}

static void vcpus_write_at_the_same_time(void **state)
{
    struct sender senders[SENDERS];
    unsigned count[SENDERS] = { 0 };
    struct fixture f;
    static uint8_t got[SENDERS * SENDER_BYTES];

    (void)state;
    start_pipe(&f);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ .f = &f, .mark = (uint8_t)i };
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_marks, &senders[i]), 0);
    }
    receive(f.in, got, sizeof(got));
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    for (size_t i = 0; i < sizeof(got); i++) {
        assert_in_range(got[i], 0, SENDERS - 1);
        count[got[i]]++;
    }
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(count[i], SENDER_BYTES);
    stop(&f);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void what_is_left_is_written_at_the_end(void **state)
{
    struct fixture f;
    uint8_t got[9];

    (void)state;
    start_pipe(&f);
    stop_loop(&f);
    assert_int_equal(machine_console_send(f.console, "last word", 9), 9); /* nobody serves it */
    machine_console_free(f.console);
    f.console = NULL;
    receive(f.in, got, 9);
    assert_memory_equal(got, "last word", 9);
    stop(&f);
}

static void the_end_waits_a_second_for_a_reader_and_no_longer(void **state)
{
    struct fixture f;
    uint64_t start_ns, took_ms;

    (void)state;
    start_pipe(&f);
    fill_pipe(&f);
    stop_loop(&f);
    start_ns = evloop_now_ns();
    machine_console_free(f.console);
    f.console = NULL;
    took_ms = (evloop_now_ns() - start_ns) / MS;
    assert_true(took_ms >= 900);
    stop(&f);
}

static int no_sigpipe(void **state)
{
    (void)state;
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR; /* as in the program */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_gets_what_the_guest_writes),
        cmocka_unit_test(a_pipe_keeps_blocking_for_those_who_share_it),
        cmocka_unit_test(a_file_is_written_where_its_shared_offset_is),
        cmocka_unit_test(without_an_output_everything_is_taken),
        cmocka_unit_test(a_closed_output_is_an_error_with_a_name),
        cmocka_unit_test(single_bytes_are_written_in_batches),
        cmocka_unit_test(a_slow_reader_makes_the_guest_wait_and_loses_nothing),
        cmocka_unit_test(a_reader_that_fell_asleep_costs_no_time),
        cmocka_unit_test(a_reader_that_left_does_not_stop_the_guest),
        cmocka_unit_test(vcpus_write_at_the_same_time),
        cmocka_unit_test(what_is_left_is_written_at_the_end),
        cmocka_unit_test(the_end_waits_a_second_for_a_reader_and_no_longer),
    };

    return cmocka_run_group_tests_name("vmm/machine/machine_console", tests, no_sigpipe, NULL);
}
