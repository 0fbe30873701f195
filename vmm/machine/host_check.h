/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can this host run guests, and what is missing? A list of findings, each with what to do.
 */
#ifndef VMM_MACHINE_HOST_CHECK_H
#define VMM_MACHINE_HOST_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/topology/host_topo.h"

enum host_verdict {
    HOST_OK,      /* there */
    HOST_LIMITED, /* works with less; @advice says how to get more */
    HOST_MISSING, /* guests cannot run, or not as meant */
};

struct host_finding {
    const char *name; /* "kvm", stable, for scripts */
    enum host_verdict verdict;
    char what[256];   /* one sentence */
    char advice[256]; /* what to do about it; "" when all is well */
};

enum { HOST_CHECK_MAX = 24 };

struct host_check {
    struct host_finding findings[HOST_CHECK_MAX];
    size_t n;
    bool can_run; /* an operating system can run as a guest here */
};

/**
 * host_check_run() - look at everything. Makes a small throw-away VM; changes nothing.
 * @dev_kvm: "/dev/kvm".
 * @host: the topology as discovered.
 * A failed look is a finding, never an error.
 */
void host_check_run(const char *dev_kvm, const struct host_topo *host, struct host_check *ret);

#endif
