/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the kernel's is not on every host and is done without where it is not: each has a
 * finding, which says what there is less without it. Kernels are asked, not judged by their
 * version.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "memory/backing.h"
#include "memory/numa_policy.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"
#include "vmm/machine/cpu_group.h"
#include "vmm/machine/host_check_private.h"
#include "vmm/machine/host_swap.h"

struct host_finding *host_check_add(struct host_check *c, const char *name,
                                    enum host_verdict verdict)
{
    struct host_finding *f = &c->findings[c->n++];

    f->name = name;
    f->verdict = verdict;
    return f;
}

void host_check_say(char *into, size_t size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(into, size, fmt, ap);
    va_end(ap);
}

static bool there(const char *root, const char *path)
{
    char text[16];

    return kernel_file_text(text, sizeof(text), root, "%s", path);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Free pages of @page_bytes in the host's pools. */
static uint64_t pool_free(const struct host_topo *host, uint64_t page_bytes)
{
    uint64_t n = 0;

    for (size_t i = 0; i < host->n_nodes; i++)
        for (uint32_t k = 0; k < host->nodes[i].n_pools; k++)
            if (host->nodes[i].pool[k].page_bytes == page_bytes)
                n += host->nodes[i].pool[k].free_pages;
    return n;
}

/* Guest memory is memory files: they have a choice of the kernel's of their own, and the pools that
 * --pages names. */
static void check_huge_pages(struct host_check *c, const char *root,
                             const struct host_topo *host)
{
    const uint64_t n_2m = pool_free(host, 2 * MIB), n_1g = pool_free(host, GIB);
    struct host_finding *f;
    char choice[32], pools[96] = "";
    const bool huge = backing_comes_huge(root, GUEST_PAGES_ANY);

    kernel_file_choice(choice, sizeof(choice), root, BACKING_HUGE_CHOICE);
    if (n_2m + n_1g > 0)
        host_check_say(pools, sizeof(pools),
                       "; the pools for --pages have %" PRIu64 " free of 2M, %" PRIu64 " of 1G",
                       n_2m, n_1g);
    f = host_check_add(c, "huge-pages", huge || n_2m + n_1g > 0 ? HOST_OK : HOST_LIMITED);
    if (huge)
        WHAT(f, "guest memory comes in huge pages where the kernel has them (%s)%s", choice, pools);
    else if (strcmp(choice, "advise") == 0)
        WHAT(f, "guest memory comes in huge pages with --pages thp or --prealloc only%s", pools);
    else
        WHAT(f,
             "guest memory comes in pages of 4 KiB unless --prealloc, --pager or --pages asks for "
             "others%s",
             pools);
    if (f->verdict == HOST_OK)
        return;
    if (choice[0] != '\0')
        ADVICE(f, "write always into %s, or fill a pool for --pages 2M: sysctl vm.nr_hugepages=N",
               BACKING_HUGE_CHOICE);
    else
        ADVICE(f, "use a kernel with transparent huge pages for memory files, or fill a pool for "
                  "--pages 2M: sysctl vm.nr_hugepages=N");
}

/* Asking for huge pages, which is all that helps where shmem_enabled is never. */
static void check_collapse(struct host_check *c)
{
    const bool can = backing_can_collapse();
    struct host_finding *f = host_check_add(c, "collapse", can ? HOST_OK : HOST_LIMITED);

    if (can) {
        WHAT(f, "--prealloc makes huge pages, and a move puts together what it had to split");
        return;
    }
    WHAT(f,
         "--prealloc takes huge pages where the kernel gives them by itself only, and huge pages "
         "that a move has to split stay small");
    ADVICE(f, "use Linux 6.1 or later");
}

static void check_policies(struct host_check *c)
{
    struct errctx why = { 0 };
    const int r = numa_policy_allowed(&why);
    struct host_finding *f = host_check_add(c, "policies", r == 0 ? HOST_OK : HOST_LIMITED);

    if (r == 0) {
        WHAT(f, "memory can be bound to host nodes, counted and moved there");
        return;
    }
    WHAT(f, "no host=, policy= or ctl NAME memory: %s", why.msg);
    ADVICE(f, "%s", r == -ENOSYS ? "use a kernel with CONFIG_NUMA and CONFIG_MIGRATION"
                                 : "allow mbind, set_mempolicy and move_pages in the container, "
                                   "such as by CAP_SYS_NICE");
}

/* Only where there are several. */
static void check_preferred(struct host_check *c, const struct host_topo *host)
{
    const bool can = numa_policy_can_prefer_many();
    struct host_finding *f;

    if (host->n_nodes < 2)
        return;
    f = host_check_add(c, "preferred", can ? HOST_OK : HOST_LIMITED);
    if (can) {
        WHAT(f, "memory may prefer several host nodes");
        return;
    }
    WHAT(f, "memory that prefers several host nodes (policy=preferred) prefers the lowest of them");
    ADVICE(f, "use Linux 5.15 or later");
}

static void check_swap(struct host_check *c, const char *root)
{
    const enum host_swap swap = host_swap_look(root);
    struct host_finding *f =
        host_check_add(c, "swap", swap == HOST_SWAP_REACHES ? HOST_LIMITED : HOST_OK);

    if (swap != HOST_SWAP_REACHES) {
        WHAT(f, swap == HOST_SWAP_NONE ? "the host has no swap: only --pager takes guest memory away"
                                       : "memory.swap.max keeps guest memory from the host's swap");
        return;
    }
    WHAT(f, "the host may swap out guest memory, but for that of machines with --pager on and a "
            "cgroup of their own");
    ADVICE(f, "run where memory.swap.max is 0 (systemd-run --user --scope -p MemorySwapMax=0 "
              "numavisor run ...), or swapoff -a");
}

/* --- scheduling ------------------------------------------------------------------------------- */

/* What --balance looks at beyond what every kernel tells. */
static void check_balance(struct host_check *c, const char *root)
{
    const bool waits = there(root, "/proc/schedstat");
    const bool pressure = there(root, "/proc/pressure/memory");
    struct host_finding *f =
        host_check_add(c, "balance", waits && pressure ? HOST_OK : HOST_LIMITED);

    if (waits && pressure) {
        WHAT(f, "--balance sees how long tasks wait for CPUs, and for memory");
        return;
    }
    WHAT(f, "--balance does not see how long tasks wait for %s",
         waits ? "memory" : pressure ? "CPUs" : "CPUs and for memory");
    ADVICE(f, "use a kernel with %s%s%s", waits ? "" : "CONFIG_SCHEDSTATS",
           waits || pressure ? "" : " and ", pressure ? "" : "CONFIG_PSI, and say psi=1");
}

static void check_cpu_group(struct host_check *c, const char *root)
{
    struct errctx why = { 0 };
    const bool possible = cpu_group_possible(root, &why) == 0;
    struct host_finding *f = host_check_add(c, "cpu-cgroup", possible ? HOST_OK : HOST_LIMITED);

    if (possible) {
        WHAT(f, "a machine can have a cgroup of its own: --cpu-weight, --cpu-max, --cpu-reserve");
        return;
    }
    WHAT(f, "weights and reservations become nice values, a machine keeps --cpu-max itself: %s",
         why.msg);
    ADVICE(f, "mount cgroup2 with the cpu controller and run where a group is handed over: "
              "systemd-run --user --scope -p Delegate=yes numavisor run ...");
}

/* Also for the planner, and for --balance a reason to move. */
static void check_heat(struct host_check *c, const char *root)
{
    const bool can = there(root, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    struct host_finding *f = host_check_add(c, "heat", can ? HOST_OK : HOST_LIMITED);

    if (can) {
        WHAT(f, "CPUs count less while heat or power limits slow them down");
        return;
    }
    WHAT(f, "CPUs that heat or power limits slow down count as whole ones");
    ADVICE(f, "load the processor's cpufreq driver; inside a VM there is none");
}

void host_check_kernel(struct host_check *c, const char *root, const struct host_topo *host)
{
    check_huge_pages(c, root, host);
    check_collapse(c);
    check_policies(c);
    check_preferred(c, host);
    check_swap(c, root);
    check_cpu_group(c, root);
    check_balance(c, root);
    check_heat(c, root);
}
