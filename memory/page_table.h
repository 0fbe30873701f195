/* SPDX-License-Identifier: Apache-2.0 */
/* Our own page table: what it has, as /proc/self/pagemap tells, and huge pages in it. Any
 * thread. */
#ifndef MEMORY_PAGE_TABLE_H
#define MEMORY_PAGE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** page_table_read() - the entries of @n pages of 4 KiB from @at on.
 *  @pagemap: as of residency_open(). Return: false without one, or where it cannot be read. */
bool page_table_read(int pagemap, const void *at, size_t n, uint64_t *ret_entries);

/** page_table_has() - does such an entry map a page? */
static inline bool page_table_has(uint64_t entry)
{
    return (entry >> 63) != 0; /* Documentation/admin-guide/mm/pagemap.rst: present */
}

/** page_table_collapse() - make huge pages of all of [@at, @at+@len), whole ones, and map them
 *  (MADV_COLLAPSE). Return: 0 or the errno of madvise; EINVAL before Linux 6.1, even for
 *  nothing. */
int page_table_collapse(void *at, size_t len);

#endif
