/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics of the guest's memory (virtio 1.2, 5.5.6.3). The driver offers one buffer with its
 * counters; the device keeps it, read, and hands it back when it wants to know anew. Only the
 * buffer's number is kept, so nothing is leased meanwhile.
 */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <string.h>

#include "devices/virtio/balloon_int.h"
#include "vmm/base/macros.h"

enum { STAT_BYTES = 10 /* a tag of 2 bytes, a value of 8 */, STATS_READ = 64 };

const char *balloon_stat_name(unsigned i)
{
    static const char *const names[BALLOON_STATS] = {
        "swapped-in", "swapped-out", "major-faults", "minor-faults",
        "free",       "total",       "available",    "caches",
        "huge-taken", "huge-failed", "oom-kills",    "stalls",
        "scanned",    "scanned-directly", "reclaimed", "reclaimed-directly",
    };

    return i < BALLOON_STATS ? names[i] : NULL;
}

static void read_stats(struct balloon *b)
{
    uint8_t raw[STAT_BYTES * STATS_READ];
    const size_t n = virtq_chain_read(&b->chain, 0, raw, sizeof(raw)) / STAT_BYTES;

    b->stats_there = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t tag;

        memcpy(&tag, raw + i * STAT_BYTES, sizeof(tag));
        if (tag >= BALLOON_STATS)
            continue;
        memcpy(&b->stats[tag], raw + i * STAT_BYTES + sizeof(tag), sizeof(b->stats[tag]));
        b->stats_there |= 1u << tag;
    }
    b->stats_count++;
    b->stats_at_ns = evloop_now_ns();
}

int balloon_stats_serve(struct balloon *b, struct virtqueue *vq)
{
    int r = virtqueue_pop(vq, LEASE_WRITE, &b->chain);

    if (r <= 0)
        return r;
    read_stats(b);
    virtq_chain_release(b->vdev.mem, &b->chain);
    if (b->stats_held) /* there should be one buffer; the earlier one goes back */
        r = virtqueue_push_head(vq, b->stats_head, 0);
    b->stats_held = true;
    b->stats_head = b->chain.head;
    return r < 0 ? r : 1;
}

void balloon_stats_return(struct balloon *b)
{
    struct virtqueue *vq = &b->vdev.vqs[BALLOON_STATS_QUEUE];

    if (!b->running || b->quiesced || b->vdev.broken || !b->stats_held)
        return;
    b->stats_held = false;
    if (virtqueue_push_head(vq, b->stats_head, 0) < 0)
        virtio_dev_break(&b->vdev, "the ring makes no sense");
    virtio_dev_notify(&b->vdev, vq);
}

void balloon_stats_arm(struct balloon *b)
{
    if (b->stats_ns > 0)
        evloop_timer_arm(b->stats_timer, evloop_now_ns() + b->stats_ns);
}

void balloon_stats_due(void *ctx)
{
    struct balloon *b = ctx;

    balloon_stats_return(b);
    balloon_stats_arm(b);
}

void balloon_stats_forget(struct balloon *b)
{
    b->stats_held = false;
    b->stats_count = 0;
    b->stats_there = 0;
}

void balloon_stats_save(const struct balloon *b, struct snapshot_writer *w)
{
    snapshot_put_u8(w, b->stats_held);
    snapshot_put_u16(w, b->stats_head);
    snapshot_put_u64(w, b->stats_count);
    snapshot_put_u32(w, b->stats_there);
    for (unsigned i = 0; i < BALLOON_STATS; i++)
        snapshot_put_u64(w, b->stats[i]);
}

int balloon_stats_load(struct balloon *b, struct snapshot_reader *r, struct errctx *ec)
{
    b->stats_held = snapshot_get_u8(r) & 1;
    b->stats_head = snapshot_get_u16(r);
    b->stats_count = snapshot_get_u64(r);
    b->stats_there = snapshot_get_u32(r) & ((1u << BALLOON_STATS) - 1);
    for (unsigned i = 0; i < BALLOON_STATS; i++)
        b->stats[i] = snapshot_get_u64(r);
    b->stats_at_ns = evloop_now_ns();
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: the saved statistics are cut off", b->vdev.name);
    if (b->stats_held && b->stats_head >= BALLOON_QUEUE_SIZE)
        return errctx_set(ec, EINVAL, "%s: a saved buffer is not of its queue", b->vdev.name);
    return 0;
}
