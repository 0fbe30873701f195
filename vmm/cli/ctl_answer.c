/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_answer.h. */
#include "vmm/cli/ctl_answer.h"

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
