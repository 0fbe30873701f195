/* SPDX-License-Identifier: Apache-2.0 */
/* How a lab ended, for machines. See lab_job.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/cli/junit.h"
#include "vmm/cli/lab_job.h"

/* The command's words, as one text. */
static char *command_text(const struct lab_job *job)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    for (size_t i = 0; out != NULL && i < job->req.n_args; i++)
        (void)fprintf(out, "%s%s", i > 0 ? " " : "", job->req.args[i]);
    if (out != NULL && fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static unsigned failed_events(const struct lab_job *job)
{
    unsigned n = 0;

    for (size_t i = 0; i < job->events.n; i++)
        n += job->records[i].state != LAB_EVENT_DONE;
    return n;
}

static void write_events(FILE *out, const struct lab_job *job, const char *group)
{
    for (size_t i = 0; i < job->events.n; i++) {
        const struct lab_record *record = &job->records[i];
        char name[LAB_EVENT_TEXT];
        const struct junit_test test = {
            .group = group,
            .name = lab_event_format(&job->events.list[i], name),
            .seconds = (double)record->took_ns / 1e9,
            .verdict = record->state == LAB_EVENT_DONE ? JUNIT_PASSED : JUNIT_FAILED,
            .why = record->text[0] != '\0' ? record->text : "not reached",
            .status = CLI_LAB_EVENT,
        };

        junit_test(out, &test);
    }
}

/* Can be written anew; a pipe cannot. */
static bool is_kept(FILE *out)
{
    struct stat st;

    return fstat(fileno(out), &st) == 0 && S_ISREG(st.st_mode);
}

void lab_junit_begin(FILE *out, const struct lab_job *job)
{
    struct lab_verdict verdict = { .grade = LAB_BROKEN, .status = CLI_LAB_HOST };

    (void)snprintf(verdict.reason, sizeof(verdict.reason), "the lab did not come to its end%s",
                   job->is_inside ? ": its emulated host was lost, or it was killed" : "");
    if (is_kept(out))
        (void)lab_junit_write(out, job, &verdict, 0);
}

int lab_junit_write(FILE *out, const struct lab_job *job, const struct lab_verdict *verdict,
                    double seconds)
{
    static const enum junit_verdict kinds[] = {
        [LAB_PASSED] = JUNIT_PASSED, [LAB_FAILED] = JUNIT_FAILED, [LAB_BROKEN] = JUNIT_BROKEN
    };
    const char *topology = job->args->input.topology;
    CLEANUP_FREE char *command = command_text(job);
    const struct junit_counts counts = { .tests = 1 + (unsigned)job->events.n,
                                         .failed = (verdict->grade == LAB_FAILED) + failed_events(job),
                                         .broken = verdict->grade == LAB_BROKEN };
    const struct junit_test test = { .group = topology != NULL ? topology : "numavisor",
                                     .name = command,
                                     .seconds = seconds,
                                     .verdict = kinds[verdict->grade],
                                     .why = verdict->reason,
                                     .status = verdict->status };

    if (command == NULL)
        return -ENOMEM;
    if (is_kept(out) && (fseek(out, 0, SEEK_SET) != 0 || ftruncate(fileno(out), 0) != 0))
        return -errno;
    junit_begin(out, "numavisor lab", &counts, seconds);
    junit_test(out, &test);
    write_events(out, job, test.group);
    return junit_end(out);
}
