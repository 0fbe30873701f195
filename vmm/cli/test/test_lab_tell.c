/* SPDX-License-Identifier: Apache-2.0 */
/* How labs end: status, sentence, and signals that a guest may name. */
#include "vmm/cli/test/cli_fixture.h"

#include <errno.h>
#include <signal.h>

#include "vmm/base/macros.h"
#include "vmm/cli/lab_job.h"

static char *words[] = { (char *)(uintptr_t)"cmd", NULL };

/* In a process of its own, which may end by it. */
static int tell(struct lab_end end, char *ret_err, size_t max)
{
    const struct lab_job job = { .req = { .args = words, .n_args = 1, .timeout_ns = 3000000000 } };
    struct lab_verdict verdict;
    const int err = scratch();
    const pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(err, STDERR_FILENO);
        lab_judge(&job, &end, &verdict);
        _exit(lab_tell(&verdict));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    memset(ret_err, 0, max);
    assert_true(pread(err, ret_err, max - 1, 0) >= 0);
    close(err);
    return status;
}

static void each_end_has_its_sentence(void **state)
{
    static const struct {
        struct lab_end end;
        int status;
        const char *says;
    } ends[] = {
        { { .kind = LAB_END_RESULT, .result = { .kind = LAB_EXITED, .value = 7 } }, 7, "" },
        { { .kind = LAB_END_RESULT,
            .result = { .kind = LAB_EXITED, .value = 1 },
            .out_error = ENOSPC },
          1,
          "numavisor: standard output: No space left on device\n" },
        { { .kind = LAB_END_RESULT, .result = { .kind = LAB_NOT_FOUND } },
          CLI_LAB_NOT_FOUND,
          "numavisor: cmd: there is no such command\n" },
        { { .kind = LAB_END_MACHINE, .status = SIGSEGV },
          CLI_LAB_MACHINE,
          "numavisor: the machine was ended by signal 11 (Segmentation fault)\n" },
        { { .kind = LAB_END_MACHINE, .status = LAB_NO_MACHINE << 8 },
          CLI_LAB_MACHINE,
          "numavisor: the machine's process could not be set up\n" },
        { { .kind = LAB_END_MACHINE, .status = 0, .console = "a\r\nb\r\n" },
          CLI_LAB_GUEST,
          "numavisor: the guest ended before the command did; it said last: b\n" },
        { { .kind = LAB_END_MACHINE, .status = 3 << 8, .console = "Kernel panic - x\r\nend\r\n" },
          CLI_LAB_GUEST,
          "numavisor: the guest's kernel gave up: Kernel panic - x\n" },
        { { .kind = LAB_END_MACHINE, .status = CLI_FAILURE << 8 }, CLI_LAB_MACHINE, "" },
    };
    char err[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        const int status = tell(ends[i].end, err, sizeof(err));

        assert_string_equal(err, ends[i].says);
        assert_int_equal(status, ends[i].status << 8);
    }
}

static void a_guest_names_signals_that_end_only(void **state)
{
    static const int harmless[] = { 0, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU,
                                    SIGCONT, SIGCHLD, SIGURG, SIGWINCH, 1000 };
    char err[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++) {
        const struct lab_end end = {
            .kind = LAB_END_RESULT,
            .result = { .kind = LAB_SIGNALLED, .value = (uint32_t)harmless[i] }
        };

        assert_int_equal(tell(end, err, sizeof(err)), CLI_LAB_GUEST << 8);
        assert_string_equal(err, "numavisor: what the guest says of the command's end makes no "
                                 "sense\n");
    }
    assert_int_equal(WTERMSIG(tell((struct lab_end){ .kind = LAB_END_RESULT,
                                                     .result = { .kind = LAB_SIGNALLED,
                                                                 .value = SIGTERM } },
                                   err, sizeof(err))),
                     SIGTERM);
}

static void junit_says_what_came_of_it(void **state)
{
    static const struct {
        struct lab_end end;
        const char *says;
    } ends[] = {
        { { .kind = LAB_END_RESULT },
          "tests=\"1\" failures=\"0\" errors=\"0\" skipped=\"0\" time=\"1.500\">\n"
          "    <testcase classname=\"ring\" name=\"a&#60;b &#34;&#38;?\u00e9?\" time=\"1.500\"/>\n"
          "  </testsuite>\n</testsuites>\n" },
        { { .kind = LAB_END_RESULT, .result = { .value = 7 } },
          "      <failure message=\"the command ended with status 7\" type=\"7\"/>\n"
          "    </testcase>\n" },
        { { .kind = LAB_END_RESULT, .result = { .kind = LAB_SIGNALLED, .value = SIGTERM } },
          "<failure message=\"the command was ended by signal 15 (Terminated)\" type=\"143\"/>" },
        { { .kind = LAB_END_TIMEOUT },
          "<failure message=\"the command had not ended after 3 s\" type=\"124\"/>" },
        { { .kind = LAB_END_MACHINE, .console = "<odd>" },
          "failures=\"0\" errors=\"1\"" },
        { { .kind = LAB_END_MACHINE, .console = "<odd>" },
          "<error message=\"the guest ended before the command did; it said last: &#60;odd&#62;\" "
          "type=\"123\"/>" },
    };
    static char odd[] = "a<b", words_too[] = "\"&\001\xc3\xa9\xff";
    char *args[] = { odd, words_too, NULL };
    struct cli_args cli = { .input = { .topology = (char *)(uintptr_t)"ring" } };
    const struct lab_job job = {
        .args = &cli, .req = { .args = args, .n_args = 2, .timeout_ns = 3000000000 }
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct lab_end end = ends[i].end;
        struct lab_verdict verdict;
        char text[2048] = "";
        FILE *f = fmemopen(text, sizeof(text), "w");

        assert_non_null(f);
        lab_judge(&job, &end, &verdict);
        assert_int_equal(lab_junit_write(f, &job, &verdict, 1.5), 0);
        assert_int_equal(fclose(f), 0);
        if (strstr(text, ends[i].says) == NULL)
            fail_msg("no %s\nin %s", ends[i].says, text);
    }
}

/* Whoever is killed has said so before; what comes of it takes that place, and all of it. */
static void a_report_tells_of_no_end_until_there_is_one(void **state)
{
    struct cli_args cli = { .n_many = 0 };
    const struct lab_job job = { .args = &cli, .req = { .args = words, .n_args = 1 } };
    const struct lab_verdict verdict = { .grade = LAB_PASSED };
    FILE *f = tmpfile();
    char text[2048] = "", pipe_text[2048] = "";
    FILE *pipe = fmemopen(pipe_text, sizeof(pipe_text), "w");

    (void)state;
    assert_non_null(f);
    assert_non_null(pipe);
    lab_junit_begin(f, &job);
    assert_true(pread(fileno(f), text, sizeof(text) - 1, 0) > 0);
    assert_non_null(strstr(text, "errors=\"1\""));
    assert_non_null(strstr(text, "<error message=\"the lab did not come to its end\" type="));
    memset(text, 0, sizeof(text));
    assert_int_equal(lab_junit_write(f, &job, &verdict, 0), 0);
    assert_true(pread(fileno(f), text, sizeof(text) - 1, 0) > 0);
    assert_null(strstr(text, "error message"));
    assert_string_equal(text + strlen(text) - strlen("</testsuites>\n"), "</testsuites>\n");
    assert_string_equal(strstr(text, "</testsuites>"), "</testsuites>\n");
    (void)fclose(f);
    lab_junit_begin(pipe, &job); /* which could not be taken back */
    assert_int_equal(ftell(pipe), 0);
    (void)fclose(pipe);
}

static void a_report_that_cannot_be_written_is_told(void **state)
{
    static char cmd[] = "cmd";
    char *args[] = { cmd, NULL };
    struct cli_args cli = { .n_many = 0 };
    const struct lab_job job = { .args = &cli, .req = { .args = args, .n_args = 1 } };
    const struct lab_verdict verdict = { .grade = LAB_PASSED };
    FILE *full = fopen("/dev/full", "we");

    (void)state;
    assert_non_null(full);
    assert_int_equal(lab_junit_write(full, &job, &verdict, 0), -ENOSPC);
    (void)fclose(full);
}

/* Of three events, one done, one failed, one of which there is no record. */
static void events_that_failed_are_counted(void **state)
{
    const struct lab_record records[2] = { { .state = LAB_EVENT_DONE, .text = "done" },
                                           { .state = LAB_EVENT_FAILED, .text = "a <reason>" } };
    struct lab_job *job = calloc(1, sizeof(*job));
    struct lab_record read[3];
    struct cli_args cli = { .n_many = 0 };
    struct lab_end end = { .kind = LAB_END_RESULT };
    struct lab_verdict verdict = { .grade = LAB_PASSED };
    char text[2048] = "";
    FILE *f = fmemopen(text, sizeof(text), "w");

    (void)state;
    assert_non_null(job);
    assert_non_null(f);
    job->args = &cli;
    job->req.args = words;
    job->req.n_args = 1;
    job->records = read;
    job->script.records_fd = scratch();
    assert_int_equal(pwrite(job->script.records_fd, records, sizeof(records), 0), sizeof(records));
    for (int i = 0; i < 3; i++)
        assert_int_equal(lab_events_add(&job->events, "1s offline cpu 1", NULL), 0);
    lab_script_judge(job, &end, &verdict);
    assert_int_equal(verdict.status, CLI_LAB_EVENT);
    assert_string_equal(verdict.text, "2 of 3 events failed");
    assert_int_equal(lab_junit_write(f, job, &verdict, 0), 0);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "tests=\"4\" failures=\"3\" errors=\"0\""));
    assert_non_null(strstr(text, "name=\"at 1s offline cpu 1\""));
    assert_non_null(strstr(text, "<failure message=\"a &#60;reason&#62;\" type=\"119\"/>"));
    assert_non_null(strstr(text, "message=\"not reached before the command ended\""));

    verdict = (struct lab_verdict){ .grade = LAB_FAILED, .status = CLI_LAB_TIMEOUT };
    end.kind = LAB_END_TIMEOUT; /* which says it all */
    lab_script_judge(job, &end, &verdict);
    assert_int_equal(verdict.status, CLI_LAB_TIMEOUT);
    (void)close(job->script.records_fd);
    free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_has_its_sentence),
        cmocka_unit_test(a_guest_names_signals_that_end_only),
        cmocka_unit_test(junit_says_what_came_of_it),
        cmocka_unit_test(a_report_tells_of_no_end_until_there_is_one),
        cmocka_unit_test(a_report_that_cannot_be_written_is_told),
        cmocka_unit_test(events_that_failed_are_counted),
    };
    return cmocka_run_group_tests_name("cli/lab_tell", tests, NULL, NULL);
}
