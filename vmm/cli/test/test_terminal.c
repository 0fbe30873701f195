/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal on a pseudo-terminal: raw mode, its way back, escape keys, flow control. */
// LDFLAGS: -Wl,--wrap=pidfd_open
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/cli/guard.h"
#include "vmm/cli/terminal.h"
#include "vmm/cli/terminal_escape.h"
#include "vmm/machine/control.h"
#include "vmm/machine/control_dir.h"

enum { GIVE_UP_MS = 10000 };

int __real_pidfd_open(pid_t pid, unsigned flags);
int __wrap_pidfd_open(pid_t pid, unsigned flags);
static bool no_pidfd; /* as on a kernel before 5.3 */

int __wrap_pidfd_open(pid_t pid, unsigned flags)
{
    if (no_pidfd) {
        errno = ENOSYS;
        return -1;
    }
    return __real_pidfd_open(pid, flags);
}

struct guest {
    struct evloop *loop;
    char got[4096];
    size_t n_got;
    size_t room;   /* bytes that it takes before it takes nothing more */
    size_t enough; /* the loop ends when so many have come */
    int powers;
    const char *left; /* why */
};

static size_t guest_input(void *ctx, const void *data, size_t len)
{
    struct guest *g = ctx;

    if (len > g->room)
        len = g->room;
    memcpy(g->got + g->n_got, data, len);
    g->n_got += len;
    g->room -= len;
    if (g->enough > 0 && g->n_got >= g->enough)
        evloop_stop(g->loop);
    return len;
}

static void guest_power(void *ctx)
{
    struct guest *g = ctx;

    g->powers++;
}

static void guest_leave(void *ctx, const char *why)
{
    struct guest *g = ctx;

    g->left = why;
    evloop_stop(g->loop);
}

static const struct terminal_ops guest_ops = {
    .input = guest_input,
    .power = guest_power,
    .leave = guest_leave,
};

static const struct control_ops no_ops = { 0 }; /* nobody connects */

static void give_up(void *ctx)
{
    (void)ctx;
    fail_msg("the terminal did nothing for %d ms", GIVE_UP_MS);
}

/* Serve until the guest has enough or the user leaves. */
static void serve(struct guest *g)
{
    struct evloop_timer *timer;

    assert_int_equal(evloop_timer_new(g->loop, give_up, NULL, &timer, NULL), 0);
    evloop_timer_arm(timer, evloop_now_ns() + GIVE_UP_MS * 1000000ull);
    assert_int_equal(evloop_run(g->loop, NULL), 0);
    evloop_timer_free(timer);
}

static void open_pty(int *ret_user, int *ret_tty)
{
    int user = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    assert_true(user >= 0);
    assert_int_equal(grantpt(user), 0);
    assert_int_equal(unlockpt(user), 0);
    *ret_tty = open(ptsname(user), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*ret_tty >= 0);
    *ret_user = user;
}

static bool is_raw(int tty)
{
    struct termios t;

    assert_int_equal(tcgetattr(tty, &t), 0);
    return (t.c_lflag & (ICANON | ECHO | ISIG)) == 0;
}

static void type(int fd, const char *text, size_t len)
{
    assert_int_equal(write(fd, text, len), len);
}

static void the_escape_key_has_five_meanings(void **state)
{
    static const struct {
        uint8_t first, second;
        enum terminal_action a, b;
    } rows[] = {
        { 'x', 1, TERMINAL_SEND, TERMINAL_DROP },    { 1, 'x', TERMINAL_DROP, TERMINAL_LEAVE },
        { 1, 1, TERMINAL_DROP, TERMINAL_SEND },      { 1, 'p', TERMINAL_DROP, TERMINAL_POWER },
        { 1, 'h', TERMINAL_DROP, TERMINAL_HELP },    { 1, 'q', TERMINAL_DROP, TERMINAL_DROP },
        { 0xff, 'x', TERMINAL_SEND, TERMINAL_SEND },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct terminal_escape e = { 0 };

        assert_int_equal(terminal_escape_feed(&e, rows[i].first), rows[i].a);
        assert_int_equal(terminal_escape_feed(&e, rows[i].second), rows[i].b);
    }
}

static void a_terminal_is_raw_while_the_guest_runs(void **state)
{
    struct guest g = { .room = 4096, .enough = 0 };
    struct terminal *t;
    int user, tty;

    (void)state;
    open_pty(&user, &tty);
    assert_int_equal(evloop_new(&g.loop, NULL), 0);
    assert_int_equal(terminal_new(g.loop, tty, &guest_ops, &g, &t, NULL), 0);
    assert_false(is_raw(tty));
    assert_int_equal(terminal_start(t, NULL), 0);
    assert_true(is_raw(tty));
    type(user, "ls\003\001\001\001px\001x", 10);
    serve(&g);
    assert_string_equal(g.left, "escape key");
    assert_int_equal(g.powers, 1);
    assert_int_equal(g.n_got, 5); /* Ctrl-C is the guest's */
    assert_memory_equal(g.got, "ls\003\001x", 5);
    terminal_free(t);
    assert_false(is_raw(tty));
    evloop_free(g.loop);
    close(user);
    close(tty);
}

static void the_escape_key_works_when_the_guest_reads_nothing(void **state)
{
    struct guest g = { .room = 0 };
    struct terminal *t;
    char flood[4096];
    int user, tty;

    (void)state;
    open_pty(&user, &tty);
    assert_int_equal(evloop_new(&g.loop, NULL), 0);
    assert_int_equal(terminal_new(g.loop, tty, &guest_ops, &g, &t, NULL), 0);
    assert_int_equal(terminal_start(t, NULL), 0);
    memset(flood, 'x', sizeof(flood));
    type(user, flood, sizeof(flood) / 2);
    type(user, "\001x", 2);
    serve(&g);
    assert_string_equal(g.left, "escape key");
    terminal_free(t);
    evloop_free(g.loop);
    close(user);
    close(tty);
}

static void a_pipe_goes_to_the_guest_as_it_is(void **state)
{
    struct guest g = { .room = 4096, .enough = 6 };
    struct terminal *t;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    type(fds[1], "\001xa\000\377b", 6);
    close(fds[1]); /* its end is harmless */
    assert_int_equal(evloop_new(&g.loop, NULL), 0);
    assert_int_equal(terminal_new(g.loop, fds[0], &guest_ops, &g, &t, NULL), 0);
    assert_int_equal(terminal_start(t, NULL), 0);
    serve(&g);
    assert_null(g.left);
    assert_memory_equal(g.got, "\001xa\000\377b", 6);
    terminal_free(t);
    evloop_free(g.loop);
    close(fds[0]);
}

static void open_room(void *ctx)
{
    struct guest *g = ctx;

    g->room = 4096;
}

static void what_the_guest_cannot_take_waits(void **state)
{
    struct guest g = { .room = 3, .enough = 8 };
    struct evloop_timer *timer;
    struct terminal *t;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    type(fds[1], "abcdefgh", 8);
    assert_int_equal(evloop_new(&g.loop, NULL), 0);
    assert_int_equal(terminal_new(g.loop, fds[0], &guest_ops, &g, &t, NULL), 0);
    assert_int_equal(terminal_start(t, NULL), 0);
    assert_int_equal(evloop_timer_new(g.loop, open_room, &g, &timer, NULL), 0);
    evloop_timer_arm(timer, evloop_now_ns() + 50 * 1000 * 1000);
    serve(&g);
    assert_int_equal(g.n_got, 8);
    assert_memory_equal(g.got, "abcdefgh", 8);
    evloop_timer_free(timer);
    terminal_free(t);
    evloop_free(g.loop);
    close(fds[0]);
    close(fds[1]);
}

static void a_plain_file_is_read_to_its_end(void **state)
{
    struct guest g = { .room = 4096, .enough = 5 };
    char path[] = "/tmp/nv-terminal-XXXXXX";
    int fd = mkstemp(path);
    struct terminal *t;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    type(fd, "hello", 5);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(evloop_new(&g.loop, NULL), 0);
    assert_int_equal(terminal_new(g.loop, fd, &guest_ops, &g, &t, NULL), 0);
    assert_int_equal(terminal_start(t, NULL), 0);
    serve(&g);
    assert_memory_equal(g.got, "hello", 5);
    terminal_free(t);
    evloop_free(g.loop);
    close(fd);
}

static void signals_leave_with_their_name(void **state)
{
    static const struct {
        int number;
        const char *why;
    } rows[] = {
        { SIGTERM, "SIGTERM" }, { SIGINT, "SIGINT" }, { SIGHUP, "SIGHUP" }, { SIGQUIT, "SIGQUIT" }
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guest g = { 0 };
        struct terminal *t;

        assert_int_equal(evloop_new(&g.loop, NULL), 0);
        assert_int_equal(terminal_new(g.loop, -1, &guest_ops, &g, &t, NULL), 0);
        assert_int_equal(terminal_start(t, NULL), 0);
        assert_int_equal(kill(getpid(), rows[i].number), 0);
        serve(&g);
        assert_string_equal(g.left, rows[i].why);
        terminal_free(t);
        evloop_free(g.loop);
    }
}

static void wait_until_cooked(int tty)
{
    for (int ms = 0; is_raw(tty) && ms < GIVE_UP_MS; ms += 10)
        usleep(10 * 1000);
    assert_false(is_raw(tty));
}

static int listen_at(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    return bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -1 : listen(fd, 1);
}

/* In a child: guarded, both sockets taken, its terminal raw; then it waits for its end. */
static _Noreturn void be_a_machine(int tty, const char *dir, int ready)
{
    char vsock[64];
    const struct guard_duties duties = {
        .tty_fd = tty, .name = "vm", .dir = dir, .socket = vsock
    };
    const struct control_params params = { .dir = dir, .name = "vm", .ops = &no_ops };
    struct guest g = { 0 };
    struct control *control;
    struct terminal *t;
    struct guard guard;

    (void)snprintf(vsock, sizeof(vsock), "%s/vsock", dir);
    if (guard_start(&duties, &guard, NULL) < 0 || listen_at(vsock) < 0 ||
        evloop_new(&g.loop, NULL) < 0 ||
        terminal_new(g.loop, tty, &guest_ops, &g, &t, NULL) < 0 ||
        control_new(&params, g.loop, &control, NULL) < 0 || terminal_start(t, NULL) < 0 ||
        write(ready, "", 1) != 1)
        _exit(1);
    (void)evloop_run(g.loop, NULL);
    _exit(1);
}

static void kill_a_machine_and_look(void)
{
    char dir[] = "/tmp/nv-guard-XXXXXX", socket[64], vsock[64];
    int user, tty, ready[2], status;
    struct stat st;
    char byte;
    pid_t pid;

    open_pty(&user, &tty);
    assert_non_null(mkdtemp(dir));
    (void)snprintf(socket, sizeof(socket), "%s/vm.sock", dir);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        be_a_machine(tty, dir, ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(is_raw(tty));
    assert_int_equal(stat(socket, &st), 0);
    (void)snprintf(vsock, sizeof(vsock), "%s/vsock", dir);
    assert_int_equal(stat(vsock, &st), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    wait_until_cooked(tty);
    for (int ms = 0; rmdir(dir) < 0 && ms < GIVE_UP_MS; ms += 10)
        usleep(10 * 1000);
    assert_int_equal(stat(dir, &st), -1); /* empty, so it could be removed */
    close(user);
    close(tty);
    close(ready[0]);
    close(ready[1]);
}

static void a_killed_process_leaves_terminal_and_folder_tidy(void **state)
{
    (void)state;
    kill_a_machine_and_look();
    no_pidfd = true;
    kill_a_machine_and_look();
    no_pidfd = false;
}

static void a_dismissed_guard_touches_nothing(void **state)
{
    struct guard_duties duties = { .tty_fd = -1, .name = "vm" };
    char dir[] = "/tmp/nv-guard-XXXXXX", lock[64];
    struct guard guard;
    int dir_fd, fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    duties.dir = dir;
    assert_int_equal(guard_start(&duties, &guard, NULL), 0);
    assert_int_equal(control_dir_open(dir, false, &dir_fd, NULL), 0);
    assert_int_equal(control_dir_lock(dir_fd, "vm", &fd, NULL), 0);
    close(fd); /* the lock is free, its file there */
    guard_dismiss(&guard);
    assert_int_equal(waitpid(-1, NULL, 0), -1); /* no child is left, not even a dead one */
    assert_int_equal(errno, ECHILD);
    (void)snprintf(lock, sizeof(lock), "%s/vm.lock", dir);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(rmdir(dir), 0);
    close(dir_fd);
}

/* A plain folder stands for the group: both are removed by rmdir(). */
static void the_guard_removes_the_cgroup_in_any_case(void **state)
{
    char group[] = "/tmp/nv-group-XXXXXX";
    const struct guard_duties duties = { .tty_fd = -1, .cgroup = group };
    struct guard guard;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(group));
    assert_int_equal(guard_start(&duties, &guard, NULL), 0);
    guard_dismiss(&guard);
    assert_int_equal(stat(group, &st), -1);

    assert_int_equal(mkdir(group, 0700), 0);
    if (fork() == 0) { /* a machine that could not leave its group */
        if (guard_start(&duties, &guard, NULL) < 0)
            _exit(1);
        guard_leave(&guard);
        usleep(20 * 1000);
        _exit(stat(group, &st) == 0 ? 0 : 1); /* it waits for our end */
    }
    {
        int status;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    for (int ms = 0; stat(group, &st) == 0 && ms < GIVE_UP_MS; ms += 10)
        usleep(10 * 1000);
    assert_int_equal(stat(group, &st), -1);
}

static void a_stopped_process_gives_the_terminal_back(void **state)
{
    int user, tty, ready[2], status;
    char byte;
    pid_t pid;

    (void)state;
    open_pty(&user, &tty);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct guest g = { 0 };
        struct terminal *t;

        if (evloop_new(&g.loop, NULL) < 0 ||
            terminal_new(g.loop, tty, &guest_ops, &g, &t, NULL) < 0 ||
            terminal_start(t, NULL) < 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        (void)evloop_run(g.loop, NULL);
        terminal_free(t);
        _exit(g.left != NULL && strcmp(g.left, "SIGTERM") == 0 ? 7 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(is_raw(tty));
    assert_int_equal(kill(pid, SIGTSTP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_false(is_raw(tty));
    assert_int_equal(kill(pid, SIGCONT), 0);
    for (int ms = 0; !is_raw(tty) && ms < GIVE_UP_MS; ms += 10)
        usleep(10 * 1000);
    assert_true(is_raw(tty));
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_false(is_raw(tty));
    close(user);
    close(tty);
    close(ready[0]);
    close(ready[1]);
}

static int block_signals(void **state)
{
    int r = terminal_block_signals(NULL);

    (void)state;
    (void)signal(SIGCHLD, SIG_DFL); /* the tests wait for children of their own */
    return r;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_escape_key_has_five_meanings),
        cmocka_unit_test(a_terminal_is_raw_while_the_guest_runs),
        cmocka_unit_test(the_escape_key_works_when_the_guest_reads_nothing),
        cmocka_unit_test(a_pipe_goes_to_the_guest_as_it_is),
        cmocka_unit_test(what_the_guest_cannot_take_waits),
        cmocka_unit_test(a_plain_file_is_read_to_its_end),
        cmocka_unit_test(signals_leave_with_their_name),
        cmocka_unit_test(a_killed_process_leaves_terminal_and_folder_tidy),
        cmocka_unit_test(a_dismissed_guard_touches_nothing),
        cmocka_unit_test(the_guard_removes_the_cgroup_in_any_case),
        cmocka_unit_test(a_stopped_process_gives_the_terminal_back),
    };
    return cmocka_run_group_tests_name("cli/terminal", tests, block_signals, NULL);
}
