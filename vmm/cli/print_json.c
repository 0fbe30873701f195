/* SPDX-License-Identifier: Apache-2.0 */
/* See print_json.h. */
#include "vmm/cli/print_json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PRINT_NAME_WIDTH = 24, PRINT_DEPTH_MAX = 8 };

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

static void print_scalar(FILE *out, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        print_json_text(out, json_string_value(v));
        break;
    case JSON_INTEGER:
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

/* One line for an element of a list: scalars, or an object's members side by side. */
static void print_element(FILE *out, const json_t *v, unsigned depth)
{
    const char *name;
    json_t *member;
    const char *gap = "";

    if (!json_is_object(v)) {
        print_scalar(out, v);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)v, name, member) {
        (void)fputs(gap, out);
        print_json_text(out, name);
        (void)fputc(' ', out);
        if (json_is_object(member) && depth < PRINT_DEPTH_MAX)
            print_element(out, member, depth + 1);
        else
            print_scalar(out, member);
        gap = "  ";
    }
}

static void print_member(FILE *out, const char *name, const json_t *v, unsigned depth);

static void print_members(FILE *out, const json_t *object, unsigned depth)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)object, name, v)
        print_member(out, name, v, depth);
}

static void print_member(FILE *out, const char *name, const json_t *v, unsigned depth)
{
    int indent = (int)depth * 2, width = PRINT_NAME_WIDTH - indent - (int)strlen(name);
    bool nested = json_is_object(v) || json_is_array(v);

    (void)fprintf(out, "%*s", indent, "");
    print_json_text(out, name);
    if (!nested) {
        (void)fprintf(out, "%*s", width > 1 ? width : 1, "");
        print_scalar(out, v);
    }
    (void)fputc('\n', out);
    if (depth >= PRINT_DEPTH_MAX)
        return;
    if (json_is_object(v))
        print_members(out, v, depth + 1);
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++) {
        (void)fprintf(out, "%*s", indent + 2, "");
        print_element(out, json_array_get(v, i), depth + 1);
        (void)fputc('\n', out);
    }
}

void print_json_table(FILE *out, const json_t *object)
{
    print_members(out, object, 0);
}
