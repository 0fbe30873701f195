/* SPDX-License-Identifier: Apache-2.0 */
/* See service_arena.h. */
#include "vmm/host/service_arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/numa_policy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

struct segment {
    uint32_t number;
    int fd;
    uint8_t *base;
    uint32_t used, live; /* bytes */
};

struct service_arena {
    uint32_t node;
    uint32_t *numbers;
    struct segment *segments; /* by rising number; the last is filled now */
    size_t n;
};

int service_arena_new(uint32_t node, uint32_t *numbers, struct service_arena **ret_arena)
{
    struct service_arena *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return -ENOMEM;
    a->node = node;
    a->numbers = numbers;
    *ret_arena = a;
    return 0;
}

static void close_segment(const struct segment *seg)
{
    (void)munmap(seg->base, DOMAIN_SEGMENT);
    (void)close(seg->fd);
}

void service_arena_free(struct service_arena *arena)
{
    for (size_t i = 0; arena != NULL && i < arena->n; i++)
        close_segment(&arena->segments[i]);
    if (arena != NULL)
        free(arena->segments);
    free(arena);
}

static int bind_to(void *base, uint32_t node, struct errctx *ec)
{
    struct idset nodes = { 0 };

    if (node == DOMAIN_ANY_NODE)
        return 0;
    idset_add(&nodes, node);
    return numa_policy_bind(base, DOMAIN_SEGMENT, &nodes, ec);
}

/* Sealed when it is mapped for writing once: nobody else can, and nobody can take pages out. */
static int make(const struct service_arena *a, struct segment *ret_segment, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = memfd_create("numavisor-domain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *base;
    int r;

    if (fd < 0)
        return errctx_set_os(ec, errno, "memfd_create");
    if (ftruncate(fd, DOMAIN_SEGMENT) < 0)
        return errctx_set_os(ec, errno, "give a segment its size");
    base = mmap(NULL, DOMAIN_SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return errctx_set_os(ec, errno, "map a segment");
    r = bind_to(base, a->node, ec);
    if (r == 0 && fcntl(fd, F_ADD_SEALS,
                        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
        r = errctx_set_os(ec, errno, "seal a segment");
    if (r < 0) {
        (void)munmap(base, DOMAIN_SEGMENT);
        return r;
    }
    (void)madvise(base, DOMAIN_SEGMENT, MADV_DONTDUMP);
    *ret_segment = (struct segment){ .number = ++*a->numbers, .fd = take_fd(&fd), .base = base };
    return 0;
}

static int add_segment(struct service_arena *a, struct errctx *ec)
{
    struct segment *segments = realloc(a->segments, (a->n + 1) * sizeof(*segments));
    int r;

    if (segments == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a segment");
    a->segments = segments;
    r = make(a, &a->segments[a->n], ec);
    if (r == 0)
        a->n++;
    return r;
}

int service_arena_add(struct service_arena *arena, const void *bytes, size_t len, uint8_t kind,
                      struct service_place *ret_place, struct errctx *ec)
{
    struct segment *seg;
    int r;

    if (arena->n == 0 || arena->segments[arena->n - 1].used + len > DOMAIN_SEGMENT) {
        r = add_segment(arena, ec);
        if (r < 0)
            return r;
    }
    seg = &arena->segments[arena->n - 1];
    memcpy(seg->base + seg->used, bytes, len);
    *ret_place = (struct service_place){ .segment = seg->number, .at = seg->used / DOMAIN_UNIT,
                                         .len = (uint16_t)len, .kind = kind };
    seg->used += (uint32_t)((len + DOMAIN_UNIT - 1) / DOMAIN_UNIT * DOMAIN_UNIT);
    seg->live += (uint32_t)len;
    return 0;
}

static struct segment *find(const struct service_arena *a, uint32_t number)
{
    size_t low = 0, high = a->n;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;

        if (a->segments[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < a->n && a->segments[low].number == number ? &a->segments[low] : NULL;
}

void service_arena_drop(struct service_arena *arena, const struct service_place *place)
{
    struct segment *seg = find(arena, place->segment);

    if (seg != NULL)
        seg->live -= place->len;
}

const void *service_arena_at(const struct service_arena *arena, const struct service_place *place)
{
    return find(arena, place->segment)->base + (size_t)place->at * DOMAIN_UNIT;
}

int service_arena_fd(const struct service_arena *arena, uint32_t number)
{
    const struct segment *seg = find(arena, number);

    return seg != NULL ? seg->fd : -1;
}

bool service_arena_sparse(const struct service_arena *arena, uint32_t *ret_number)
{
    for (size_t i = 0; i < arena->n; i++) {
        const struct segment *seg = &arena->segments[i];

        if (seg->live > 0 && (i + 1 == arena->n || seg->live >= seg->used / 2))
            continue;
        *ret_number = seg->number;
        return true;
    }
    return false;
}

void service_arena_close(struct service_arena *arena, uint32_t number)
{
    struct segment *seg = find(arena, number);

    if (seg == NULL)
        return;
    close_segment(seg);
    arena->n--;
    memmove(seg, seg + 1, (size_t)(arena->segments + arena->n - seg) * sizeof(*seg));
}

bool service_arena_close_any(struct service_arena *arena, uint32_t *ret_number)
{
    if (arena->n == 0)
        return false;
    *ret_number = arena->segments[arena->n - 1].number;
    service_arena_close(arena, *ret_number);
    return true;
}

uint64_t service_arena_bytes(const struct service_arena *arena)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < arena->n; i++)
        bytes += arena->segments[i].used;
    return bytes;
}
