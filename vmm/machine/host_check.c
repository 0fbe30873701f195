/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of KVM, devices and the sandbox there is. Findings about the kernel's files and memory are in
 * host_check_kernel.c.
 */
#include "vmm/machine/host_check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "memory/page_table.h"
#include "memory/pager/pager.h"
#include "memory/pager/uffd.h"
#include "memory/residency.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/landlock.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/machine/host_check_private.h"
#include "vmm/machine/machine_arch.h"

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

    f = host_check_add(c, "kvm", r == 0 ? HOST_OK : HOST_MISSING);
    if (r == 0) {
        WHAT(f, "%s can be opened and speaks version 12", dev_kvm);
        return true;
    }
    WHAT(f, "%s", ec.msg);
    if (r == -ENOENT)
        ADVICE(f, "%s", machine_arch_advise_kvm());
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
        host_check_add(c, "kernel-code", r < 0 ? HOST_MISSING : native ? HOST_OK : HOST_MISSING);

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

static void add_missing(char *missing, size_t size, const struct kvm_sys *sys,
                        const struct machine_arch_capability *needed, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(missing);

        if (!kvm_sys_check(sys, needed[i].cap))
            host_check_say(missing + len, size - len, "%s%s", len ? ", " : "", needed[i].name);
    }
}

static void check_capabilities(struct host_check *c, const struct kvm_sys *sys)
{
    static const struct machine_arch_capability needed[] = {
        { KVM_CAP_IRQFD, "irqfd" },
        { KVM_CAP_IOEVENTFD, "ioeventfd" },
        { KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
        { KVM_CAP_SIGNAL_MSI, "message-signalled interrupts" },
    };
    struct machine_limits limits = { 0 };
    const struct machine_arch_capability *own;
    char missing[200] = "";
    struct errctx why = { 0 };
    struct host_finding *f;
    size_t n;

    own = machine_arch_capabilities(&n);
    add_missing(missing, sizeof(missing), sys, own, n);
    add_missing(missing, sizeof(missing), sys, needed, sizeof(needed) / sizeof(needed[0]));
    f = host_check_add(c, "capabilities", missing[0] == '\0' ? HOST_OK : HOST_MISSING);
    if (missing[0] != '\0') {
        c->can_run = false;
        WHAT(f, "KVM lacks: %s", missing);
        ADVICE(f, "use Linux 6.1 or later");
        return;
    }
    if (machine_arch_check_irqchip(sys, &why) < 0) {
        c->can_run = false;
        f->verdict = HOST_MISSING;
        WHAT(f, "%s", why.msg);
        ADVICE(f, "use a machine that has one, or the emulated host: guest-tests/rig/run");
        return;
    }
    machine_arch_limits(sys, "", &limits);
    if (limits.max_vcpu_id > 0)
        WHAT(f, "up to %d vCPUs with APIC ids below %u", kvm_sys_check(sys, KVM_CAP_MAX_VCPUS),
             limits.max_vcpu_id);
    else
        WHAT(f, "up to %d vCPUs", kvm_sys_check(sys, KVM_CAP_MAX_VCPUS));
}

/* What KVM does of the scheduling class, and tells of what it did. */
static void check_scheduling(struct host_check *c, const struct kvm_sys *sys)
{
    const bool steal = machine_arch_has_steal_time(sys), poll = kvm_sys_check(sys, KVM_CAP_HALT_POLL) != 0;
    const bool stats = kvm_sys_check(sys, KVM_CAP_BINARY_STATS_FD) != 0;
    struct host_finding *f = host_check_add(c, "steal-time", steal ? HOST_OK : HOST_LIMITED);

    if (steal) {
        WHAT(f, "a guest sees the time in which its CPUs had to wait");
    } else {
        WHAT(f, "a guest does not see the time in which its CPUs had to wait (steal)");
        ADVICE(f, "use a kernel with CONFIG_SCHED_INFO or scheduling statistics");
    }
    f = host_check_add(c, "halt-poll", poll ? HOST_OK : HOST_LIMITED);
    if (poll) {
        WHAT(f, "--halt-poll is known for each machine");
    } else {
        WHAT(f, "KVM looks for work for halted CPUs equally long for all machines");
        ADVICE(f, "use Linux 5.8 or later, or set the parameter halt_poll_ns of the module kvm");
    }
    f = host_check_add(c, "kvm-stats", stats ? HOST_OK : HOST_LIMITED);
    if (stats) {
        WHAT(f, "ctl NAME stats has KVM's own counters");
    } else {
        WHAT(f, "ctl NAME stats lacks KVM's own counters: exits, TLB flushes, page sizes");
        ADVICE(f, "use Linux 5.14 or later");
    }
}

static void check_topology(struct host_check *c, const struct host_topo *host)
{
    struct host_finding *f = host_check_add(c, "nodes", host->n_nodes > 1 ? HOST_OK : HOST_LIMITED);

    WHAT(f, "%zu NUMA node%s, %zu CPUs", host->n_nodes, host->n_nodes == 1 ? "" : "s",
         host->n_cpus);
    if (host->n_nodes == 1)
        ADVICE(f, "virtual nodes work, but all live on the same memory; guest-tests/rig/run gives "
                  "a host with several nodes");
}

/* Which way the pager keeps a page that is lost from the guest; only where there is a pager. */
static void check_lost_pages(struct host_check *c, bool can_poison)
{
    struct host_finding *f =
        host_check_add(c, "lost-pages", can_poison ? HOST_OK : HOST_LIMITED);

    if (can_poison) {
        WHAT(f, "poison: a page that --pager lost is kept from the guest by UFFDIO_POISON, as many "
                "as there are");
        return;
    }
    WHAT(f, "closed pages: the guest is told of one page that --pager lost at a time, and at most "
            "%d are kept from it", PAGER_CLOSED_MAX);
    ADVICE(f, "use Linux 6.6 or later, which has UFFDIO_POISON");
}

static void check_pager(struct host_check *c)
{
    CLEANUP_CLOSE int fd = -1, pagemap = residency_open();
    struct errctx why = { 0 };
    struct uffd_can can;
    const int r = uffd_open_all(&fd, &can, &why);
    struct host_finding *f = host_check_add(c, "pager", r == 0 ? HOST_OK : HOST_LIMITED);

    if (r == 0) {
        WHAT(f, "guest memory can be taken away and brought back (--pager on), and be slow "
                "(--slow); what is in use is found %s",
             can.protect && page_table_tells(pagemap)
                 ? "by protecting it (UFFD_FEATURE_RWP)"
                 : "by taking it out of the page table");
        check_lost_pages(c, can.poison);
        return;
    }
    WHAT(f, "no --pager on, and --slow by what page faults cost alone: %s", why.msg);
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
    struct host_finding *f = host_check_add(c, "io_uring", fd >= 0 ? HOST_OK : HOST_LIMITED);

    if (fd >= 0) {
        (void)close(fd);
        WHAT(f, "disks use io_uring, and memory can go to a file (--pager-swap)");
        return;
    }
    WHAT(f, "io_uring is not allowed (%s); disks use a pool of threads, and there is no "
         "--pager-swap", strerror(errno));
    ADVICE(f, "set the sysctl kernel.io_uring_disabled to 0, or allow it in the container");
}

static void check_tap(struct host_check *c)
{
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), code = errno;
    struct host_finding *f = host_check_add(c, "tap", fd >= 0 ? HOST_OK : HOST_LIMITED);

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

/* Only opened: it does nothing before somebody becomes its owner. */
static void check_vhost_net(struct host_check *c)
{
    const int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC), code = errno;
    struct host_finding *f = host_check_add(c, "vhost-net", fd >= 0 ? HOST_OK : HOST_LIMITED);

    if (fd >= 0) {
        (void)close(fd);
        WHAT(f, "/dev/vhost-net can be opened: the kernel may serve TAPs (--net tap=...,vhost=on)");
        return;
    }
    WHAT(f, "no --net tap=...,vhost=on: /dev/vhost-net: %s", strerror(code));
    if (code == EACCES || code == EPERM)
        ADVICE(f, "have root give you /dev/vhost-net, as its group (kvm, with udev), or leave vhost "
                  "off");
    else
        ADVICE(f, "load the module vhost_net, or leave vhost off");
}

static void check_landlock(struct host_check *c)
{
    const int abi = landlock_abi();
    struct host_finding *f = host_check_add(c, "landlock", abi > 0 ? HOST_OK : HOST_LIMITED);

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
    f = host_check_add(c, "moving", r == 0 ? HOST_OK : HOST_LIMITED);
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
    check_pager(ret);
    host_check_kernel(ret, "", host);
    check_io_uring(ret);
    check_tap(ret);
    check_vhost_net(ret);
    check_landlock(ret);
}
