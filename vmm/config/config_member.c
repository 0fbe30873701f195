/* SPDX-License-Identifier: Apache-2.0 */
/* One row, one field: the two spellings and the way back. Pure. */
#include "vmm/config/config_member.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/idset.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/config/config_memory.h"
#include "vmm/config/suggest.h"

enum { MEMBER_TEXT_MAX = 64 * 1024 /* the longest string that a machine is described by */ };

static void mark_given(const struct config_member *m, void *target)
{
    if (m->flag_off != 0)
        *(bool *)(void *)((char *)target + m->flag_off) = true;
}

const char *config_member_words(const struct config_member *m, char *buf, size_t size)
{
    size_t len = 0, n = 0;

    while (m->words[n] != NULL)
        n++;
    buf[0] = '\0';
    for (size_t i = 0; i < n && len < size; i++) {
        const char *joint = len == 0 ? "" : i + 1 == n ? " or " : ", ";

        if (m->words[i][0] != '\0')
            len += (size_t)snprintf(buf + len, size - len, "%s%s", joint, m->words[i]);
    }
    return buf;
}

static int store_word(const struct config_member *m, void *at, const char *text, struct errctx *ec)
{
    char words[128];

    for (unsigned i = 0; m->words[i] != NULL; i++) {
        if (text[0] != '\0' && strcmp(m->words[i], text) == 0) {
            memcpy(at, &i, sizeof(i)); /* an enum has the size of unsigned on our ABIs */
            return 0;
        }
    }
    return errctx_set(ec, EINVAL, "\"%s\" is not %s", text,
                      config_member_words(m, words, sizeof(words)));
}

static int store_text(void *at, const char *text, struct errctx *ec)
{
    char *copy;

    if (text[0] == '\0')
        return errctx_set(ec, EINVAL, "an empty text says nothing");
    if (strlen(text) > MEMBER_TEXT_MAX)
        return errctx_set(ec, EINVAL, "the text is longer than %d bytes", MEMBER_TEXT_MAX);
    copy = strdup(text);
    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the text");
    free(*(char **)at);
    *(char **)at = copy;
    return 0;
}

/* As it is written: sizes and rates with a suffix. */
static const char *format_number(const struct config_member *m, uint64_t v, char *buf, size_t size)
{
    char number[32];

    if (m->kind == CONFIG_SIZE || m->kind == CONFIG_RATE)
        (void)units_format_size(v, number, sizeof(number));
    else
        (void)snprintf(number, sizeof(number), "%" PRIu64, v);
    (void)snprintf(buf, size, "%s%s", number, m->kind == CONFIG_RATE ? "/s" : "");
    return buf;
}

static int store_number(const struct config_member *m, void *at, uint64_t v, struct errctx *ec)
{
    uint64_t max = m->max != 0 ? m->max : m->kind == CONFIG_U32 ? UINT32_MAX : UINT64_MAX;
    char a[40], b[40];

    if (v < m->min)
        return errctx_set(ec, ERANGE, "%s is below the smallest allowed value %s",
                          format_number(m, v, a, sizeof(a)),
                          format_number(m, m->min, b, sizeof(b)));
    if (v > max)
        return errctx_set(ec, ERANGE, "%s is above the largest allowed value %s",
                          format_number(m, v, a, sizeof(a)), format_number(m, max, b, sizeof(b)));
    if (m->kind == CONFIG_U32 || m->kind == CONFIG_COUNT)
        *(uint32_t *)at = (uint32_t)v;
    else
        *(uint64_t *)at = v;
    return 0;
}

static int store_bool(const struct config_member *m, void *at, const char *text, struct errctx *ec)
{
    bool on = strcmp(text, "on") == 0;

    if (!on && strcmp(text, "off") != 0)
        return errctx_set(ec, EINVAL, "\"%s\" is not on or off", text);
    *(bool *)at = m->kind == CONFIG_TRUE ? on : !on;
    return 0;
}

static int store_ids(void *at, const char *text, struct errctx *ec)
{
    if (text[0] == '\0')
        return errctx_set(ec, EINVAL, "an empty list says nothing, leave it out");
    return idset_parse(text, at, ec);
}

/* Of the kinds up to CONFIG_RATE. */
static int parse_number(const struct config_member *m, const char *text, uint64_t *ret_v,
                        struct errctx *ec)
{
    switch (m->kind) {
    case CONFIG_COUNT:
        if (strcmp(text, "auto") != 0)
            return units_parse_uint(text, UINT32_MAX - 1, ret_v, ec);
        *ret_v = UINT32_MAX;
        return 0;
    case CONFIG_SIZE:
        return units_parse_size(text, ret_v, ec);
    case CONFIG_NS:
        return units_parse_ns(text, ret_v, ec);
    case CONFIG_RATE:
        return units_parse_rate(text, ret_v, ec);
    default:
        return units_parse_uint(text, UINT32_MAX, ret_v, ec);
    }
}

static int store_cpus(const struct config_member *m, void *at, const char *text, struct errctx *ec)
{
    uint32_t milli = 0;
    int r = units_parse_cpus(text, &milli, ec);

    if (r == 0 && (milli < m->min || milli > m->max))
        r = errctx_set(ec, ERANGE, "%s is not between %g and %g CPUs", text,
                       (double)m->min / 1000.0, (double)m->max / 1000.0);
    if (r == 0)
        *(uint32_t *)at = milli;
    return r;
}

static int store_factor(const struct config_member *m, void *at, const char *text,
                        struct errctx *ec)
{
    uint32_t milli = 0;
    int r = units_parse_factor(text, &milli, ec);

    if (r == 0 && (milli < m->min || milli > m->max))
        r = errctx_set(ec, ERANGE, "%s is not between %g and %g", text, (double)m->min / 1000.0,
                       (double)m->max / 1000.0);
    if (r == 0)
        *(uint32_t *)at = milli;
    return r;
}

int config_member_parse(const struct config_member *m, void *target, const char *text,
                        struct errctx *ec)
{
    void *at = (char *)target + m->off;
    uint64_t v = 0;
    int r = 0;

    switch (m->kind) {
    case CONFIG_U32:
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_NS:
    case CONFIG_RATE:
        r = parse_number(m, text, &v, ec);
        if (r == 0)
            r = store_number(m, at, v, ec);
        break;
    case CONFIG_CPUS:
        r = store_cpus(m, at, text, ec);
        break;
    case CONFIG_FACTOR:
        r = store_factor(m, at, text, ec);
        break;
    case CONFIG_IDSET:
        r = store_ids(at, text, ec);
        break;
    case CONFIG_TEXT:
        r = store_text(at, text, ec);
        break;
    case CONFIG_WORD:
        r = store_word(m, at, text, ec);
        break;
    case CONFIG_TRUE:
    case CONFIG_FALSE:
        r = store_bool(m, at, text, ec);
        break;
    case CONFIG_PAGES:
        r = config_memory_pages(text, at, ec);
        break;
    case CONFIG_WEIGHTS:
        r = config_memory_weights(text, at, ec);
        break;
    case CONFIG_FALLBACK:
        r = config_memory_fallback(text, at, ec);
        break;
    }
    if (r == 0)
        mark_given(m, target);
    return r;
}

int config_member_read(const struct config_member *m, void *target, const json_t *value,
                       struct errctx *ec)
{
    bool number = json_is_integer(value) && m->kind <= CONFIG_IDSET;
    bool is_bool = m->kind == CONFIG_TRUE || m->kind == CONFIG_FALSE;

    if (is_bool && json_is_boolean(value))
        return config_member_parse(m, target, json_is_true(value) ? "on" : "off", ec);
    if (is_bool)
        return errctx_set(ec, EINVAL, "true or false is expected here");
    if (number && json_integer_value(value) < 0)
        return errctx_set(ec, ERANGE, "a negative number makes no sense here");
    if (number) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT "%s", json_integer_value(value),
                       m->kind == CONFIG_RATE ? "/s" : "");
        return config_member_parse(m, target, text, ec);
    }
    if (!json_is_string(value) || m->kind == CONFIG_U32)
        return errctx_set(ec, EINVAL, "%s is expected here",
                          m->kind == CONFIG_U32     ? "a whole number"
                          : m->kind <= CONFIG_IDSET ? "a string or a whole number"
                                                    : "a string");
    if (strlen(json_string_value(value)) != json_string_length(value))
        return errctx_set(ec, EINVAL, "the string holds a zero byte");
    return config_member_parse(m, target, json_string_value(value), ec);
}

/* The value as JSON, or NULL with *ret_unsaid set when there is nothing to say. */
static json_t *member_value(const struct config_member *m, const void *at, bool *ret_unsaid)
{
    char buf[64], list[CONFIG_MEMORY_TEXT];
    unsigned word;

    *ret_unsaid = false;
    switch (m->kind) {
    case CONFIG_U32:
        *ret_unsaid = *(const uint32_t *)at == 0;
        return json_integer(*(const uint32_t *)at);
    case CONFIG_COUNT:
        *ret_unsaid = *(const uint32_t *)at == 0;
        return *(const uint32_t *)at == UINT32_MAX ? json_string("auto")
                                                   : json_integer(*(const uint32_t *)at);
    case CONFIG_SIZE:
        *ret_unsaid = *(const uint64_t *)at == 0;
        return json_string(units_format_size(*(const uint64_t *)at, buf, sizeof(buf)));
    case CONFIG_NS:
        *ret_unsaid = *(const uint64_t *)at == 0;
        return json_sprintf("%" PRIu64 "ns", *(const uint64_t *)at);
    case CONFIG_RATE:
        *ret_unsaid = *(const uint64_t *)at == 0;
        return json_sprintf("%s/s", units_format_size(*(const uint64_t *)at, buf, sizeof(buf)));
    case CONFIG_CPUS:
    case CONFIG_FACTOR:
        *ret_unsaid = *(const uint32_t *)at == 0;
        return json_string(units_format_cpus(*(const uint32_t *)at, buf, sizeof(buf)));
    case CONFIG_IDSET: {
        static const size_t ids_max = 8 * IDSET_MAX; /* "8191," and room */
        char *ids = malloc(ids_max);
        json_t *v;

        *ret_unsaid = idset_empty(at);
        v = ids != NULL ? json_string(idset_format(at, ids, ids_max)) : NULL;
        free(ids);
        return v;
    }
    case CONFIG_TEXT:
        *ret_unsaid = *(char *const *)at == NULL;
        return *ret_unsaid ? NULL : json_string(*(char *const *)at);
    case CONFIG_WORD:
        memcpy(&word, at, sizeof(word));
        *ret_unsaid = word == 0;
        return json_string(m->words[word]);
    case CONFIG_TRUE:
    case CONFIG_FALSE:
        *ret_unsaid = !*(const bool *)at;
        return json_boolean(m->kind == CONFIG_TRUE);
    case CONFIG_PAGES:
        *ret_unsaid = ((const struct guest_pages *)at)->n == 0;
        return json_string(config_memory_format_pages(at, list, sizeof(list)));
    case CONFIG_WEIGHTS:
        *ret_unsaid = ((const struct guest_weights *)at)->n == 0;
        return json_string(config_memory_format_weights(at, list, sizeof(list)));
    case CONFIG_FALLBACK:
        *ret_unsaid = ((const struct guest_fallback *)at)->n == 0;
        return json_string(config_memory_format_fallback(at, list, sizeof(list)));
    }
    return NULL;
}

int config_member_write(const struct config_member *m, const void *source, json_t *object)
{
    bool unsaid;
    json_t *v = member_value(m, (const char *)source + m->off, &unsaid);

    if (m->required)
        unsaid = false;
    else if (m->flag_off != 0)
        unsaid = !*(const bool *)(const void *)((const char *)source + m->flag_off);
    if (unsaid) {
        json_decref(v);
        return 0;
    }
    if (v == NULL && m->kind == CONFIG_TEXT)
        return -EILSEQ; /* a file name that is not UTF-8 cannot be said in JSON */
    return json_object_set_new(object, m->name, v) < 0 ? -ENOMEM : 0;
}

int config_shape_find(const struct config_shape *shape, const char *name)
{
    for (size_t i = 0; i < shape->n_members; i++)
        if (strcmp(shape->members[i].name, name) == 0)
            return (int)i;
    return -1;
}

static int unknown_key(const struct config_shape *shape, const char *key, struct errctx *ec)
{
    struct suggest s = { .word = key };
    char hint[96], known[256] = "";
    size_t len = 0;

    for (size_t i = 0; i < shape->n_members; i++) {
        suggest_offer(&s, shape->members[i].name);
        if (len < sizeof(known))
            len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "",
                                    shape->members[i].name);
    }
    return errctx_set(ec, EINVAL, "unknown key \"%.80s\" (known: %s)%s", key, known,
                      suggest_format(&s, "", hint, sizeof(hint)));
}

/* Is the piece at @pos, up to a comma or the end, the name of a flag? */
static bool is_flag(const struct config_shape *shape, const char *pos)
{
    size_t len = strcspn(pos, ",");

    for (size_t i = 0; i < shape->n_members; i++)
        if (shape->members[i].kind == CONFIG_TRUE && strlen(shape->members[i].name) == len &&
            strncmp(shape->members[i].name, pos, len) == 0)
            return true;
    return false;
}

/* The end of the value at @pos: the next comma that a "key=" or a flag follows, or the end of the
 * text. */
static char *value_end(const struct config_shape *shape, char *pos)
{
    for (;;) {
        char *comma = strchr(pos, ','), *next, *eq;

        if (comma == NULL)
            return pos + strlen(pos);
        next = strchr(comma + 1, ',');
        eq = strchr(comma + 1, '=');
        if ((eq != NULL && (next == NULL || eq < next)) || is_flag(shape, comma + 1))
            return comma;
        pos = comma + 1;
    }
}

int config_shape_parse(const struct config_shape *shape, void *target, const char *text,
                       struct errctx *ec)
{
    bool given[CONFIG_SHAPE_MAX] = { false };
    char *copy = strdup(text), *pos = copy;
    int r = 0;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    while (r == 0 && *pos != '\0') {
        const bool flag = is_flag(shape, pos);
        char *eq = flag ? pos : strchr(pos, '='), *end;
        bool more;
        int i;

        if (!flag && (eq == NULL || eq == pos)) {
            r = errctx_set(ec, EINVAL, "\"%s\" is not of the form key=value", pos);
            break;
        }
        end = flag ? pos + strcspn(pos, ",") : value_end(shape, eq + 1);
        more = *end == ',';
        if (!flag)
            *eq = '\0';
        *end = '\0';
        i = config_shape_find(shape, pos);
        if (i < 0)
            r = unknown_key(shape, pos, ec);
        else if (given[i])
            r = errctx_set(ec, EINVAL, "%s= is given twice", pos);
        else
            r = config_member_parse(&shape->members[i], target, flag ? "on" : eq + 1, ec);
        if (r < 0 && i >= 0 && !given[i])
            r = errctx_wrap(ec, r, "%s=", pos);
        if (i >= 0)
            given[i] = true;
        pos = more ? end + 1 : end;
    }
    free(copy);
    for (size_t i = 0; r == 0 && i < shape->n_members; i++)
        if (shape->members[i].required && !given[i])
            r = errctx_set(ec, EINVAL, "%s= is missing", shape->members[i].name);
    return r;
}

int config_shape_write(const struct config_shape *shape, const void *source, json_t *object)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < shape->n_members; i++)
        r = config_member_write(&shape->members[i], source, object);
    return r;
}
