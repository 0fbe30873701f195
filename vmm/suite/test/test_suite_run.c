/* SPDX-License-Identifier: Apache-2.0 */
/* Tests as processes: a shell script in the place of numavisor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/suite/suite.h"
#include "vmm/suite/suite_tail.h"

static void ends_are_judged_by_what_was_expected(void **state)
{
    static const struct {
        enum suite_end expect;
        uint32_t code;
        int status; /* as waitpid() has it */
        bool late, passed;
        enum suite_end end;
        const char *why;
    } row[] = {
        { SUITE_END_CODE, 0, 32 << 8, false, true, SUITE_END_CODE, "" },
        { SUITE_END_CODE, 91, 123 << 8, false, true, SUITE_END_CODE, "" },
        { SUITE_END_CODE, 0, 33 << 8, false, false, SUITE_END_CODE,
          "the guest ended with code 1, not with code 0" },
        { SUITE_END_CODE, 1, 124 << 8, false, false, SUITE_END_CODE,
          "the guest ended with a code above 91, not with code 1" },
        { SUITE_END_CODE, 0, 0, false, false, SUITE_END_POWER_OFF,
          "the guest ended by switching itself off, not with code 0" },
        { SUITE_END_POWER_OFF, 0, 0, false, true, SUITE_END_POWER_OFF, "" },
        { SUITE_END_RESET, 0, 3 << 8, false, true, SUITE_END_RESET, "" },
        { SUITE_END_POWER_OFF, 0, 3 << 8, false, false, SUITE_END_RESET,
          "the guest ended by a reset, not by switching itself off" },
        { SUITE_END_CODE, 0, 1 << 8, false, false, SUITE_END_BROKEN,
          "the machine did not start or go on (status 1)" },
        { SUITE_END_CODE, 0, 125 << 8, false, false, SUITE_END_BROKEN,
          "the machine did not start or go on (status 125)" },
        { SUITE_END_CODE, 0, SIGSEGV, false, false, SUITE_END_BROKEN,
          "the machine did not start or go on (signal 11)" },
        { SUITE_END_POWER_OFF, 0, 4 << 8, true, false, SUITE_END_TIMEOUT,
          "its time was over after 7 seconds" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        const struct suite_test t = { .expect = row[i].expect, .code = row[i].code };
        struct suite_result r = { .seconds = 9.6, .limit_s = 7 };

        suite_judge(&t, row[i].status, row[i].late, &r);
        assert_true(r.done);
        assert_int_equal(r.end, row[i].end);
        assert_int_equal(r.passed, row[i].passed);
        assert_string_equal(r.why, row[i].why);
    }
}

/* --- tails ---------------------------------------------------------------------------------------
 */

static void the_last_of_an_endless_stream_is_kept(void **state)
{
    struct suite_tail tail = { .buf = NULL };
    char line[16], *text;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    text = suite_tail_text(&tail);
    assert_string_equal(text, "");
    free(text);
    for (int i = 0; i < 20000; i++) { /* 200,000 bytes */
        (void)snprintf(line, sizeof(line), "line %04d\n", i % 10000);
        assert_int_equal(write(fds[1], line, 10), 10);
        if (i % 100 == 99)
            assert_true(suite_tail_read(&tail, fds[0]));
    }
    assert_int_equal(write(fds[1], "a\0b", 3), 3);
    assert_true(suite_tail_read(&tail, fds[0]));
    (void)close(fds[1]);
    assert_false(suite_tail_read(&tail, fds[0]));
    text = suite_tail_text(&tail);
    assert_non_null(text);
    assert_in_range(strlen(text), SUITE_TEXT_MAX - 10, SUITE_TEXT_MAX);
    assert_memory_equal(text, "line ", 5); /* from a whole line on */
    assert_string_equal(text + strlen(text) - 13, "line 9999\na?b");
    free(text);
    (void)close(fds[0]);
}

/* --- processes -----------------------------------------------------------------------------------
 */

/* What "numavisor" is here: the image is a script. */
#define PROGRAM                                                                                    \
    "#!/bin/sh\n"                                                                                  \
    "while [ $# -gt 1 ]; do\n"                                                                     \
    "  case $1 in\n"                                                                               \
    "    --config) config=$(cat $2);;\n"                                                           \
    "    --initrd) env=$(cat $2);;\n"                                                              \
    "    --on-reset) reset=$2;;\n"                                                                 \
    "    --name) name=$2;;\n"                                                                      \
    "    --kernel) kernel=$2;;\n"                                                                  \
    "  esac\n"                                                                                     \
    "  shift\n"                                                                                    \
    "done\n"                                                                                       \
    ". $kernel\n"

struct bench {
    char dir[32], program[48];
    struct suite_test tests[8];
    struct suite suite;
    struct suite_result results[8];
    struct suite_run run;
    size_t most; /* that ran at once */
    size_t ended[8], n_ended;
};

static void on_ended(void *ctx, size_t index)
{
    struct bench *b = ctx;

    b->ended[b->n_ended++] = index;
}

static void on_progress(void *ctx, size_t n_done, size_t running)
{
    struct bench *b = ctx;

    assert_true(n_done + running <= b->suite.n);
    b->most = MAX(b->most, running);
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[96];
    FILE *out;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static struct bench *begin(void)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    (void)snprintf(b->dir, sizeof(b->dir), "/tmp/nv-suite-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    put(b->dir, "program", PROGRAM);
    (void)snprintf(b->program, sizeof(b->program), "%s/program", b->dir);
    assert_int_equal(chmod(b->program, 0700), 0);
    b->suite.tests = b->tests;
    b->run = (struct suite_run){ .program = b->program,
                                 .dir = b->dir,
                                 .jobs = 2,
                                 .timeout_s = 60,
                                 .ended = on_ended,
                                 .progress = on_progress,
                                 .ctx = b };
    return b;
}

static struct suite_test *add(struct bench *b, char *name, const char *script)
{
    struct suite_test *t = &b->tests[b->suite.n++];

    put(b->dir, name, script);
    *t = (struct suite_test){ .name = name, .image = name, .config = (char *)(uintptr_t) "" };
    return t;
}

static void end(struct bench *b)
{
    char words[64];

    for (size_t i = 0; i < b->suite.n; i++)
        suite_result_fini(&b->results[i]);
    (void)snprintf(words, sizeof(words), "rm -r %s", b->dir);
    assert_int_equal(system(words), 0);
    free(b);
}

static void every_test_is_run_and_told(void **state)
{
    struct bench *b = begin();
    struct suite_test *t;

    (void)state;
    (void)add(b, (char[]){ "pass" }, "echo out; echo err >&2; exit 32\n");
    t = add(b, (char[]){ "args" },
            "echo $config; echo $env; echo $reset; echo $name; pwd; readlink /proc/self/fd/0; exit "
            "37\n");
    t->config = (char *)(uintptr_t) "{\"cpus\":2}";
    t->env = (char *)(uintptr_t) "A=1\n";
    t->code = 5;
    (void)add(b, (char[]){ "fail" }, "exit 34\n");
    (void)add(b, (char[]){ "flood" }, "head -c 3000000 /dev/zero | tr '\\0' x; exit 32\n");
    t = add(b, (char[]){ "skipped" }, "exit 32\n");
    t->skip = (char *)(uintptr_t) "not now";
    t = add(b, (char[]){ "keeps" }, "echo \"[$reset]\"; exit 3\n");
    t->says_on_reset = true;
    t->expect = SUITE_END_RESET;
    assert_int_equal(suite_run(&b->suite, &b->run, b->results, NULL), 0);

    assert_int_equal(b->n_ended, 5);
    assert_int_equal(b->most, 2);
    assert_true(b->results[0].passed);
    assert_string_equal(b->results[0].out, "out\n");
    assert_string_equal(b->results[0].err, "err\n");
    assert_true(b->results[1].passed);
    {
        char want[256];

        (void)snprintf(want, sizeof(want), "{\"cpus\":2}\nA=1\nexit\nsuite-%d-1\n%s\n/dev/null\n",
                       (int)getpid(), b->dir);
        assert_string_equal(b->results[1].out, want);
    }
    assert_false(b->results[2].passed);
    assert_string_equal(b->results[2].why, "the guest ended with code 2, not with code 0");
    assert_true(b->results[3].passed);
    assert_int_equal(strlen(b->results[3].out), SUITE_TEXT_MAX);
    assert_false(b->results[4].done);
    assert_true(b->results[5].passed);
    assert_string_equal(b->results[5].out, "[]\n");
    end(b);
}

static void who_takes_too_long_is_ended_first_gently(void **state)
{
    struct bench *b = begin();
    struct suite_test *t;

    (void)state;
    t = add(b, (char[]){ "gentle" },
            "trap 'echo bye; exit 4' TERM; while :; do sleep 0.05; done\n");
    t->timeout_s = 4; /* long enough for a shell to come that far */
    assert_int_equal(suite_run(&b->suite, &b->run, b->results, NULL), 0);
    assert_int_equal(b->results[0].end, SUITE_END_TIMEOUT);
    assert_false(b->results[0].passed);
    assert_string_equal(b->results[0].out, "bye\n");
    assert_int_equal(b->results[0].status, 4);
    end(b);
}

static void who_does_not_listen_is_killed(void **state)
{
    struct bench *b = begin();
    struct suite_test *t;

    (void)state;
    t = add(b, (char[]){ "deaf" }, "trap '' TERM; while :; do sleep 0.05; done\n");
    t->timeout_s = 4; /* long enough for a shell to come that far */
    assert_int_equal(suite_run(&b->suite, &b->run, b->results, NULL), 0);
    assert_int_equal(b->results[0].end, SUITE_END_TIMEOUT);
    assert_int_equal(b->results[0].status, 128 + SIGKILL);
    end(b);
}

/* As Ctrl-C: the signal is blocked, and comes while the first ones run. */
static void a_signal_ends_what_runs(void **state)
{
    struct bench *b = begin();
    struct errctx ec = { 0 };
    sigset_t set;

    (void)state;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    (void)add(b, (char[]){ "one" }, "exit 32\n");
    (void)add(b, (char[]){ "two" }, "kill -INT $PPID; while :; do sleep 0.05; done\n");
    (void)add(b, (char[]){ "three" }, "exit 32\n");
    b->run.jobs = 1;
    assert_int_equal(suite_run(&b->suite, &b->run, b->results, &ec), -EINTR);
    assert_string_equal(ec.msg, "stopped by a signal");
    assert_true(b->results[0].passed);
    assert_false(b->results[1].done);
    assert_false(b->results[2].done);
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
    end(b);
}

static void a_program_that_is_not_there_fails_the_test(void **state)
{
    struct bench *b = begin();

    (void)state;
    (void)add(b, (char[]){ "any" }, "exit 32\n");
    b->run.program = "/nowhere/numavisor";
    assert_int_equal(suite_run(&b->suite, &b->run, b->results, NULL), 0);
    assert_int_equal(b->results[0].end, SUITE_END_BROKEN);
    assert_string_equal(b->results[0].err, "numavisor: the test's process could not be made\n");
    end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_are_judged_by_what_was_expected),
        cmocka_unit_test(the_last_of_an_endless_stream_is_kept),
        cmocka_unit_test(every_test_is_run_and_told),
        cmocka_unit_test(who_takes_too_long_is_ended_first_gently),
        cmocka_unit_test(who_does_not_listen_is_killed),
        cmocka_unit_test(a_signal_ends_what_runs),
        cmocka_unit_test(a_program_that_is_not_there_fails_the_test),
    };

    return cmocka_run_group_tests_name("suite/run", tests, NULL, NULL);
}
