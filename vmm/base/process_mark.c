/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/process_mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/kernel_file.h"

enum { STAT_MAX = 1024, FIELDS_TO_START = 20 }; /* after the name, which is the second */

/* The name may hold anything but a NUL, so fields are counted from its last parenthesis. */
static bool read_start(pid_t pid, uint64_t *ret)
{
    char text[STAT_MAX], *at;

    if (!kernel_file_text(text, sizeof(text), "", "/proc/%d/stat", (int)pid))
        return false;
    at = strrchr(text, ')');
    for (int i = 0; at != NULL && i < FIELDS_TO_START; i++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, " %" SCNu64, ret) == 1;
}

static bool read_pid_ns(pid_t pid, uint64_t *ret)
{
    struct stat st;
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
    if (stat(path, &st) < 0)
        return false;
    *ret = st.st_ino;
    return true;
}

bool process_mark_make(pid_t pid, struct process_mark *ret_mark)
{
    struct process_mark mark = { .pid = pid };

    if (pid <= 0 || !read_start(pid, &mark.start) || !read_pid_ns(pid, &mark.pid_ns))
        return false;
    *ret_mark = mark;
    return true;
}

bool process_mark_holds(const struct process_mark *mark)
{
    struct process_mark now;

    return process_mark_make(mark->pid, &now) && now.start == mark->start &&
           now.pid_ns == mark->pid_ns;
}
