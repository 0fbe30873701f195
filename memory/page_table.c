/* SPDX-License-Identifier: Apache-2.0 */
/* See page_table.h. */
#include "memory/page_table.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/backing.h"

#ifndef PAGE_IS_PRESENT /* Linux 6.7 */
#define PAGE_IS_PRESENT (1 << 3)
#endif
#ifndef PAGE_IS_ACCESSED /* Linux 7.3 */
#define PAGE_IS_ACCESSED (1 << 9)
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; Debian 12's C library does not name it */
#endif

bool page_table_read(int pagemap, const void *at, size_t n, uint64_t *ret_entries)
{
    const size_t len = n * sizeof(*ret_entries);
    const off_t off = (off_t)((uintptr_t)at / BACKING_PAGE * sizeof(*ret_entries));

    return pagemap >= 0 && pread(pagemap, ret_entries, len, off) == (ssize_t)len;
}

int page_table_accessed(int pagemap, const void *at, size_t len)
{
    struct {
        uint64_t start, end, categories;
    } found;
    struct pm_scan_arg scan = {
        .size = sizeof(scan),
        .start = (uintptr_t)at,
        .end = (uintptr_t)at + len,
        .vec = (uintptr_t)&found,
        .vec_len = 1,
        .max_pages = 1,
        .category_mask = PAGE_IS_PRESENT | PAGE_IS_ACCESSED,
        .return_mask = PAGE_IS_PRESENT,
    };
    const int n = ioctl(pagemap, PAGEMAP_SCAN, &scan);

    return n < 0 ? -errno : n > 0;
}

bool page_table_tells(int pagemap)
{
    const uintptr_t at = (uintptr_t)&page_table_tells; /* any page */

    return page_table_accessed(pagemap, (const void *)(at - at % BACKING_PAGE), BACKING_PAGE) >= 0;
}

int page_table_collapse(void *at, size_t len)
{
    return madvise(at, len, MADV_COLLAPSE) == 0 ? 0 : -errno;
}
