/* SPDX-License-Identifier: Apache-2.0 */
/* See domain_segments.h. */
#include "memory/store/domain/domain_segments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "memory/store/domain/domain_wire.h"

enum {
    AT_BITS = 18, /* DOMAIN_SEGMENT / DOMAIN_UNIT is 2^18 */
    SEGMENTS = 1 << 14,
    SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE,
};

_Static_assert(DOMAIN_SEGMENT / DOMAIN_UNIT == 1 << AT_BITS, "a spot has 18 bits for it");

struct segment {
    const uint8_t *base; /* NULL: free */
    uint32_t number;
    _Atomic uint32_t users;
    bool retired;
};

struct domain_segments {
    size_t n_ever; /* behind the last that was ever used */
    size_t n_retired; /* and mapped */
    _Atomic size_t n;
    struct segment segment[SEGMENTS];
};

int domain_segments_new(struct domain_segments **ret_segments)
{
    struct domain_segments *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return -ENOMEM;
    *ret_segments = s;
    return 0;
}

static void unmap(struct domain_segments *s, struct segment *seg)
{
    union {
        const uint8_t *from;
        void *base;
    } address = { .from = seg->base };

    (void)munmap(address.base, DOMAIN_SEGMENT);
    seg->base = NULL;
    (void)atomic_fetch_sub(&s->n, 1);
}

void domain_segments_free(struct domain_segments *segments)
{
    for (size_t i = 0; segments != NULL && i < segments->n_ever; i++)
        if (segments->segment[i].base != NULL)
            unmap(segments, &segments->segment[i]);
    free(segments);
}

static struct segment *find(const struct domain_segments *s, uint32_t number)
{
    for (size_t i = 0; i < s->n_ever; i++)
        if (s->segment[i].base != NULL && !s->segment[i].retired && s->segment[i].number == number)
            return (struct segment *)(uintptr_t)&s->segment[i];
    return NULL;
}

static struct segment *find_free(struct domain_segments *s)
{
    for (size_t i = 0; i < s->n_ever; i++)
        if (s->segment[i].base == NULL)
            return &s->segment[i];
    return s->n_ever < SEGMENTS ? &s->segment[s->n_ever++] : NULL;
}

int domain_segments_add(struct domain_segments *segments, uint32_t number, int fd,
                        struct errctx *ec)
{
    struct segment *seg;
    struct stat st;
    void *base;
    const int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS)
        return errctx_set(ec, EPERM, "segment %u is not sealed", number);
    if (fstat(fd, &st) < 0 || st.st_size != DOMAIN_SEGMENT)
        return errctx_set(ec, EINVAL, "segment %u has not %d bytes", number, DOMAIN_SEGMENT);
    if (find(segments, number) != NULL)
        return errctx_set(ec, EEXIST, "segment %u is there already", number);
    seg = find_free(segments);
    if (seg == NULL)
        return errctx_set(ec, ENOSPC, "there are %d segments already", SEGMENTS);
    base = mmap(NULL, DOMAIN_SEGMENT, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return errctx_set_os(ec, errno, "map segment %u", number);
    (void)madvise(base, DOMAIN_SEGMENT, MADV_DONTDUMP);
    seg->base = base;
    seg->number = number;
    seg->retired = false;
    atomic_store(&seg->users, 0);
    (void)atomic_fetch_add(&segments->n, 1);
    return 0;
}

bool domain_segments_spot(const struct domain_segments *segments, uint32_t number, uint32_t at,
                          struct domain_spot *ret_spot)
{
    const struct segment *seg = find(segments, number);

    if (seg == NULL || at >= 1u << AT_BITS)
        return false;
    ret_spot->v = (uint32_t)(seg - segments->segment) << AT_BITS | at;
    return true;
}

static struct segment *of(struct domain_segments *s, struct domain_spot spot)
{
    return &s->segment[spot.v >> AT_BITS];
}

const uint8_t *domain_segments_at(const struct domain_segments *segments, struct domain_spot spot)
{
    return segments->segment[spot.v >> AT_BITS].base +
           (size_t)(spot.v & ((1u << AT_BITS) - 1)) * DOMAIN_UNIT;
}

void domain_segments_use(struct domain_segments *segments, struct domain_spot spot)
{
    (void)atomic_fetch_add(&of(segments, spot)->users, 1);
}

void domain_segments_unuse(struct domain_segments *segments, struct domain_spot spot)
{
    (void)atomic_fetch_sub(&of(segments, spot)->users, 1);
}

void domain_segments_retire(struct domain_segments *segments, uint32_t number)
{
    struct segment *seg = find(segments, number);

    if (seg == NULL)
        return;
    seg->retired = true;
    segments->n_retired++;
}

void domain_segments_retire_all(struct domain_segments *segments)
{
    for (size_t i = 0; i < segments->n_ever; i++) {
        struct segment *seg = &segments->segment[i];

        segments->n_retired += seg->base != NULL && !seg->retired;
        seg->retired = true;
    }
}

bool domain_segments_is_retired(const struct domain_segments *segments, struct domain_spot spot)
{
    return segments->segment[spot.v >> AT_BITS].retired;
}

size_t domain_segments_retired(const struct domain_segments *segments)
{
    return segments->n_retired;
}

void domain_segments_sweep(struct domain_segments *segments)
{
    for (size_t i = 0; i < segments->n_ever && segments->n_retired > 0; i++) {
        struct segment *seg = &segments->segment[i];

        if (seg->base == NULL || !seg->retired || atomic_load(&seg->users) > 0)
            continue;
        unmap(segments, seg);
        segments->n_retired--;
    }
}

size_t domain_segments_count(const struct domain_segments *segments)
{
    return atomic_load(&segments->n);
}
