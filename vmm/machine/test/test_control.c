/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket against well-behaved, stalled, lying and foreign peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/machine/sandbox.h"
#include "vmm/machine/test/control_rig.h"

static int foreign_uid(int fd, uid_t *ret_uid)
{
    (void)fd;
    *ret_uid = geteuid() + 4711;
    return 0;
}

static void status_is_the_machines_object(void **state)
{
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    say(fd, "{\"command\":\"status\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)),
                        "{\"ok\":true,\"result\":{\"state\":\"running\",\"name\":\"vm\"}}");
    close(fd);
    end(&f);
}

static void a_refusal_carries_the_machines_sentence(void **state)
{
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    say(fd, "{\"command\":\"pause\"}\n{\"command\":\"pause\"}\n"); /* both in one packet */
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":false,\"error\":\"paused already\"}");
    close(fd);
    end(&f);
}

static void is_served(const struct fixture *f)
{
    char buf[256];
    int fd = join(f);

    say(fd, "{\"command\":\"status\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)),
                        "{\"ok\":true,\"result\":{\"state\":\"running\",\"name\":\"vm\"}}");
    close(fd);
}

/* Longer than any deadline, and others are served meanwhile. */
static void an_answer_may_come_later(void **state)
{
    struct fixture f;
    char buf[256];
    int fd, gone;

    (void)state;
    begin_with(&f, &(struct control_params){ .deadline_ms = 50 });
    atomic_store(&f.pauses_later, true);
    fd = join(&f);
    say(fd, "{\"command\":\"pause\"}\n{\"command\":\"status\"}\n");
    gone = join(&f);
    say(gone, "{\"command\":\"pause\"}\n");
    while (atomic_load(&f.pauses) < 2)
        is_served(&f);
    close(gone);
    assert_int_equal(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 200), 0);
    is_served(&f);
    assert_int_equal(evloop_post(f.loop, answer_kept, &f), 0);
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    assert_string_equal(hear(fd, buf, sizeof(buf)), /* its second request had to wait, too */
                        "{\"ok\":true,\"result\":{\"state\":\"running\",\"name\":\"vm\"}}");
    close(fd);
    end(&f);
}

static void who_waits_for_an_answer_cannot_keep_others_out(void **state)
{
    int fd[CONTROL_PEERS_MAX];
    struct fixture f;

    (void)state;
    begin(&f);
    atomic_store(&f.pauses_later, true);
    for (int i = 0; i < CONTROL_PEERS_MAX; i++) {
        fd[i] = join(&f);
        say(fd[i], "{\"command\":\"pause\"}\n");
    }
    while (atomic_load(&f.pauses) < CONTROL_PEERS_MAX)
        (void)sched_yield();
    is_served(&f);
    assert_int_equal(evloop_post(f.loop, answer_kept, &f), 0);
    is_served(&f);
    for (int i = 0; i < CONTROL_PEERS_MAX; i++)
        close(fd[i]);
    end(&f);
}

static void garbage_is_refused_and_the_next_request_served(void **state)
{
    static const struct {
        const char *request, *error;
    } rows[] = {
        { "\n", "the request is not a JSON object" },
        { "]{[\n", "the request is not a JSON object" },
        { "[1,2]\n", "the request is not a JSON object" },
        { "{}\n", "the request has no \\\"command\\\"" },
        { "{\"command\":7}\n", "the request has no \\\"command\\\"" },
        { "{\"command\":\"fly\"}\n", "unknown command" },
        { "{\"command\":\"stop\",\"when\":1}\n",
          "the request has members other than \\\"command\\\"" },
        { "{\"command\":\"stop\",\"command\":\"stop\"}\n", "the request is not a JSON object" },
    };
    struct fixture f;
    char buf[256], want[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        say(fd, rows[i].request);
        (void)snprintf(want, sizeof(want), "{\"ok\":false,\"error\":\"%s\"}", rows[i].error);
        assert_string_equal(hear(fd, buf, sizeof(buf)), want);
    }
    say(fd, "{\"command\":\"reset\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    assert_int_equal(atomic_load(&f.stops), 0);
    close(fd);
    end(&f);
}

static void an_endless_request_is_refused_and_dropped(void **state)
{
    struct fixture f;
    char buf[256], junk[CONTROL_REQUEST_MAX + 1];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    memset(junk, 'x', sizeof(junk));
    assert_int_equal(send(fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
    assert_string_equal(hear(fd, buf, sizeof(buf)),
                        "{\"ok\":false,\"error\":\"the request is too long\"}");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "");
    close(fd);
    end(&f);
}

static void a_peer_that_stalls_in_a_request_is_dropped(void **state)
{
    struct fixture f;
    char buf[256];
    int stalled, other;

    (void)state;
    begin_with(&f, &(struct control_params){ .deadline_ms = 300 });
    stalled = join(&f);
    say(stalled, "{\"command\":");
    other = join(&f); /* is served meanwhile */
    say(other, "{\"command\":\"power\"}\n");
    assert_string_equal(hear(other, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    assert_string_equal(hear(stalled, buf, sizeof(buf)), "");
    close(stalled);
    close(other);
    end(&f);
}

static void a_peer_that_takes_no_reply_is_dropped(void **state)
{
    struct fixture f;
    char buf[4096];
    size_t total = 0;
    ssize_t n;
    int fd;

    (void)state;
    begin_with(&f, &(struct control_params){ .deadline_ms = 300 });
    f.big_stats = true; /* 160 KB a reply; the socket's buffer is in the way after one or two */
    fd = join(&f);
    for (int i = 0; i < 20; i++)
        say(fd, "{\"command\":\"stats\"}\n");
    usleep(1500 * 1000);
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        total += (size_t)n;
    assert_in_range(total, 1, 10 * 160000); /* cut off long before all twenty came */
    close(fd);
    end(&f);
}

static void idle_peers_cannot_keep_others_out(void **state)
{
    enum { IDLE = 3 * CONTROL_PEERS_MAX };
    struct fixture f;
    char buf[256];
    int idle[IDLE], fd;

    (void)state;
    begin(&f);
    for (int i = 0; i < IDLE; i++)
        idle[i] = join(&f);
    fd = join(&f);
    say(fd, "{\"command\":\"resume\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    assert_string_equal(hear(idle[0], buf, sizeof(buf)), ""); /* the oldest made room */
    for (int i = 0; i < IDLE; i++)
        close(idle[i]);
    close(fd);
    end(&f);
}

static void another_user_is_not_heard(void **state)
{
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin_with(&f, &(struct control_params){ .peer_uid = foreign_uid });
    fd = join(&f);
    (void)send(fd, "{\"command\":\"stop\"}\n", 19, MSG_NOSIGNAL);
    assert_string_equal(hear(fd, buf, sizeof(buf)), "");
    close(fd);
    end(&f);
    assert_int_equal(atomic_load(&f.stops), 0);
}

static void stop_is_answered_before_it_is_done(void **state)
{
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    say(fd, "{\"command\":\"stop\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    close(fd);
    end(&f);
    assert_int_equal(atomic_load(&f.stops), 1);
}

static void a_name_belongs_to_one_machine_at_a_time(void **state)
{
    struct control *second = (void *)0x1;
    struct control_params params = { .name = "vm", .ops = &fake_ops };
    struct errctx ec = { 0 };
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    params.dir = f.dir;
    assert_int_equal(control_new(&params, f.loop, &second, &ec), -EADDRINUSE);
    assert_string_equal(ec.msg, "a machine named vm is running already");
    assert_ptr_equal(second, (void *)0x1);
    fd = join(&f); /* and the first one's socket is still there */
    say(fd, "{\"command\":\"power\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    close(fd);
    end(&f);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct control_params params = { .name = "vm", .ops = &fake_ops };
    char dir[] = "/tmp/nv-control-XXXXXX";
    struct control *control;
    struct evloop *loop;
    int dir_fd, fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(control_dir_open(dir, false, &dir_fd, NULL), 0);
    assert_int_equal(control_dir_listen(dir_fd, dir, "vm", &fd, NULL), 0);
    close(fd); /* its owner died without removing it */
    assert_int_equal(control_dir_connect(dir, "vm", &fd, NULL), -ECONNREFUSED);
    assert_false(control_dir_is_live(dir_fd, "vm"));

    params.dir = dir;
    assert_int_equal(evloop_new(&loop, NULL), 0);
    assert_int_equal(control_new(&params, loop, &control, NULL), 0);
    assert_true(control_dir_is_live(dir_fd, "vm"));
    assert_int_equal(control_dir_connect(dir, "vm", &fd, NULL), 0);
    close(fd);
    control_free(control);
    evloop_free(loop);
    close(dir_fd);
    assert_int_equal(rmdir(dir), 0);
}

static void a_folder_open_to_others_is_refused(void **state)
{
    char dir[] = "/tmp/nv-control-XXXXXX", link_path[64];
    struct errctx ec = { 0 };
    int fd = -7;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(control_dir_open(dir, true, &fd, &ec), -EPERM);
    assert_non_null(strstr(ec.msg, "is open to other users"));
    (void)snprintf(link_path, sizeof(link_path), "%s/link", dir);
    assert_int_equal(symlink("/tmp", link_path), 0);
    assert_int_equal(control_dir_open(link_path, true, &fd, &ec), -ENOTDIR);
    assert_int_equal(fd, -7);
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* In a child: the server on a main thread that the sandbox has narrowed. */
static _Noreturn void serve_in_sandbox(const char *dir, int ready)
{
    const struct sandbox_request none = { 0 };
    struct fixture f = { 0 };
    struct control_params params = { .dir = dir, .name = "vm", .ops = &fake_ops, .ctx = &f };
    struct sandbox *sandbox;

    if (evloop_new(&f.loop, NULL) < 0 || control_new(&params, f.loop, &f.control, NULL) < 0 ||
        sandbox_new(&none, &sandbox, NULL) < 0 || sandbox_enter_process(sandbox, NULL) < 0 ||
        sandbox_enter(sandbox, SANDBOX_MAIN, NULL) < 0 || write(ready, "", 1) != 1)
        _exit(1);
    (void)evloop_run(f.loop, NULL);
    _exit(1);
}

static void the_server_lives_inside_the_sandbox(void **state)
{
    struct fixture f = { .dir = "/tmp/nv-control-XXXXXX" };
    int ready[2], fd, dir_fd, status;
    char buf[256], byte;
    pid_t pid;

    (void)state;
    assert_non_null(mkdtemp(f.dir));
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        serve_in_sandbox(f.dir, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    fd = join(&f);
    say(fd, "{\"command\":\"power\"}\n{\"command\":\"status\"}\n");
    assert_string_equal(hear(fd, buf, sizeof(buf)), "{\"ok\":true,\"result\":{}}");
    assert_string_equal(hear(fd, buf, sizeof(buf)),
                        "{\"ok\":true,\"result\":{\"state\":\"running\",\"name\":\"vm\"}}");
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL); /* and not SIGSYS before */
    close(fd);
    close(ready[0]);
    assert_int_equal(control_dir_open(f.dir, false, &dir_fd, NULL), 0);
    control_dir_remove(dir_fd, "vm");
    close(dir_fd);
    assert_int_equal(rmdir(f.dir), 0);
}

static void a_path_too_long_for_a_socket_is_said(void **state)
{
    char dir[160];
    struct errctx ec = { 0 };
    int fd = -7;

    (void)state;
    memset(dir, 'd', sizeof(dir) - 1);
    dir[0] = '/';
    dir[sizeof(dir) - 1] = '\0';
    assert_int_equal(control_dir_connect(dir, "vm", &fd, &ec), -ENAMETOOLONG);
    assert_non_null(strstr(ec.msg, "exceeds 107 bytes"));
    assert_int_equal(fd, -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First, while this process has not used JSON yet: the server must not be the first to. */
        cmocka_unit_test(the_server_lives_inside_the_sandbox),
        cmocka_unit_test(status_is_the_machines_object),
        cmocka_unit_test(a_refusal_carries_the_machines_sentence),
        cmocka_unit_test(an_answer_may_come_later),
        cmocka_unit_test(who_waits_for_an_answer_cannot_keep_others_out),
        cmocka_unit_test(garbage_is_refused_and_the_next_request_served),
        cmocka_unit_test(an_endless_request_is_refused_and_dropped),
        cmocka_unit_test(a_peer_that_stalls_in_a_request_is_dropped),
        cmocka_unit_test(a_peer_that_takes_no_reply_is_dropped),
        cmocka_unit_test(idle_peers_cannot_keep_others_out),
        cmocka_unit_test(another_user_is_not_heard),
        cmocka_unit_test(stop_is_answered_before_it_is_done),
        cmocka_unit_test(a_name_belongs_to_one_machine_at_a_time),
        cmocka_unit_test(a_stale_socket_is_replaced),
        cmocka_unit_test(a_folder_open_to_others_is_refused),
        cmocka_unit_test(a_path_too_long_for_a_socket_is_said),
    };
    return cmocka_run_group_tests_name("machine/control", tests, NULL, NULL);
}
