/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the vhost-user front end share: vhost_user.c is the device, vhost_user_life.c
 * the back end's coming and going, vhost_user_rings.c agrees with it on features, memory and rings,
 * vhost_user_option.c reads the option and knows what each type needs. For them and their tests
 * only.
 */
#ifndef DEVICES_VIRTIO_VHOST_USER_INT_H
#define DEVICES_VIRTIO_VHOST_USER_INT_H

#include <linux/if_ether.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_net.h>

#include "devices/registry.h"
#include "devices/virtio/vhost_user_link.h"
#include "devices/virtio/vring_call.h"

enum { VU_QUEUES_MAX = 16, VU_QUEUE_SIZE = 256, VU_STATE_VERSION = 1 };

struct vu_dev;

/* What one type of device needs. */
struct vu_kind {
    const char *name; /* "fs" */
    const struct virtio_ops *ops;
    uint64_t features;     /* of the back end's, those that the guest is offered */
    uint64_t own_features; /* ours */
    uint32_t config_len;
    unsigned extra_queues; /* beside those that queues= counts */
    bool asks_config;      /* the back end has the configuration */
    bool returns;          /* a new back end can go on in the middle of things */
    bool returns_idle;     /* so, too, where nothing was under way */
};

struct vu_ring {
    struct vu_dev *dev;
    int kick_fd[2]; /* a pair of sockets: ours to ring with, and the back end's to hear */
    struct vring_call call;
    bool told; /* the back end was given it and has not been told to stop */
};

struct vu_dev {
    struct virtio_dev vdev;
    const struct vu_kind *kind;
    char *path;
    struct vhost_user_link link;
    struct evloop_watch *link_watch; /* while the link is up and nobody waits for a reply */
    struct evloop_timer *retry;
    uint64_t retry_ns, served_ns; /* the last pause between two tries; when one succeeded */
    int patience_ms;              /* VU_PATIENCE_MS, but for tests */
    uint64_t said_ns;             /* when the last sentence was said, of */
    unsigned n_said;
    void (*say)(void *ctx, const char *sentence); /* may be NULL */
    void *say_ctx;

    uint64_t back_features; /* what the back end of this connection offers */
    uint64_t protocol;      /* what was agreed upon */
    bool has_memory;        /* the back end of this connection knows the guest's memory */
    struct guest_mem_piece *pieces;
    size_t n_pieces;
    struct vu_ring rings[VU_QUEUES_MAX];

    bool started; /* between the driver's DRIVER_OK and its reset */
    bool running; /* the back end serves the rings */
    bool quiet;   /* between quiesce and resume: nobody touches the guest's memory */

    union {
        struct virtio_fs_config fs;
        struct virtio_blk_config blk;
        struct virtio_net_config net;
        uint8_t bytes[VU_CONFIG_MAX];
    } config;          /* constant once the device is made, but for: */
    uint16_t net_status; /* atomic */
};

/** vu_hello() - agree on features with the back end that the link leads to, read the configuration.
 *  @again: it is not the first, and has to be like the first one. Return: 0, an errno of
 *  vhost_user_tell(), or -ENOTSUP (it cannot do what is needed). */
int vu_hello(struct vu_dev *dev, bool again, struct errctx *ec);

/** vu_rings_check() - Return: 0, or -EFAULT (a ring lies where a back end cannot follow it). */
int vu_rings_check(const struct vu_dev *dev, struct errctx *ec);

/** vu_rings_start() - tell memory and rings, which were checked, from ->next_avail on.
 *  vu_rings_stop() - have the back end stop, and take over where it stood. Loop thread. Return: 0 or
 *  as above. */
int vu_rings_start(struct vu_dev *dev, struct errctx *ec);
int vu_rings_stop(struct vu_dev *dev, struct errctx *ec);

/** vu_rings_rewind() - go on where the used rings end: for a back end that takes over. */
int vu_rings_rewind(struct vu_dev *dev);

/** vu_rings_idle() - whether all that the driver asked for was answered. */
bool vu_rings_idle(const struct vu_dev *dev);

/** vu_say() - one sentence about @dev to who runs the machine. A guest can bring most of them about,
 *  so after the first few there is one in a while. */
void vu_say(struct vu_dev *dev, const char *what, const char *why);

/** vu_ring_make(), vu_ring_drop() - the descriptors by which both sides ring. Loop thread or idle. */
int vu_ring_make(struct vu_dev *dev, struct vu_ring *ring, struct errctx *ec);
void vu_ring_drop(struct vu_ring *ring);

/** vu_link_watch() - from now on, whatever comes on the link ends it. */
int vu_link_watch(struct vu_dev *dev, struct errctx *ec);

/** vu_serve() - have the back end serve the rings, a new one where the last one is gone; one that
 *  refuses is hung up on. Return: 0, the errno of connect(), or as vu_hello() and vu_rings_*(). */
int vu_serve(struct vu_dev *dev, struct errctx *ec);

/** vu_stop() - the opposite. The link is lost where that fails. */
void vu_stop(struct vu_dev *dev);

/** vu_lose() - the link is of no use any more. */
void vu_lose(struct vu_dev *dev, const char *why);

/** vu_wait() - for a back end; a network's link is down meanwhile. */
void vu_wait(struct vu_dev *dev);

/** vu_retry() - the timer's. */
void vu_retry(void *ctx);

/** vu_stir() - have both sides look at all rings: what one told the other while nobody carried it
 *  is lost. */
void vu_stir(struct vu_dev *dev);

/** vu_dev_new() - takes @dev over, whose ->kind, ->path, ->config are filled; connects.
 *  @queues: what queues= says. */
int vu_dev_new(struct vu_dev *dev, const struct device_env *env, unsigned queues,
               struct virtio_dev **ret_dev, struct errctx *ec);

extern const struct virtio_ops vu_fs_ops, vu_blk_ops, vu_net_ops;

#endif
