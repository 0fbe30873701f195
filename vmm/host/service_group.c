/* SPDX-License-Identifier: Apache-2.0 */
/* See service_group.h. */
#include "vmm/host/service_group.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/store/codec.h"
#include "memory/store/golden/golden.h"

struct service_groups {
    struct service_group *first;
    const struct service_groups_ops *ops;
    void *ctx;
    uint64_t limit_bytes;
    uint32_t numbers; /* of segments, the last */
    struct codec_decoder decoder;
    struct codec_packer packer;
};

int service_groups_new(uint64_t limit_bytes, const struct service_groups_ops *ops, void *ctx,
                       struct service_groups **ret_groups)
{
    struct service_groups *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return -ENOMEM;
    if (codec_decoder_init(&g->decoder) < 0 || codec_packer_init(&g->packer) < 0) {
        service_groups_free(g);
        return -ENOMEM;
    }
    g->limit_bytes = limit_bytes;
    g->ops = ops;
    g->ctx = ctx;
    *ret_groups = g;
    return 0;
}

static void free_group(struct service_group *g)
{
    if (g == NULL)
        return;
    service_index_free(g->index);
    service_arena_free(g->arena);
    free(g);
}

void service_groups_free(struct service_groups *groups)
{
    struct service_group *next;

    if (groups == NULL)
        return;
    for (struct service_group *g = groups->first; g != NULL; g = next) {
        next = g->next;
        free_group(g);
    }
    codec_decoder_fini(&groups->decoder);
    codec_packer_fini(&groups->packer);
    free(groups);
}

struct service_group *service_groups_first(const struct service_groups *groups)
{
    return groups->first;
}

static void dropped(void *ctx, const struct service_place *place)
{
    const struct service_group *g = ctx;

    service_arena_drop(g->arena, place);
}

static const struct service_index_ops index_ops = { .dropped = dropped };

static struct service_group *get(struct service_groups *all, uid_t uid, const char *name,
                                 uint32_t node)
{
    struct service_group *g = all->first;

    while (g != NULL && (g->uid != uid || g->node != node || strcmp(g->name, name) != 0))
        g = g->next;
    if (g != NULL)
        return g;
    g = calloc(1, sizeof(*g));
    if (g == NULL || service_index_new(&index_ops, g, &g->index) < 0 ||
        service_arena_new(node, &all->numbers, &g->arena) < 0) {
        free_group(g);
        return NULL;
    }
    g->all = all;
    g->uid = uid;
    g->node = node;
    (void)snprintf(g->name, sizeof(g->name), "%s", name);
    g->next = all->first;
    all->first = g;
    return g;
}

static void put(struct service_group *group)
{
    struct service_group **link = &group->all->first;
    uint32_t number;

    if (group->n_members > 0)
        return;
    while (service_arena_close_any(group->arena, &number))
        group->all->ops->closed(group->all->ctx, number);
    while (*link != group)
        link = &(*link)->next;
    *link = group->next;
    free_group(group);
}

int service_group_join(struct service_groups *groups, uid_t uid, const char *name, uint32_t node,
                       struct service_group **ret_group, uint32_t *ret_member)
{
    struct service_group *g = get(groups, uid, name, node);
    int member;

    if (g == NULL)
        return -ENOMEM;
    member = service_index_join(g->index);
    if (member < 0) {
        put(g);
        return member;
    }
    g->n_members++;
    *ret_group = g;
    *ret_member = (uint32_t)member;
    return 0;
}

void service_group_leave(struct service_group *group, uint32_t member)
{
    service_index_leave(group->index, member);
    group->n_members--;
    put(group);
}

static uint64_t published_bytes(const struct service_groups *all)
{
    uint64_t bytes = 0;

    for (const struct service_group *g = all->first; g != NULL; g = g->next)
        bytes += service_arena_bytes(g->arena);
    return bytes;
}

int service_group_publish(struct service_group *group, uint32_t member,
                          const struct domain_bytes *bytes, struct errctx *ec)
{
    struct service_groups *all = group->all;
    uint8_t page[CODEC_PAGE] __attribute__((aligned(16)));
    const void *packed, *from = bytes->bytes;
    enum codec_kind kind = (enum codec_kind)bytes->kind;
    struct service_place place;
    struct golden_hash hash;
    size_t len = bytes->len, n;
    int r = 0;

    if (!service_index_asked(group->index, member, bytes->hash))
        return 0;
    if (codec_decode(&all->decoder, kind, from, len, page) == 0)
        hash = golden_hash(page);
    else
        hash = (struct golden_hash){ .low = ~bytes->hash.low };
    if (hash.low != bytes->hash.low || hash.high != bytes->hash.high) {
        service_index_withdraw(group->index, member, bytes->hash);
        return 0;
    }
    n = kind == CODEC_ZSTD ? 0 : codec_pack(&all->packer, page, &packed);
    if (n > 0 && n < len) {
        from = packed;
        len = n;
        kind = CODEC_ZSTD;
    }
    if (published_bytes(all) + len > all->limit_bytes)
        r = errctx_set(ec, ENOSPC, "as much is published as may be");
    if (r == 0)
        r = service_arena_add(group->arena, from, len, (uint8_t)kind, &place, ec);
    if (r == 0)
        service_index_publish(group->index, bytes->hash, &place);
    else
        service_index_give_up(group->index, bytes->hash);
    return r;
}

/* Return: whether all of it is somewhere else now. */
static bool empty_segment(struct service_group *g, uint32_t number)
{
    struct service_place from, to;
    struct domain_hash hash;
    uint32_t at = 0;

    while (service_index_next(g->index, number, &at, &hash, &from)) {
        if (service_arena_add(g->arena, service_arena_at(g->arena, &from), from.len, from.kind,
                              &to, NULL) < 0)
            return false;
        service_index_publish(g->index, hash, &to);
    }
    return true;
}

bool service_groups_compact(struct service_groups *groups)
{
    uint32_t number;
    bool any = false;

    for (struct service_group *g = groups->first; g != NULL; g = g->next) {
        if (!service_arena_sparse(g->arena, &number) || !empty_segment(g, number))
            continue;
        service_arena_close(g->arena, number);
        groups->ops->closed(groups->ctx, number);
        any = true;
    }
    return any;
}
