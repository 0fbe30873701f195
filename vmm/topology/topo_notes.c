/* SPDX-License-Identifier: Apache-2.0 */
/* See topo_notes.h. */
#include "vmm/topology/topo_notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void topo_note(struct topo_notes *notes, const char *fmt, ...)
{
    static const char more[] = "There are more notes than fit here.\n";
    const size_t len = strlen(notes->text);
    char line[512];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    line[sizeof(line) - 2] = '\0';
    (void)strcat(line, "\n");
    if (strstr(notes->text, line) != NULL)
        return;
    if (len + strlen(line) + sizeof(more) <= sizeof(notes->text))
        memcpy(notes->text + len, line, strlen(line) + 1);
    else if (len + sizeof(more) <= sizeof(notes->text) && strstr(notes->text, more) == NULL)
        memcpy(notes->text + len, more, sizeof(more));
}
