/* SPDX-License-Identifier: Apache-2.0 */
/* JSON on the terminal: as such, or as an indented table for people. */
#ifndef VMM_CLI_PRINT_JSON_H
#define VMM_CLI_PRINT_JSON_H

#include <jansson.h>
#include <stdio.h>

/** print_json() - indented, with a newline. Return: 0 or -ENOMEM. */
int print_json(FILE *out, const json_t *value);

/** print_json_table() - "name   value" lines, nested ones indented, counters of zero left out.
 *  Control characters in texts are shown as dots: they come from another process. */
void print_json_table(FILE *out, const json_t *object);

/** print_json_text() - the text with control characters replaced by dots. */
void print_json_text(FILE *out, const char *text);

#endif
