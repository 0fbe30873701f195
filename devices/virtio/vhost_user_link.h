/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a vhost-user back end: requests and their replies (QEMU's docs/interop/
 * vhost-user, "Vhost-user Protocol").
 *
 * The back end is not trusted. A reply has to name the request, carry the flags and the length that
 * the request asks for, and come before the time is over that the whole conversation got;
 * descriptors that come with it never become ours, since closing what somebody else made can take
 * as long as he likes (close(2) of a FUSE file waits for its server). From Linux 6.16 on the kernel
 * refuses them for us when they are sent; before, it closes them while we receive. Whatever else comes ends the
 * connection, since nothing after it can be told apart. Calls block, for no longer than that; one
 * thread at a time.
 */
#ifndef DEVICES_VIRTIO_VHOST_USER_LINK_H
#define DEVICES_VIRTIO_VHOST_USER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

/* May the other end send descriptors? Linux 6.16; headers of Debian 12 do not have it. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

enum vhost_user_request {
    VU_GET_FEATURES = 1,
    VU_SET_FEATURES = 2,
    VU_SET_OWNER = 3,
    VU_SET_MEM_TABLE = 5,
    VU_SET_VRING_NUM = 8,
    VU_SET_VRING_ADDR = 9,
    VU_SET_VRING_BASE = 10,
    VU_GET_VRING_BASE = 11,
    VU_SET_VRING_KICK = 12,
    VU_SET_VRING_CALL = 13,
    VU_GET_PROTOCOL_FEATURES = 15,
    VU_SET_PROTOCOL_FEATURES = 16,
    VU_GET_QUEUE_NUM = 17,
    VU_SET_VRING_ENABLE = 18,
    VU_GET_CONFIG = 24,
    VU_SET_CONFIG = 25,
    VU_GET_MAX_MEM_SLOTS = 36,
    VU_ADD_MEM_REG = 37,
};

enum {
    VU_F_PROTOCOL_FEATURES = 30, /* of GET_FEATURES */
    /* of GET_PROTOCOL_FEATURES */
    VU_PROTOCOL_MQ = 0,
    VU_PROTOCOL_REPLY_ACK = 3,
    VU_PROTOCOL_CONFIG = 9,
    VU_PROTOCOL_CONFIGURE_MEM_SLOTS = 15,

    VU_TABLE_REGIONS = 8, /* of one SET_MEM_TABLE, and of its descriptors */
    VU_CONFIG_MAX = 256,
    VU_PATIENCE_START_MS = 20000, /* for a hello: it may be starting itself */
    VU_PATIENCE_MS = 10000,       /* for starting or stopping all rings */
};

struct vhost_user_link {
    int fd;            /* -1: not connected */
    bool acks;         /* REPLY_ACK: each request without a reply of its own is answered */
    uint64_t until_ns; /* when all that is asked has to have been answered */
};

/* One request. */
struct vhost_user_msg {
    enum vhost_user_request request;
    const void *payload;
    uint32_t len;
    const int *fds;
    unsigned n_fds;
};

/** vhost_user_connect() - to the back end that listens at @path. Return: 0, -EINVAL (path too long)
 *  or the errno of socket or connect. It has VU_PATIENCE_START_MS. */
int vhost_user_connect(const char *path, struct vhost_user_link *ret_link, struct errctx *ec);

/** vhost_user_allow() - what is asked from now on has to be answered in @ms, all of it together. */
void vhost_user_allow(struct vhost_user_link *link, int ms);

/** vhost_user_close() - any thread that has it; nothing happens for one that is not connected. */
void vhost_user_close(struct vhost_user_link *link);

/**
 * vhost_user_tell() - send @msg, and have it confirmed where both sides agreed on that.
 * Return: 0; -EREMOTEIO (the back end refused it); -ETIMEDOUT; -EPROTO (the reply makes no sense);
 * -ECONNRESET (it has gone); another errno of sendmsg or recv. After all but the first two the
 * link is of no use.
 */
int vhost_user_tell(struct vhost_user_link *link, const struct vhost_user_msg *msg,
                    struct errctx *ec);

/** vhost_user_ask() - send @msg; its reply has exactly @len bytes. As above, and no -EREMOTEIO.
 *  @ret_reply: untouched on failure but for what it would have been. */
int vhost_user_ask(struct vhost_user_link *link, const struct vhost_user_msg *msg, void *ret_reply,
                   uint32_t len, struct errctx *ec);

/* The same for one number. */
int vhost_user_tell_u64(struct vhost_user_link *link, enum vhost_user_request request,
                        uint64_t value, struct errctx *ec);
int vhost_user_ask_u64(struct vhost_user_link *link, enum vhost_user_request request,
                       uint64_t *ret_value, struct errctx *ec);

/* For one ring: its index and a number. */
struct vhost_user_ring {
    uint32_t index;
    uint32_t number;
};
int vhost_user_tell_ring(struct vhost_user_link *link, enum vhost_user_request request,
                         uint32_t index, uint32_t number, struct errctx *ec);

#endif
