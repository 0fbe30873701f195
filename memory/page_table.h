/* SPDX-License-Identifier: Apache-2.0 */
/* Our own page table: what it has, as /proc/self/pagemap tells, and huge pages in it. Any
 * thread. */
#ifndef MEMORY_PAGE_TABLE_H
#define MEMORY_PAGE_TABLE_H

#include <linux/fs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifndef PAGEMAP_SCAN /* Linux 6.7; not in the C library's headers of Debian 12 */
struct pm_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

/** page_table_read() - the entries of @n pages of 4 KiB from @at on.
 *  @pagemap: as of residency_open(). Return: false without one, or where it cannot be read. */
bool page_table_read(int pagemap, const void *at, size_t n, uint64_t *ret_entries);

/** page_table_has() - does such an entry map a page? */
static inline bool page_table_has(uint64_t entry)
{
    return (entry >> 63) != 0; /* Documentation/admin-guide/mm/pagemap.rst: present */
}

/** page_table_tells() - does page_table_accessed() work here? */
bool page_table_tells(int pagemap);

/** page_table_accessed() - was a page of [@at, @at+@len), whole ones, that is mapped now touched
 *  since uffd_protect(), or mapped since?
 *  @pagemap: as of residency_open(). Return: 1, 0, or a negative errno. */
int page_table_accessed(int pagemap, const void *at, size_t len);

/** page_table_collapse() - make huge pages of all of [@at, @at+@len), whole ones, and map them
 *  (MADV_COLLAPSE). Return: 0 or the errno of madvise; EINVAL before Linux 6.1, even for
 *  nothing. */
int page_table_collapse(void *at, size_t len);

#endif
