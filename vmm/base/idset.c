/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/idset.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

void idset_add(struct idset *s, uint32_t id)
{
    if (id >= IDSET_MAX)
        return;
    s->word[id / 64] |= 1ull << (id % 64);
    if (s->n_words <= id / 64)
        s->n_words = id / 64 + 1;
}

void idset_add_range(struct idset *s, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < IDSET_MAX && i - first < n; i++)
        idset_add(s, i);
}

void idset_del(struct idset *s, uint32_t id)
{
    if (id < IDSET_MAX)
        s->word[id / 64] &= ~(1ull << (id % 64));
}

bool idset_has(const struct idset *s, uint32_t id)
{
    return id < IDSET_MAX && (s->word[id / 64] >> (id % 64) & 1);
}

bool idset_empty(const struct idset *s)
{
    return idset_next(s, 0) >= IDSET_MAX;
}

uint32_t idset_count(const struct idset *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_words; i++)
        n += (uint32_t)__builtin_popcountll(s->word[i]);
    return n;
}

bool idset_equal(const struct idset *a, const struct idset *b)
{
    uint32_t n = MAX(a->n_words, b->n_words);

    return memcmp(a->word, b->word, n * sizeof(a->word[0])) == 0;
}

bool idset_intersects(const struct idset *a, const struct idset *b)
{
    for (uint32_t i = 0; i < MIN(a->n_words, b->n_words); i++)
        if (a->word[i] & b->word[i])
            return true;
    return false;
}

bool idset_subset(const struct idset *sub, const struct idset *super)
{
    for (uint32_t i = 0; i < sub->n_words; i++)
        if (sub->word[i] & ~super->word[i])
            return false;
    return true;
}

void idset_or(struct idset *dst, const struct idset *src)
{
    for (uint32_t i = 0; i < src->n_words; i++)
        dst->word[i] |= src->word[i];
    dst->n_words = MAX(dst->n_words, src->n_words);
}

void idset_and(struct idset *dst, const struct idset *src)
{
    for (uint32_t i = 0; i < dst->n_words; i++)
        dst->word[i] &= src->word[i];
}

uint32_t idset_next(const struct idset *s, uint32_t from)
{
    for (uint32_t i = from / 64; i < s->n_words; i++) {
        uint64_t w = s->word[i];

        if (i == from / 64)
            w &= ~0ull << (from % 64);
        if (w != 0)
            return i * 64 + (uint32_t)__builtin_ctzll(w);
    }
    return IDSET_MAX;
}

/* One number below IDSET_MAX; moves *pos behind it. */
static int parse_id(const char **pos, uint32_t *ret_id, const char *text, struct errctx *ec)
{
    unsigned long v;
    char *end;

    if (!isdigit((unsigned char)**pos))
        return errctx_set(ec, EINVAL, "\"%s\" is not a list such as 0-3,8", text);
    v = strtoul(*pos, &end, 10);
    if (v >= IDSET_MAX)
        return errctx_set(ec, EINVAL, "\"%s\" holds a number above %d", text, IDSET_MAX - 1);
    *pos = end;
    *ret_id = (uint32_t)v;
    return 0;
}

int idset_parse(const char *text, struct idset *ret_set, struct errctx *ec)
{
    struct idset s = { 0 };
    const char *pos = text;
    int r;

    while (*pos != '\0') {
        uint32_t first, last;

        r = parse_id(&pos, &first, text, ec);
        if (r < 0)
            return r;
        last = first;
        if (*pos == '-') {
            pos++;
            r = parse_id(&pos, &last, text, ec);
            if (r < 0)
                return r;
        }
        if (last < first)
            return errctx_set(ec, EINVAL, "\"%s\" holds a range that runs backwards", text);
        for (uint32_t id = first; id <= last; id++) {
            if (idset_has(&s, id))
                return errctx_set(ec, EINVAL, "\"%s\" names %u twice", text, id);
            idset_add(&s, id);
        }
        if (*pos == ',' && pos[1] != '\0')
            pos++;
        else if (*pos != '\0')
            return errctx_set(ec, EINVAL, "\"%s\" is not a list such as 0-3,8", text);
    }
    *ret_set = s;
    return 0;
}

const char *idset_format(const struct idset *s, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t id = idset_next(s, 0); id < IDSET_MAX;) {
        uint32_t last = id;
        char part[32];
        int n;

        while (idset_has(s, last + 1))
            last++;
        n = last > id ? snprintf(part, sizeof(part), "%s%u-%u", len ? "," : "", id, last)
                      : snprintf(part, sizeof(part), "%s%u", len ? "," : "", id);
        if (len + (size_t)n + 4 > size) {
            (void)snprintf(buf + len, size - len, "...");
            break;
        }
        memcpy(buf + len, part, (size_t)n + 1);
        len += (size_t)n;
        id = idset_next(s, last + 1);
    }
    return buf;
}
