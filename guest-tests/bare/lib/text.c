/* SPDX-License-Identifier: Apache-2.0 */
/* Functions on bytes and text that a compiler expects or guests want. */
#include "guest-tests/bare/lib/bare.h"

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    size_t i;

    for (i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0')
        n++;
    return n;
}

/* Where @word starts at a word's beginning in @text, or NULL. */
static const char *find_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    const char *p;

    for (p = text; *p != '\0'; p++)
        if ((p == text || p[-1] == ' ') && strlen(p) >= n && memcmp(p, word, n) == 0)
            return p;
    return NULL;
}

bool text_has(const char *text, const char *word)
{
    const char *p = find_word(text, word);

    return p != NULL && (p[strlen(word)] == '\0' || p[strlen(word)] == ' ');
}

uint64_t text_number(const char *text, const char *key, uint64_t fallback)
{
    const char *p = find_word(text, key);
    uint64_t v = 0;

    if (p == NULL || p[strlen(key)] != '=')
        return fallback;
    for (p += strlen(key) + 1; *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    return v;
}
