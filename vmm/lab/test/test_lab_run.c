/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lab's supervisor with a machine that is a function in a child, which does what the socket
 * device and the guest's init would, and a file server that only sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/lab/lab.h"

enum guest {
    GUEST_HONEST,
    GUEST_PANICS,
    GUEST_TALKS,
    GUEST_HANGS,
    GUEST_DEAF,
    GUEST_SIGNALS,
    GUEST_GIVES_UP,
};

struct fixture {
    char dir[32], program[64];
    enum guest guest;
    int signal_number;
    bool ignores_children;
    struct lab_request req;
};

struct outcome {
    struct lab_end end;
    int result;
    char out[65536], err[4096];
    size_t out_len;
};

/* --- in the machine's place ------------------------------------------------------------------- */

static int dial(const char *vsock, int port)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s_%d", vsock, port);
    return connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0 ? fd : -1;
}

static bool take(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

/* The command is "cat; echo FOLDER ARGUMENT >&2; exit 7". */
static int be_guest(int control, const char *vsock, bool gives_up)
{
    struct lab_result result = { .magic = LAB_MAGIC, .kind = LAB_EXITED, .value = 7 };
    struct lab_order order;
    char strings[4096], bytes[1000];
    int streams[3], events;
    gid_t group;
    ssize_t n;

    if (!take(control, &order, sizeof(order)) || order.magic != LAB_MAGIC || order.n_args != 2 ||
        order.n_env != 1 || order.strings_bytes > sizeof(strings) || order.uid != geteuid())
        return 1;
    for (uint32_t i = 0; i < order.n_groups; i++)
        if (!take(control, &group, sizeof(group)))
            return 1;
    if (!take(control, strings, order.strings_bytes))
        return 1;
    if (gives_up) {
        result = (struct lab_result){ .magic = LAB_MAGIC, .kind = LAB_NO_GUEST, .text = "so" };
        return send(control, &result, sizeof(result), 0) == (ssize_t)sizeof(result) &&
                       take(control, bytes, 1) && bytes[0] == 0
                   ? 0
                   : 1;
    }
    for (int i = 0; i < 3; i++)
        streams[i] = dial(vsock, LAB_STDIN + i);
    events = order.wants_events ? dial(vsock, LAB_EVENTS) : -1;
    while ((n = read(streams[0], bytes, sizeof(bytes))) > 0)
        if (send(streams[1], bytes, (size_t)n, MSG_NOSIGNAL) != n)
            return 1;
    n = (ssize_t)strlen(strings) + 1; /* of the folder; the first argument follows */
    (void)dprintf(streams[2], "%s %s", strings, strings + n + strlen(strings + n) + 1);
    for (int i = 0; i < 3; i++)
        (void)close(streams[i]);
    if (events >= 0)
        (void)close(events);
    if (send(control, &result, sizeof(result), 0) != (ssize_t)sizeof(result))
        return 1;
    return take(control, bytes, 1) && bytes[0] == 0 ? 0 : 1; /* dismissed */
}

static int machine(void *ctx, const struct lab_devices *devices)
{
    const struct fixture *f = ctx;
    int control;

    (void)printf("the console says\r\n");
    if (f->guest == GUEST_PANICS) {
        (void)printf("Kernel panic - not syncing\r\n");
        (void)fflush(stdout);
        return 3;
    }
    for (int i = 0; f->guest == GUEST_TALKS && i < 4000; i++)
        (void)printf("line %d\r\n", i);
    (void)fflush(stdout);
    if (f->guest == GUEST_TALKS)
        return 0;
    if (f->guest == GUEST_SIGNALS)
        (void)kill(getppid(), f->signal_number);
    if (f->guest == GUEST_HANGS || f->guest == GUEST_SIGNALS)
        (void)pause();
    control = dial(devices->vsock, LAB_CONTROL);
    if (f->guest == GUEST_DEAF)
        (void)pause();
    return be_guest(control, devices->vsock, f->guest == GUEST_GIVES_UP);
}

/* --- around it -------------------------------------------------------------------------------- */

static int setup(void **state)
{
    static char *args[] = { (char *)(uintptr_t)"command", (char *)(uintptr_t)"an argument", NULL };
    static char *env[] = { (char *)(uintptr_t)"A=b", NULL };
    struct fixture *f = calloc(1, sizeof(*f));
    FILE *script;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/nv-run-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->program, sizeof(f->program), "%s/server", f->dir);
    script = fopen(f->program, "we");
    assert_non_null(script);
    (void)fprintf(script, "#!/bin/sh\nexec sleep 1000\n");
    assert_int_equal(fclose(script), 0);
    assert_int_equal(chmod(f->program, 0700), 0);
    f->req = (struct lab_request){ .program = f->program,
                                   .initramfs_fd = -1,
                                   .facts_fd = -1,
                                   .report_fd = -1,
                                   .args = args,
                                   .n_args = 2,
                                   .env = env,
                                   .n_env = 1,
                                   .folder = "/the/folder",
                                   .machine = machine,
                                   .ctx = f };
    assert_int_equal(setenv("XDG_RUNTIME_DIR", f->dir, 1), 0);
    *state = f;
    return 0;
}

/* The folder is empty but for the server: that is what rmdir() finds. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    int r;

    (void)unlink(f->program);
    r = rmdir(f->dir);
    free(f);
    return r;
}

static size_t drain(int fd, char *to, size_t max)
{
    size_t len = 0;
    ssize_t n;

    while (len < max && (n = read(fd, to + len, max - len)) > 0)
        len += (size_t)n;
    (void)close(fd);
    return len;
}

/* lab_run() in a process whose standard streams are ours. */
static struct outcome *run(struct fixture *f, const char *in, size_t in_len)
{
    struct outcome *o = calloc(1, sizeof(*o));
    int streams[3][2], told[2];
    pid_t pid;
    int status;

    assert_non_null(o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pipe(streams[i]), 0);
    assert_int_equal(pipe(told), 0);
    pid = fork();
    if (pid == 0) {
        struct lab_end end = { .kind = LAB_END_RESULT };
        struct errctx ec = { 0 };
        int r;

        for (int i = 0; i < 3; i++) {
            (void)dup2(streams[i][i == 0 ? 0 : 1], i);
            (void)close(streams[i][0]);
            (void)close(streams[i][1]);
        }
        (void)close(told[0]);
        if (f->ignores_children) /* as some daemons start theirs */
            (void)signal(SIGCHLD, SIG_IGN);
        r = lab_run(&f->req, &end, &ec);
        (void)!write(told[1], &r, sizeof(r));
        (void)!write(told[1], r < 0 ? (const void *)ec.msg : &end,
                     r < 0 ? sizeof(ec.msg) : sizeof(end));
        _exit(0);
    }
    (void)close(streams[0][0]);
    (void)close(streams[1][1]);
    (void)close(streams[2][1]);
    (void)close(told[1]);
    if (in_len > 0)
        assert_int_equal(write(streams[0][1], in, in_len), in_len);
    (void)close(streams[0][1]);
    o->out_len = drain(streams[1][0], o->out, sizeof(o->out));
    (void)drain(streams[2][0], o->err, sizeof(o->err) - 1);
    assert_int_equal(read(told[0], &o->result, sizeof(o->result)), sizeof(o->result));
    (void)drain(told[0], (char *)&o->end, sizeof(o->end));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return o;
}

static void streams_and_status_are_the_commands(void **state)
{
    char *in = malloc(40000);
    struct outcome *o;

    for (int i = 0; i < 40000; i++)
        in[i] = (char)(i * 7);
    o = run(*state, in, 40000);
    assert_int_equal(o->result, 0);
    assert_int_equal(o->end.kind, LAB_END_RESULT);
    assert_int_equal(o->end.result.kind, LAB_EXITED);
    assert_int_equal(o->end.result.value, 7);
    assert_int_equal(o->out_len, 40000);
    assert_memory_equal(o->out, in, 40000);
    assert_string_equal(o->err, "/the/folder an argument");
    free(in);
    free(o);
}

/* Takes its time once the command has ended. */
static void direct(void *ctx, int listen_fd)
{
    const int conn = accept(listen_fd, NULL, NULL);
    char byte;

    (void)ctx;
    if (conn >= 0 && read(conn, &byte, 1) == 0 && usleep(50000) == 0)
        (void)dprintf(STDERR_FILENO, ", directed");
}

static void the_director_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->req.direct = direct;
    o = run(f, "", 0);
    assert_int_equal(o->result, 0);
    assert_int_equal(o->end.kind, LAB_END_RESULT);
    assert_string_equal(o->err, "/the/folder an argument, directed");
    free(o);
}

static void a_director_ends_with_the_machine(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->req.direct = direct; /* nobody connects to it */
    f->guest = GUEST_PANICS;
    o = run(f, "", 0);
    assert_int_equal(o->result, 0);
    assert_int_equal(o->end.kind, LAB_END_MACHINE);
    assert_string_equal(o->err, "");
    free(o);
}

/* Such a guest connects nothing, and waits to be dismissed. */
static void a_director_ends_where_there_is_no_command(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->req.direct = direct;
    f->guest = GUEST_GIVES_UP;
    o = run(f, "", 0);
    assert_int_equal(o->result, 0);
    assert_int_equal(o->end.kind, LAB_END_RESULT);
    assert_int_equal(o->end.result.kind, LAB_NO_GUEST);
    assert_string_equal(o->end.result.text, "so");
    assert_string_equal(o->err, "");
    free(o);
}

static void a_machine_that_ends_first_is_told_of(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->guest = GUEST_PANICS;
    o = run(f, "", 0);
    assert_int_equal(o->result, 0);
    assert_int_equal(o->end.kind, LAB_END_MACHINE);
    assert_int_equal(WEXITSTATUS(o->end.status), 3);
    assert_string_equal(o->end.console, "the console says\r\nKernel panic - not syncing\r\n");
    assert_int_equal(o->out_len, 0);
    free(o);
}

static void the_last_that_a_console_says_is_kept(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->guest = GUEST_TALKS;
    o = run(f, "", 0);
    assert_int_equal(o->end.kind, LAB_END_MACHINE);
    assert_string_equal(o->end.console + strlen(o->end.console) - 11, "line 3999\r\n");
    free(o);
}

/* A guest that does not take what it is to run keeps nobody from giving up. */
static void a_long_order_holds_nothing_up(void **state)
{
    struct fixture *f = *state;
    const size_t len = 3 << 20;
    char *variable = malloc(len), *env[] = { variable, NULL };
    struct outcome *o;

    memset(variable, 'x', len);
    variable[1] = '=';
    variable[len - 1] = '\0';
    f->req.env = env;
    f->guest = GUEST_DEAF;
    f->req.timeout_ns = 300000000;
    o = run(f, "", 0);
    assert_int_equal(o->result, 0);
    assert_int_equal(o->end.kind, LAB_END_TIMEOUT);
    free(o);
    free(variable);
}

/* Signals that are ignored stay so; the others end it while nobody else can take them. */
static void signals_are_the_callers(void **state)
{
    static const struct {
        int number;
        bool ignored;
        enum lab_end_kind kind;
    } cases[] = {
        { SIGQUIT, false, LAB_END_SIGNAL },
        { SIGHUP, false, LAB_END_SIGNAL },
        { SIGHUP, true, LAB_END_TIMEOUT },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome *o;

        f->guest = GUEST_SIGNALS;
        f->signal_number = cases[i].number;
        f->req.timeout_ns = cases[i].ignored ? 300000000 : 0;
        (void)signal(cases[i].number, cases[i].ignored ? SIG_IGN : SIG_DFL);
        o = run(f, "", 0);
        (void)signal(cases[i].number, SIG_DFL);
        assert_int_equal(o->result, 0);
        assert_int_equal(o->end.kind, cases[i].kind);
        if (!cases[i].ignored)
            assert_int_equal(o->end.signal, cases[i].number);
        free(o);
    }
}

static void children_are_seen_where_nobody_looks_at_them(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->ignores_children = true;
    o = run(f, "", 0);
    assert_int_equal(o->end.kind, LAB_END_RESULT);
    assert_int_equal(o->end.result.value, 7);
    free(o);
}

static void time_runs_out(void **state)
{
    struct fixture *f = *state;

    for (int guest = GUEST_HANGS; guest <= GUEST_DEAF; guest++) {
        struct outcome *o;

        f->guest = (enum guest)guest;
        f->req.timeout_ns = 300000000;
        o = run(f, "", 0);
        assert_int_equal(o->result, 0);
        assert_int_equal(o->end.kind, LAB_END_TIMEOUT);
        free(o);
    }
}

static void a_server_that_cannot_start_is_told_of(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;

    f->req.program = "/there/is/none";
    o = run(f, "", 0);
    assert_int_equal(o->result, -ENOENT);
    assert_string_equal(
        (const char *)&o->end,
        "the file server for / cannot have /there/is/none: No such file or directory");
    free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(streams_and_status_are_the_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(the_director_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_director_ends_with_the_machine, setup, teardown),
        cmocka_unit_test_setup_teardown(a_director_ends_where_there_is_no_command, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_machine_that_ends_first_is_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_that_a_console_says_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_order_holds_nothing_up, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_are_the_callers, setup, teardown),
        cmocka_unit_test_setup_teardown(children_are_seen_where_nobody_looks_at_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(time_runs_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_cannot_start_is_told_of, setup, teardown),
    };
    return cmocka_run_group_tests_name("lab/run", tests, NULL, NULL);
}
