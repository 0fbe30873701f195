/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/suite/suite_tail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/suite/suite.h"

enum { PIECES = 64 }; /* read at a time, so that one that floods leaves time for others */

bool suite_tail_read(struct suite_tail *t, int fd)
{
    if (t->buf == NULL)
        t->buf = malloc(SUITE_TEXT_MAX);
    if (t->buf == NULL)
        return false;
    for (int i = 0; i < PIECES; i++) {
        const size_t at = t->total % SUITE_TEXT_MAX;
        const ssize_t n = read(fd, t->buf + at, SUITE_TEXT_MAX - at);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        t->total += (uint64_t)n;
    }
    return true;
}

char *suite_tail_text(struct suite_tail *t)
{
    const size_t len = (size_t)MIN(t->total, (uint64_t)SUITE_TEXT_MAX);
    const size_t start = (size_t)(t->total - len) % SUITE_TEXT_MAX;
    char *text = malloc(len + 1);

    for (size_t i = 0; text != NULL && i < len; i++) {
        const char c = t->buf[(start + i) % SUITE_TEXT_MAX];

        text[i] = c != '\0' ? c : '?';
    }
    if (text != NULL) {
        const char *line = NULL;

        text[len] = '\0';
        if (t->total > len)
            line = strchr(text, '\n');
        if (line != NULL)
            memmove(text, line + 1, strlen(line + 1) + 1);
    }
    free(t->buf);
    *t = (struct suite_tail){ .buf = NULL };
    return text;
}
