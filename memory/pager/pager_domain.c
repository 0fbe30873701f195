/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking with the host service about what other machines of the trust domain keep, too: a part of
 * what the evicting thread does by itself within the user's budget of CPU time.
 */
#include "memory/pager/pager_int.h"

void pager_domain(struct pager *pager, uint64_t now_ns)
{
    const uint64_t start = pager_cpu_ns(), budget = pager_budget(pager, now_ns);

    if (pager->params.domain == NULL)
        return;
    while (pager_cpu_ns() - start < budget && !pager_hurries(pager))
        if (!domain_client_step(pager->params.domain, pager->stores, pager->n_stores, now_ns))
            break;
    pager_add(&pager->domain_cpu_ns, pager_cpu_ns() - start);
}
