/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the guest's memory is lost, and why, as the pager knows it. Any thread. */
#include <errno.h>
#include <stdio.h>

#include "memory/pager/pager.h"
#include "vmm/machine/machine_pager_private.h"
#include "vmm/machine/machine_private.h"

static bool find_addr(const struct machine *m, const void *host, struct gpa *ret_addr)
{
    const char *at = host;

    for (size_t i = 0; i < guest_mem_n_slots(m->mem); i++) {
        const struct guest_mem_slot s = guest_mem_slot(m->mem, i);
        const char *start = s.host;

        if (at >= start && at < start + s.len_bytes) {
            *ret_addr = (struct gpa){ s.base.v + (uint64_t)(at - start) };
            return true;
        }
    }
    return false;
}

static const void *find_host(const struct machine *m, struct gpa addr)
{
    for (size_t i = 0; i < guest_mem_n_slots(m->mem); i++) {
        const struct guest_mem_slot s = guest_mem_slot(m->mem, i);

        if (addr.v >= s.base.v && addr.v - s.base.v < s.len_bytes)
            return (const char *)s.host + (addr.v - s.base.v);
    }
    return NULL;
}

static void say_one_of(const struct machine *m, const void *host, size_t n,
                       struct vcpu_lost_page *page)
{
    char one[sizeof(page->why) - 48] = "a page"; /* with a number behind it */

    (void)pager_lost_at(m->pager->pager, host, one, sizeof(one));
    (void)snprintf(page->why, sizeof(page->why), "%s, one of %zu that are lost", one, n);
}

int machine_lost_page(void *ctx, const void *host, struct vcpu_lost_page *ret_page)
{
    const struct machine *m = ctx;
    size_t n_closed;

    if (m->pager == NULL)
        return -ENOENT;
    if (host == NULL) {
        n_closed = pager_closed_pages(m->pager->pager, &host);
        if (n_closed == 0)
            return pager_ever_lost(m->pager->pager) ? 0 : -ENOENT;
        if (n_closed > 1) {
            say_one_of(m, host, n_closed, ret_page);
            return -ENODATA;
        }
    }
    if (!find_addr(m, host, &ret_page->addr))
        return -ENOENT;
    return pager_lost_at(m->pager->pager, host, ret_page->why, sizeof(ret_page->why));
}

bool machine_lost_memory(void *ctx, struct gpa addr, struct vcpu_lost_page *ret_page)
{
    const struct machine *m = ctx;
    const void *host = m->pager != NULL ? find_host(m, addr) : NULL;

    ret_page->addr = addr;
    return host != NULL &&
           pager_lost_at(m->pager->pager, host, ret_page->why, sizeof(ret_page->why));
}
