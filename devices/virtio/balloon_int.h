/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the balloon share; for them and their tests only. */
#ifndef DEVICES_VIRTIO_BALLOON_INT_H
#define DEVICES_VIRTIO_BALLOON_INT_H

#include <stdatomic.h>

#include "devices/virtio/balloon.h"
#include "devices/virtio/page_map.h"
#include "devices/virtio/virtio.h"

enum {
    BALLOON_INFLATE,
    BALLOON_DEFLATE,
    BALLOON_STATS_QUEUE, /* of reports, where the driver agreed on no statistics */
    BALLOON_QUEUES = 5,
    BALLOON_QUEUE_SIZE = 128,
    BALLOON_REQUEST_PAGES = 16384, /* the most page numbers that one request may have */
    BALLOON_KICK_PAGES = 16384,    /* after so many a kick lets others have their turn */
    BALLOON_KICK_REQUESTS = 32,
    BALLOON_WINDOW_PAGES = 4096, /* that are looked at at once */
};

struct balloon_range {
    uint64_t addr, len_bytes;
};

struct balloon {
    struct virtio_dev vdev;

    /* Device configuration (5.5.4), between vCPUs and the loop. */
    _Atomic uint32_t num_pages, actual, poison_val;

    /* Loop thread. */
    bool running, quiesced;
    bool tell_target; /* the driver is to hear of a new target when the device is resumed */
    struct page_map map;
    struct page_set in_balloon;
    struct page_set reported; /* free when the guest said so; those used since leave it when the
                               * account is made */
    uint64_t rejected, gone_bytes;
    uint64_t *inflated_bytes; /* of gone_bytes, by inflating; for each range of ->map */
    uint64_t stats_ns; /* how often statistics are asked for; 0: on demand only */
    struct evloop_timer *stats_timer;
    bool stats_held;     /* the driver's buffer is here, waiting to be handed back */
    uint16_t stats_head;
    uint64_t stats_count, stats_at_ns;
    uint32_t stats_there;
    uint64_t stats[BALLOON_STATS];

    /* Work space. */
    struct virtq_chain chain;
    uint32_t pfns[BALLOON_REQUEST_PAGES];
    struct balloon_range ranges[VIRTQ_CHAIN_MAX];
    uint8_t there[BALLOON_WINDOW_PAGES];
};

/* balloon_pages.c: the account of pages, and giving them back. Loop thread. */

/** balloon_pages_inflate() - the @n pages b->pfns[] are in the balloon. */
void balloon_pages_inflate(struct balloon *b, size_t n);

/** balloon_pages_deflate() - they are not any more. */
void balloon_pages_deflate(struct balloon *b, size_t n);

/** balloon_pages_reported() - the guest does not use what is in the range now. */
void balloon_pages_reported(struct balloon *b, const struct balloon_range *range);

/** balloon_pages_forget() - nothing was ever given away. */
void balloon_pages_forget(struct balloon *b);

int balloon_pages_account(struct balloon *b, struct balloon_node *nodes, uint32_t n_nodes);

void balloon_pages_save(const struct balloon *b, struct snapshot_writer *w);
int balloon_pages_load(struct balloon *b, struct snapshot_reader *r, struct errctx *ec);

/* balloon_stats.c: statistics. Loop thread. */

/** balloon_stats_serve() - take a buffer of the driver's. Return: 1, 0: there is none, -EPROTO. */
int balloon_stats_serve(struct balloon *b, struct virtqueue *vq);

/** balloon_stats_return() - hand the buffer back, if there is one: the driver fills it again. */
void balloon_stats_return(struct balloon *b);

/** balloon_stats_due() - the timer's callback. */
void balloon_stats_due(void *ctx);

/** balloon_stats_arm() - wait for the next time, if there is an interval. */
void balloon_stats_arm(struct balloon *b);

/** balloon_stats_forget() - as after create. */
void balloon_stats_forget(struct balloon *b);

void balloon_stats_save(const struct balloon *b, struct snapshot_writer *w);
int balloon_stats_load(struct balloon *b, struct snapshot_reader *r, struct errctx *ec);

#endif
