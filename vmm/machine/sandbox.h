/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each kind of thread may still ask the kernel for once the machine is built.
 *
 * A vCPU thread is hostile from its first instruction, a VMM whose guest escaped is hostile as
 * a whole: it keeps its memory, the descriptors it holds, and the system calls listed in
 * sandbox_rules.c. Anything else kills the process (the terminal is restored by its guard
 * process). The files that those calls may name are few as well (sandbox_files.h), where the
 * kernel has Landlock; `numavisor check` says when it has not. Order: sandbox_enter_process() on
 * the main thread before any other thread is made, then each thread narrows itself by
 * sandbox_enter(), the main thread last.
 */
#ifndef VMM_MACHINE_SANDBOX_H
#define VMM_MACHINE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"

enum sandbox_kind {
    SANDBOX_MAIN, /* control socket, console, reset, tear-down */
    SANDBOX_IO,   /* devices' queues */
    SANDBOX_VCPU,
    SANDBOX_MOVER, /* moves guest memory between host nodes */
    SANDBOX_BALANCER, /* looks at the host and at where memory is */
    SANDBOX_FAULT, /* brings guest memory back */
    SANDBOX_EVICT, /* takes guest memory away */
    SANDBOX_EVICT_DOMAIN, /* and talks with the host service */
    SANDBOX_THROTTLE, /* holds vCPUs that used up their CPU time */
    SANDBOX_SLOW, /* makes a node's memory slow */
    SANDBOX_RECLAIM, /* queues of devices that give guest memory back */
    SANDBOX_KINDS,
};

struct sandbox; /* the compiled filters, the rules for files */

struct sandbox_request {
    bool user_network; /* a device opens sockets and reads the resolver's configuration */
    const char *vsock_socket; /* path of the device that opens Unix sockets; NULL: none */
    const char *const *peers;   /* @n_peers paths of Unix sockets that devices connect to */
    size_t n_peers;
    const char *service_socket; /* of the host service; NULL: nobody looks for it */
    const char *control_dir;  /* where sockets are removed at the end; NULL: nowhere */
};

/** sandbox_new() - compile the filters, open what may be named later. @req is not kept.
 *  Return: 0, -ENOMEM, an errno of sandbox_bpf_make() or of Landlock. */
int sandbox_new(const struct sandbox_request *req, struct sandbox **ret_sandbox,
                struct errctx *ec);
void sandbox_free(struct sandbox *sandbox);

/** sandbox_enter_process() - drop capabilities, hold this thread and those it will make to the
 *  rules for files, and put the union of all filters on every thread there is. Main thread. */
int sandbox_enter_process(const struct sandbox *sandbox, struct errctx *ec);

/** sandbox_enter() - narrow the calling thread to @kind. Allocates nothing. */
int sandbox_enter(const struct sandbox *sandbox, enum sandbox_kind kind, struct errctx *ec);

#endif
