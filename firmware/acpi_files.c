/* SPDX-License-Identifier: Apache-2.0 */
/* The tables as files, one each, for iasl and for people. */
#include "firmware/acpi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

static int write_file(int dir_fd, const char *dir, const char *stem, const uint8_t *bytes,
                      size_t len, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    char name[16];
    size_t done = 0;

    (void)snprintf(name, sizeof(name), "%s.dat", stem);
    fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return errctx_set_os(ec, errno, "%s/%s", dir, name);
    while (done < len) {
        ssize_t n = write(fd, bytes + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errctx_set_os(ec, errno, "write %s/%s", dir, name);
        done += (size_t)n;
    }
    return 0;
}

int acpi_write_files(const struct acpi_tables *tables, const char *dir, struct errctx *ec)
{
    CLEANUP_CLOSE int dir_fd = -1;
    int r;

    if (mkdir(dir, 0777) < 0 && errno != EEXIST)
        return errctx_set_os(ec, errno, "make folder %s", dir);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return errctx_set_os(ec, errno, "%s", dir);
    r = write_file(dir_fd, dir, "RSDP", tables->rsdp, sizeof(tables->rsdp), ec);
    for (size_t i = 0; r == 0 && i < tables->n_tables; i++) {
        const struct acpi_table *t = &tables->table[i];

        /* The FADT's signature is FACP, the MADT's APIC; files are named by signature. */
        r = write_file(dir_fd, dir, t->signature, tables->blob + t->off, t->len, ec);
    }
    return r;
}
