/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtio-blk request: from the guest's chain to system calls and back to a status byte.
 *
 * A request is a small state machine that knows no ring and no backend:
 *
 *     begin ──► status                       (refused, or nothing to do)
 *       └─────► BLK_REQ_IO ─► backend ─► next ─► BLK_REQ_IO ... ─► status
 *
 * next() looks at the result of one system call and says what follows: the rest of a short
 * transfer, the next segment of a discard, writing zeroes by hand where the file system cannot,
 * the sync that a write-through disk owes, or the final status.
 */
#ifndef DEVICES_VIRTIO_BLK_REQ_H
#define DEVICES_VIRTIO_BLK_REQ_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/blk_backend.h"
#include "devices/virtio/blk_file.h"
#include "devices/virtio/virtqueue.h"

enum {
    BLK_REQ_IO = -1,  /* not a status: ->io is to be given to the backend */
    BLK_REQ_BAD = -2, /* there is no room for a status byte: the driver cannot be answered */
    BLK_DISCARD_SEGS = 16,
    BLK_ZERO_SEGS = 1,
    BLK_DISCARD_SECTORS = 1 << 21, /* 1 GiB a segment */
    BLK_ZERO_SECTORS = 1 << 17,    /* 64 MiB: may have to be written by hand */
    BLK_RETRIES = 8,
};

/* What a request needs to know about its disk. */
struct blk_disk {
    struct blk_file file;
    char id[VIRTIO_BLK_ID_BYTES]; /* not terminated when it fills the field */
    uint64_t features;            /* negotiated */
};

struct blk_req {
    struct blk_io io; /* first: what a backend returns is the request */
    struct virtq_chain chain;
    struct blk_req *next_free;
    uint8_t *status; /* inside a leased buffer */
    unsigned queue;
    uint32_t type;
    uint64_t filled; /* bytes put into the writable part, from its start */
    unsigned retries;
    bool sync_after;      /* a FLUSH is owed before the answer */
    unsigned n_segs, seg; /* discard and write zeroes */
    bool zero_by_hand;
    struct iovec one; /* last piece of zeroes */
    struct virtio_blk_discard_write_zeroes segs[BLK_DISCARD_SEGS];
};

/**
 * blk_req_begin() - look at a fresh chain (->chain filled, ->queue set).
 * Every value in it is the guest's and is copied before it is checked.
 * Return: a VIRTIO_BLK_S_ status, BLK_REQ_IO or BLK_REQ_BAD.
 */
int blk_req_begin(const struct blk_disk *disk, struct blk_req *req);

/** blk_req_next() - ->io.res is there. Return: a VIRTIO_BLK_S_ status or BLK_REQ_IO. */
int blk_req_next(const struct blk_disk *disk, struct blk_req *req);

/** blk_req_answer() - write the status byte. Return: length for the used ring (2.7.8.2: bytes
 *  that are certainly written from the start of the writable part). */
uint32_t blk_req_answer(struct blk_req *req, int status);

#endif
