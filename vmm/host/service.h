/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host service: what machines of one host do together, beyond what each can do alone. Today
 * that is sharing pages inside trust domains: docs/host-service.md.
 *
 * It holds nothing that a machine cannot do without. It may be killed at any moment: what it
 * published stays with the machines that have it mapped, and they tell the next service all anew.
 *
 * One thread, the one in service_run().
 */
#ifndef VMM_HOST_SERVICE_H
#define VMM_HOST_SERVICE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct service;

struct service_params {
    const char *path;     /* of the socket, in a folder that is there */
    uint64_t limit_bytes; /* host memory of all that is published */
    /* A line for whoever looks after the service, without a newline. NULL: nobody does. */
    void (*say)(void *ctx, const char *line);
    void *ctx;
};

/**
 * service_new() - listen at the socket, in the place of what a dead service left there.
 * Return: 0; -EADDRINUSE: a service is at it, or it is no socket; -ENAMETOOLONG; -ENOMEM; an errno
 * of open, flock, bind or listen.
 */
int service_new(const struct service_params *params, struct service **ret_service,
                struct errctx *ec);

/** service_free() - the socket is removed. NULL is allowed. */
void service_free(struct service *service);

/** service_run() - serve, until a SIGINT or SIGTERM that the caller has blocked in all threads; a
 *  SIGUSR1 has the state said. Return: 0 or an errno of epoll or signalfd. */
int service_run(struct service *service, struct errctx *ec);

#endif
