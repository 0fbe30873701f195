/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: the stores of one user's machines in one trust domain whose memory comes from one host
 * node. Pages are shared inside a group and nowhere else. A group is there as long as it has a
 * member.
 *
 * One thread.
 */
#ifndef VMM_HOST_SERVICE_GROUP_H
#define VMM_HOST_SERVICE_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memory/store/domain/domain_wire.h"
#include "vmm/base/errctx.h"
#include "vmm/host/service_arena.h"
#include "vmm/host/service_index.h"

struct service_groups;

struct service_group {
    struct service_groups *all;
    struct service_group *next;
    uid_t uid;
    char name[DOMAIN_NAME];
    uint32_t node; /* or DOMAIN_ANY_NODE */
    uint32_t n_members;
    struct service_index *index;
    struct service_arena *arena;
};

struct service_groups_ops {
    /* Segment @number is not used any more: who has it mapped is to be told. */
    void (*closed)(void *ctx, uint32_t number);
};

/** service_groups_new() - none. @limit_bytes: of what all publish. @ops and @ctx are kept. Return:
 *  0 or -ENOMEM. */
int service_groups_new(uint64_t limit_bytes, const struct service_groups_ops *ops, void *ctx,
                       struct service_groups **ret_groups);

/** service_groups_free() - with all groups. NULL is allowed. */
void service_groups_free(struct service_groups *groups);

/** service_groups_first() - all of them, by ->next. */
struct service_group *service_groups_first(const struct service_groups *groups);

/** service_group_join() - a member of the group of @uid, @name and @node, which is made where there
 *  is none. Return: 0 or -ENOMEM. */
int service_group_join(struct service_groups *groups, uid_t uid, const char *name, uint32_t node,
                       struct service_group **ret_group, uint32_t *ret_member);

/** service_group_leave() - the member goes, and with the last one the group. */
void service_group_leave(struct service_group *group, uint32_t member);

/**
 * service_group_publish() - a page that @member sends. One that it was not asked for is ignored; one
 * that is not what its hash says is taken for a page that the member has not. Is packed where that
 * makes it smaller.
 * Return: 0; -ENOSPC: the limit; an errno of service_arena_add(). The page is not published then.
 */
int service_group_publish(struct service_group *group, uint32_t member,
                          const struct domain_bytes *bytes, struct errctx *ec);

/** service_groups_compact() - publish anew what is left in a sparse segment of each group, and close
 *  that. Return: whether there may be more. */
bool service_groups_compact(struct service_groups *groups);

#endif
