/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's vhost-net for tests, which link with
 *     -Wl,--wrap=vhost_kernel_open,--wrap=vhost_kernel_ioctl
 * It checks what it is told as vhost does, and serves a ring when a test has it do so, through the
 * addresses that it was given.
 */
#ifndef DEVICES_VIRTIO_TEST_FAKE_VHOST_H
#define DEVICES_VIRTIO_TEST_FAKE_VHOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/virtio/vhost_kernel.h"

enum { KERNEL_INSTANCES = 4, KERNEL_REGIONS = 8 };

#define KERNEL_FEATURES                                                                            \
    (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_NET_F_MRG_RXBUF)

struct kernel_ring {
    unsigned num;
    uint16_t base, used;
    struct vhost_vring_addr addr;
    int kick, call, err, backend;
};

struct kernel {
    int fd; /* 0: not open */
    bool owned;
    unsigned n_owned;
    uint64_t features;
    uint32_t n_regions; /* told */
    struct vhost_memory_region regions[KERNEL_REGIONS];
    struct kernel_ring ring[2];
};

static struct {
    struct kernel at[KERNEL_INSTANCES];
    unsigned n_open;
    int open_error, tap_error;
    uint64_t offers;
    uint32_t most_regions;
    unsigned fail_at, n_asked; /* the @fail_at'th request fails, counted from 1; 0: none */
} kernel;

static inline void kernel_init(void)
{
    memset(&kernel, 0, sizeof(kernel));
    kernel.offers = KERNEL_FEATURES;
    kernel.most_regions = KERNEL_REGIONS;
}

int __wrap_vhost_kernel_open(int *ret_fd, struct errctx *ec);
int __wrap_vhost_kernel_ioctl(int fd, unsigned long request, void *arg);

int __wrap_vhost_kernel_open(int *ret_fd, struct errctx *ec)
{
    if (kernel.open_error != 0)
        return errctx_set_os(ec, kernel.open_error, "open it");
    assert_true(kernel.n_open < KERNEL_INSTANCES);
    *ret_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(*ret_fd > 0);
    kernel.at[kernel.n_open++].fd = *ret_fd;
    return 0;
}

static inline struct kernel *kernel_instance(int fd)
{
    for (unsigned i = 0; i < kernel.n_open; i++)
        if (kernel.at[i].fd == fd)
            return &kernel.at[i];
    fail_msg("descriptor %d is no instance", fd);
    return NULL;
}

static inline bool kernel_in_regions(const struct kernel *k, uint64_t user, uint64_t len)
{
    for (uint32_t i = 0; i < k->n_regions; i++)
        if (user >= k->regions[i].userspace_addr &&
            user + len <= k->regions[i].userspace_addr + k->regions[i].memory_size)
            return true;
    return false;
}

static inline int kernel_set_table(struct kernel *k, const struct vhost_memory *t)
{
    if (t->nregions > kernel.most_regions)
        return -E2BIG;
    k->n_regions = t->nregions;
    memcpy(k->regions, t->regions, t->nregions * sizeof(t->regions[0]));
    return 0;
}

static inline int kernel_set_backend(const struct kernel *k, struct kernel_ring *r, int fd)
{
    if (fd >= 0 && kernel.tap_error != 0)
        return -kernel.tap_error;
    if (fd >= 0 &&
        (r->num == 0 || r->kick < 0 || r->call < 0 ||
         !kernel_in_regions(k, r->addr.desc_user_addr, 16ull * r->num) ||
         !kernel_in_regions(k, r->addr.avail_user_addr, 6 + 2ull * r->num) ||
         !kernel_in_regions(k, r->addr.used_user_addr, 6 + 8ull * r->num)))
        return -EFAULT;
    r->backend = fd;
    return 0;
}

static inline int kernel_reset_owner(struct kernel *k)
{
    const struct kernel fresh = { .fd = k->fd, .n_owned = k->n_owned };

    *k = fresh;
    for (unsigned i = 0; i < 2; i++)
        k->ring[i].kick = k->ring[i].call = k->ring[i].err = k->ring[i].backend = -1;
    return 0;
}

static inline int kernel_set_owner(struct kernel *k)
{
    if (k->owned)
        return -EBUSY;
    (void)kernel_reset_owner(k);
    k->owned = true;
    k->n_owned++;
    return 0;
}

int __wrap_vhost_kernel_ioctl(int fd, unsigned long request, void *arg)
{
    struct kernel *k = kernel_instance(fd);
    struct vhost_vring_file *file = arg;
    struct vhost_vring_state *state = arg;

    if (++kernel.n_asked == kernel.fail_at)
        return -EIO;
    if (request == VHOST_GET_FEATURES) {
        *(uint64_t *)arg = kernel.offers;
        return 0;
    }
    if (request == VHOST_SET_OWNER)
        return kernel_set_owner(k);
    if (!k->owned)
        return -EPERM;
    switch (request) {
    case VHOST_RESET_OWNER:
        return kernel_reset_owner(k);
    case VHOST_SET_MEM_TABLE:
        return kernel_set_table(k, arg);
    case VHOST_SET_FEATURES:
        k->features = *(uint64_t *)arg;
        return (k->features & ~kernel.offers) != 0 ? -EOPNOTSUPP : 0;
    case VHOST_SET_VRING_NUM:
        assert_int_equal(k->ring[state->index].backend, -1);
        k->ring[state->index].num = state->num;
        return 0;
    case VHOST_SET_VRING_BASE:
        assert_int_equal(k->ring[state->index].backend, -1);
        k->ring[state->index].base = (uint16_t)state->num;
        return 0;
    case VHOST_GET_VRING_BASE:
        state->num = k->ring[state->index].base;
        return 0;
    case VHOST_SET_VRING_ADDR:
        k->ring[((struct vhost_vring_addr *)arg)->index].addr = *(struct vhost_vring_addr *)arg;
        return 0;
    case VHOST_SET_VRING_KICK:
        k->ring[file->index].kick = file->fd;
        return 0;
    case VHOST_SET_VRING_CALL:
        k->ring[file->index].call = file->fd;
        return 0;
    case VHOST_SET_VRING_ERR:
        k->ring[file->index].err = file->fd;
        return 0;
    case VHOST_NET_SET_BACKEND:
        return kernel_set_backend(k, &k->ring[file->index], file->fd);
    default:
        fail_msg("request %lx", request);
        return -ENOTTY;
    }
}

/* Answer what was asked since, by the addresses that were told. Return: how many chains. */
static inline unsigned kernel_serve(struct kernel_ring *r)
{
    const struct vring_avail *avail = (void *)(uintptr_t)r->addr.avail_user_addr;
    struct vring_used *used = (void *)(uintptr_t)r->addr.used_user_addr;
    unsigned n = 0;

    assert_true(r->backend >= 0);
    while (__atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) != r->base) {
        used->ring[used->idx % r->num] =
            (struct vring_used_elem){ .id = avail->ring[r->base % r->num], .len = n };
        __atomic_store_n(&used->idx, (uint16_t)(used->idx + 1), __ATOMIC_RELEASE);
        r->base++;
        n++;
    }
    assert_int_equal(eventfd_write(r->call, 1), 0);
    return n;
}

#endif
