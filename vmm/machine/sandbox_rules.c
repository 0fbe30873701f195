/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a call is in a list stands beside it where the name does not say it. mmap and mprotect
 * are allowed without PROT_EXEC only, so nothing that is written can be executed.
 */
#include "vmm/machine/sandbox_rules.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>

#include "devices/virtio/vhost_user_link.h"
#include "memory/page_table.h"
#include "memory/pager/uffd.h"
#include "vmm/machine/sandbox_rows.h"

/* Flags only: F_SETOWN would send signals to other processes. */
#define FCNTL_FLAGS                                                                                \
    MASKED(fcntl, 1, 0xffffffffu, F_GETFD), MASKED(fcntl, 1, 0xffffffffu, F_SETFD),                \
        MASKED(fcntl, 1, 0xffffffffu, F_GETFL), MASKED(fcntl, 1, 0xffffffffu, F_SETFL)

static const struct sandbox_rule all[] = {
    ANY(read), ANY(write), ANY(futex), ANY(close),
    /* the allocator */
    ANY(brk), ANY(munmap), ANY(mremap), ANY(madvise),
    MASKED(mmap, 2, PROT_EXEC, 0), MASKED(mprotect, 2, PROT_EXEC, 0),
    /* clocks, when the vDSO cannot */
    ANY(clock_gettime), ANY(gettimeofday), ANY(clock_nanosleep), ANY(nanosleep),
    /* signals and ends of threads */
    ANY(rt_sigreturn), ANY(rt_sigprocmask), ANY(exit), ANY(exit_group), ANY(restart_syscall),
    /* signals to ourselves only: a kick, and what the C library's abort() and raise() are */
    MASKED(tgkill, 0, 0xffffffffu, SANDBOX_OWN_PID),
    ANY(sched_yield), ANY(getpid), ANY(gettid), ANY(getrandom),
    /* what the C library asks on its own: for arenas, for qsort(), for who we are */
    ANY(sched_getaffinity), ANY(sysinfo), ANY(getuid), ANY(geteuid),
};

static const struct sandbox_rule start[] = {
    ANY(clone), ANY(clone3), ANY(set_robust_list), ANY(rseq), ANY(prctl), ANY(seccomp),
    ANY(sched_setaffinity), ANY(sigaltstack), ANY(capset), ANY(capget),
    ANY(rt_sigaction),
    /* vCPU threads, for their page tables */
    ANY(set_mempolicy),
};

static const struct sandbox_rule vcpu[] = {
    IOCTL(KVM_RUN),
    /* interrupts and BARs that the guest sets up */
    IOCTL(KVM_SET_GSI_ROUTING), IOCTL(KVM_SIGNAL_MSI), IOCTL(KVM_IOEVENTFD),
    /* following its memory to another host node: this thread's own CPUs and page tables */
    MASKED(sched_setaffinity, 0, 0xffffffffu, 0), ANY(set_mempolicy),
};

static const struct sandbox_rule io[] = {
    ANY(epoll_wait), ANY(epoll_pwait), ANY(epoll_ctl), ANY(timerfd_settime), ANY(poll), ANY(ppoll),
    /* disks */
    ANY(io_uring_enter), ANY(preadv), ANY(pwritev), ANY(preadv2), ANY(pwritev2), ANY(pread64),
    ANY(pwrite64), ANY(fsync), ANY(fdatasync), ANY(fallocate), ANY(fstat), ANY(newfstatat),
    IOCTL(BLKDISCARD), IOCTL(BLKZEROOUT),
    /* networks */
    ANY(readv), ANY(writev), IOCTL(TUNSETOFFLOAD), IOCTL(TUNSETVNETHDRSZ), IOCTL(TUNSETQUEUE),
    /* and those that the kernel serves (vhost=on), of which only such machines have descriptors */
    IOCTL(VHOST_SET_OWNER), IOCTL(VHOST_RESET_OWNER), IOCTL(VHOST_SET_FEATURES),
    IOCTL(VHOST_SET_MEM_TABLE), IOCTL(VHOST_SET_VRING_NUM), IOCTL(VHOST_SET_VRING_BASE),
    IOCTL(VHOST_GET_VRING_BASE), IOCTL(VHOST_SET_VRING_ADDR), IOCTL(VHOST_SET_VRING_KICK),
    IOCTL(VHOST_SET_VRING_CALL), IOCTL(VHOST_SET_VRING_ERR), IOCTL(VHOST_NET_SET_BACKEND),
    /* the virtio console's window */
    IOCTL(TIOCGWINSZ),
    /* following the vCPUs it serves to another host node */
    MASKED(sched_setaffinity, 0, 0xffffffffu, 0),
    /* interrupts raised and routed by a reset of a device */
    IOCTL(KVM_SET_GSI_ROUTING), IOCTL(KVM_SIGNAL_MSI), IOCTL(KVM_IOEVENTFD),
};

static const struct sandbox_rule net[] = {
    MASKED(socket, 0, 0xffffffffu, AF_INET), MASKED(socket, 0, 0xffffffffu, AF_INET6),
    ANY(bind), ANY(connect), ANY(listen), ANY(accept), ANY(accept4), ANY(shutdown),
    ANY(sendto), ANY(sendmsg), ANY(recvfrom), ANY(recvmsg), ANY(getsockopt), ANY(setsockopt),
    ANY(getsockname), ANY(getpeername), FCNTL_FLAGS, IOCTL(FIONREAD), IOCTL(FIONBIO),
    /* /etc/resolv.conf, for the guest's name server; reading only */
    MASKED(openat, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY), ANY(lseek),
};

static const struct sandbox_rule vsock[] = {
    MASKED(socket, 0, 0xffffffffu, AF_UNIX),
    /* what a back end that is new rings by */
    MASKED(socketpair, 0, 0xffffffffu, AF_UNIX), ANY(eventfd2),
    MASKED(setsockopt, 2, 0xffffffffu, SO_PASSRIGHTS),
    ANY(connect), ANY(accept4), ANY(shutdown), ANY(sendto), ANY(sendmsg), ANY(recvfrom),
    ANY(recvmsg), ANY(getsockopt), FCNTL_FLAGS,
};

static const struct sandbox_rule main_thread[] = {
    ANY(epoll_wait), ANY(epoll_pwait), ANY(epoll_ctl), ANY(timerfd_settime), ANY(timerfd_create),
    ANY(poll), ANY(ppoll), FCNTL_FLAGS, ANY(fstat), ANY(newfstatat), ANY(eventfd2),
    /* control socket */
    ANY(accept4), ANY(sendto), ANY(sendmsg), ANY(recvfrom), ANY(recvmsg), ANY(getsockopt),
    ANY(getsockname), ANY(shutdown), ANY(flock),
    /* removing the sockets and letting go of the disks at the end */
    ANY(unlink), ANY(unlinkat), ANY(lseek), MASKED(fcntl, 1, 0xffffffffu, F_OFD_SETLK),
    /* terminal */
    ANY(writev), IOCTL(TCGETS), IOCTL(TCSETS), IOCTL(TCSETSW), IOCTL(TCSETSF), IOCTL(TIOCGWINSZ),
    /* the guard process is told and waited for; stopped and continued by our own signals */
    ANY(wait4),
    ANY(rt_sigaction), ANY(rt_sigpending), ANY(rt_sigtimedwait),
    /* our own nice value, for `ctl status` */
    MASKED(getpriority, 1, 0xffffffffu, 0),
    /* reset: memory given back, kernel read anew; what KVM is asked for: the architecture's list */
    ANY(fallocate), ANY(pread64), ANY(preadv), ANY(sendfile), ANY(getrusage),
    /* where pages are: of this process only, whatever number it would name */
    ANY(mincore), MASKED(move_pages, 0, 0xffffffffu, 0),
    /* devices on the main loop, and their end */
    IOCTL(KVM_SET_GSI_ROUTING), IOCTL(KVM_SIGNAL_MSI), IOCTL(KVM_IOEVENTFD), IOCTL(KVM_IRQFD),
    IOCTL(KVM_SET_USER_MEMORY_REGION), IOCTL(KVM_GET_STATS_FD), IOCTL(KVM_CHECK_EXTENSION),
    IOCTL(TUNSETPERSIST), IOCTL(TUNSETQUEUE),
    /* a reset of memory that is paged */
    IOCTL(UFFDIO_REGISTER), IOCTL(UFFDIO_UNREGISTER),
};

static const struct sandbox_rule mover[] = {
    /* of this process only, whatever number it would name */
    ANY(mbind), ANY(get_mempolicy), ANY(mincore), MASKED(move_pages, 0, 0xffffffffu, 0),
    /* which pages are huge ones, of an open file */
    ANY(pread64),
    /* keeping others out of what moves */
    IOCTL(UFFDIO_REGISTER), IOCTL(UFFDIO_UNREGISTER), IOCTL(UFFDIO_WAKE),
};

static const struct sandbox_rule balancer[] = {
    /* where pages are: of this process only, whatever number it would name */
    ANY(mincore), MASKED(move_pages, 0, 0xffffffffu, 0), ANY(fstat), ANY(newfstatat),
    /* the host's state, of files that are open */
    ANY(pread64),
};

static const struct sandbox_rule fault[] = {
    ANY(poll), ANY(ppoll), ANY(pwrite64),
    /* what of an extent is there */
    ANY(mincore),
    /* the golden file, as far as it is at hand */
    ANY(preadv2),
    /* the rest of it, and the swap file: their rings can read and write nothing else */
    ANY(io_uring_enter),
    IOCTL(UFFDIO_COPY), IOCTL(UFFDIO_ZEROPAGE), IOCTL(UFFDIO_CONTINUE), IOCTL(UFFDIO_WAKE),
    IOCTL(UFFDIO_POISON),
    /* following the vCPUs it serves to another host node */
    MASKED(sched_setaffinity, 0, 0xffffffffu, 0),
};

static const struct sandbox_rule evict[] = {
    /* guest memory, and the golden file, as far as it is at hand */
    ANY(mincore), ANY(pread64), ANY(preadv2),
    /* how much of a memory file is there */
    ANY(fstat), ANY(newfstatat),
    /* holes in guest memory */
    ANY(fallocate),
    /* the rest of it, and the swap file: their rings can read and write nothing else */
    ANY(io_uring_enter),
    IOCTL(UFFDIO_REGISTER), IOCTL(UFFDIO_UNREGISTER), IOCTL(UFFDIO_WAKE),
    /* what is in use, of an open file */
    IOCTL(UFFDIO_RWPROTECT), IOCTL(PAGEMAP_SCAN),
    /* following the vCPUs to another host node */
    MASKED(sched_setaffinity, 0, 0xffffffffu, 0),
};

static const struct sandbox_rule domain[] = {
    /* the host service, which may come at any time, and segments that it hands out */
    MASKED(socket, 0, 0xffffffffu, AF_UNIX), ANY(connect), MASKED(getsockopt, 2, 0xffffffffu, SO_PEERCRED),
    ANY(sendmsg), ANY(recvmsg), MASKED(fcntl, 1, 0xffffffffu, F_GET_SEALS),
};

static const struct sandbox_rule slow[] = {
    ANY(poll), ANY(ppoll),
    /* what there is of a memory file, and what is mapped */
    ANY(mincore), ANY(fstat), ANY(newfstatat), ANY(pread64),
    IOCTL(UFFDIO_REGISTER), IOCTL(UFFDIO_UNREGISTER), IOCTL(UFFDIO_CONTINUE), IOCTL(UFFDIO_WAKE),
};

static const struct sandbox_rule reclaim[] = {
    ANY(epoll_wait), ANY(epoll_pwait), ANY(epoll_ctl), ANY(timerfd_settime),
    /* guest memory back to the host, and what is there of it */
    ANY(fallocate), ANY(mincore),
    /* memory that is plugged in and out */
    IOCTL(KVM_SET_USER_MEMORY_REGION),
    /* following the vCPUs it serves to another host node */
    MASKED(sched_setaffinity, 0, 0xffffffffu, 0),
    /* interrupts raised and routed by a reset of a device */
    IOCTL(KVM_SET_GSI_ROUTING), IOCTL(KVM_SIGNAL_MSI), IOCTL(KVM_IOEVENTFD),
};

const struct sandbox_rules sandbox_rules_all = RULES(all);
const struct sandbox_rules sandbox_rules_start = RULES(start);
const struct sandbox_rules sandbox_rules_vcpu = RULES(vcpu);
const struct sandbox_rules sandbox_rules_io = RULES(io);
const struct sandbox_rules sandbox_rules_net = RULES(net);
const struct sandbox_rules sandbox_rules_vsock = RULES(vsock);
const struct sandbox_rules sandbox_rules_main = RULES(main_thread);
const struct sandbox_rules sandbox_rules_mover = RULES(mover);
const struct sandbox_rules sandbox_rules_balancer = RULES(balancer);
const struct sandbox_rules sandbox_rules_fault = RULES(fault);
const struct sandbox_rules sandbox_rules_evict = RULES(evict);
const struct sandbox_rules sandbox_rules_domain = RULES(domain);
const struct sandbox_rules sandbox_rules_slow = RULES(slow);
const struct sandbox_rules sandbox_rules_reclaim = RULES(reclaim);

bool sandbox_role_has_devices(enum sandbox_role role)
{
    return role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_IO || role == SANDBOX_ROLE_MAIN;
}

void sandbox_rules_of(enum sandbox_role role, bool has_net, bool has_vsock,
                      const struct sandbox_rules *ret[static SANDBOX_MAX_LISTS])
{
    size_t n = 0;

    ret[n++] = &sandbox_rules_all;
    if (role == SANDBOX_ROLE_PROCESS)
        ret[n++] = &sandbox_rules_start;
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_VCPU) {
        ret[n++] = &sandbox_rules_vcpu;
        ret[n++] = &sandbox_rules_vcpu_arch;
    }
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_MAIN) {
        ret[n++] = &sandbox_rules_main;
        ret[n++] = &sandbox_rules_main_arch;
    }
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_MOVER)
        ret[n++] = &sandbox_rules_mover;
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_BALANCER)
        ret[n++] = &sandbox_rules_balancer;
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_FAULT)
        ret[n++] = &sandbox_rules_fault;
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_EVICT ||
        role == SANDBOX_ROLE_EVICT_DOMAIN)
        ret[n++] = &sandbox_rules_evict;
    if ((role == SANDBOX_ROLE_PROCESS && has_vsock) || role == SANDBOX_ROLE_EVICT_DOMAIN)
        ret[n++] = &sandbox_rules_domain;
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_SLOW)
        ret[n++] = &sandbox_rules_slow;
    if (role == SANDBOX_ROLE_PROCESS || role == SANDBOX_ROLE_MAIN || role == SANDBOX_ROLE_RECLAIM)
        ret[n++] = &sandbox_rules_reclaim;
    if (sandbox_role_has_devices(role)) {
        ret[n++] = &sandbox_rules_io;
        if (has_net)
            ret[n++] = &sandbox_rules_net;
        if (has_vsock)
            ret[n++] = &sandbox_rules_vsock;
    }
    ret[n] = NULL;
}
