/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device whose rings another process serves: the front end of vhost-user.
 *
 *   created --start--> running <--quiesce/resume--> stopped --reset--> created
 *   running --back end gone--> broken until the driver resets it    (fs; blk at work)
 *                          \-> waiting, link down --back--> running (net; blk when idle, no link)
 *
 * What was under way nobody else knows: back ends finish requests in any order, and the used ring
 * alone does not tell which they were. Frames may be lost, and a disk that is idle loses nothing.
 *
 * Doorbells and interrupts pass through the loop: the guest's are the transport's, and the back end
 * gets descriptors of its own. A descriptor that both sides have is one file with one set of flags,
 * so a back end can make calls on it block, for ever. So it gets nothing that we read or write: it
 * hears of doorbells through its end of a pair of sockets, into ours of which we send without
 * waiting, and tells of interrupts by an eventfd whose edges we poll for. (Not pipes: who reads one
 * holds its lock while its own memory is faulted in.)
 *
 * The loop waits for replies when a driver starts or stops the device and while the machine pauses,
 * each time no longer than a conversation may take. In between nothing is due on the link, so
 * whatever comes there ends it. Threading: the loop; config_read on vCPU threads.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vhost_user_int.h"
#include "vmm/base/macros.h"

static struct vu_dev *vu_of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct vu_dev, vdev);
}

/* --- the guest -------------------------------------------------------------------------------- */

static void vu_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    struct vu_dev *dev = vu_of(vdev);
    uint8_t bytes[VU_CONFIG_MAX];

    memset(data, 0, len);
    memcpy(bytes, dev->config.bytes, sizeof(bytes));
    if (vdev->ops == &vu_net_ops) {
        const uint16_t status = __atomic_load_n(&dev->net_status, __ATOMIC_RELAXED);

        memcpy(bytes + offsetof(struct virtio_net_config, status), &status, sizeof(status));
    }
    if (off < vdev->config_len)
        memcpy(data, bytes + off, MIN(len, vdev->config_len - off));
}

static void vu_config_write(struct virtio_dev *vdev, uint32_t off, const void *data, uint32_t len)
{
    (void)vdev; /* nothing of what is offered is the driver's to write */
    (void)off;
    (void)data;
    (void)len;
}

static int vu_start(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);
    struct errctx why = { 0 };
    int r = vu_serve(dev, &why);

    if (r < 0 && (!dev->kind->returns || r == -EFAULT)) {
        vu_say(dev, "the device does not start", why.msg);
        return r;
    }
    dev->started = true;
    if (r < 0) {
        vu_say(dev, "the link is down until there is a back end", why.msg);
        vu_wait(dev);
    }
    return 0;
}

/* One that has no room is rung already. */
static void vu_kick(struct virtio_dev *vdev, unsigned index)
{
    struct vu_dev *dev = vu_of(vdev);
    const uint64_t one = 1;

    if (dev->running)
        (void)!send(dev->rings[index].kick_fd[0], &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void vu_quiesce(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);

    dev->quiet = true;
    evloop_timer_arm(dev->retry, 0);
    if (dev->running)
        vu_stop(dev);
}

static void vu_resume(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);
    struct errctx why = { 0 };

    dev->quiet = false;
    if (!dev->started || dev->running || vdev->broken)
        return;
    if (dev->link.fd < 0) { /* lost before or meanwhile */
        evloop_timer_arm(dev->retry, evloop_now_ns());
        return;
    }
    if (vu_serve(dev, &why) < 0)
        vu_lose(dev, why.msg);
    vu_stir(dev);
}

static void vu_reset(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);

    dev->started = false; /* the rings were stopped by quiesce */
    __atomic_store_n(&dev->net_status, VIRTIO_NET_S_LINK_UP, __ATOMIC_RELAXED);
}

static int vu_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    (void)w;
    return errctx_set(ec, ENOTSUP, "%s: the state of a vhost-user device is in its back end, which "
                      "does not give it away", vdev->name);
}

static void vu_destroy(struct virtio_dev *vdev)
{
    struct vu_dev *dev = vu_of(vdev);

    evloop_timer_free(dev->retry);
    evloop_unwatch(dev->link_watch);
    vhost_user_close(&dev->link);
    for (unsigned i = 0; i < VU_QUEUES_MAX; i++)
        vu_ring_drop(&dev->rings[i]);
    free(dev->pieces);
    free(dev->path);
    free(dev);
}

#define VU_OPS(id, class)                                                                          \
    {                                                                                              \
        .type = "vhost-user", .version = VU_STATE_VERSION, .virtio_id = (id),                      \
        .pci_class = (class), .config_read = vu_config_read, .config_write = vu_config_write,      \
        .start = vu_start, .kick = vu_kick, .quiesce = vu_quiesce, .resume = vu_resume,            \
        .reset = vu_reset, .save = vu_save, .destroy = vu_destroy,                                 \
    }

const struct virtio_ops vu_fs_ops = VU_OPS(VIRTIO_ID_FS, 0x018000);    /* mass storage, other */
const struct virtio_ops vu_blk_ops = VU_OPS(VIRTIO_ID_BLOCK, 0x018000);
const struct virtio_ops vu_net_ops = VU_OPS(VIRTIO_ID_NET, 0x020000); /* Ethernet */

/* --- making one ------------------------------------------------------------------------------- */

static int list_pieces(struct vu_dev *dev, struct errctx *ec)
{
    dev->n_pieces = guest_mem_pieces(dev->vdev.mem, NULL, 0);
    dev->pieces = calloc(dev->n_pieces, sizeof(*dev->pieces));
    if (dev->pieces == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the device");
    (void)guest_mem_pieces(dev->vdev.mem, dev->pieces, dev->n_pieces);
    return 0;
}

static void init(struct vu_dev *dev, const struct device_env *env, unsigned queues)
{
    dev->link.fd = -1;
    for (unsigned i = 0; i < VU_QUEUES_MAX; i++)
        dev->rings[i] = (struct vu_ring){ .dev = dev, .kick_fd = { -1, -1 }, .call.fd = -1 };
    dev->patience_ms = VU_PATIENCE_MS;
    dev->say = env->say;
    dev->say_ctx = env->say_ctx;
    dev->net_status = VIRTIO_NET_S_LINK_UP;
    dev->vdev.ops = dev->kind->ops;
    (void)snprintf(dev->vdev.name, sizeof(dev->vdev.name), "%s", env->name);
    dev->vdev.n_queues = queues + dev->kind->extra_queues;
    for (unsigned i = 0; i < dev->vdev.n_queues; i++)
        dev->vdev.queue_max[i] = VU_QUEUE_SIZE;
    dev->vdev.config_len = dev->kind->config_len;
    dev->vdev.loop = env->loop;
    dev->vdev.mem = env->mem;
}

int vu_dev_new(struct vu_dev *dev, const struct device_env *env, unsigned queues,
               struct virtio_dev **ret_dev, struct errctx *ec)
{
    int r;

    init(dev, env, queues);
    r = list_pieces(dev, ec);
    for (unsigned i = 0; r == 0 && i < dev->vdev.n_queues; i++)
        r = vu_ring_make(dev, &dev->rings[i], ec);
    if (r == 0)
        r = evloop_timer_new(dev->vdev.loop, vu_retry, dev, &dev->retry, ec);
    if (r == 0)
        r = vhost_user_connect(dev->path, &dev->link, ec);
    if (r == 0)
        r = vu_hello(dev, false, ec);
    if (r == 0)
        r = vu_link_watch(dev, ec);
    if (r < 0) {
        vu_destroy(&dev->vdev);
        return r;
    }
    dev->vdev.host_features = (dev->back_features & dev->kind->features) | dev->kind->own_features;
    dev->vdev.lacking_features = ~dev->back_features & (1ull << VIRTIO_RING_F_INDIRECT_DESC |
                                                        1ull << VIRTIO_RING_F_EVENT_IDX);
    *ret_dev = &dev->vdev;
    return 0;
}
