/* SPDX-License-Identifier: Apache-2.0 */
/* How a lab ended, as a sentence and a status. See lab_job.h. */
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "vmm/base/macros.h"
#include "vmm/cli/lab_job.h"

/* End as the command did; a core dump would be ours. */
static int die_by(int number)
{
    const struct rlimit no_core = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
    return 128 + number;
}

/* What may end a process. A guest that names another one lies: stopping us, or doing nothing, is no
 * end. */
static bool is_deadly(uint32_t number)
{
    static const int harmless[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU,
                                    SIGCONT, SIGCHLD, SIGURG,  SIGWINCH };

    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
        if (number == (uint32_t)harmless[i])
            return false;
    return number > 0 && number < (uint32_t)NSIG;
}

/* The last line that the guest's kernel said, of what is not blank. */
static const char *last_line(char *console)
{
    char *line = console, *best = console;

    for (char *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (line[strspn(line, " \t")] != '\0' && strstr(line, "---[ end") == NULL)
            best = line;
    }
    return best;
}

static void say(struct lab_verdict *v, enum lab_grade grade, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void say(struct lab_verdict *v, enum lab_grade grade, int status, const char *fmt, ...)
{
    va_list ap;

    v->grade = grade;
    v->status = status;
    va_start(ap, fmt);
    (void)vsnprintf(v->text, sizeof(v->text), fmt, ap);
    va_end(ap);
    memcpy(v->reason, v->text, sizeof(v->reason));
}

/* The same, of what the user has heard of already or needs no sentence. */
static void say_nothing(struct lab_verdict *v, enum lab_grade grade, int status, const char *fmt,
                        int number, const char *name)
    __attribute__((format(printf, 4, 0)));
static void say_nothing(struct lab_verdict *v, enum lab_grade grade, int status, const char *fmt,
                        int number, const char *name)
{
    v->grade = grade;
    v->status = status;
    (void)snprintf(v->reason, sizeof(v->reason), fmt, number, name);
}

static void judge_machine(struct lab_end *end, struct lab_verdict *v)
{
    const int status = WIFEXITED(end->status) ? WEXITSTATUS(end->status) : -1;
    const char *panic = strstr(end->console, "Kernel panic");

    if (WIFSIGNALED(end->status))
        say(v, LAB_BROKEN, CLI_LAB_MACHINE, "the machine was ended by signal %d (%s)",
            WTERMSIG(end->status), strsignal(WTERMSIG(end->status)));
    else if (status == LAB_NO_MACHINE)
        say(v, LAB_BROKEN, CLI_LAB_MACHINE, "the machine's process could not be set up");
    else if (status == CLI_USAGE || status == CLI_FAILURE) /* which it has told itself */
        say_nothing(v, LAB_BROKEN, status == CLI_USAGE ? CLI_USAGE : CLI_LAB_MACHINE,
                    "the machine could not be started or kept running (status %d%s)", status, "");
    else if (panic != NULL)
        say(v, LAB_BROKEN, CLI_LAB_GUEST, "the guest's kernel gave up: %.*s",
            (int)MIN(strcspn(panic, "\r\n"), 400u), panic);
    else
        say(v, LAB_BROKEN, CLI_LAB_GUEST, "the guest ended before the command did%s%.400s",
            end->console[0] != '\0' ? "; it said last: " : "", last_line(end->console));
}

static void judge_signal(struct lab_verdict *v, enum lab_grade grade, const char *whom, int number)
{
    say_nothing(v, grade, 128 + number, whom, number, strsignal(number));
    v->signal = number;
}

static void judge_result(const struct lab_job *job, const struct lab_result *result,
                         struct lab_verdict *v)
{
    const int status = (int)(result->value & 0xff);

    switch (result->kind) {
    case LAB_EXITED:
        if (status != 0)
            say_nothing(v, LAB_FAILED, status, "the command ended with status %d%s", status, "");
        return;
    case LAB_SIGNALLED:
        if (is_deadly(result->value))
            judge_signal(v, LAB_FAILED, "the command was ended by signal %d (%s)",
                         (int)result->value);
        else
            say(v, LAB_BROKEN, CLI_LAB_GUEST,
                "what the guest says of the command's end makes no sense");
        return;
    case LAB_NOT_FOUND:
        say(v, LAB_BROKEN, CLI_LAB_NOT_FOUND, "%.400s: there is no such command",
            job->req.args[0]);
        return;
    case LAB_NOT_RUN:
        say(v, LAB_BROKEN, CLI_LAB_NOT_RUN, "%.400s cannot be run: %s", job->req.args[0],
            strerror((int)(result->value & 0xfff)));
        return;
    default:
        say(v, LAB_BROKEN, CLI_LAB_GUEST, "the guest could not be made ready: %s", result->text);
        return;
    }
}

void lab_judge(const struct lab_job *job, struct lab_end *end, struct lab_verdict *ret_verdict)
{
    struct lab_verdict *v = ret_verdict;

    *v = (struct lab_verdict){ .grade = LAB_PASSED };
    switch (end->kind) {
    case LAB_END_RESULT:
        judge_result(job, &end->result, v);
        break;
    case LAB_END_TIMEOUT:
        say(v, LAB_FAILED, CLI_LAB_TIMEOUT, "the command had not ended after %llu s",
            (unsigned long long)(job->req.timeout_ns / 1000000000u));
        break;
    case LAB_END_SERVER:
        say(v, LAB_BROKEN, CLI_LAB_MACHINE, "a file server ended before the command did%s%.400s",
            end->console[0] != '\0' ? ": " : "", last_line(end->console));
        break;
    case LAB_END_SIGNAL:
        judge_signal(v, LAB_BROKEN, "the lab was ended by signal %d (%s)", end->signal);
        break;
    case LAB_END_MACHINE:
        judge_machine(end, v);
        break;
    }
    if (end->out_error != 0 && v->text[0] == '\0')
        (void)snprintf(v->text, sizeof(v->text), "standard %s: %s",
                       end->out_is_err ? "error" : "output", strerror(end->out_error));
}

int lab_tell(const struct lab_verdict *verdict)
{
    if (verdict->text[0] != '\0')
        (void)cli_error(verdict->status, "%s", verdict->text);
    return verdict->signal != 0 ? die_by(verdict->signal) : verdict->status;
}
