/* SPDX-License-Identifier: Apache-2.0 */
/* Which file in a socket's place may go. */
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
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/stale_socket.h"

struct fixture {
    char dir[32], path[64], want[128];
    struct errctx ec;
};

static int set_up(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/nv-stale-XXXXXX");
    if (mkdtemp(f.dir) == NULL)
        return -1;
    (void)snprintf(f.path, sizeof(f.path), "%s/s", f.dir);
    *state = &f;
    return 0;
}

/* Also the proof that nothing else was put there. */
static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)unlink(f->path);
    return rmdir(f->dir);
}

/* Returns the listening socket. */
static int serve(const struct fixture *f)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(addr.sun_path, f->path, sizeof(f->path));
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void the_socket_of_a_dead_process_goes(void **state)
{
    struct fixture *f = *state;

    close(serve(f));
    assert_int_equal(access(f->path, F_OK), 0);
    assert_int_equal(stale_socket_remove(f->path, &f->ec), 0);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(stale_socket_remove(f->path, &f->ec), -ENOENT);
}

static void a_served_socket_stays(void **state)
{
    struct fixture *f = *state;
    int fd = serve(f);

    for (int i = 0; i < 4; i++) /* also when its queue is full */
        assert_int_equal(stale_socket_remove(f->path, &f->ec), -EADDRINUSE);
    (void)snprintf(f->want, sizeof(f->want), "%s is in use by a running process", f->path);
    assert_string_equal(f->ec.msg, f->want);
    assert_int_equal(access(f->path, F_OK), 0);
    close(fd);
}

static void what_is_no_socket_stays(void **state)
{
    struct fixture *f = *state;

    close(open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(stale_socket_remove(f->path, &f->ec), -EADDRINUSE);
    (void)snprintf(f->want, sizeof(f->want), "%s exists and is no socket", f->path);
    assert_string_equal(f->ec.msg, f->want);
    assert_int_equal(access(f->path, F_OK), 0);
}

static void a_link_to_a_dead_socket_stays(void **state)
{
    struct fixture *f = *state;
    char link[64];

    close(serve(f));
    (void)snprintf(link, sizeof(link), "%s/l", f->dir);
    assert_int_equal(symlink(f->path, link), 0);
    assert_int_equal(stale_socket_remove(link, &f->ec), -EADDRINUSE);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(access(f->path, F_OK), 0);
}

static void a_path_too_long_for_a_socket_is_said(void **state)
{
    struct fixture *f = *state;
    char path[256];

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(stale_socket_remove(path, &f->ec), -ENAMETOOLONG);
    assert_non_null(strstr(f->ec.msg, "the path exceeds 107 bytes"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_socket_of_a_dead_process_goes),
        TEST(a_served_socket_stays),
        TEST(what_is_no_socket_stays),
        TEST(a_link_to_a_dead_socket_stays),
        TEST(a_path_too_long_for_a_socket_is_said),
    };
    return cmocka_run_group_tests_name("base/stale_socket", tests, NULL, NULL);
}
