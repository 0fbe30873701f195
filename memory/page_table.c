/* SPDX-License-Identifier: Apache-2.0 */
/* See page_table.h. */
#include "memory/page_table.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/backing.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; Debian 12's C library does not name it */
#endif

bool page_table_read(int pagemap, const void *at, size_t n, uint64_t *ret_entries)
{
    const size_t len = n * sizeof(*ret_entries);
    const off_t off = (off_t)((uintptr_t)at / BACKING_PAGE * sizeof(*ret_entries));

    return pagemap >= 0 && pread(pagemap, ret_entries, len, off) == (ssize_t)len;
}

int page_table_collapse(void *at, size_t len)
{
    return madvise(at, len, MADV_COLLAPSE) == 0 ? 0 : -errno;
}
