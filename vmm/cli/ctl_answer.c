/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_answer.h. */
#include "vmm/cli/ctl_answer.h"

#include <errno.h>
#include <stdio.h>

#include "vmm/cli/print_json.h"

uint64_t answer_number(const json_t *object, const char *name)
{
    const json_int_t v = json_integer_value(json_object_get(object, name));

    return v > 0 ? (uint64_t)v : 0;
}

const char *answer_text(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));

    return s != NULL ? s : "";
}

int answer_tell(const struct cli_args *args, json_t *answer, bool makes_sense,
                void (*print)(const json_t *answer))
{
    int r = 0;

    if (cli_args_get(args, "json") != NULL)
        r = print_json(stdout, answer);
    else if (makes_sense)
        print(answer);
    else
        r = cli_error(-EPROTO, "%s: the machine's answer makes no sense", args->operands[0]);
    json_decref(answer);
    if (r == -ENOMEM)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    return r < 0 ? CLI_FAILURE : cli_flush(CLI_OK);
}
