/* SPDX-License-Identifier: Apache-2.0 */
/* See suite_tell.h and docs/suite.md. */
#include "vmm/cli/suite_tell.h"

#include <string.h>

#include "vmm/cli/cli.h"
#include "vmm/cli/junit.h"

enum { LAST_LINES = 20, LINE_MAX_BYTES = 200 };

void suite_tell_begin(struct suite_tell *tell)
{
    tell->begun = true;
    (void)printf("TAP version 13\n1..%zu\n", tell->suite->n);
    (void)fflush(stdout);
}

/* A byte, or a dot for what a terminal would act on: controls, also those of eight bits, alone or
 * behind the 0xc2 that UTF-8 writes before them (ECMA-48, C1). */
static void put_safe(unsigned char before, unsigned char c)
{
    const bool c1 = c >= 0x80 && c < 0xa0 && (before < 0x80 || before == 0xc2);

    (void)putchar((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f || c1 ? '.' : c);
}

/* The last lines of @text, each behind @mark: nothing that a guest says looks like TAP. */
static void print_last(const char *text, const char *mark)
{
    size_t len = text != NULL ? strlen(text) : 0, start, column = 0;
    bool begins = true;

    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    start = len;
    for (int lines = 0; start > 0 && lines < LAST_LINES; start--)
        if (text[start - 1] == '\n' && ++lines == LAST_LINES)
            break;
    for (size_t i = start; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (begins)
            (void)printf("# %s ", mark);
        begins = c == '\n';
        column = begins ? 0 : column + 1;
        if (column == LINE_MAX_BYTES)
            (void)fputs("...", stdout);
        if (c == '\r' || column >= LINE_MAX_BYTES)
            continue;
        put_safe(i > start ? (unsigned char)text[i - 1] : 0, c);
    }
    if (!begins)
        (void)putchar('\n');
}

/* A file's name or a manifest's word, of which nothing is a directive of TAP. */
static void print_name(const char *name)
{
    unsigned char before = 0;

    for (; *name != '\0'; name++) {
        const unsigned char c = (unsigned char)*name;

        if (c == '#' || c == '\\')
            (void)putchar('\\');
        put_safe(before, c == '\n' ? ' ' : c);
        before = c;
    }
}

static void print_test(const struct suite_tell *tell, size_t i)
{
    const struct suite_test *t = &tell->suite->tests[i];
    const struct suite_result *r = &tell->results[i];

    (void)printf("%s %zu - ", t->skip != NULL || r->passed ? "ok" : "not ok", i + 1);
    print_name(t->name);
    if (t->skip != NULL) {
        (void)printf(" # SKIP ");
        print_name(t->skip);
        (void)putchar('\n');
    } else {
        (void)printf(" # %.1f s\n", r->seconds);
    }
    if (t->skip != NULL || r->passed)
        return;
    (void)printf("# %s\n", r->why);
    print_last(r->out, ">");
    print_last(r->err, "!");
}

static void clear_line(struct suite_tell *tell)
{
    if (tell->line)
        (void)fputs("\r\033[K", stderr);
    tell->line = false;
}

void suite_tell_ended(void *ctx, size_t index)
{
    struct suite_tell *tell = ctx;

    (void)index;
    clear_line(tell);
    while (tell->n_told < tell->suite->n &&
           (tell->results[tell->n_told].done || tell->suite->tests[tell->n_told].skip != NULL))
        print_test(tell, tell->n_told++);
    (void)fflush(stdout);
}

void suite_tell_progress(void *ctx, size_t n_done, size_t running)
{
    struct suite_tell *tell = ctx;

    (void)fprintf(stderr, "\r%zu of %zu done, %zu running\033[K", n_done, tell->suite->n, running);
    tell->line = true;
}

static enum junit_verdict verdict_of(const struct suite_test *t, const struct suite_result *r)
{
    if (t->skip != NULL || !r->done)
        return JUNIT_SKIPPED;
    if (r->passed)
        return JUNIT_PASSED;
    return r->end == SUITE_END_BROKEN ? JUNIT_BROKEN : JUNIT_FAILED;
}

static int write_junit(const struct suite_tell *tell, FILE *out)
{
    struct junit_counts n = { .tests = (unsigned)tell->suite->n };
    double seconds = 0;

    for (size_t i = 0; i < tell->suite->n; i++) {
        const enum junit_verdict v = verdict_of(&tell->suite->tests[i], &tell->results[i]);

        n.failed += v == JUNIT_FAILED;
        n.broken += v == JUNIT_BROKEN;
        n.skipped += v == JUNIT_SKIPPED;
        seconds += tell->results[i].seconds;
    }
    junit_begin(out, "numavisor suite", &n, seconds);
    for (size_t i = 0; i < tell->suite->n; i++) {
        const struct suite_test *t = &tell->suite->tests[i];
        const struct suite_result *r = &tell->results[i];
        const struct junit_test test = { .group = tell->dir,
                                         .name = t->name,
                                         .seconds = r->seconds,
                                         .verdict = verdict_of(t, r),
                                         .why = t->skip != NULL ? t->skip
                                                : r->done       ? r->why
                                                                : "the suite was stopped",
                                         .status = r->status,
                                         .out = r->out,
                                         .err = r->err };

        junit_test(out, &test);
    }
    return junit_end(out);
}

int suite_tell_end(struct suite_tell *tell, const char *why, FILE *junit)
{
    size_t passed = 0, failed = 0;
    int r = 0;

    suite_tell_ended(tell, 0); /* tests to be skipped may be left */
    for (size_t i = tell->n_told; i < tell->suite->n;
         i++) /* and those behind one that did not end */
        if (tell->results[i].done || tell->suite->tests[i].skip != NULL)
            print_test(tell, i);
    for (size_t i = 0; i < tell->suite->n; i++) {
        passed += tell->results[i].done && tell->results[i].passed;
        failed += tell->results[i].done && !tell->results[i].passed;
    }
    if (why != NULL)
        (void)printf("Bail out! %s\n", why);
    (void)printf("# %zu passed, %zu failed, %zu skipped\n", passed, failed,
                 tell->suite->n - passed - failed);
    if (junit != NULL)
        r = write_junit(tell, junit);
    if (r < 0)
        return cli_error(CLI_FAILURE, "--junit: %s", strerror(-r));
    return failed > 0 ? CLI_FAILURE : CLI_OK;
}
