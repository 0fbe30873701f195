/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events as text. Each kind is a row of words; of a text that fits none, the row that fits furthest
 * says what should have been there.
 */
#include "vmm/lab/lab_events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"

enum { WORDS_MAX = 8, WORD_MAX = 40, LINE_MAX_BYTES = 256 };

#define NS_PER_S 1000000000ull

/* N and M stand for numbers, S for a size. */
static const struct form {
    enum lab_event_kind kind;
    const char *words[WORDS_MAX];
} forms[] = {
    { LAB_OFFLINE_CPU, { "offline", "cpu", "N" } },
    { LAB_ONLINE_CPU, { "online", "cpu", "N" } },
    { LAB_HOTPLUG_CPU, { "hotplug", "cpu", "N" } },
    { LAB_UNPLUG_CPU, { "unplug", "cpu", "N" } },
    { LAB_HOTPLUG_NODE, { "hotplug", "node", "N", "S" } },
    { LAB_UNPLUG_NODE, { "unplug", "node", "N", "S" } },
    { LAB_MOVE_VNODE, { "move", "vnode", "N", "to", "host", "M" } },
};

#define VERBS "offline, online, hotplug, unplug, move"

struct words {
    char text[WORDS_MAX][WORD_MAX];
    size_t n;
};

static int split(const char *text, struct words *ret_words, struct errctx *ec)
{
    static const char blanks[] = " \t\r";

    ret_words->n = 0;
    for (text += strspn(text, blanks); *text != '\0'; text += strspn(text, blanks)) {
        const size_t len = strcspn(text, blanks);

        if (len >= WORD_MAX)
            return errctx_set(ec, EINVAL, "\"%.30s...\" is no word of an event", text);
        if (ret_words->n == WORDS_MAX)
            return errctx_set(ec, EINVAL, "\"%.*s\" and what follows is too much", (int)len, text);
        memcpy(ret_words->text[ret_words->n], text, len);
        ret_words->text[ret_words->n++][len] = '\0';
        text += len;
    }
    return 0;
}

/* "2s", "1.5s" is not one: 1500ms. */
static int take_time(const char *word, uint64_t *ret_ns, struct errctx *ec)
{
    int r;

    if (word[strspn(word, "0123456789")] == '\0')
        return errctx_set(ec, EINVAL, "\"%s\" is no time: say %ss or %sms", word, word, word);
    r = units_parse_ns(word, ret_ns, ec);
    if (r < 0)
        return r;
    if (*ret_ns > LAB_EVENT_LAST_S * NS_PER_S)
        return errctx_set(ec, ERANGE, "\"%s\" is later than %d s", word, LAB_EVENT_LAST_S);
    return 0;
}

static bool is_place(const char *form_word)
{
    return form_word[1] == '\0' && strchr("NMS", form_word[0]) != NULL;
}

/* How many of the @words fit, without looking into numbers. */
static size_t fits(const struct form *form, char words[][WORD_MAX], size_t n)
{
    size_t i = 0;

    while (i < n && i < WORDS_MAX && form->words[i] != NULL &&
           (is_place(form->words[i]) || strcmp(form->words[i], words[i]) == 0))
        i++;
    return i;
}

static int take_value(char what, const char *word, struct lab_event *e, struct errctx *ec)
{
    uint64_t number = 0;
    int r;

    if (what == 'S') {
        r = units_parse_size(word, &e->bytes, ec);
        if (r == 0 && (e->bytes == 0 || e->bytes > INT64_MAX))
            r = errctx_set(ec, ERANGE, "\"%s\": from 1 byte to 8191P", word);
        return r;
    }
    r = units_parse_uint(word, UINT16_MAX, &number, ec);
    *(what == 'N' ? &e->id : &e->host) = (uint32_t)number;
    return r;
}

static int take_form(const struct form *form, char words[][WORD_MAX], size_t n, size_t fit,
                     struct lab_event *e, struct errctx *ec)
{
    const char *next = fit < WORDS_MAX ? form->words[fit] : NULL;

    if (fit < n && next == NULL)
        return errctx_set(ec, EINVAL, "\"%s\" is too much", words[fit]);
    if (fit < n)
        return errctx_set(ec, EINVAL, "\"%s\" stands where \"%s\" should", words[fit], next);
    if (next != NULL)
        return errctx_set(ec, EINVAL, "it ends where %s%s%s should follow",
                          is_place(next) ? "a " : "\"",
                          !is_place(next) ? next : next[0] == 'S' ? "size" : "number",
                          is_place(next) ? "" : "\"");
    e->kind = form->kind;
    for (size_t i = 0; i < n; i++) {
        const int r = is_place(form->words[i])
                          ? take_value(form->words[i][0], words[i], e, ec) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static int read_event(const char *text, struct lab_event *ret_event, struct errctx *ec)
{
    const struct form *best = NULL;
    struct lab_event e = { 0 };
    struct words w;
    size_t first, most = 0;
    int r = split(text, &w, ec);

    if (r < 0)
        return r;
    first = w.n > 0 && strcmp(w.text[0], "at") == 0;
    if (w.n == first)
        return errctx_set(ec, EINVAL, "a time is missing: \"2s offline cpu 3\"");
    r = take_time(w.text[first++], &e.at_ns, ec);
    if (r < 0)
        return r;
    if (w.n == first)
        return errctx_set(ec, EINVAL, "it ends where one of " VERBS " should follow");
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        const size_t fit = fits(&forms[i], w.text + first, w.n - first);

        if (fit > most) {
            most = fit;
            best = &forms[i];
        }
    }
    if (best == NULL)
        return errctx_set(ec, EINVAL, "\"%s\" is none of " VERBS, w.text[first]);
    r = take_form(best, w.text + first, w.n - first, most, &e, ec);
    if (r == 0)
        *ret_event = e;
    return r;
}

int lab_events_add(struct lab_events *events, const char *text, struct errctx *ec)
{
    struct lab_event e;
    size_t at = events->n;
    int r = read_event(text, &e, ec);

    if (r < 0)
        return r;
    if (events->n == LAB_EVENTS_MAX)
        return errctx_set(ec, E2BIG, "more than %d events", LAB_EVENTS_MAX);
    for (; at > 0 && events->list[at - 1].at_ns > e.at_ns; at--)
        events->list[at] = events->list[at - 1];
    events->list[at] = e;
    events->n++;
    return 0;
}

int lab_events_parse(struct lab_events *events, const char *text, struct errctx *ec)
{
    for (unsigned line = 1; *text != '\0'; line++) {
        const size_t len = strcspn(text, "\n"), said = MIN(strcspn(text, "#\n"), len);
        char copy[LINE_MAX_BYTES];
        int r = 0;

        if (said >= sizeof(copy))
            return errctx_set(ec, EINVAL, "line %u is too long", line);
        memcpy(copy, text, said);
        copy[said] = '\0';
        if (copy[strspn(copy, " \t\r")] != '\0')
            r = lab_events_add(events, copy, ec);
        if (r < 0)
            return errctx_wrap(ec, r, "line %u", line);
        text += len + (text[len] == '\n');
    }
    return 0;
}

const char *lab_event_format(const struct lab_event *e, char buf[static LAB_EVENT_TEXT])
{
    static const struct {
        uint64_t ns;
        const char *name;
    } units[] = { { NS_PER_S, "s" }, { 1000000, "ms" }, { 1000, "us" }, { 1, "ns" } };
    char size[32];
    size_t k = 0;
    int n;

    while (e->at_ns % units[k].ns != 0)
        k++;
    n = snprintf(buf, LAB_EVENT_TEXT, "at %" PRIu64 "%s ", e->at_ns / units[k].ns, units[k].name);
    switch (e->kind) {
    case LAB_OFFLINE_CPU:
    case LAB_ONLINE_CPU:
    case LAB_HOTPLUG_CPU:
    case LAB_UNPLUG_CPU:
        (void)snprintf(buf + n, LAB_EVENT_TEXT - (size_t)n, "%s cpu %u",
                       e->kind == LAB_ONLINE_CPU    ? "online"
                       : e->kind == LAB_OFFLINE_CPU ? "offline"
                       : e->kind == LAB_HOTPLUG_CPU ? "hotplug" : "unplug",
                       e->id);
        break;
    case LAB_HOTPLUG_NODE:
    case LAB_UNPLUG_NODE:
        (void)snprintf(buf + n, LAB_EVENT_TEXT - (size_t)n, "%s node %u %s",
                       e->kind == LAB_HOTPLUG_NODE ? "hotplug" : "unplug", e->id,
                       units_format_size(e->bytes, size, sizeof(size)));
        break;
    case LAB_MOVE_VNODE:
        (void)snprintf(buf + n, LAB_EVENT_TEXT - (size_t)n, "move vnode %u to host %u", e->id,
                       e->host);
        break;
    }
    return buf;
}
