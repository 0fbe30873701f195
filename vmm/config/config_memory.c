/* SPDX-License-Identifier: Apache-2.0 */
/* See config_memory.h. */
#include "vmm/config/config_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"

/* Index of @text among @words behind the first, which stands for "not said"; 0: none of them. */
static unsigned find_word(const char *const *words, const char *text)
{
    for (unsigned i = 1; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    return 0;
}

static int read_part(char *text, struct guest_pages *pages, struct errctx *ec)
{
    char *colon = strchr(text, ':');
    enum guest_page_kind kind;
    uint64_t bytes = 0;
    int r;

    if (pages->n > 0 && pages->part[pages->n - 1].bytes == 0)
        return errctx_set(ec, EINVAL, "\"%s\" comes after pages that take the rest", text);
    if (colon != NULL) {
        *colon = '\0';
        r = units_parse_size(colon + 1, &bytes, ec);
        if (r < 0)
            return r;
    }
    kind = (enum guest_page_kind)find_word(guest_page_words, text);
    if (kind == GUEST_PAGES_ANY)
        return errctx_set(ec, EINVAL, "\"%s\" is not 4K, thp, 2M or 1G", text);
    if (colon != NULL && (bytes == 0 || bytes % guest_page_unit(kind) != 0))
        return errctx_set(ec, EINVAL, "%s:%s is not a multiple of %s", text, colon + 1,
                          kind == GUEST_PAGES_1G ? "1 GiB" : "2 MiB");
    for (uint32_t i = 0; i < pages->n; i++)
        if (pages->part[i].kind == kind)
            return errctx_set(ec, EINVAL, "%s is given twice", text);
    pages->part[pages->n].kind = kind;
    pages->part[pages->n++].bytes = bytes;
    return 0;
}

int config_memory_pages(const char *text, struct guest_pages *ret_pages, struct errctx *ec)
{
    CLEANUP_FREE char *copy = strdup(text);
    struct guest_pages pages = { 0 };
    char *pos = copy;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    while (pos != NULL) {
        char *part = strsep(&pos, "+");
        int r = read_part(part, &pages, ec); /* four kinds, none twice: never too many */

        if (r < 0)
            return r;
    }
    *ret_pages = pages;
    return 0;
}

int config_memory_weights(const char *text, struct guest_weights *ret_weights, struct errctx *ec)
{
    CLEANUP_FREE char *copy = strdup(text);
    struct guest_weights w = { 0 };
    char *pos = copy;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    while (pos != NULL) {
        uint64_t v;
        int r = units_parse_uint(strsep(&pos, ":"), GUEST_WEIGHT_MAX, &v, ec);

        if (r < 0)
            return r;
        if (v == 0)
            return errctx_set(ec, ERANGE, "a node of weight 0 would get nothing");
        if (w.n == GUEST_MAX_WEIGHTS)
            return errctx_set(ec, EINVAL, "more than %d weights", GUEST_MAX_WEIGHTS);
        w.weight[w.n++] = (uint8_t)v;
    }
    *ret_weights = w;
    return 0;
}

int config_memory_fallback(const char *text, struct guest_fallback *ret_fallback,
                           struct errctx *ec)
{
    CLEANUP_FREE char *copy = strdup(text);
    struct guest_fallback f = { 0 };
    char *pos = copy;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    while (pos != NULL) {
        const char *word = strsep(&pos, ",");
        enum guest_yield step = (enum guest_yield)find_word(guest_yield_words, word);

        if (step == GUEST_YIELD_NONE)
            return errctx_set(ec, EINVAL, "\"%s\" is not pages, policy or host", word);
        for (uint32_t i = 0; i < f.n; i++)
            if (f.step[i] == step)
                return errctx_set(ec, EINVAL, "%s is given twice", word);
        f.step[f.n++] = step;
    }
    *ret_fallback = f;
    return 0;
}

const char *config_memory_format_pages(const struct guest_pages *pages, char *buf, size_t size)
{
    size_t len = 0;
    char amount[32];

    buf[0] = '\0';
    for (uint32_t i = 0; i < pages->n && len < size; i++)
        len += (size_t)snprintf(
            buf + len, size - len, "%s%s%s%s", i > 0 ? "+" : "",
            guest_page_words[pages->part[i].kind], pages->part[i].bytes > 0 ? ":" : "",
            pages->part[i].bytes > 0
                ? units_format_size(pages->part[i].bytes, amount, sizeof(amount))
                : "");
    return buf;
}

const char *config_memory_format_weights(const struct guest_weights *w, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < w->n && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%u", i > 0 ? ":" : "", w->weight[i]);
    return buf;
}

const char *config_memory_format_fallback(const struct guest_fallback *f, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < f->n && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? "," : "",
                                guest_yield_words[f->step[i]]);
    return buf;
}
