/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/host_check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "memory/pager/uffd.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/landlock.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/machine/cpu_group.h"

static struct host_finding *add(struct host_check *c, const char *name, enum host_verdict verdict)
{
    struct host_finding *f = &c->findings[c->n++];

    f->name = name;
    f->verdict = verdict;
    return f;
}

static void say(char *into, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void say(char *into, size_t size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(into, size, fmt, ap);
    va_end(ap);
}

#define WHAT(f, ...)   say((f)->what, sizeof((f)->what), __VA_ARGS__)
#define ADVICE(f, ...) say((f)->advice, sizeof((f)->advice), __VA_ARGS__)

/* Who may use the device, and who has to change that. */
static void advise_group(struct host_finding *f, const char *dev_kvm)
{
    const struct group *group;
    struct stat st;

    if (stat(dev_kvm, &st) < 0 || (st.st_mode & 060) != 060 || st.st_gid == 0) {
        ADVICE(f, "have root give it to a group that you are in: chgrp kvm %s && chmod 660 %s "
                  "&& usermod -aG kvm NAME, then log in again", dev_kvm, dev_kvm);
        return;
    }
    group = getgrgid(st.st_gid);
    if (group != NULL)
        ADVICE(f, "have root add you to the group that owns it: usermod -aG %s NAME, then log in again",
               group->gr_name);
    else
        ADVICE(f, "have root add you to the group that owns it, number %u, then log in again",
               (unsigned)st.st_gid);
}

/* Without a usable /dev/kvm there is nothing more to ask KVM. */
static bool check_device(struct host_check *c, const char *dev_kvm, struct kvm_sys *sys)
{
    struct errctx ec = { 0 };
    struct host_finding *f;
    int r = kvm_sys_open(dev_kvm, sys, &ec);

    f = add(c, "kvm", r == 0 ? HOST_OK : HOST_MISSING);
    if (r == 0) {
        WHAT(f, "%s can be opened and speaks version 12", dev_kvm);
        return true;
    }
    WHAT(f, "%s", ec.msg);
    if (r == -ENOENT)
        ADVICE(f, "switch virtualization (SVM or VT-x) on in the firmware and load kvm_amd or "
                  "kvm_intel; inside a VM, ask for nested virtualization");
    else if (r == -EACCES || r == -EPERM)
        advise_group(f, dev_kvm);
    else
        ADVICE(f, "look at the kernel's log for messages of kvm");
    return false;
}

static void check_native(struct host_check *c, const struct kvm_sys *sys)
{
    struct errctx ec = { 0 };
    bool native = false;
    int r = kvm_probe_kernel_code(sys, &native, &ec);
    struct host_finding *f =
        add(c, "kernel-code", r < 0 ? HOST_MISSING : native ? HOST_OK : HOST_MISSING);

    if (r == -ENOSYS) {
        f->verdict = HOST_LIMITED;
        WHAT(f, "whether guest kernels run natively cannot be told: %s", ec.msg);
        ADVICE(f, "use Linux 5.14 or later");
    } else if (r < 0) {
        WHAT(f, "a test guest failed: %s", ec.msg);
        ADVICE(f, "look at the kernel's log for messages of kvm");
    } else if (native) {
        WHAT(f, "guest kernel code runs on the processor");
    } else {
        WHAT(f, "this KVM emulates guest kernel code instruction by instruction: bare-metal "
                "guests run, an operating system does not come up");
        ADVICE(f, "use a machine with SVM or VT-x, or the emulated host: guest-tests/rig/run");
    }
    c->can_run = r == -ENOSYS || native;
}

static void check_capabilities(struct host_check *c, const struct kvm_sys *sys)
{
    static const struct {
        unsigned cap;
        const char *name;
    } needed[] = {
        { KVM_CAP_SPLIT_IRQCHIP, "split interrupt controller" },
        { KVM_CAP_X2APIC_API, "32-bit APIC ids" },
        { KVM_CAP_IRQFD, "irqfd" },
        { KVM_CAP_IOEVENTFD, "ioeventfd" },
        { KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
        { KVM_CAP_SIGNAL_MSI, "message-signalled interrupts" },
    };
    char missing[200] = "";
    struct host_finding *f;

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (!kvm_sys_check(sys, needed[i].cap)) {
            size_t len = strlen(missing);

            say(missing + len, sizeof(missing) - len, "%s%s", len ? ", " : "", needed[i].name);
        }
    f = add(c, "capabilities", missing[0] == '\0' ? HOST_OK : HOST_MISSING);
    if (missing[0] == '\0') {
        WHAT(f, "up to %d vCPUs with APIC ids below %d", kvm_sys_check(sys, KVM_CAP_MAX_VCPUS),
             kvm_sys_check(sys, KVM_CAP_MAX_VCPU_ID));
        return;
    }
    c->can_run = false;
    WHAT(f, "KVM lacks: %s", missing);
    ADVICE(f, "use Linux 6.1 or later");
}

/* KVM's leaf 0x40000001, EAX bit 5 (Documentation/virt/kvm/x86/cpuid.rst). */
static bool has_steal_time(const struct kvm_sys *sys)
{
    struct kvm_cpuid2 *cpuid = NULL;
    bool found = false;

    if (kvm_sys_supported_cpuid(sys, &cpuid, NULL) < 0)
        return false;
    for (uint32_t i = 0; i < cpuid->nent; i++)
        found = found || (cpuid->entries[i].function == 0x40000001 &&
                          (cpuid->entries[i].eax & (1u << 5)) != 0);
    free(cpuid);
    return found;
}

/* What of the scheduling class KVM does. */
static void check_scheduling(struct host_check *c, const struct kvm_sys *sys)
{
    const bool steal = has_steal_time(sys), poll = kvm_sys_check(sys, KVM_CAP_HALT_POLL) != 0;
    struct host_finding *f = add(c, "steal-time", steal ? HOST_OK : HOST_LIMITED);

    if (steal) {
        WHAT(f, "a guest sees the time in which its CPUs had to wait");
    } else {
        WHAT(f, "a guest does not see the time in which its CPUs had to wait (steal)");
        ADVICE(f, "use a kernel with CONFIG_SCHED_INFO or scheduling statistics");
    }
    f = add(c, "halt-poll", poll ? HOST_OK : HOST_LIMITED);
    if (poll) {
        WHAT(f, "--halt-poll is known for each machine");
    } else {
        WHAT(f, "KVM looks for work for halted CPUs equally long for all machines");
        ADVICE(f, "use Linux 5.8 or later, or set the parameter halt_poll_ns of the module kvm");
    }
}

/* What --balance looks at beyond what every kernel tells. */
static void check_balance(struct host_check *c)
{
    const bool waits = access("/proc/schedstat", R_OK) == 0;
    const bool pressure = access("/proc/pressure/memory", R_OK) == 0;
    struct host_finding *f = add(c, "balance", waits && pressure ? HOST_OK : HOST_LIMITED);

    if (waits && pressure) {
        WHAT(f, "--balance sees how long tasks wait for CPUs, and for memory");
        return;
    }
    WHAT(f, "--balance does not see how long tasks wait for %s",
         waits ? "memory" : pressure ? "CPUs" : "CPUs and for memory");
    ADVICE(f, "use a kernel with %s%s%s", waits ? "" : "CONFIG_SCHEDSTATS",
           waits || pressure ? "" : " and ", pressure ? "" : "CONFIG_PSI, and say psi=1");
}

static void check_cpu_group(struct host_check *c)
{
    struct errctx why = { 0 };
    const bool possible = cpu_group_possible("", &why) == 0;
    struct host_finding *f = add(c, "cpu-cgroup", possible ? HOST_OK : HOST_LIMITED);

    if (possible) {
        WHAT(f, "a machine can have a cgroup of its own: --cpu-weight, --cpu-max, --cpu-reserve");
        return;
    }
    WHAT(f, "no --cpu-max, a weight becomes a nice value, reservations are not kept: %s", why.msg);
    ADVICE(f, "mount cgroup2 with the cpu controller and run where a group is handed over: "
              "systemd-run --user --scope -p Delegate=yes numavisor run ...");
}

static void check_topology(struct host_check *c, const struct host_topo *host)
{
    struct host_finding *f = add(c, "nodes", host->n_nodes > 1 ? HOST_OK : HOST_LIMITED);

    WHAT(f, "%zu NUMA node%s, %zu CPUs", host->n_nodes, host->n_nodes == 1 ? "" : "s",
         host->n_cpus);
    if (host->n_nodes == 1)
        ADVICE(f, "virtual nodes work, but all live on the same memory; guest-tests/rig/run gives "
                  "a host with several nodes");
}

/* The word in brackets of one of the kernel's choices, or "" where there is no such file. */
static void read_choice(const char *path, char *buf, size_t size)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[128] = "";
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    char *start = n > 0 ? strchr(text, '[') : NULL, *end = start != NULL ? strchr(start, ']') : NULL;

    buf[0] = '\0';
    if (end != NULL)
        (void)snprintf(buf, size, "%.*s", (int)(end - start - 1), start + 1);
}

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
static void check_huge_pages(struct host_check *c, const struct host_topo *host)
{
    static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    const uint64_t n_2m = pool_free(host, 2 * MIB), n_1g = pool_free(host, GIB);
    struct host_finding *f;
    char choice[32], pools[96] = "";
    bool huge;

    read_choice(path, choice, sizeof(choice));
    huge = strcmp(choice, "always") == 0 || strcmp(choice, "within_size") == 0 ||
           strcmp(choice, "force") == 0;
    if (n_2m + n_1g > 0)
        say(pools, sizeof(pools), "; the pools for --pages have %" PRIu64 " free of 2M, %" PRIu64
            " of 1G", n_2m, n_1g);
    f = add(c, "huge-pages", huge || n_2m + n_1g > 0 ? HOST_OK : HOST_LIMITED);
    if (huge)
        WHAT(f, "guest memory comes in huge pages where the kernel has them (%s)%s", choice, pools);
    else if (strcmp(choice, "advise") == 0)
        WHAT(f, "guest memory comes in huge pages with --pages thp or --prealloc only%s", pools);
    else
        WHAT(f, "guest memory comes in pages of 4 KiB unless --prealloc or --pages asks for others%s",
             pools);
    if (f->verdict == HOST_OK)
        return;
    if (choice[0] != '\0')
        ADVICE(f, "write always into %s, or fill a pool for --pages 2M: sysctl vm.nr_hugepages=N", path);
    else
        ADVICE(f, "use a kernel with transparent huge pages for memory files, or fill a pool for "
                  "--pages 2M: sysctl vm.nr_hugepages=N");
}

static void check_pager(struct host_check *c)
{
    CLEANUP_CLOSE int fd = -1;
    struct errctx why = { 0 };
    const int r = uffd_open(&fd, &why);
    struct host_finding *f = add(c, "pager", r == 0 ? HOST_OK : HOST_LIMITED);

    if (r == 0) {
        WHAT(f, "guest memory can be taken away and brought back (--pager on)");
        return;
    }
    WHAT(f, "no --pager on: %s", why.msg);
    if (r == -EACCES || r == -EPERM)
        ADVICE(f, "have root give you /dev/userfaultfd (Linux 6.1), or set the sysctl "
                  "vm.unprivileged_userfaultfd to 1");
    else
        ADVICE(f, "use Linux 5.14 or later with CONFIG_USERFAULTFD");
}

static void check_io_uring(struct host_check *c)
{
    struct io_uring_params params = { 0 };
    const int fd = (int)syscall(SYS_io_uring_setup, 2, &params);
    struct host_finding *f = add(c, "io_uring", fd >= 0 ? HOST_OK : HOST_LIMITED);

    if (fd >= 0) {
        (void)close(fd);
        WHAT(f, "disks use io_uring");
        return;
    }
    WHAT(f, "io_uring is not allowed (%s); disks use a pool of threads", strerror(errno));
    ADVICE(f, "set the sysctl kernel.io_uring_disabled to 0, or allow it in the container");
}

static void check_tap(struct host_check *c)
{
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), code = errno;
    struct host_finding *f = add(c, "tap", fd >= 0 ? HOST_OK : HOST_LIMITED);

    if (fd >= 0) {
        (void)close(fd);
        WHAT(f, "/dev/net/tun can be opened");
        return;
    }
    WHAT(f, "no TAP devices: /dev/net/tun: %s", strerror(code));
    if (code == EACCES || code == EPERM)
        ADVICE(f, "use --net user, which needs no privilege; or give /dev/net/tun mode 0666 and have "
                  "root make the TAP: ip tuntap add dev tap0 mode tap user NAME");
    else
        ADVICE(f, "use --net user, which needs no TAP, or load the module tun");
}

static void check_landlock(struct host_check *c)
{
    const int abi = landlock_abi();
    struct host_finding *f = add(c, "landlock", abi > 0 ? HOST_OK : HOST_LIMITED);

    if (abi > 0) {
        WHAT(f, "a running machine names no files but its sockets and /etc/resolv.conf (Landlock "
                "version %d)", abi);
        return;
    }
    WHAT(f, "no Landlock (%s): the sandbox filters system calls, not which files they name",
         strerror(-abi));
    if (abi == -EOPNOTSUPP)
        ADVICE(f, "start the kernel with lsm=landlock, and behind it what "
                  "/sys/kernel/security/lsm lists");
    else if (abi == -ENOSYS)
        ADVICE(f, "use a kernel with CONFIG_SECURITY_LANDLOCK, such as Debian's, or allow its calls "
                  "in the container");
    else
        ADVICE(f, "allow the system calls landlock_* in the container");
}

/* Only where a node can move. */
static void check_moving(struct host_check *c, const struct host_topo *host)
{
    struct errctx why = { 0 };
    struct host_finding *f;
    int fd, r;

    if (host->n_nodes < 2)
        return;
    r = uffd_open(&fd, &why);
    f = add(c, "moving", r == 0 ? HOST_OK : HOST_LIMITED);
    if (r == 0) {
        (void)close(fd);
        WHAT(f, "a virtual node's small pages move 2 MiB at a time while nobody can touch them");
        return;
    }
    WHAT(f, "small pages that a guest uses while they move are taken from it one by one: %s",
         why.msg);
    ADVICE(f, "set the sysctl vm.unprivileged_userfaultfd to 1, or let the user open "
              "/dev/userfaultfd (Linux 6.1)");
}

void host_check_run(const char *dev_kvm, const struct host_topo *host, struct host_check *ret)
{
    struct kvm_sys sys = { .fd = -1 };

    *ret = (struct host_check){ 0 };
    if (check_device(ret, dev_kvm, &sys)) {
        check_native(ret, &sys);
        check_capabilities(ret, &sys);
        check_scheduling(ret, &sys);
        kvm_sys_close(&sys);
    }
    check_topology(ret, host);
    check_moving(ret, host);
    check_huge_pages(ret, host);
    check_pager(ret);
    check_cpu_group(ret);
    check_balance(ret);
    check_io_uring(ret);
    check_tap(ret);
    check_landlock(ret);
}
