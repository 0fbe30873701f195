/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a machine's answer. Another process wrote it, so a member may be missing or of any type;
 * it then counts as nothing. */
#ifndef VMM_CLI_CTL_ANSWER_H
#define VMM_CLI_CTL_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/cli/cli.h"

/** answer_number() - member @name of @object (or NULL); 0 where there is no positive number. */
uint64_t answer_number(const json_t *object, const char *name);

/** answer_text() - member @name of @object (or NULL), owned by it; "" where there is no text. */
const char *answer_text(const json_t *object, const char *name);

/** answer_tell() - print @answer, and drop it: as JSON where @args ask for that, else by @print if it
 *  @makes_sense. Return: the exit status. */
int answer_tell(const struct cli_args *args, json_t *answer, bool makes_sense,
                void (*print)(const json_t *answer));

#endif
