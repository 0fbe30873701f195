/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's end of the talk with the host service: offers what its stores keep, sends what is
 * asked for, and has the stores use what turns out to be in the trust domain's segments.
 *
 * Nothing here waits. Without a service, or when it goes away or does not answer, the stores go on
 * with what they have; a service that comes, or comes again, is found within a second and told
 * everything anew.
 *
 * One thread, the one that puts and packs; what is said so may be called by any.
 */
#ifndef MEMORY_STORE_DOMAIN_DOMAIN_CLIENT_H
#define MEMORY_STORE_DOMAIN_DOMAIN_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/domain/domain_segments.h"
#include "memory/store/store.h"
#include "vmm/base/errctx.h"

struct domain_client;

/**
 * domain_client_new() - for the domain @name, at the socket @path of a service that need not be
 * there. Opens nothing yet.
 * Return: 0; -EINVAL: no domain may be called so; -ENAMETOOLONG: @path; -ENOMEM.
 */
int domain_client_new(const char *path, const char *name, struct domain_client **ret_client,
                      struct errctx *ec);

/** domain_client_free() - after all stores that were given its segments. NULL is allowed. */
void domain_client_free(struct domain_client *client);

/** domain_client_segments() - for store_set_domain(); the client's. */
struct domain_segments *domain_client_segments(struct domain_client *client);

/**
 * domain_client_step() - one thing: find the service, take one message, or send one.
 * @stores: the @n stores of the machine, each always at its place; new ones come behind.
 * @now_ns: CLOCK_MONOTONIC.
 * Return: whether there may be more to do at once.
 */
bool domain_client_step(struct domain_client *client, struct store *const *stores, size_t n,
                        uint64_t now_ns);

struct domain_client_counts {
    bool connected;     /* a service knows us now */
    uint64_t connects;  /* services that knew us, since the start */
    uint64_t took;      /* pages whose own copy went */
    uint64_t refused;   /* that were not what they were said to be */
    uint64_t segments;  /* mapped now */
};

/** domain_client_count() - Any thread. */
void domain_client_count(const struct domain_client *client,
                         struct domain_client_counts *ret_counts);

#endif
