/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device's parts and how they fit together.
 *
 *   net.c         the device: configuration space, life cycle, which queue is which
 *   net_rx.c      guest buffers: a frame into one or several chains
 *   net_tx.c      frames out of chains into the backend
 *   net_ctrl.c    the control queue
 *   net_option.c  the option row: keys, MAC address, forwards
 *   net_tap.c     backend: a TAP interface of the host, served by us or by the kernel (vhost_net.c)
 *   net_slirp.c   backend: a network in user space
 *
 * A frame always carries the 12-byte struct virtio_net_hdr_v1 in front, in guest memory and at
 * the backend, so that a TAP needs no translation at all. Everything here runs on the device's
 * loop thread, unless a comment says otherwise.
 */
#ifndef DEVICES_VIRTIO_NET_INT_H
#define DEVICES_VIRTIO_NET_INT_H

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/registry.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/evloop.h"

enum {
    NET_MAX_PAIRS = 16,
    NET_QUEUE_MAX = 256, /* descriptors a queue */
    NET_RX_CHAINS = 256, /* chains held for one received frame */
    NET_BUDGET = 256,    /* chains or frames served before other work of the loop gets a turn */
    NET_HDR_LEN = sizeof(struct virtio_net_hdr_v1),
    NET_FRAME_MAX = NET_HDR_LEN + ETH_HLEN + 4 + 65535, /* a VLAN tag more than the plain one */
};

struct net_dev;
struct net_backend;

struct net_rx {
    struct virtq_chain pool[NET_RX_CHAINS]; /* taken from the ring for the frame to come */
    unsigned n_pool;
    size_t pool_bytes;
    size_t want_bytes;    /* what the next frame is expected to need */
    size_t biggest;       /* frame of this burst */
    uint8_t *bounce;      /* NET_FRAME_MAX; what the pool has no room for */
    size_t pending_bytes; /* a whole frame in bounce that waits for guest buffers; 0: none */
    bool stalled;         /* the guest owes buffers; its doorbell continues */
    bool dirty;           /* the used ring moved since the last interrupt */
};

struct net_tx {
    struct virtq_chain chain;
    bool blocked; /* the backend is full; it calls net_tx_run() when that changed */
};

struct net_pair {
    struct net_dev *dev;
    unsigned index;
    struct net_rx rx;
    struct net_tx tx;
};

struct net_dev {
    struct virtio_dev vdev; /* first */
    struct net_backend *be;
    struct evloop_later *again; /* comes back to queues that may have more */
    uint64_t again_mask;        /* by queue index */
    unsigned max_pairs, cur_pairs;
    unsigned start_pairs; /* that start() begins with: 1, or what a saved state says */
    bool started;         /* between DRIVER_OK and reset */
    bool running;         /* started and not quiesced */
    uint16_t mtu;
    uint8_t mac[ETH_ALEN];
    uint16_t status; /* atomic: vCPU threads read it from configuration space */
    struct virtq_chain ctrl_chain;
    struct net_pair *pairs; /* max_pairs */
    void (*say)(void *ctx, const char *sentence); /* may be NULL */
    void *say_ctx;
};

/* A way out of the machine. Calls come while the device runs unless stated otherwise. One that has
 * receive and transmit queues served elsewhere (->serves_queues) needs none of those about frames. */
struct net_backend_ops {
    /* The device is made: be->dev is set. Idle. 0 or -errno. Optional. */
    int (*attach)(struct net_backend *be, struct errctx *ec);
    /* The driver is ready and agreed on @features (device not running yet). 0 or -errno. */
    int (*start)(struct net_backend *be, uint64_t features);
    /* Serve pairs 0..@n-1 only. 0 or -errno. Also called before the first run. */
    int (*set_pairs)(struct net_backend *be, unsigned n);
    /* Begin or continue to deliver frames. */
    void (*run)(struct net_backend *be);
    /* Touch no queue until run() again. */
    void (*stop)(struct net_backend *be);
    /* The driver is gone, or will be another one: stopped. Optional. */
    void (*reset)(struct net_backend *be);
    /* The guest has new buffers for @pair, which had run out of them. */
    void (*rx_ready)(struct net_backend *be, unsigned pair);
    /* Take one frame. 0: taken or lost for good; -EAGAIN: not now, net_tx_run() follows. */
    int (*send)(struct net_backend *be, unsigned pair, const struct virtq_chain *chain);
    /* A burst of send() calls ended. Optional. */
    void (*send_end)(struct net_backend *be, unsigned pair);
    /* Not running. */
    void (*destroy)(struct net_backend *be);
};

/* Embedded first in each backend's own struct. */
struct net_backend {
    const struct net_backend_ops *ops;
    struct net_dev *dev; /* set by net_dev_new() */
    uint64_t features;   /* offloads it can carry; the device adds its own */
    uint64_t lacking;    /* of what the device and its rings have: what it cannot do */
    bool serves_queues;  /* all but the control queue, whose doorbells it takes */
    uint16_t mtu;        /* 0: not announced */
    unsigned max_pairs;
};

/**
 * net_dev_new() - the device around @be. Takes @be over, also on failure.
 * Return: 0 or -ENOMEM.
 */
int net_dev_new(const struct device_env *env, struct net_backend *be, const uint8_t mac[ETH_ALEN],
                struct virtio_dev **ret_dev, struct errctx *ec);

/** net_again() - have queue @index kicked once more after other work of the loop. */
void net_again(struct net_dev *dev, unsigned index);
/** net_set_pairs() - 1..max_pairs; 0 or -errno of the backend. */
int net_set_pairs(struct net_dev *dev, unsigned n);
/** net_link_down() - the host's side is gone for good; tell the driver. */
void net_link_down(struct net_dev *dev);

struct virtqueue *net_rx_vq(struct net_pair *pair);
struct virtqueue *net_tx_vq(struct net_pair *pair);

/**
 * net_rx_frame() - deliver a frame that lies in our memory.
 * @hdr: num_buffers is filled in here. @frame: from the Ethernet header on.
 * Return: 0 delivered, or lost because no chain of this driver can ever hold it; -EAGAIN: no
 * buffers now, the backend's rx_ready() follows; -EPROTO: the device broke.
 */
int net_rx_frame(struct net_pair *pair, const struct virtio_net_hdr_v1 *hdr, const void *frame,
                 size_t len);

/**
 * net_rx_read() - read one frame from @fd into guest buffers.
 * Return: 1 one frame was taken; 0 @fd has none; -EAGAIN as above; -EPROTO as above; another
 * -errno of readv().
 */
int net_rx_read(struct net_pair *pair, int fd);

/** net_rx_end() - after a burst: return what was held and interrupt the driver if need be. */
void net_rx_end(struct net_pair *pair);
/** net_rx_reset() - forget the frame that waits. */
void net_rx_reset(struct net_pair *pair);

/** net_tx_run() - send what the guest has queued. */
void net_tx_run(struct net_pair *pair);

/** net_ctrl_run() - serve the control queue @vq. */
void net_ctrl_run(struct net_dev *dev, struct virtqueue *vq);

/** net_tap_name_check() - -EINVAL with a sentence when no interface can have that name. */
int net_tap_name_check(const char *name, struct errctx *ec);

/**
 * net_tap_new() - attach to TAP interface @name, or make one that goes when we go.
 * @vhost: have the host's kernel serve the queues (vhost_net.h).
 * Return: 0, -EINVAL (not a name), -EPERM, -EBUSY, or the errno of open and ioctl, with a
 * sentence that says what to do.
 */
int net_tap_new(const char *name, unsigned queues, bool vhost, const struct device_env *env,
                struct net_backend **ret_be, struct errctx *ec);

/* One port of the host that leads into the guest. */
struct net_forward {
    bool udp;
    uint32_t host_addr, guest_addr; /* network order; guest_addr 0: the first DHCP address */
    uint16_t host_port, guest_port;
};

/** net_forward_parse() - "tcp:[ADDR]:PORT-[GUESTADDR]:PORT"; ADDR defaults to 127.0.0.1.
 *  Return: 0 or -EINVAL with a sentence. */
int net_forward_parse(const char *text, struct net_forward *ret_fwd, struct errctx *ec);

/** net_mac_parse() - "02:00:00:00:00:01"; multicast and all-zero addresses are refused. */
int net_mac_parse(const char *text, uint8_t ret_mac[ETH_ALEN], struct errctx *ec);
/** net_mac_default() - a locally administered address that depends on the names only. */
void net_mac_default(const char *vm_name, const char *dev_name, uint8_t ret_mac[ETH_ALEN]);

struct net_slirp_config {
    bool restricted;
    const struct net_forward *forwards; /* copied nowhere: used during the call only */
    size_t n_forwards;
};

/**
 * net_slirp_new() - a network of its own for the guest, 10.0.2.0/24.
 * Return: 0, -ENOMEM, or the errno of binding a forwarded port, the sentence naming it.
 */
int net_slirp_new(const struct net_slirp_config *config, struct evloop *loop,
                  struct net_backend **ret_be, struct errctx *ec);

#endif
