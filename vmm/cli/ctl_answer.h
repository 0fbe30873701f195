/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a machine's answer. Another process wrote it, so a member may be missing or of any type;
 * it then counts as nothing. */
#ifndef VMM_CLI_CTL_ANSWER_H
#define VMM_CLI_CTL_ANSWER_H

#include <jansson.h>
#include <stdint.h>

/** answer_number() - member @name of @object (or NULL); 0 where there is no positive number. */
uint64_t answer_number(const json_t *object, const char *name);

/** answer_text() - member @name of @object (or NULL), owned by it; "" where there is no text. */
const char *answer_text(const json_t *object, const char *name);

#endif
