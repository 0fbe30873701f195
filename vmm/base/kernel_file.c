/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/kernel_file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"

enum { LIST_BYTES = 24 * 1024 }; /* 8192 CPUs, every other one: 4096 * 5 bytes */

static bool path_of(char *buf, const char *root, const char *fmt, va_list ap)
{
    int n = snprintf(buf, KERNEL_FILE_PATH_MAX, "%s", root);
    int m;

    if (n < 0 || n >= KERNEL_FILE_PATH_MAX)
        return false;
    m = vsnprintf(buf + n, (size_t)(KERNEL_FILE_PATH_MAX - n), fmt, ap);
    return m >= 0 && m < KERNEL_FILE_PATH_MAX - n;
}

bool kernel_file_path(char buf[static KERNEL_FILE_PATH_MAX], const char *root, const char *fmt, ...)
{
    va_list ap;
    bool fits;

    va_start(ap, fmt);
    fits = path_of(buf, root, fmt, ap);
    va_end(ap);
    return fits;
}

static bool read_text(char *buf, size_t size, const char *root, const char *fmt, va_list ap)
{
    char path[KERNEL_FILE_PATH_MAX];
    CLEANUP_CLOSE int fd = -1;
    size_t len = 0;
    ssize_t n = 0;

    if (!path_of(path, root, fmt, ap))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return false;
    n = read(fd, buf, size - 1);
    if (n < 0)
        return false;
    for (len = (size_t)n; n > 0 && len < size - 1; len += (size_t)n) {
        n = read(fd, buf + len, size - 1 - len);
        if (n < 0)
            n = 0;
    }
    if (len > 0 && buf[len - 1] == '\n')
        len--;
    buf[len] = '\0';
    return true;
}

bool kernel_file_text(char *buf, size_t size, const char *root, const char *fmt, ...)
{
    va_list ap;
    bool there;

    va_start(ap, fmt);
    there = read_text(buf, size, root, fmt, ap);
    va_end(ap);
    return there;
}

void kernel_file_choice(char *buf, size_t size, const char *root, const char *path)
{
    char text[128];
    const char *start, *end;

    buf[0] = '\0';
    if (!kernel_file_text(text, sizeof(text), root, "%s", path))
        return;
    start = strchr(text, '[');
    end = start != NULL ? strchr(start, ']') : NULL;
    if (end == NULL || (size_t)(end - start) > size)
        return;
    memcpy(buf, start + 1, (size_t)(end - start - 1));
    buf[end - start - 1] = '\0';
}

bool kernel_file_u64(uint64_t *ret_v, const char *root, const char *fmt, ...)
{
    char text[32];
    va_list ap;
    bool there;

    va_start(ap, fmt);
    there = read_text(text, sizeof(text), root, fmt, ap);
    va_end(ap);
    return there && strlen(text) < sizeof(text) - 1 &&
           units_parse_uint(text, UINT64_MAX, ret_v, NULL) == 0;
}

bool kernel_file_set(struct idset *ret_set, const char *root, const char *fmt, ...)
{
    char text[LIST_BYTES];
    va_list ap;
    bool there;

    va_start(ap, fmt);
    there = read_text(text, sizeof(text), root, fmt, ap);
    va_end(ap);
    return there && strlen(text) < sizeof(text) - 1 && idset_parse(text, ret_set, NULL) == 0;
}
