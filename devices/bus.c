/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted array of regions under a read-write lock. Machines have tens to a few thousand
 * regions (128 root bridges), so a binary search costs nothing next to an exit.
 */
#include "devices/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"

struct region {
    uint64_t base, len;
    struct device *dev;
    uint64_t dev_off;
};

struct bus {
    const char *name;
    pthread_rwlock_t lock; /* covers the array; a leaf, except that device locks may be outside */
    struct region *regions;
    size_t n, cap;
};

int bus_new(const char *name, struct bus **ret_bus, struct errctx *ec)
{
    struct bus *bus = calloc(1, sizeof(*bus));

    if (bus == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the %s bus", name);
    bus->name = name;
    (void)pthread_rwlock_init(&bus->lock, NULL);
    *ret_bus = bus;
    return 0;
}

void bus_free(struct bus *bus)
{
    if (bus == NULL)
        return;
    (void)pthread_rwlock_destroy(&bus->lock);
    free(bus->regions);
    free(bus);
}

/* Index of the first region that ends above @addr. */
static size_t lower(const struct bus *bus, uint64_t addr)
{
    size_t lo = 0, hi = bus->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (bus->regions[mid].base + (bus->regions[mid].len - 1) < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int bus_add_locked(struct bus *bus, const struct region *r, struct errctx *ec)
{
    size_t at = lower(bus, r->base);

    if (at < bus->n && bus->regions[at].base <= r->base + (r->len - 1))
        return errctx_set(ec, EEXIST, "%s at 0x%" PRIx64 " on the %s bus overlaps %s",
                          r->dev->name, r->base, bus->name, bus->regions[at].dev->name);
    if (bus->n == bus->cap) {
        size_t cap = bus->cap ? bus->cap * 2 : 16;
        struct region *grown = realloc(bus->regions, cap * sizeof(*grown));

        if (grown == NULL)
            return errctx_set(ec, ENOMEM, "no memory for a region of %s", r->dev->name);
        bus->regions = grown;
        bus->cap = cap;
    }
    memmove(&bus->regions[at + 1], &bus->regions[at], (bus->n - at) * sizeof(bus->regions[0]));
    bus->regions[at] = *r;
    bus->n++;
    return 0;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t len, struct device *dev, uint64_t dev_off,
            struct errctx *ec)
{
    const struct region region = { .base = base, .len = len, .dev = dev, .dev_off = dev_off };
    uint64_t last;
    int r;

    if (len == 0 || !checked_add(base, len - 1, &last))
        return errctx_set(ec, ERANGE, "%s has no place at 0x%" PRIx64 " on the %s bus", dev->name,
                          base, bus->name);
    (void)pthread_rwlock_wrlock(&bus->lock);
    r = bus_add_locked(bus, &region, ec);
    (void)pthread_rwlock_unlock(&bus->lock);
    return r;
}

void bus_remove(struct bus *bus, uint64_t base)
{
    size_t at;

    (void)pthread_rwlock_wrlock(&bus->lock);
    at = lower(bus, base);
    if (at < bus->n && bus->regions[at].base == base) {
        bus->n--;
        memmove(&bus->regions[at], &bus->regions[at + 1],
                (bus->n - at) * sizeof(bus->regions[0]));
    }
    (void)pthread_rwlock_unlock(&bus->lock);
}

/* Copy out the region that covers [addr, addr+size) whole. */
static bool find(struct bus *bus, uint64_t addr, size_t size, struct region *ret_region)
{
    bool hit = false;
    size_t at;

    (void)pthread_rwlock_rdlock(&bus->lock);
    at = lower(bus, addr);
    if (at < bus->n && bus->regions[at].base <= addr &&
        checked_range(addr - bus->regions[at].base, size, bus->regions[at].len)) {
        *ret_region = bus->regions[at];
        hit = true;
    }
    (void)pthread_rwlock_unlock(&bus->lock);
    return hit;
}

bool bus_read(struct bus *bus, uint64_t addr, void *data, size_t size)
{
    struct region r;

    if (!find(bus, addr, size, &r)) {
        memset(data, 0xff, size); /* nobody drives the bus */
        return false;
    }
    r.dev->ops->read(r.dev, addr - r.base + r.dev_off, data, size);
    return true;
}

bool bus_write(struct bus *bus, uint64_t addr, const void *data, size_t size)
{
    struct region r;

    if (!find(bus, addr, size, &r))
        return false;
    r.dev->ops->write(r.dev, addr - r.base + r.dev_off, data, size);
    return true;
}
