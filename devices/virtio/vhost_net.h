/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pair of a network's queues that the host's kernel serves (vhost-net), between guest memory and a
 * TAP. The control queue, configuration and life cycle stay ours.
 *
 *   made --start--> running <--stop/start--> stopped --reset--> made
 *
 * While it runs, its two rings are the kernel's, doorbells included; after a stop they are ours from
 * where it left them, and nothing is under way. Threading: the device's loop, or whoever has it idle.
 */
#ifndef DEVICES_VIRTIO_VHOST_NET_H
#define DEVICES_VIRTIO_VHOST_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/virtio.h"

struct vhost_net;

/**
 * vhost_net_new() - open /dev/vhost-net, and see that it takes this memory.
 * @mem: borrowed, outlives the result. @loop: the device's.
 * @failed: on the loop, when a ring makes no sense or cannot be reached (any more); called with @ctx.
 * Return: 0; the errno of open; -ENOTSUP (no virtio 1); -ENOMEM; or the errno of an ioctl; each with a
 * sentence.
 */
int vhost_net_new(struct guest_mem *mem, struct evloop *loop, void (*failed)(void *ctx), void *ctx,
                  struct vhost_net **ret_net, struct errctx *ec);

/** vhost_net_free() - also one that runs, and whose device has no transport any more. NULL is
 *  allowed. */
void vhost_net_free(struct vhost_net *net);

/** vhost_net_features() - those of the rings and of received frames that it knows. */
uint64_t vhost_net_features(const struct vhost_net *net);

/** vhost_net_attach() - once, before the first start: rings are queues @first and @first + 1 of
 *  @vdev. Return: 0, or the errno of eventfd or of watching one. */
int vhost_net_attach(struct vhost_net *net, struct virtio_dev *vdev, unsigned first,
                     struct errctx *ec);

/** vhost_net_start() - have the kernel serve those of the rings that are enabled, with the TAP of
 *  @tap_fd, from ->next_avail on. Nothing happens where it does already. Return: 0 or the errno of an
 *  ioctl; the rings are ours then. */
int vhost_net_start(struct vhost_net *net, int tap_fd, struct errctx *ec);

/** vhost_net_stop() - waits for what the kernel is doing. Also where nothing runs. */
void vhost_net_stop(struct vhost_net *net);

/** vhost_net_reset() - stopped; the kernel's thread ends. The next start makes one anew, where the
 *  thread that calls it may run, and in its cgroup. */
void vhost_net_reset(struct vhost_net *net);

#endif
