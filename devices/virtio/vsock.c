/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock (virtio 1.2, 5.10) in user space: the device's queues. Stream sockets only; no
 * kernel module of the host takes part, so the guest's CID means nothing outside this process
 * and several guests may have the same.
 *
 * The guest's packets are taken as they come; what they cause is noted at the connections and
 * told afterwards in one go by vsock_pump(), with one interrupt. A guest that gives no receive
 * buffers stops the host's side (rx_stalled), one that causes resets without taking them stops
 * itself (tx_blocked).
 *
 *   created --start--> running <--quiesce/resume--> paused --reset--> created
 *
 * A reset closes every connection and keeps the listening socket. Connections are not saved:
 * after a load the guest gets VIRTIO_VSOCK_EVENT_TRANSPORT_RESET (5.10.6.6).
 */
#include "devices/virtio/vsock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/vsock_int.h"
#include "vmm/base/macros.h"

enum { VSOCK_STATE_VERSION = 1, VSOCK_QUEUE_MAX = 256 };

static struct vsock_dev *vsock_of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct vsock_dev, vdev);
}

static struct virtqueue *vsock_vq(struct vsock_dev *dev, enum vsock_queue queue)
{
    return &dev->vdev.vqs[queue];
}

void vsock_again(struct vsock_dev *dev, enum vsock_queue queue)
{
    dev->again_mask |= 1u << queue;
    evloop_timer_arm(dev->again, evloop_now_ns());
}

/* --- packets to the guest --- */

static bool vsock_has_news(const struct vsock_dev *dev)
{
    return dev->rst_n > 0 || !TAILQ_EMPTY(&dev->ready);
}

static uint32_t vsock_emit_rst(struct vsock_dev *dev, const struct virtq_chain *chain)
{
    const struct vsock_ports *ports = &dev->rst[dev->rst_first];
    struct virtio_vsock_hdr hdr = {
        .src_cid = VSOCK_HOST_CID,
        .dst_cid = dev->cid,
        .src_port = ports->host,
        .dst_port = ports->guest,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = VIRTIO_VSOCK_OP_RST,
    };

    dev->rst_first = (dev->rst_first + 1) % VSOCK_RST_RING;
    dev->rst_n--;
    (void)virtq_chain_write(chain, 0, &hdr, sizeof(hdr));
    return VSOCK_HDR_LEN;
}

/* Fill @chain with the next packet of whoever's turn it is; 0 when nobody has one. */
static uint32_t vsock_emit(struct vsock_dev *dev, const struct virtq_chain *chain)
{
    if (dev->rst_n > 0)
        return vsock_emit_rst(dev, chain);
    while (!TAILQ_EMPTY(&dev->ready)) {
        struct vsock_conn *conn = TAILQ_FIRST(&dev->ready);
        uint32_t bytes;

        TAILQ_REMOVE(&dev->ready, conn, ready);
        conn->is_ready = false;
        bytes = vsock_conn_emit(conn, chain);
        if (conn->state != VSOCK_DEAD && (conn->say != 0 || conn->readable))
            vsock_conn_say(conn, 0); /* more to come: to the end of the list */
        if (bytes > 0)
            return bytes;
    }
    return 0;
}

/* One packet. 1 sent, 0 nothing to send, -EAGAIN no buffer, -EPROTO, -ENOMEM. */
static int vsock_pump_one(struct vsock_dev *dev, struct virtqueue *vq)
{
    struct virtq_chain *chain = &dev->rx_chain;
    uint32_t bytes;
    int r;

    if (!vsock_has_news(dev))
        return 0;
    r = virtqueue_pop(vq, LEASE_WRITE, chain);
    if (r == 0) {
        r = virtqueue_set_notify(vq, true);
        return r == 0 ? -EAGAIN : r; /* 1: one came in between, look again */
    }
    if (r < 0)
        return r;
    if (chain->n_read != 0 || chain->write_bytes < VSOCK_HDR_LEN) {
        virtq_chain_release(vq->mem, chain);
        return -EPROTO;
    }
    bytes = vsock_emit(dev, chain);
    if (bytes == 0) {
        virtqueue_unpop(vq, chain);
        return dev->rst_n > 0; /* the last one may have ended in a reset */
    }
    return virtqueue_push(vq, chain, bytes) < 0 ? -EPROTO : 1;
}

void vsock_pump(struct vsock_dev *dev)
{
    struct virtqueue *vq = vsock_vq(dev, VSOCK_RX);
    unsigned budget = VSOCK_BUDGET;
    bool was_stalled = dev->rx_stalled;
    int r = 1;

    if (!dev->running || dev->vdev.broken || !vq->enabled)
        return;
    while (r == 1 && budget-- > 0)
        r = vsock_pump_one(dev, vq);
    if (r == -EPROTO) {
        virtio_dev_break(&dev->vdev, "receive ring or buffer makes no sense");
        vsock_unix_watch(dev, false);
        return;
    }
    virtio_dev_notify(&dev->vdev, vq);
    dev->rx_stalled = r == -EAGAIN;
    if (dev->rx_stalled != was_stalled)
        vsock_unix_watch(dev, !dev->rx_stalled);
    if (r == 1 || r == -ENOMEM)
        vsock_again(dev, VSOCK_RX);
    if (dev->tx_blocked && dev->rst_n < VSOCK_RST_HIGH) {
        dev->tx_blocked = false;
        vsock_again(dev, VSOCK_TX);
    }
}

/* --- packets from the guest --- */

static void vsock_request(struct vsock_dev *dev, const struct virtio_vsock_hdr *hdr)
{
    struct vsock_conn *conn = NULL;
    int fd = -EMFILE;

    if (dev->n_conns < VSOCK_MAX_CONNS)
        fd = vsock_unix_connect(dev, hdr->dst_port);
    if (fd >= 0)
        conn = vsock_conn_new(dev, fd);
    if (conn == NULL) {
        vsock_rst(dev, hdr->dst_port, hdr->src_port);
        return;
    }
    vsock_conn_name(conn, hdr->dst_port, hdr->src_port);
    conn->state = VSOCK_ESTABLISHED;
    conn->peer_buf_alloc = hdr->buf_alloc;
    conn->peer_fwd_cnt = hdr->fwd_cnt;
    conn->readable = true;
    vsock_conn_say(conn, VSOCK_SAY_RESPONSE);
    /* What is watched for follows from the first look at it, which the pump takes. */
}

static void vsock_packet(struct vsock_dev *dev, const struct virtq_chain *chain)
{
    struct virtio_vsock_hdr hdr;
    struct vsock_conn *conn;

    (void)virtq_chain_read(chain, 0, &hdr, sizeof(hdr));
    if (hdr.src_cid != dev->cid || hdr.dst_cid != VSOCK_HOST_CID)
        return; /* 5.10.6: not from this guest, or for somebody we do not know */
    conn = vsock_conn_find(dev, hdr.dst_port, hdr.src_port);
    if (hdr.type != VIRTIO_VSOCK_TYPE_STREAM ||
        (hdr.op == VIRTIO_VSOCK_OP_RW && hdr.len > chain->read_bytes - VSOCK_HDR_LEN)) {
        if (conn != NULL)
            vsock_conn_kill(conn, true);
        else if (hdr.op != VIRTIO_VSOCK_OP_RST)
            vsock_rst(dev, hdr.dst_port, hdr.src_port);
    } else if (conn != NULL) {
        vsock_conn_packet(conn, &hdr, chain);
    } else if (hdr.op == VIRTIO_VSOCK_OP_REQUEST) {
        vsock_request(dev, &hdr);
    } else if (hdr.op != VIRTIO_VSOCK_OP_RST) {
        vsock_rst(dev, hdr.dst_port, hdr.src_port);
    }
}

/* One chain. 1 taken, 0 ring empty, -EAGAIN the guest has to take resets first, -errno. */
static int vsock_tx_one(struct vsock_dev *dev, struct virtqueue *vq)
{
    struct virtq_chain *chain = &dev->tx_chain;
    int r;

    if (dev->rst_n >= VSOCK_RST_HIGH)
        return -EAGAIN;
    r = virtqueue_pop(vq, LEASE_READ, chain);
    if (r <= 0)
        return r;
    if (chain->n_write != 0 || chain->read_bytes < VSOCK_HDR_LEN) {
        virtq_chain_release(vq->mem, chain);
        return -EPROTO;
    }
    vsock_packet(dev, chain);
    return virtqueue_push(vq, chain, 0) < 0 ? -EPROTO : 1;
}

static void vsock_tx_run(struct vsock_dev *dev)
{
    struct virtqueue *vq = vsock_vq(dev, VSOCK_TX);
    unsigned budget = VSOCK_BUDGET;
    int r = virtqueue_set_notify(vq, false);

    if (r == 0)
        r = 1;
    while (r == 1 && budget-- > 0) {
        r = vsock_tx_one(dev, vq);
        if (r == 0)
            r = virtqueue_set_notify(vq, true); /* 1: more came in between */
    }
    if (r == -EPROTO) {
        virtio_dev_break(&dev->vdev, "transmit ring or packet makes no sense");
        vsock_unix_watch(dev, false);
        return;
    }
    virtio_dev_notify(&dev->vdev, vq);
    dev->tx_blocked = r == -EAGAIN;
    if (r == 1 || r == -ENOMEM)
        vsock_again(dev, VSOCK_TX);
    vsock_pump(dev);
}

/* --- events for the guest --- */

static void vsock_event_run(struct vsock_dev *dev)
{
    struct virtio_vsock_event event = { .id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET };
    struct virtqueue *vq = vsock_vq(dev, VSOCK_EVENT);
    int r;

    if (!dev->event_pending)
        return;
    r = virtqueue_pop(vq, LEASE_WRITE, &dev->event_chain);
    if (r == 0 && virtqueue_set_notify(vq, true) == 1)
        r = virtqueue_pop(vq, LEASE_WRITE, &dev->event_chain);
    if (r == 1 && virtq_chain_write(&dev->event_chain, 0, &event, sizeof(event)) < sizeof(event))
        r = -EPROTO;
    if (r == 1)
        r = virtqueue_push(vq, &dev->event_chain, sizeof(event)) < 0 ? -EPROTO : 1;
    if (r == 1) {
        dev->event_pending = false;
        virtio_dev_notify(&dev->vdev, vq);
    } else if (r == -EPROTO) {
        virtq_chain_release(vq->mem, &dev->event_chain);
        virtio_dev_break(&dev->vdev, "event ring or buffer makes no sense");
    }
}

/* --- life --- */

static void vsock_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    struct virtio_vsock_config config = { .guest_cid = vsock_of(vdev)->cid };

    memset(data, 0, len);
    if (off < sizeof(config))
        memcpy(data, (const uint8_t *)&config + off, MIN(len, sizeof(config) - off));
}

static void vsock_config_write(struct virtio_dev *vdev, uint32_t off, const void *data,
                               uint32_t len)
{
    (void)vdev; /* 5.10.4: the driver only reads it */
    (void)off;
    (void)data;
    (void)len;
}

static void vsock_kick(struct virtio_dev *vdev, unsigned index)
{
    struct vsock_dev *dev = vsock_of(vdev);

    if (!dev->running || vdev->broken || index >= VSOCK_N_QUEUES || !vdev->vqs[index].enabled)
        return;
    if (index == VSOCK_RX) {
        if (virtqueue_set_notify(&vdev->vqs[index], false) == 0)
            vsock_pump(dev);
    } else if (index == VSOCK_TX) {
        vsock_tx_run(dev);
    } else {
        vsock_event_run(dev);
    }
    vsock_conn_reap(dev);
}

static void vsock_again_cb(void *ctx)
{
    struct vsock_dev *dev = ctx;
    unsigned mask = dev->again_mask;

    dev->again_mask = 0;
    for (unsigned i = 0; i < VSOCK_N_QUEUES; i++) {
        if (mask >> i & 1)
            vsock_kick(&dev->vdev, i);
    }
}

static void vsock_resume(struct virtio_dev *vdev)
{
    struct vsock_dev *dev = vsock_of(vdev);

    if (!dev->started)
        return;
    dev->running = true;
    vsock_unix_watch(dev, !dev->rx_stalled);
}

static int vsock_start(struct virtio_dev *vdev)
{
    vsock_of(vdev)->started = true;
    vsock_resume(vdev);
    return 0;
}

static void vsock_quiesce(struct virtio_dev *vdev)
{
    struct vsock_dev *dev = vsock_of(vdev);

    dev->running = false;
    vsock_unix_watch(dev, false);
    evloop_timer_arm(dev->again, 0);
    dev->again_mask = 0; /* a resume kicks every queue */
}

static void vsock_reset(struct virtio_dev *vdev)
{
    struct vsock_dev *dev = vsock_of(vdev);

    vsock_quiesce(vdev);
    vsock_conn_kill_all(dev);
    dev->started = false;
    dev->rx_stalled = dev->tx_blocked = dev->event_pending = false;
}

static int vsock_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    (void)ec;
    snapshot_put_u64(w, vsock_of(vdev)->cid);
    return 0;
}

static int vsock_load(struct virtio_dev *vdev, struct snapshot_reader *r, uint32_t version,
                      struct errctx *ec)
{
    struct vsock_dev *dev = vsock_of(vdev);
    uint64_t cid = snapshot_get_u64(r);

    if (version != VSOCK_STATE_VERSION)
        return errctx_set(ec, EINVAL, "%s: saved state of version %u is not known", vdev->name,
                          version);
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: saved state is cut short", vdev->name);
    if (cid != dev->cid)
        return errctx_set(ec, EINVAL, "%s: saved state is of another CID", vdev->name);
    vsock_conn_kill_all(dev);
    dev->rx_stalled = dev->tx_blocked = false;
    dev->event_pending = true;
    return 0;
}

static void vsock_destroy(struct virtio_dev *vdev)
{
    struct vsock_dev *dev = vsock_of(vdev);

    vsock_conn_kill_all(dev);
    vsock_unix_close(dev);
    evloop_timer_free(dev->again);
    virtq_chain_fini(vdev->mem, &dev->rx_chain);
    virtq_chain_fini(vdev->mem, &dev->tx_chain);
    virtq_chain_fini(vdev->mem, &dev->event_chain);
    free(dev);
}

static const struct virtio_ops vsock_ops = {
    .type = "vsock",
    .version = VSOCK_STATE_VERSION,
    .virtio_id = VIRTIO_ID_VSOCK,
    .pci_class = 0x078000, /* communication controller, other */
    .config_read = vsock_config_read,
    .config_write = vsock_config_write,
    .start = vsock_start,
    .kick = vsock_kick,
    .quiesce = vsock_quiesce,
    .resume = vsock_resume,
    .reset = vsock_reset,
    .save = vsock_save,
    .load = vsock_load,
    .destroy = vsock_destroy,
};

static int vsock_check_cid(uint64_t cid, struct errctx *ec)
{
    if (cid < VSOCK_CID_MIN || cid >= UINT32_MAX)
        return errctx_set(ec, EINVAL, "cid: %llu is not a guest's; use %u to %u",
                          (unsigned long long)cid, VSOCK_CID_MIN, UINT32_MAX - 1);
    return 0;
}

int vsock_new(const struct device_env *env, uint64_t cid, const char *path,
              struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct vsock_dev *dev;
    int r = vsock_check_cid(cid, ec);

    if (r < 0)
        return r;
    dev = calloc(1, sizeof(*dev));
    if (dev == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the device");
    dev->cid = cid;
    TAILQ_INIT(&dev->ready);
    dev->vdev.ops = &vsock_ops;
    (void)snprintf(dev->vdev.name, sizeof(dev->vdev.name), "%s", env->name);
    dev->vdev.n_queues = VSOCK_N_QUEUES;
    for (unsigned i = 0; i < VSOCK_N_QUEUES; i++)
        dev->vdev.queue_max[i] = VSOCK_QUEUE_MAX;
    dev->vdev.config_len = sizeof(struct virtio_vsock_config);
    dev->vdev.loop = env->loop;
    dev->vdev.mem = env->mem;
    r = vsock_unix_open(dev, path, ec);
    if (r == 0)
        r = evloop_timer_new(env->loop, vsock_again_cb, dev, &dev->again, ec);
    if (r < 0) {
        vsock_destroy(&dev->vdev);
        return r;
    }
    *ret_dev = &dev->vdev;
    return 0;
}

/* --- the option --- */

static const struct device_key vsock_keys[] = {
    { .name = "cid",
      .kind = DEVICE_KEY_UINT,
      .required = true,
      .max = UINT32_MAX - 1,
      .help = "the guest's address, 3 or more" },
    { .name = "socket",
      .kind = DEVICE_KEY_PATH,
      .required = true,
      .help = "socket that leads to the guest's ports; PATH_PORT are the guest's ways out" },
    { .name = NULL },
};

static int vsock_check(const struct device_args *args, struct errctx *ec)
{
    int r = vsock_check_cid(device_args_number(args, "cid", 0), ec);

    return r < 0 ? errctx_wrap(ec, r, "--vsock") : 0;
}

static int vsock_create(const struct device_args *args, const struct device_env *env,
                        struct virtio_dev **ret_dev, struct errctx *ec)
{
    int r = vsock_new(env, device_args_number(args, "cid", 0),
                      device_args_get(args, "socket")->text, ret_dev, ec);

    return r < 0 ? errctx_wrap(ec, r, "--vsock") : 0;
}

static void vsock_needs(const struct device_args *args, struct device_needs *needs)
{
    needs->socket = device_args_get(args, "socket")->text;
}

const struct device_type vsock_device_type = {
    .name = "vsock",
    .single = true,
    .help = "sockets between host and guest, through Unix sockets of the host",
    .keys = vsock_keys,
    .check = vsock_check,
    .create = vsock_create,
    .needs = vsock_needs,
};
