/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory balloon (virtio 1.2, 5.5): the guest gives pages to the host and takes them back, tells
 * which of its free pages it does not need, and how it fares.
 *
 * The functions below are for the machine and run what they do on the device's loop, so they may be
 * called from any thread that does not hold up that loop.
 */
#ifndef DEVICES_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/registry.h"

enum { BALLOON_STATS = 16 /* what drivers count, by the tags of 5.5.6.3 and later ones of Linux */ };

/* What of a virtual node's memory the guest has given away. The first two have no memory of the
 * host's behind them at the moment of asking, the third has. */
struct balloon_node {
    uint64_t ballooned_bytes; /* in the balloon */
    uint64_t reported_bytes;  /* reported free and not used since; not in the balloon */
    uint64_t kept_bytes;      /* in the balloon and with memory: in use, part of a larger page, or
                               * used again by a guest that did not say so */
    uint64_t returned_bytes;  /* that the host got back by inflating, since the last reset */
};

struct balloon_status {
    bool driver;           /* a driver runs the device */
    uint64_t target_bytes; /* what is to be in the balloon */
    uint64_t told_bytes;   /* what the driver says is; it may say anything */
    uint64_t rejected;     /* page numbers that are no RAM, since the last reset */
    uint64_t gone_bytes;   /* that went back to the host in all, since the last reset */
    uint64_t stats_count;  /* how often statistics came since the last reset */
    uint64_t stats_age_ns; /* when they came last; with stats_count > 0 */
    uint32_t stats_there;  /* bit per tag: what the driver told then */
    uint64_t stats[BALLOON_STATS];
};

/** balloon_stat_name() - a word for tag @i, or NULL. */
const char *balloon_stat_name(unsigned i);

/** balloon_set_target() - ask the driver for a balloon of @bytes, rounded down to pages. Return: 0,
 *  or -ERANGE with a sentence: the guest has less memory. */
int balloon_set_target(struct virtio_dev *dev, uint64_t bytes, struct errctx *ec);

/** balloon_ask_stats() - have the driver tell its statistics soon; balloon_status.stats_count grows
 *  when they are there. Nothing happens without a driver that counts. */
void balloon_ask_stats(struct virtio_dev *dev);

/** balloon_status() - how it stands. */
void balloon_status(struct virtio_dev *dev, struct balloon_status *ret_status);

/** balloon_account() - look at every page that was given away. @nodes: one per virtual node, filled.
 *  Return: 0, or the errno of looking. */
int balloon_account(struct virtio_dev *dev, struct balloon_node *nodes, uint32_t n_nodes);

/* --balloon: size=, deflate-on-oom=, reporting=, stats=. */
extern const struct device_type balloon_device_type;

#endif
