/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is there before it is needed, where whoever needs it cannot wait for the host. */
#ifndef VMM_BASE_PREFAULT_H
#define VMM_BASE_PREFAULT_H

#include <stddef.h>
#include <stdint.h>

enum { PREFAULT_PAGE = 4096 };

/** prefault() - have the host give all of [@at, @at+@len), whose bytes stay as they are. The owner's
 *  thread: nobody else writes there meanwhile. */
static inline void prefault(void *at, size_t len)
{
    volatile uint8_t *p = at;

    if (len == 0)
        return;
    for (size_t i = 0; i < len; i += PREFAULT_PAGE)
        p[i] = p[i];
    p[len - 1] = p[len - 1];
}

#endif
