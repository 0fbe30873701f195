/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lab/parts/send.h"

#include <errno.h>
#include <unistd.h>

void send_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        const ssize_t n = write(fd, at, len);

        if (n < 0 && errno != EINTR)
            return;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}
