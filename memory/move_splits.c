/* SPDX-License-Identifier: Apache-2.0 */
/* See move_splits.h. */
#include "memory/move_splits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 16 * 1024 }; /* Linux 6.18 fills half of it */

int move_splits_open(void)
{
    return open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
}

int move_splits_read(int vmstat, uint64_t *ret_count)
{
    static const char key[] = "\nthp_migration_split ";
    char text[ROOM];
    const char *at;
    ssize_t n = vmstat < 0 ? -1 : pread(vmstat, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return -ENOENT;
    text[n] = '\0';
    at = strstr(text, key);
    if (at == NULL)
        return -ENOENT;
    *ret_count = strtoull(at + sizeof(key) - 1, NULL, 10);
    return 0;
}
