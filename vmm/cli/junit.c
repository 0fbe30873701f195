/* SPDX-License-Identifier: Apache-2.0 */
/* See junit.h. */
#include "vmm/cli/junit.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* How many bytes the UTF-8 character at @s has; 0: none is there. Overlong forms and surrogates are
 * none either (RFC 3629). */
static size_t utf8_len(const unsigned char *s)
{
    static const struct {
        unsigned char mask, lead, len;
        unsigned least;
    } forms[] = { { 0xe0, 0xc0, 2, 0x80 }, { 0xf0, 0xe0, 3, 0x800 }, { 0xf8, 0xf0, 4, 0x10000 } };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        unsigned c = s[0] & (unsigned char)~forms[i].mask;
        size_t n = 1;

        if ((s[0] & forms[i].mask) != forms[i].lead)
            continue;
        for (; n < forms[i].len && (s[n] & 0xc0) == 0x80; n++)
            c = c << 6 | (s[n] & 0x3f);
        return n == forms[i].len && c >= forms[i].least && c <= 0x10ffff &&
                       (c < 0xd800 || c > 0xdfff) && c != 0xfffe && c != 0xffff
                   ? n
                   : 0;
    }
    return 0;
}

/* As an attribute, or text. What XML 1.0 has no way to say (section 2.2) is a question mark. */
static void put(FILE *out, const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text; *s != '\0';) {
        const size_t wide = utf8_len(s);

        if (wide > 0) {
            (void)fwrite(s, 1, wide, out);
            s += wide;
            continue;
        }
        if (*s == '&' || *s == '<' || *s == '>' || *s == '"' || *s == '\t' || *s == '\n' ||
            *s == '\r')
            (void)fprintf(out, "&#%u;", *s);
        else
            (void)fputc(*s < 0x20 || *s > 0x7e ? '?' : *s, out);
        s++;
    }
}

void junit_begin(FILE *out, const char *suite, const struct junit_counts *n, double seconds)
{
    (void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"",
                out);
    put(out, suite);
    (void)fprintf(out,
                  "\" tests=\"%u\" failures=\"%u\" errors=\"%u\" skipped=\"%u\" time=\"%.3f\">\n",
                  n->tests, n->failed, n->broken, n->skipped, seconds);
}

static void put_words(FILE *out, const char *tag, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return;
    (void)fprintf(out, "      <%s>", tag);
    put(out, text);
    (void)fprintf(out, "</%s>\n", tag);
}

void junit_test(FILE *out, const struct junit_test *t)
{
    static const char *const tags[] = {
        [JUNIT_FAILED] = "failure", [JUNIT_BROKEN] = "error", [JUNIT_SKIPPED] = "skipped"
    };
    const bool says =
        (t->out != NULL && t->out[0] != '\0') || (t->err != NULL && t->err[0] != '\0');

    (void)fputs("    <testcase classname=\"", out);
    put(out, t->group);
    (void)fputs("\" name=\"", out);
    put(out, t->name);
    (void)fprintf(out, "\" time=\"%.3f\"", t->seconds);
    if (t->verdict == JUNIT_PASSED && !says) {
        (void)fputs("/>\n", out);
        return;
    }
    (void)fputs(">\n", out);
    if (t->verdict != JUNIT_PASSED) {
        (void)fprintf(out, "      <%s message=\"", tags[t->verdict]);
        put(out, t->why);
        if (t->verdict == JUNIT_SKIPPED)
            (void)fputs("\"/>\n", out);
        else
            (void)fprintf(out, "\" type=\"%d\"/>\n", t->status);
    }
    put_words(out, "system-out", t->out);
    put_words(out, "system-err", t->err);
    (void)fputs("    </testcase>\n", out);
}

int junit_end(FILE *out)
{
    (void)fputs("  </testsuite>\n</testsuites>\n", out);
    errno = 0;
    return fflush(out) != 0 || ferror(out) ? (errno != 0 ? -errno : -EIO) : 0;
}
