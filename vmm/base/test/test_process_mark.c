/* SPDX-License-Identifier: Apache-2.0 */
/* A process is known by more than its number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/process_mark.h"

static void a_process_that_is_there_is_known(void **state)
{
    struct process_mark mark = { 0 };

    (void)state;
    assert_true(process_mark_make(getpid(), &mark));
    assert_int_equal(mark.pid, getpid());
    assert_true(mark.start > 0);
    assert_true(mark.pid_ns > 0);
    assert_true(process_mark_holds(&mark));
}

/* Any name may be in the file that is read. */
static void names_do_not_matter(void **state)
{
    static const char *const names[] = { ") R 1 2 3", "((", " ", "a b)c" };
    struct process_mark before, mark;
    char old[16];

    (void)state;
    assert_int_equal(prctl(PR_GET_NAME, old), 0);
    assert_true(process_mark_make(getpid(), &before));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
        assert_true(process_mark_make(getpid(), &mark));
        assert_int_equal(mark.pid, before.pid);
        assert_int_equal(mark.start, before.start);
        assert_int_equal(mark.pid_ns, before.pid_ns);
    }
    assert_int_equal(prctl(PR_SET_NAME, old), 0);
}

static void another_one_of_the_same_number_is_not(void **state)
{
    struct process_mark mark = { 0 }, other;

    (void)state;
    assert_true(process_mark_make(getpid(), &mark));
    other = mark;
    other.start++;
    assert_false(process_mark_holds(&other));
    other = mark;
    other.pid_ns++;
    assert_false(process_mark_holds(&other));
}

static void who_is_gone_is_gone(void **state)
{
    struct process_mark mark = { 0 }, none = { .pid = 42 };
    int leash[2];
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(leash), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(leash[1]);
        (void)!read(leash[0], &byte, 1);
        _exit(0);
    }
    assert_true(process_mark_make(pid, &mark));
    assert_true(process_mark_holds(&mark));
    (void)close(leash[0]);
    (void)close(leash[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(process_mark_holds(&mark));
    assert_false(process_mark_make(0, &none));
    assert_false(process_mark_make(-1, &none));
    assert_int_equal(none.pid, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_is_there_is_known),
        cmocka_unit_test(names_do_not_matter),
        cmocka_unit_test(another_one_of_the_same_number_is_not),
        cmocka_unit_test(who_is_gone_is_gone),
    };

    return cmocka_run_group_tests_name("base/process_mark", tests, NULL, NULL);
}
