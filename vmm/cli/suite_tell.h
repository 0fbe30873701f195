/* SPDX-License-Identifier: Apache-2.0 */
/* What `suite` prints: TAP in the order of the tests, progress on a terminal, JUnit's XML. Main
 * thread. */
#ifndef VMM_CLI_SUITE_TELL_H
#define VMM_CLI_SUITE_TELL_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/suite/suite.h"

struct suite_tell {
    const struct suite *suite; /* borrowed, as all here */
    const char *dir;
    struct suite_result *results;
    size_t n_told; /* tests that were printed */
    bool line;     /* of progress, on the terminal */
    bool begun;    /* TAP */
};

void suite_tell_begin(struct suite_tell *tell);

/** suite_tell_ended(), suite_tell_progress() - for struct suite_run; @ctx is a struct suite_tell.
 */
void suite_tell_ended(void *ctx, size_t index);
void suite_tell_progress(void *ctx, size_t n_done, size_t running);

/** suite_tell_end() - the rest, the sum and @junit (NULL: none). @why: it could not go on; NULL: all
 *  tests were run. Return: the status to end with, as far as tests decide it. */
int suite_tell_end(struct suite_tell *tell, const char *why, FILE *junit);

#endif
