/* SPDX-License-Identifier: Apache-2.0 */
/* See read_file.h. */
#include "vmm/base/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

int read_file(const char *path, size_t max, char **ret_text, size_t *ret_len, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO)
                                                  : open(path, O_RDONLY | O_CLOEXEC);
    CLEANUP_FREE char *text = NULL;
    size_t len = 0, room = 0;

    if (fd < 0)
        return errctx_set_os(ec, errno, "cannot be opened");
    for (;;) {
        ssize_t n;

        if (len == room) {
            char *grown;

            if (room > max)
                return errctx_set(ec, EFBIG, "longer than %zu KiB", max / KIB);
            room = MIN(MAX(2 * room, (size_t)16 * KIB), max + 1);
            grown = realloc(text, room + 1);
            if (grown == NULL)
                return errctx_set(ec, ENOMEM, "no memory to read it");
            text = grown;
        }
        n = read(fd, text + len, room - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errctx_set_os(ec, errno, "cannot be read");
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (len > max)
        return errctx_set(ec, EFBIG, "longer than %zu KiB", max / KIB);
    text[len] = '\0';
    *ret_text = take_ptr(text);
    *ret_len = len;
    return 0;
}
