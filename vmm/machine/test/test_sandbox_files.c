/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a machine can name inside the sandbox, entered for real in a child process each.
 * Children leave by the bare system call, see test_sandbox.c. What needs Landlock is skipped where
 * the kernel has none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/landlock.h"
#include "vmm/machine/control.h"
#include "vmm/machine/sandbox_files.h"

/* Three folders: of the control socket, of the socket device's, and somebody's. */
struct fixture {
    char root[32], run[48], vsock[48], other[48];
    char vsock_socket[64], other_file[64];
    struct sandbox_request req;
};

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->root, sizeof(f->root), "/tmp/nv-files-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->run, sizeof(f->run), "%s/run", f->root);
    (void)snprintf(f->vsock, sizeof(f->vsock), "%s/vsock", f->root);
    (void)snprintf(f->other, sizeof(f->other), "%s/other", f->root);
    (void)snprintf(f->vsock_socket, sizeof(f->vsock_socket), "%s/s", f->vsock);
    (void)snprintf(f->other_file, sizeof(f->other_file), "%s/file", f->other);
    assert_int_equal(mkdir(f->run, 0700), 0);
    assert_int_equal(mkdir(f->vsock, 0700), 0);
    assert_int_equal(mkdir(f->other, 0700), 0);
    make_file(f->vsock_socket);
    make_file(f->other_file);
    f->req = (struct sandbox_request){ .control_dir = f->run };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)unlink(f->vsock_socket);
    (void)unlink(f->other_file);
    (void)rmdir(f->run);
    (void)rmdir(f->vsock);
    (void)rmdir(f->other);
    assert_int_equal(rmdir(f->root), 0); /* so nothing stayed behind in them */
    free(f);
    return 0;
}

static void need_landlock(void)
{
    const int abi = landlock_abi();

    if (abi > 0)
        return;
    print_message("no Landlock: %s\n", strerror(-abi));
    skip();
}

static void leave(int status)
{
    (void)syscall(SYS_exit_group, status);
}

/* Run @act in a child inside the sandbox of @kind; 7 when all went as it should. */
static int in_sandbox(const struct fixture *f, enum sandbox_kind kind,
                      void (*act)(const struct fixture *f))
{
    struct sandbox *s = NULL;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (sandbox_new(&f->req, &s, NULL) < 0 || sandbox_enter_process(s, NULL) < 0 ||
            sandbox_enter(s, kind, NULL) < 0)
            leave(99);
        act(f);
        leave(7);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void open_or_leave(const char *path, int expected, int status)
{
    const long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);

    if ((fd < 0 ? errno : 0) != expected)
        leave(status);
    if (fd >= 0)
        (void)syscall(SYS_close, (int)fd);
}

static void unlink_or_leave(const char *path, int expected, int status)
{
    if ((syscall(SYS_unlinkat, AT_FDCWD, path, 0) < 0 ? errno : 0) != expected)
        leave(status);
}

static void open_others(const struct fixture *f)
{
    open_or_leave("/etc/passwd", EACCES, 1);
    open_or_leave("/proc/self/environ", EACCES, 2);
    open_or_leave(f->other_file, EACCES, 3);
    open_or_leave(f->vsock_socket, EACCES, 4); /* to be removed, not read */
    open_or_leave(f->other, EACCES, 5);
    open_or_leave(f->run, EACCES, 6);
}

static void other_files_cannot_be_read(void **state)
{
    struct fixture *f = *state;

    need_landlock();
    f->req.user_network = true;
    f->req.vsock_socket = f->vsock_socket;
    assert_int_equal(in_sandbox(f, SANDBOX_IO, open_others), 7);
    assert_int_equal(in_sandbox(f, SANDBOX_MAIN, open_others), 7);
}

static void open_resolver(const struct fixture *f)
{
    (void)f;
    open_or_leave("/etc/resolv.conf", 0, 1);
    open_or_leave("/etc/resolv.conf", 0, 2); /* again and again */
}

static void the_resolvers_configuration_can(void **state)
{
    struct fixture *f = *state;

    if (access("/etc/resolv.conf", R_OK) < 0) {
        print_message("no /etc/resolv.conf on this machine\n");
        skip();
    }
    f->req.user_network = true;
    assert_int_equal(in_sandbox(f, SANDBOX_IO, open_resolver), 7);
    assert_int_equal(in_sandbox(f, SANDBOX_MAIN, open_resolver), 7);
}

static void unlink_other(const struct fixture *f)
{
    unlink_or_leave(f->other_file, EACCES, 1);
    unlink_or_leave(f->vsock_socket, EACCES, 2); /* no such device here */
}

static void other_files_cannot_be_removed(void **state)
{
    struct fixture *f = *state;

    need_landlock();
    assert_int_equal(in_sandbox(f, SANDBOX_MAIN, unlink_other), 7);
    assert_int_equal(access(f->other_file, F_OK), 0);
    assert_int_equal(access(f->vsock_socket, F_OK), 0);
}

static void unlink_vsock(const struct fixture *f)
{
    unlink_or_leave(f->vsock_socket, 0, 1);
}

static void the_devices_socket_can(void **state)
{
    struct fixture *f = *state;

    f->req.vsock_socket = f->vsock_socket;
    assert_int_equal(in_sandbox(f, SANDBOX_MAIN, unlink_vsock), 7);
    assert_int_equal(access(f->vsock_socket, F_OK), -1);
}

static void unlink_relative(const struct fixture *f)
{
    (void)f;
    unlink_or_leave("s", 0, 1);
}

static void also_by_a_path_without_a_folder(void **state)
{
    struct fixture *f = *state;
    char cwd[256];

    f->req.vsock_socket = "s";
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(chdir(f->vsock), 0);
    assert_int_equal(in_sandbox(f, SANDBOX_MAIN, unlink_relative), 7);
    assert_int_equal(chdir(cwd), 0);
    assert_int_equal(access(f->vsock_socket, F_OK), -1);
}

/* A guest connects to port 5 of the host while somebody listens there. */
static void connect_to_port(const struct fixture *f)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const long fd = syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s_5", f->vsock_socket);
    if (fd < 0 || syscall(SYS_connect, (int)fd, &at, sizeof(at)) < 0)
        leave(1);
}

static void the_guests_ways_out_stay_open(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    f->req.vsock_socket = f->vsock_socket;
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s_5", f->vsock_socket);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(in_sandbox(f, SANDBOX_IO, connect_to_port), 7);
    assert_int_equal(close(listener), 0);
    assert_int_equal(unlink(at.sun_path), 0);
}

static json_t *no_object(void *ctx)
{
    (void)ctx;
    return NULL;
}

/* In a child: a control socket made outside and removed inside. */
static _Noreturn void control_life(const struct fixture *f)
{
    static const struct control_ops ops = { .status = no_object, .stats = no_object };
    const struct control_params params = { .dir = f->run, .name = "vm", .ops = &ops };
    char path[80];
    struct control *control = NULL;
    struct evloop *loop;
    struct sandbox *s;

    (void)snprintf(path, sizeof(path), "%s/vm.sock", f->run);
    if (evloop_new(&loop, NULL) < 0 || control_new(&params, loop, &control, NULL) < 0 ||
        access(path, F_OK) < 0 || sandbox_new(&f->req, &s, NULL) < 0 ||
        sandbox_enter_process(s, NULL) < 0 || sandbox_enter(s, SANDBOX_MAIN, NULL) < 0)
        leave(99);
    control_free(control);
    for (;;) /* once: the compiler does not know that it ends here */
        leave(7);
}

static void the_control_socket_is_removed_at_the_end(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        control_life(f);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(rmdir(f->run), 0); /* empty */
}

static void folders_that_are_not_there_need_no_rule(void **state)
{
    struct fixture *f = *state;

    need_landlock();
    f->req.control_dir = "/nosuch/run";
    f->req.vsock_socket = "/nosuch/vsock/s";
    assert_int_equal(in_sandbox(f, SANDBOX_MAIN, unlink_other), 7);
}

static void a_folder_that_cannot_be_opened_is_told(void **state)
{
    struct fixture *f = *state;
    char path[80];
    struct errctx ec = { 0 };
    int ruleset = -7;

    need_landlock();
    (void)snprintf(path, sizeof(path), "%s/below", f->other_file); /* not a folder */
    f->req.control_dir = path;
    assert_int_equal(sandbox_files_new(&f->req, &ruleset, &ec), -ENOTDIR);
    assert_non_null(strstr(ec.msg, path));
    assert_int_equal(ruleset, -7);
}

static void the_resolver_is_a_file_or_a_service_s_folder(void **state)
{
    static const struct {
        const char *where, *readable;
    } rows[] = {
        { "/etc/resolv.conf", "/etc/resolv.conf" },
        { "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve" },
        { "/run/NetworkManager/resolv.conf", "/run/NetworkManager" },
        { "/run/resolv.conf", "/run/resolv.conf" },
        { "/home/me/resolv.conf", "/home/me/resolv.conf" },
        { "/running/x/resolv.conf", "/running/x/resolv.conf" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "%s", rows[i].where);
        sandbox_files_resolver(path);
        assert_string_equal(path, rows[i].readable);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(other_files_cannot_be_read),
        TEST(the_resolvers_configuration_can),
        TEST(other_files_cannot_be_removed),
        TEST(the_devices_socket_can),
        TEST(also_by_a_path_without_a_folder),
        TEST(the_guests_ways_out_stay_open),
        TEST(the_control_socket_is_removed_at_the_end),
        TEST(folders_that_are_not_there_need_no_rule),
        TEST(a_folder_that_cannot_be_opened_is_told),
        cmocka_unit_test(the_resolver_is_a_file_or_a_service_s_folder),
    };

    return cmocka_run_group_tests_name("machine/sandbox_files", tests, NULL, NULL);
}
