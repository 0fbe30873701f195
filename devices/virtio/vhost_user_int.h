/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the vhost-user front end share: vhost_user.c is the device, vhost_user_rings.c
 * agrees with the back end on features, memory and rings, vhost_user_option.c reads the option and
 * knows what each type needs. For them and their tests only.
 */
#ifndef DEVICES_VIRTIO_VHOST_USER_INT_H
#define DEVICES_VIRTIO_VHOST_USER_INT_H

#include <linux/if_ether.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_net.h>

#include "devices/registry.h"
#include "devices/virtio/vhost_user_link.h"

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
};

struct vu_ring {
    struct vu_dev *dev;
    int kick_fd, call_fd; /* eventfds; shared with the back end */
    struct evloop_watch *call_watch;
    bool told; /* the back end was given it and has not been told to stop */
};

struct vu_dev {
    struct virtio_dev vdev;
    const struct vu_kind *kind;
    char *path;
    struct vhost_user_link link;
    struct evloop_watch *link_watch; /* while the link is up and nobody waits for a reply */
    struct evloop_timer *retry;
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

/** vu_rings_start() - tell memory and rings, from ->next_avail on. vu_rings_stop() - have the back
 *  end stop, and take over where it stood. Loop thread. Return: 0 or as above; -EFAULT (a ring lies
 *  where the back end cannot follow it). */
int vu_rings_start(struct vu_dev *dev, struct errctx *ec);
int vu_rings_stop(struct vu_dev *dev, struct errctx *ec);

/** vu_rings_rewind() - go on where the used rings end: for a back end that takes over. */
int vu_rings_rewind(struct vu_dev *dev);

/** vu_dev_new() - takes @dev over, whose ->kind, ->path, ->config are filled; connects.
 *  @queues: what queues= says. */
int vu_dev_new(struct vu_dev *dev, const struct device_env *env, unsigned queues,
               struct virtio_dev **ret_dev, struct errctx *ec);

extern const struct virtio_ops vu_fs_ops, vu_blk_ops, vu_net_ops;

#endif
