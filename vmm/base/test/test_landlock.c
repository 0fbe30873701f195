/* SPDX-License-Identifier: Apache-2.0 */
/* Rulesets, entered for real in a child process each. Skipped where the kernel has no Landlock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/landlock.h"
#include "vmm/base/privilege.h"

enum { ABI_SCOPES = 6 };

static void need_landlock(int abi)
{
    const int has = landlock_abi();

    if (has >= abi)
        return;
    print_message("Landlock version %d is needed; this kernel: %s%d\n", abi,
                  has < 0 ? strerror(-has) : "", has < 0 ? 0 : has);
    skip();
}

/* The exit status of a child that runs @act. */
static int in_child(int (*act)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(act());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int open_errno(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}

static void rights_follow_the_version(void **state)
{
    (void)state;
    assert_int_equal(landlock_rights(-ENOSYS), 0);
    assert_int_equal(landlock_rights(1), 0x1fff);
    assert_int_equal(landlock_rights(2), 0x3fff);
    assert_int_equal(landlock_rights(3), 0x7fff);
    assert_int_equal(landlock_rights(4), 0x7fff); /* brought TCP ports */
    assert_int_equal(landlock_rights(5), 0xffff);
    assert_int_equal(landlock_rights(8), 0xffff);
    assert_int_equal(landlock_rights(9), 0x1ffff);
    assert_int_equal(landlock_rights(99), 0x1ffff);
}

static int enter_nothing(void)
{
    int before = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    char byte;

    if (before < 0 || privilege_drop(NULL) < 0 || landlock_enter_nothing(NULL) < 0)
        return 99;
    if (open_errno("/etc/passwd") != EACCES || open_errno("/etc") != EACCES ||
        open_errno("/dev/null") != EACCES)
        return 1;
    return read(before, &byte, 1) == 1 ? 0 : 2; /* what was open stays so */
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    need_landlock(1);
    assert_int_equal(in_child(enter_nothing), 0);
}

static void *open_in_thread(void *arg)
{
    *(int *)arg = open_errno("/etc/passwd");
    return NULL;
}

static int enter_and_make_a_thread(void)
{
    pthread_t thread;
    int in_thread = 0;

    if (privilege_drop(NULL) < 0 || landlock_enter_nothing(NULL) < 0 ||
        pthread_create(&thread, NULL, open_in_thread, &in_thread) != 0 ||
        pthread_join(thread, NULL) != 0)
        return 99;
    return in_thread == EACCES ? 0 : 1;
}

static void threads_made_afterwards_inherit(void **state)
{
    (void)state;
    need_landlock(1);
    assert_int_equal(in_child(enter_and_make_a_thread), 0);
}

static int allow_one_file(void)
{
    int ruleset;

    if (landlock_new(&ruleset, NULL) < 0 ||
        landlock_allow(ruleset, "/etc/passwd", LANDLOCK_ACCESS_FS_READ_FILE, NULL) < 0 ||
        privilege_drop(NULL) < 0 || landlock_enter(ruleset, NULL) < 0)
        return 99;
    if (open_errno("/etc/passwd") != 0)
        return 1;
    return open_errno("/etc/group") == EACCES ? 0 : 2;
}

static void what_is_allowed_goes_on(void **state)
{
    (void)state;
    need_landlock(1);
    assert_int_equal(in_child(allow_one_file), 0);
}

static int connect_to_an_abstract_socket(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "nv-landlock-%d", (int)getpid());
    if (listener < 0 || fd < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(listener, 1) < 0 || privilege_drop(NULL) < 0 || landlock_enter_nothing(NULL) < 0)
        return 99;
    return connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 && errno == EPERM ? 0 : 1;
}

static void abstract_sockets_of_others_are_out_of_reach(void **state)
{
    (void)state;
    need_landlock(ABI_SCOPES);
    assert_int_equal(in_child(connect_to_an_abstract_socket), 0);
}

static void a_rule_for_nothing_says_so(void **state)
{
    struct errctx ec = { 0 };
    int ruleset = -7;

    (void)state;
    need_landlock(1);
    assert_int_equal(landlock_new(&ruleset, &ec), 0);
    assert_int_equal(landlock_allow(ruleset, "/nosuch", LANDLOCK_ACCESS_FS_READ_FILE, &ec), -ENOENT);
    assert_string_equal(ec.msg, "open /nosuch: No such file or directory");
    /* Rights to a folder's content, asked for at a file: the kernel refuses. */
    assert_int_equal(landlock_allow(ruleset, "/etc/passwd", LANDLOCK_ACCESS_FS_REMOVE_FILE, &ec),
                     -EINVAL);
    assert_int_equal(close(ruleset), 0);
}

static void without_landlock_nothing_is_done(void **state)
{
    (void)state;
    assert_int_equal(landlock_allow(-1, "/nosuch", LANDLOCK_ACCESS_FS_READ_FILE, NULL), 0);
    assert_int_equal(landlock_enter(-1, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_follow_the_version),
        cmocka_unit_test(nothing_is_nothing),
        cmocka_unit_test(threads_made_afterwards_inherit),
        cmocka_unit_test(what_is_allowed_goes_on),
        cmocka_unit_test(abstract_sockets_of_others_are_out_of_reach),
        cmocka_unit_test(a_rule_for_nothing_says_so),
        cmocka_unit_test(without_landlock_nothing_is_done),
    };

    return cmocka_run_group_tests_name("base/landlock", tests, NULL, NULL);
}
