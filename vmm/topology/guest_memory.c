/* SPDX-License-Identifier: Apache-2.0 */
/* Names and sizes. Constant data. */
#include "vmm/topology/guest_memory.h"

#include "vmm/base/macros.h"

const char *const guest_page_words[GUEST_PAGE_KINDS + 1] = { "", "4K", "thp", "2M", "1G", NULL };

const char *const guest_policy_words[GUEST_POLICIES + 1] = {
    "", "bind", "preferred", "interleave", "weighted-interleave", "local", "auto", NULL,
};

const char *const guest_yield_words[GUEST_YIELDS + 1] = { "", "pages", "policy", "host", NULL };

uint64_t guest_page_bytes(enum guest_page_kind kind)
{
    return kind == GUEST_PAGES_1G ? GIB : kind == GUEST_PAGES_2M ? 2 * MIB : 0;
}

uint64_t guest_page_unit(enum guest_page_kind kind)
{
    return kind == GUEST_PAGES_1G ? GIB : 2 * MIB;
}

const char *guest_page_name(enum guest_page_kind kind)
{
    return kind == GUEST_PAGES_ANY ? "any" : guest_page_words[kind];
}

bool guest_policy_needs_hosts(enum guest_policy policy)
{
    return policy == GUEST_POLICY_BIND || policy == GUEST_POLICY_PREFERRED ||
           policy == GUEST_POLICY_WEIGHTED;
}
