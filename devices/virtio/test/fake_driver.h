/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio for unit tests and fuzz targets: a small guest memory, rings that
 * are built by hand (well or badly), and a transport that counts interrupts.
 *
 * Guest memory: two nodes that meet at 4 MiB, a hole from 8 MiB to 16 MiB, RAM again up to
 * 20 MiB. Rings live at FAKE_RING_BASE, 64 KiB per queue; FAKE_DATA_BASE and up is free for
 * buffers.
 *
 *     struct fake_mem fm;  fake_mem_init(&fm);
 *     struct fake_dev fd;  fake_dev_init(&fd, dev, &fm, features, 256); // device created before
 *     fake_dev_start(&fd);
 *     fake_queue_add(&fd.q[0], bufs, n_out, n_in);   fake_dev_kick(&fd, 0);
 *     fake_dev_wait_used(&fd, 0, &head, &len, 1000);
 *     fake_dev_fini(&fd);  fake_mem_fini(&fm);
 *
 * All static inline, since every test is one program. When the device's loop runs in a thread of
 * its own (fake_loop_start()) ops run there, as in the machine; otherwise on the caller's.
 */
#ifndef DEVICES_VIRTIO_TEST_FAKE_DRIVER_H
#define DEVICES_VIRTIO_TEST_FAKE_DRIVER_H

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "devices/virtio/virtqueue.h"
#include "memory/guest_mem.h"
#include "memory/layout.h"
#include "memory/test/test_map.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/topology/topo_plan.h"

enum {
    FAKE_NODE0_LEN = 4 * MIB, /* [0, 4 MiB) */
    FAKE_HOLE = 8 * MIB,      /* [8 MiB, 16 MiB) is nothing */
    FAKE_HIGH = 16 * MIB,
    FAKE_TOP = 20 * MIB,
    FAKE_RING_BASE = 1 * MIB,
    FAKE_RING_STRIDE = 64 * KIB,
    FAKE_DATA_BASE = 16 * MIB,
};

/* A failure of the harness itself, not of what is tested. */
#define FAKE_MUST(cond)  \
    do {                 \
        if (!(cond))     \
            abort();     \
    } while (0)

/* --- guest memory ---------------------------------------------------------------------------- */

struct fake_mem {
    struct topo_plan_node nodes[2];
    struct topo_plan plan;
    struct layout_range ranges[3];
    struct layout_bridge bridges[2];
    struct mem_layout layout;
    struct guest_mem *mem;
};

static inline void fake_mem_init(struct fake_mem *fm)
{
    *fm = (struct fake_mem){
        .nodes = { { .vnode = { 0 }, .ram_bytes = 4 * MIB },
                   { .vnode = { 1 }, .ram_bytes = 8 * MIB } },
        .ranges = { { { 0 }, 4 * MIB, { 0 }, LAYOUT_RAM, 0 },
                    { { 4 * MIB }, 4 * MIB, { 1 }, LAYOUT_RAM, 0 },
                    { { FAKE_HIGH }, 4 * MIB, { 1 }, LAYOUT_RAM, 4 * MIB } },
        .bridges = { { .vnode = { 0 },
                       .bus = 0,
                       .mmio64_base = 1ull << 40,
                       .mmio64_len = 1ull << 32 },
                     { .vnode = { 1 },
                       .bus = 1,
                       .mmio64_base = (1ull << 40) + (1ull << 32),
                       .mmio64_len = 1ull << 32 } },
    };
    fm->plan.n_nodes = 2;
    fm->plan.nodes = fm->nodes;
    fm->layout = (struct mem_layout){
        .ranges = fm->ranges,
        .n_ranges = 3,
        .bridges = fm->bridges,
        .n_bridges = 2,
        .low_end = FAKE_TOP,
        .high_end = test_map.high_base,
        .ecam_base = test_map.ecam_base,
        .top = (1ull << 40) + (2ull << 32),
    };
    FAKE_MUST(guest_mem_new(&fm->plan, &fm->layout, &fm->mem, NULL) == 0);
}

static inline void fake_mem_fini(struct fake_mem *fm)
{
    guest_mem_free(fm->mem);
    fm->mem = NULL;
}

/* A host pointer as the guest would have one: it keeps no lease. Inside one range. */
static inline void *fake_ptr(struct guest_mem *mem, uint64_t addr, size_t len)
{
    struct mem_lease lease;
    void *ptr;

    FAKE_MUST(guest_mem_lease_begin(mem, (struct gpa){ addr }, len, LEASE_WRITE, &lease) == 0);
    ptr = lease.ptr;
    guest_mem_lease_end(mem, &lease);
    return ptr;
}

/* --- one queue ------------------------------------------------------------------------------- */

struct fake_buf {
    uint64_t addr;
    uint32_t len;
};

struct fake_queue {
    struct guest_mem *mem;
    uint16_t size;
    uint64_t desc_addr, avail_addr, used_addr;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t avail_idx; /* next to offer */
    uint16_t used_idx;  /* next to collect */
    uint16_t next_desc; /* descriptors are taken round robin; the test keeps count */
};

/* Rings at @base: descriptors, available, used, each on pages of its own. */
static inline void fake_queue_init(struct fake_queue *q, struct guest_mem *mem, uint64_t base,
                                   uint16_t size)
{
    size_t desc_len = sizeof(struct vring_desc) * size, avail_len = 6u + 2u * size;
    size_t used_len = 6u + 8u * size;

    *q = (struct fake_queue){ .mem = mem, .size = size, .desc_addr = base };
    q->avail_addr = base + ((desc_len + 4095) & ~(size_t)4095);
    q->used_addr = q->avail_addr + ((avail_len + 4095) & ~(size_t)4095);
    q->desc = fake_ptr(mem, q->desc_addr, desc_len);
    q->avail = fake_ptr(mem, q->avail_addr, avail_len);
    q->used = fake_ptr(mem, q->used_addr, used_len);
    memset(q->desc, 0, desc_len);
    memset(q->avail, 0, avail_len);
    memset(q->used, 0, used_len);
}

static inline void fake_queue_desc(struct fake_queue *q, uint16_t i, uint64_t addr, uint32_t len,
                                   uint16_t flags, uint16_t next)
{
    q->desc[i] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

/* Publish @head in the available ring. */
static inline void fake_queue_offer(struct fake_queue *q, uint16_t head)
{
    q->avail->ring[q->avail_idx & (q->size - 1)] = head;
    q->avail_idx++;
    __atomic_store_n(&q->avail->idx, q->avail_idx, __ATOMIC_RELEASE);
}

/* Build a chain of @n_out readable and then @n_in writable buffers and offer it; its head. */
static inline uint16_t fake_queue_add(struct fake_queue *q, const struct fake_buf *bufs,
                                      unsigned n_out, unsigned n_in)
{
    uint16_t head = q->next_desc;

    for (unsigned i = 0; i < n_out + n_in; i++) {
        uint16_t at = q->next_desc, next = (uint16_t)((at + 1) & (q->size - 1));
        uint16_t flags = (uint16_t)((i >= n_out ? VRING_DESC_F_WRITE : 0) |
                                    (i + 1 < n_out + n_in ? VRING_DESC_F_NEXT : 0));

        fake_queue_desc(q, at, bufs[i].addr, bufs[i].len, flags, next);
        q->next_desc = next;
    }
    fake_queue_offer(q, head);
    return head;
}

/* Collect one used entry if there is one. */
static inline bool fake_queue_used(struct fake_queue *q, uint32_t *ret_head, uint32_t *ret_len)
{
    if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_idx)
        return false;
    *ret_head = q->used->ring[q->used_idx & (q->size - 1)].id;
    *ret_len = q->used->ring[q->used_idx & (q->size - 1)].len;
    q->used_idx++;
    return true;
}

/* What the transport does when the driver enables the queue. */
static inline void fake_queue_attach(const struct fake_queue *q, struct virtqueue *vq,
                                     unsigned index, bool event_idx)
{
    *vq = (struct virtqueue){
        .mem = q->mem,
        .index = index,
        .size = q->size,
        .enabled = true,
        .event_idx = event_idx,
        .desc = { q->desc_addr },
        .avail = { q->avail_addr },
        .used = { q->used_addr },
    };
    FAKE_MUST(virtqueue_check(vq) == 0);
}

/* --- a loop in a thread of its own ----------------------------------------------------------- */

struct fake_loop {
    struct evloop *loop;
    pthread_t thread;
};

static inline void *fake_loop_main(void *arg)
{
    FAKE_MUST(evloop_run(arg, NULL) == 0);
    return NULL;
}

static inline void fake_loop_is_up(void *ctx)
{
    FAKE_MUST(sem_post(ctx) == 0);
}

/* Let a thread serve fl->loop. Returns when it does: before that, evloop_call() would run things
 * on the caller's thread, where they show no race. */
static inline void fake_loop_serve(struct fake_loop *fl)
{
    sem_t up;

    FAKE_MUST(sem_init(&up, 0, 0) == 0);
    FAKE_MUST(evloop_post(fl->loop, fake_loop_is_up, &up) == 0);
    FAKE_MUST(pthread_create(&fl->thread, NULL, fake_loop_main, fl->loop) == 0);
    while (sem_wait(&up) < 0)
        FAKE_MUST(errno == EINTR);
    (void)sem_destroy(&up);
}

static inline void fake_loop_start(struct fake_loop *fl)
{
    FAKE_MUST(evloop_new(&fl->loop, NULL) == 0);
    fake_loop_serve(fl);
}

static inline void fake_loop_stop(struct fake_loop *fl)
{
    evloop_stop(fl->loop);
    (void)pthread_join(fl->thread, NULL);
    evloop_free(fl->loop);
}

/* --- a device behind a transport that counts ------------------------------------------------- */

struct fake_dev {
    struct virtio_dev *dev;
    struct fake_queue q[VIRTIO_MAX_QUEUES];
    unsigned queue_interrupts[VIRTIO_MAX_QUEUES]; /* atomic */
    unsigned config_interrupts;                   /* atomic */
    bool kick_again[VIRTIO_MAX_QUEUES];           /* atomic: the device asked for a kick */
    int bell[VIRTIO_MAX_QUEUES];                  /* eventfds; 0: nobody asked for it yet */
    bool lent[VIRTIO_MAX_QUEUES];                 /* atomic: somebody else hears it */
    int start_result;
};

static inline void fake_queue_interrupt(void *ctx, struct virtqueue *vq)
{
    struct fake_dev *fd = ctx;

    __atomic_fetch_add(&fd->queue_interrupts[vq->index], 1, __ATOMIC_RELEASE);
}

static inline void fake_config_interrupt(void *ctx)
{
    struct fake_dev *fd = ctx;

    __atomic_fetch_add(&fd->config_interrupts, 1, __ATOMIC_RELEASE);
}

static inline void fake_kick_again(void *ctx, unsigned index)
{
    struct fake_dev *fd = ctx;

    __atomic_store_n(&fd->kick_again[index], true, __ATOMIC_RELEASE);
}

static inline int fake_lend_bell(void *ctx, unsigned index)
{
    struct fake_dev *fd = ctx;

    if (fd->bell[index] == 0)
        fd->bell[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    FAKE_MUST(fd->bell[index] > 0);
    __atomic_store_n(&fd->lent[index], true, __ATOMIC_RELEASE);
    return fd->bell[index];
}

static inline void fake_take_bell(void *ctx, unsigned index)
{
    struct fake_dev *fd = ctx;

    __atomic_store_n(&fd->lent[index], false, __ATOMIC_RELEASE);
}

/* Adopt a device as its transport would after FEATURES_OK: all queues enabled with at most
 * @size entries, interrupts wanted, @features as negotiated. */
static inline void fake_dev_init(struct fake_dev *fd, struct virtio_dev *dev, struct fake_mem *fm,
                                 uint64_t features, uint16_t size)
{
    static const struct virtio_transport_ops transport = {
        .queue_interrupt = fake_queue_interrupt,
        .config_interrupt = fake_config_interrupt,
        .kick_again = fake_kick_again,
        .lend_bell = fake_lend_bell,
        .take_bell = fake_take_bell,
    };
    bool event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;

    FAKE_MUST(dev->n_queues <= 32 && size <= 2048); /* what the ring area has room for */
    *fd = (struct fake_dev){ .dev = dev };
    dev->features = features | 1ull << VIRTIO_F_VERSION_1;
    dev->transport = &transport;
    dev->transport_ctx = fd;
    dev->vqs = calloc(dev->n_queues, sizeof(*dev->vqs));
    FAKE_MUST(dev->vqs != NULL || dev->n_queues == 0);
    for (unsigned i = 0; i < dev->n_queues; i++) {
        fake_queue_init(&fd->q[i], fm->mem,
                        FAKE_RING_BASE + (uint64_t)i * FAKE_RING_STRIDE,
                        MIN(size, dev->queue_max[i]));
        fake_queue_attach(&fd->q[i], &dev->vqs[i], i, event_idx);
        dev->vqs[i].takes_lost = dev->takes_lost;
    }
}

static inline void fake_dev_do_start(void *ctx)
{
    struct fake_dev *fd = ctx;

    fd->start_result = fd->dev->ops->start(fd->dev);
}

/* DRIVER_OK. Returns what the device's start said. */
static inline int fake_dev_start(struct fake_dev *fd)
{
    evloop_call(fd->dev->loop, fake_dev_do_start, fd);
    return fd->start_result;
}

struct fake_kick {
    struct virtio_dev *dev;
    unsigned index;
};

static inline void fake_dev_do_kick(void *ctx)
{
    struct fake_kick *k = ctx;

    if (!k->dev->broken)
        k->dev->ops->kick(k->dev, k->index);
}

/* Ring the doorbell and wait until the device has looked, as often as it wants to; somebody else who
 * hears the bell is not waited for. */
static inline void fake_dev_kick(struct fake_dev *fd, unsigned index)
{
    struct fake_kick k = { fd->dev, index };

    if (__atomic_load_n(&fd->lent[index], __ATOMIC_ACQUIRE)) {
        FAKE_MUST(eventfd_write(fd->bell[index], 1) == 0);
        return;
    }
    do {
        evloop_call(fd->dev->loop, fake_dev_do_kick, &k);
    } while (__atomic_exchange_n(&fd->kick_again[index], false, __ATOMIC_ACQ_REL));
}

static inline void fake_dev_do_quiesce(void *ctx)
{
    struct fake_dev *fd = ctx;

    fd->dev->ops->quiesce(fd->dev);
}

static inline void fake_dev_quiesce(struct fake_dev *fd)
{
    evloop_call(fd->dev->loop, fake_dev_do_quiesce, fd);
}

static inline void fake_dev_do_resume(void *ctx)
{
    struct fake_dev *fd = ctx;

    if (fd->dev->ops->resume != NULL)
        fd->dev->ops->resume(fd->dev);
    for (unsigned i = 0; i < fd->dev->n_queues && !fd->dev->broken; i++)
        fd->dev->ops->kick(fd->dev, i);
}

/* Continue, with the kicks that follow. */
static inline void fake_dev_resume(struct fake_dev *fd)
{
    evloop_call(fd->dev->loop, fake_dev_do_resume, fd);
}

/* Wait for a used entry; false after @timeout_ms. For devices whose loop runs in a thread. */
static inline bool fake_dev_wait_used(struct fake_dev *fd, unsigned index, uint32_t *ret_head,
                                      uint32_t *ret_len, unsigned timeout_ms)
{
    uint64_t deadline = evloop_now_ns() + timeout_ms * 1000000ull;

    while (!fake_queue_used(&fd->q[index], ret_head, ret_len)) {
        struct timespec nap = { .tv_nsec = 50000 };

        if (evloop_now_ns() > deadline)
            return false;
        (void)nanosleep(&nap, NULL);
    }
    return true;
}

/* Quiesce and destroy the device; frees it. */
static inline void fake_dev_fini(struct fake_dev *fd)
{
    struct virtqueue *vqs = fd->dev->vqs;

    fake_dev_quiesce(fd);
    fd->dev->ops->destroy(fd->dev);
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
        if (fd->bell[i] > 0)
            (void)close(fd->bell[i]);
    free(vqs);
}

#endif
