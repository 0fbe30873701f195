/* SPDX-License-Identifier: Apache-2.0 */
/* JUnit's XML, the form that CI systems read: one suite of tests. Main thread; the FILE is the
 * caller's, who finds write errors by junit_end(). */
#ifndef VMM_CLI_JUNIT_H
#define VMM_CLI_JUNIT_H

#include <stdio.h>

enum junit_verdict {
    JUNIT_PASSED,
    JUNIT_FAILED, /* what was tested is wrong */
    JUNIT_BROKEN, /* the test had no chance */
    JUNIT_SKIPPED,
};

/* Texts are borrowed, any bytes; what XML cannot say is written as '?'. */
struct junit_test {
    const char *group, *name;
    double seconds;
    enum junit_verdict verdict;
    const char *why;       /* unless it passed */
    int status;            /* likewise, not of one that was skipped */
    const char *out, *err; /* what it said; NULL or "": nothing */
};

struct junit_counts {
    unsigned tests, failed, broken, skipped;
};

void junit_begin(FILE *out, const char *suite, const struct junit_counts *counts, double seconds);
void junit_test(FILE *out, const struct junit_test *test);

/** junit_end() - Return: 0, or -errno when anything could not be written. */
int junit_end(FILE *out);

#endif
