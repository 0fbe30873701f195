/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of `ctl NAME memory` as a table for people. */
#ifndef VMM_CLI_PRINT_MEMORY_H
#define VMM_CLI_PRINT_MEMORY_H

#include <jansson.h>
#include <stdio.h>

/** print_memory() - a line for each backing and host node. The answer is a machine's: members that
 *  are missing or of another kind show as 0 or nothing. */
void print_memory(FILE *out, const json_t *answer);

#endif
