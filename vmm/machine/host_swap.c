/* SPDX-License-Identifier: Apache-2.0 */
/* See host_swap.h; Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files". */
#include "vmm/machine/host_swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/kernel_file.h"
#include "vmm/topology/host_limits.h"

enum { PATH_BYTES = 640, SWAPS_BYTES = 512 };

/* A heading, then a line for each file or device. */
static bool has_swap(const char *root)
{
    char text[SWAPS_BYTES];

    return kernel_file_text(text, sizeof(text), root, "/proc/swaps") && strchr(text, '\n') != NULL;
}

static bool kept_out(const char *root)
{
    char dir[PATH_BYTES];
    size_t top;

    if (!host_cgroup_dir(root, dir, sizeof(dir), &top))
        return false;
    while (strlen(dir) > top) {
        uint64_t most;

        if (kernel_file_u64(&most, root, "%s/memory.swap.max", dir) && most == 0)
            return true;
        *strrchr(dir, '/') = '\0';
    }
    return false;
}

enum host_swap host_swap_look(const char *kernel_root)
{
    if (!has_swap(kernel_root))
        return HOST_SWAP_NONE;
    return kept_out(kernel_root) ? HOST_SWAP_OFF : HOST_SWAP_REACHES;
}

static int write_file(const char *dir, const char *file, const char *text)
{
    char path[PATH_BYTES];
    CLEANUP_CLOSE int fd = -1;

    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int host_swap_forbid(const char *dir, struct errctx *ec)
{
    int r = write_file(dir, "memory.swap.max", "0");

    if (r == -ENOENT) { /* the group has no memory controller yet */
        char above[PATH_BYTES];

        (void)snprintf(above, sizeof(above), "%s/..", dir);
        r = write_file(above, "cgroup.subtree_control", "+memory");
        r = r < 0 ? r : write_file(dir, "memory.swap.max", "0");
    }
    return r < 0 ? errctx_set_os(ec, -r, "keep memory of the cgroup %s from being swapped out", dir)
                 : 0;
}
