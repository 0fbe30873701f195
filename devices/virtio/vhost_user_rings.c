/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features, memory and rings of a vhost-user back end.
 *
 * Addresses. A back end gets no address of this process: where the protocol wants one, it gets the
 * guest's, moved up by USER_BASE so that none is 0. Every ring has to lie in one memory file, since
 * the back end maps the files wherever it likes and would run over the end of one.
 */
#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "devices/virtio/vhost_user_int.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

#define USER_BASE (1ull << 46)
#define BIT(n)    (1ull << (n))
#define RING_BITS (BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

/* SET_VRING_KICK and _CALL have the index in 8 bits and flags behind it. */
_Static_assert(VU_QUEUES_MAX <= 256, "a ring's index leaves the flags alone");

struct region {
    uint64_t guest, len, user, off;
};

struct table {
    uint32_t n, pad;
    struct region regions[VU_TABLE_REGIONS];
};

struct one_region {
    uint64_t pad;
    struct region region;
};

struct vring_address {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct config_msg {
    uint32_t off, len, flags;
    uint8_t bytes[VU_CONFIG_MAX];
};

/* --- hello ------------------------------------------------------------------------------------ */

static int agree_protocol(struct vu_dev *dev, struct errctx *ec)
{
    uint64_t known = BIT(VU_PROTOCOL_MQ) | BIT(VU_PROTOCOL_REPLY_ACK) |
                     BIT(VU_PROTOCOL_CONFIGURE_MEM_SLOTS);
    uint64_t offered;
    int r;

    dev->protocol = 0;
    if (!(dev->back_features & BIT(VU_F_PROTOCOL_FEATURES)))
        return 0;
    if (dev->kind->asks_config)
        known |= BIT(VU_PROTOCOL_CONFIG);
    r = vhost_user_ask_u64(&dev->link, VU_GET_PROTOCOL_FEATURES, &offered, ec);
    if (r == 0)
        r = vhost_user_tell_u64(&dev->link, VU_SET_PROTOCOL_FEATURES, offered & known, ec);
    if (r < 0)
        return r;
    dev->protocol = offered & known;
    dev->link.acks = dev->protocol & BIT(VU_PROTOCOL_REPLY_ACK);
    return 0;
}

static int check_queues(struct vu_dev *dev, struct errctx *ec)
{
    uint64_t most = dev->vdev.n_queues; /* without MQ nobody says; a refusal comes at the ring */
    int r = 0;

    if (dev->vdev.ops == &vu_blk_ops && most > 1 && !(dev->back_features & BIT(VIRTIO_BLK_F_MQ)))
        return errctx_set(ec, ENOTSUP, "the back end tells no guest of more than one ring, so "
                          "queues= has no effect");
    if (dev->protocol & BIT(VU_PROTOCOL_MQ))
        r = vhost_user_ask_u64(&dev->link, VU_GET_QUEUE_NUM, &most, ec);
    if (r == 0 && most < dev->vdev.n_queues)
        return errctx_set(ec, ENOTSUP, "the back end has %llu rings, and the device needs %u",
                          (unsigned long long)most, dev->vdev.n_queues);
    return r;
}

static int read_config(struct vu_dev *dev, bool again, struct errctx *ec)
{
    struct config_msg ask = { .len = dev->kind->config_len }, reply;
    const uint32_t len = (uint32_t)offsetof(struct config_msg, bytes) + ask.len;
    const struct vhost_user_msg msg = { .request = VU_GET_CONFIG, .payload = &ask, .len = len };
    int r;

    if (!dev->kind->asks_config)
        return 0;
    if (!(dev->protocol & BIT(VU_PROTOCOL_CONFIG)))
        return errctx_set(ec, ENOTSUP, "the back end does not tell the device's configuration");
    r = vhost_user_ask(&dev->link, &msg, &reply, len, ec);
    if (r < 0)
        return r;
    if (reply.off != 0 || reply.len != ask.len)
        return errctx_set(ec, EPROTO, "the back end's reply to GET_CONFIG makes no sense");
    ((struct virtio_blk_config *)(void *)reply.bytes)->num_queues = (uint16_t)dev->vdev.n_queues;
    if (again && memcmp(dev->config.bytes, reply.bytes, ask.len) != 0)
        return errctx_set(ec, ENOTSUP, "the new back end is another device than the old one was");
    if (!again) /* vCPU threads read it */
        memcpy(dev->config.bytes, reply.bytes, ask.len);
    return 0;
}

/* Asked at once, so that a machine is refused before its guest has booted. */
static int check_pieces(struct vu_dev *dev, struct errctx *ec)
{
    uint64_t most = VU_TABLE_REGIONS;
    int r = 0;

    if (dev->n_pieces > most && (dev->protocol & BIT(VU_PROTOCOL_CONFIGURE_MEM_SLOTS)))
        r = vhost_user_ask_u64(&dev->link, VU_GET_MAX_MEM_SLOTS, &most, ec);
    if (r == 0 && most < dev->n_pieces)
        return errctx_set(ec, ENOTSUP,
                          "the guest's memory has %zu parts, and the back end takes %llu",
                          dev->n_pieces, (unsigned long long)most);
    return r;
}

int vu_hello(struct vu_dev *dev, bool again, struct errctx *ec)
{
    const struct vhost_user_msg owner = { .request = VU_SET_OWNER };
    const uint64_t agreed = dev->vdev.features & (dev->kind->features | RING_BITS);
    int r = vhost_user_ask_u64(&dev->link, VU_GET_FEATURES, &dev->back_features, ec);

    dev->has_memory = false;
    if (r < 0)
        return r;
    if (!(dev->back_features & BIT(VIRTIO_F_VERSION_1)))
        return errctx_set(ec, ENOTSUP, "the back end does not know virtio 1");
    if (again && (agreed & ~dev->back_features) != 0)
        return errctx_set(ec, ENOTSUP, "the new back end lacks features that the guest uses");
    r = agree_protocol(dev, ec);
    if (r == 0)
        r = vhost_user_tell(&dev->link, &owner, ec);
    if (r == 0)
        r = check_queues(dev, ec);
    if (r == 0)
        r = check_pieces(dev, ec);
    return r < 0 ? r : read_config(dev, again, ec);
}

/* --- memory ----------------------------------------------------------------------------------- */

static struct region region_of(const struct guest_mem_piece *p)
{
    return (struct region){
        .guest = p->base.v, .len = p->len_bytes, .user = p->base.v + USER_BASE, .off = p->off
    };
}

static int tell_table(struct vu_dev *dev, struct errctx *ec)
{
    struct table table = { .n = (uint32_t)dev->n_pieces };
    int fds[VU_TABLE_REGIONS];
    const struct vhost_user_msg msg = {
        .request = VU_SET_MEM_TABLE,
        .payload = &table,
        .len = (uint32_t)(offsetof(struct table, regions) + dev->n_pieces * sizeof(struct region)),
        .fds = fds,
        .n_fds = (unsigned)dev->n_pieces,
    };

    for (size_t i = 0; i < dev->n_pieces; i++) {
        table.regions[i] = region_of(&dev->pieces[i]);
        fds[i] = dev->pieces[i].memfd;
    }
    return vhost_user_tell(&dev->link, &msg, ec);
}

/* More regions than one table has. */
static int tell_each(struct vu_dev *dev, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < dev->n_pieces; i++) {
        const struct one_region one = { .region = region_of(&dev->pieces[i]) };
        const struct vhost_user_msg msg = { .request = VU_ADD_MEM_REG,
                                            .payload = &one,
                                            .len = sizeof(one),
                                            .fds = &dev->pieces[i].memfd,
                                            .n_fds = 1 };

        r = vhost_user_tell(&dev->link, &msg, ec);
    }
    return r;
}

static int tell_memory(struct vu_dev *dev, struct errctx *ec)
{
    int r = 0;

    if (!dev->has_memory)
        r = dev->n_pieces <= VU_TABLE_REGIONS ? tell_table(dev, ec) : tell_each(dev, ec);
    dev->has_memory = r == 0;
    return r;
}

/* --- rings ------------------------------------------------------------------------------------ */

static bool in_one_piece(const struct vu_dev *dev, struct gpa addr, uint64_t len)
{
    for (size_t i = 0; i < dev->n_pieces; i++) {
        const struct guest_mem_piece *p = &dev->pieces[i];

        if (addr.v >= p->base.v && checked_range(addr.v - p->base.v, len, p->len_bytes))
            return true;
    }
    return false;
}

static bool can_follow(const struct vu_dev *dev, const struct virtqueue *vq)
{
    return in_one_piece(dev, vq->desc, sizeof(struct vring_desc) * vq->size) &&
           in_one_piece(dev, vq->avail, sizeof(struct vring_avail) + 2ull * (vq->size + 1u)) &&
           in_one_piece(dev, vq->used,
                        sizeof(struct vring_used) + sizeof(struct vring_used_elem) * vq->size + 2);
}

static int tell_fd(struct vu_dev *dev, enum vhost_user_request request, unsigned i, const int *fd,
                   struct errctx *ec)
{
    const uint64_t index = i;
    const struct vhost_user_msg msg = {
        .request = request, .payload = &index, .len = sizeof(index), .fds = fd, .n_fds = 1
    };

    return vhost_user_tell(&dev->link, &msg, ec);
}

static int start_ring(struct vu_dev *dev, unsigned i, struct errctx *ec)
{
    const struct virtqueue *vq = &dev->vdev.vqs[i];
    const struct vring_address address = {
        .index = i,
        .desc = vq->desc.v + USER_BASE,
        .used = vq->used.v + USER_BASE,
        .avail = vq->avail.v + USER_BASE,
    };
    const struct vhost_user_msg msg = {
        .request = VU_SET_VRING_ADDR, .payload = &address, .len = sizeof(address)
    };
    int r = vhost_user_tell_ring(&dev->link, VU_SET_VRING_NUM, i, vq->size, ec);

    if (r == 0)
        r = vhost_user_tell_ring(&dev->link, VU_SET_VRING_BASE, i, vq->next_avail, ec);
    if (r == 0)
        r = vhost_user_tell(&dev->link, &msg, ec);
    if (r == 0)
        r = tell_fd(dev, VU_SET_VRING_CALL, i, &dev->rings[i].call.fd, ec);
    if (r == 0)
        r = tell_fd(dev, VU_SET_VRING_KICK, i, &dev->rings[i].kick_fd[1], ec);
    dev->rings[i].told = r == 0;
    return r;
}

int vu_rings_check(const struct vu_dev *dev, struct errctx *ec)
{
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        if (dev->vdev.vqs[i].enabled && !can_follow(dev, &dev->vdev.vqs[i]))
            return errctx_set(ec, EFAULT, "ring %u lies across two parts of the guest's memory", i);
    return 0;
}

int vu_rings_start(struct vu_dev *dev, struct errctx *ec)
{
    /* With this one rings wait until they are enabled. */
    const uint64_t waits = dev->back_features & BIT(VU_F_PROTOCOL_FEATURES);
    const uint64_t features = (dev->vdev.features & dev->back_features) | waits;
    int r = vhost_user_tell_u64(&dev->link, VU_SET_FEATURES, features, ec);

    if (r == 0)
        r = tell_memory(dev, ec);
    for (unsigned i = 0; r == 0 && i < dev->vdev.n_queues; i++)
        if (dev->vdev.vqs[i].enabled)
            r = start_ring(dev, i, ec);
    for (unsigned i = 0; r == 0 && waits && i < dev->vdev.n_queues; i++)
        if (dev->vdev.vqs[i].enabled)
            r = vhost_user_tell_ring(&dev->link, VU_SET_VRING_ENABLE, i, 1, ec);
    return r;
}

int vu_rings_stop(struct vu_dev *dev, struct errctx *ec)
{
    for (unsigned i = 0; i < dev->vdev.n_queues; i++) {
        struct virtqueue *vq = &dev->vdev.vqs[i];
        const struct vhost_user_ring ask = { .index = i };
        const struct vhost_user_msg msg = {
            .request = VU_GET_VRING_BASE, .payload = &ask, .len = sizeof(ask)
        };
        struct vhost_user_ring reply;
        int r;

        if (!dev->rings[i].told)
            continue;
        r = vhost_user_ask(&dev->link, &msg, &reply, sizeof(reply), ec);
        if (r < 0)
            return r;
        dev->rings[i].told = false;
        if (reply.index != i || reply.number > UINT16_MAX)
            return errctx_set(ec, EPROTO, "the back end's reply to GET_VRING_BASE makes no sense");
        (void)virtqueue_take_over(vq, (uint16_t)reply.number);
    }
    return 0;
}

/* A ring that cannot be read is not idle: who looks there next says so. */
bool vu_rings_idle(const struct vu_dev *dev)
{
    for (unsigned i = 0; i < dev->vdev.n_queues; i++) {
        const struct virtqueue *vq = &dev->vdev.vqs[i];
        uint16_t asked, answered;

        if (vq->enabled && (virtqueue_indices(vq, &asked, &answered) < 0 || asked != answered))
            return false;
    }
    return true;
}

int vu_rings_rewind(struct vu_dev *dev)
{
    for (unsigned i = 0; i < dev->vdev.n_queues; i++) {
        struct virtqueue *vq = &dev->vdev.vqs[i];
        uint16_t asked, answered;

        if (!vq->enabled)
            continue;
        if (virtqueue_indices(vq, &asked, &answered) < 0)
            return -EFAULT;
        vq->next_avail = vq->next_used = answered;
    }
    return 0;
}
