/* SPDX-License-Identifier: Apache-2.0 */
/* See print_json.h. */
#include "vmm/cli/print_json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/units.h"

enum { PRINT_NAME_WIDTH = 32, PRINT_DEPTH_MAX = 8 };

int print_json(FILE *out, const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));

    if (text == NULL)
        return -ENOMEM;
    (void)fprintf(out, "%s\n", text);
    free(text);
    return 0;
}

void print_json_text(FILE *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        (void)fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '.' : *c, out);
}

/* Amounts of memory, by name; everything else is a plain number. */
static bool is_bytes(const char *name)
{
    return strcmp(name, "memory") == 0 || strcmp(name, "resident") == 0;
}

static void print_scalar(FILE *out, const char *name, const json_t *v)
{
    char buf[32];

    switch (json_typeof(v)) {
    case JSON_STRING:
        print_json_text(out, json_string_value(v));
        break;
    case JSON_INTEGER:
        if (is_bytes(name) && json_integer_value(v) >= 0)
            (void)fputs(units_format_human((uint64_t)json_integer_value(v), buf, sizeof(buf)), out);
        else
            (void)fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        (void)fprintf(out, "%.3f", json_real_value(v));
        break;
    case JSON_TRUE:
        (void)fputs("yes", out);
        break;
    case JSON_FALSE:
        (void)fputs("no", out);
        break;
    default:
        (void)fputc('-', out);
        break;
    }
}

static bool is_nested(const json_t *v)
{
    return json_is_object(v) || json_is_array(v);
}

/* Below the top, counters that stand at zero and what is empty are left out, or they would hide the
 * others; so is a heading that nothing would stand below. */
static bool is_dull(const char *name, const json_t *v, unsigned depth)
{
    const char *inner;
    json_t *member;

    if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, inner, member)
        {
            if (depth >= PRINT_DEPTH_MAX || !is_dull(inner, member, depth + 1))
                return false;
        }
        return true;
    }
    if (json_is_array(v))
        return json_array_size(v) == 0;
    if (depth == 0)
        return false;
    if (json_is_string(v))
        return json_string_length(v) == 0;
    return json_is_integer(v) && json_integer_value(v) == 0 && strcmp(name, "id") != 0 &&
           !is_bytes(name);
}

static bool is_flat(const json_t *object)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)object, name, v) if (is_nested(v)) return false;
    return true;
}

static void print_members(FILE *out, const json_t *object, unsigned depth);

/* A list's element: its scalars side by side, or a block when there is more to it. */
static void print_element(FILE *out, const json_t *v, unsigned depth)
{
    const char *name, *gap = "";
    json_t *member;

    if (json_is_object(v) && !is_flat(v)) {
        print_members(out, v, depth);
        return;
    }
    (void)fprintf(out, "%*s", (int)depth * 2, "");
    if (!json_is_object(v))
        print_scalar(out, "", v);
    json_object_foreach((json_t *)(uintptr_t)v, name, member)
    {
        (void)fputs(gap, out);
        print_json_text(out, name);
        (void)fputc(' ', out);
        print_scalar(out, name, member);
        gap = "  ";
    }
    (void)fputc('\n', out);
}

static void print_member(FILE *out, const char *name, const json_t *v, unsigned depth)
{
    int indent = (int)depth * 2, width = PRINT_NAME_WIDTH - indent - (int)strlen(name);

    (void)fprintf(out, "%*s", indent, "");
    print_json_text(out, name);
    if (!is_nested(v)) {
        (void)fprintf(out, "%*s", width > 1 ? width : 1, "");
        print_scalar(out, name, v);
    }
    (void)fputc('\n', out);
    if (depth >= PRINT_DEPTH_MAX)
        return;
    if (json_is_object(v))
        print_members(out, v, depth + 1);
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++)
        print_element(out, json_array_get(v, i), depth + 1);
}

static void print_members(FILE *out, const json_t *object, unsigned depth)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)object, name, v) if (!is_dull(name, v, depth))
        print_member(out, name, v, depth);
}

void print_json_table(FILE *out, const json_t *object)
{
    print_members(out, object, 0);
}
