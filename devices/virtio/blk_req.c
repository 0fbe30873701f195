/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a virtio disk (virtio 1.2, 5.2.6).
 *
 * The layout of a chain is free (2.7.4.3): the 16-byte header may be spread over descriptors,
 * and the status is simply the last writable byte. What lies between header and status is cut
 * out of the chain's vector in place, so no vector is built per request. The leases keep the
 * original extent.
 *
 * Durability (5.2.6.2): with VIRTIO_BLK_F_FLUSH negotiated the host's cache may hold completed
 * writes until a flush; without it every write is on stable storage before it is answered.
 */
#include "devices/virtio/blk_req.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

static bool blk_req_has(const struct blk_disk *disk, unsigned bit)
{
    return disk->features >> bit & 1;
}

/* --- the vector of the data part -------------------------------------------------------------- */

/* Drop @len bytes from the front of [*iov, *n), and entries without bytes. */
static void iov_skip(struct iovec **iov, unsigned *n, uint64_t len)
{
    while (*n > 0 && len >= (*iov)->iov_len) {
        len -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    if (*n > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
        (*iov)->iov_len -= len;
    }
}

/* Cut the status byte off the end of the writable part. NULL when there is none. */
static uint8_t *blk_req_cut_status(struct virtq_chain *chain)
{
    for (unsigned i = chain->n_write; i-- > 0;) {
        struct iovec *iov = &chain->iov[chain->n_read + i]; /* there may be no array at all */

        if (iov->iov_len > 0) {
            iov->iov_len--;
            return iov->iov_base != NULL ? (uint8_t *)iov->iov_base + iov->iov_len : NULL;
        }
    }
    return NULL;
}

/* --- reads and writes ------------------------------------------------------------------------- */

/* May this transfer go past the page cache? */
static bool blk_req_dio_ok(const struct blk_file *f, const struct blk_io *io)
{
    if ((io->off | io->len) & (f->dio_off_align - 1))
        return false;
    for (unsigned i = 0; i < io->n_iov; i++)
        if (((uintptr_t)io->iov[i].iov_base & (f->dio_mem_align - 1)) ||
            (io->iov[i].iov_len & (f->dio_off_align - 1)))
            return false;
    return true;
}

static int blk_req_begin_rw(const struct blk_disk *disk, struct blk_req *req, uint64_t sector)
{
    bool is_write = req->type == VIRTIO_BLK_T_OUT;
    struct virtq_chain *chain = &req->chain;
    struct blk_io *io = &req->io;
    uint64_t len =
        is_write ? chain->read_bytes - sizeof(struct virtio_blk_outhdr) : chain->write_bytes - 1;

    if (is_write && disk->file.read_only)
        return VIRTIO_BLK_S_IOERR;
    if (len % BLK_SECTOR != 0 || !checked_range(sector, len / BLK_SECTOR, disk->file.sectors))
        return VIRTIO_BLK_S_IOERR;
    if (len == 0)
        return VIRTIO_BLK_S_OK;
    io->op = is_write ? BLK_OP_WRITE : BLK_OP_READ;
    io->off = sector * BLK_SECTOR;
    io->len = len;
    io->dsync = !blk_req_has(disk, VIRTIO_BLK_F_FLUSH);
    io->iov = is_write ? chain->iov : chain->iov + chain->n_read;
    io->n_iov = is_write ? chain->n_read : chain->n_write;
    iov_skip(&io->iov, &io->n_iov, is_write ? sizeof(struct virtio_blk_outhdr) : 0);
    while (io->n_iov > 0 && io->iov[io->n_iov - 1].iov_len == 0)
        io->n_iov--; /* the status stood alone */
    io->buffered = disk->file.direct && !blk_req_dio_ok(&disk->file, io);
    return BLK_REQ_IO;
}

static int blk_req_next_rw(const struct blk_disk *disk, struct blk_req *req)
{
    struct blk_io *io = &req->io;

    if (io->res == -EINVAL && disk->file.direct && !io->buffered) {
        io->buffered = true; /* direct I/O is pickier than it said */
        return BLK_REQ_IO;
    }
    /* No progress: an error, or a file that somebody made shorter. */
    if (io->res <= 0 || (uint64_t)io->res > io->len)
        return VIRTIO_BLK_S_IOERR;
    if (io->op == BLK_OP_READ)
        req->filled += (uint64_t)io->res;
    io->off += (uint64_t)io->res;
    io->len -= (uint64_t)io->res;
    if (io->len == 0)
        return VIRTIO_BLK_S_OK;
    iov_skip(&io->iov, &io->n_iov, (uint64_t)io->res);
    io->buffered = disk->file.direct && !blk_req_dio_ok(&disk->file, io);
    return BLK_REQ_IO;
}

/* --- flush ------------------------------------------------------------------------------------ */

static int blk_req_flush(const struct blk_disk *disk, struct blk_req *req)
{
    if (disk->file.read_only)
        return VIRTIO_BLK_S_OK; /* nothing was written */
    req->io.op = BLK_OP_FLUSH;
    req->io.buffered = false;
    return BLK_REQ_IO;
}

/* --- discard and write zeroes ----------------------------------------------------------------- */

/* Copy the segments and check them: 5.2.6.2 names the status for each mistake. */
static int blk_req_check_segs(const struct blk_disk *disk, struct blk_req *req)
{
    bool discard = req->type == VIRTIO_BLK_T_DISCARD;
    uint32_t max_sectors = discard ? BLK_DISCARD_SECTORS : BLK_ZERO_SECTORS;
    size_t bytes = req->chain.read_bytes - sizeof(struct virtio_blk_outhdr);
    size_t n = bytes / sizeof(req->segs[0]);

    if (bytes % sizeof(req->segs[0]) != 0 || n > (discard ? BLK_DISCARD_SEGS : BLK_ZERO_SEGS))
        return VIRTIO_BLK_S_IOERR;
    (void)virtq_chain_read(&req->chain, sizeof(struct virtio_blk_outhdr), req->segs, bytes);
    req->n_segs = (unsigned)n;
    for (unsigned i = 0; i < n; i++) {
        uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

        if (req->segs[i].flags & ~allowed)
            return VIRTIO_BLK_S_UNSUPP;
        if (req->segs[i].num_sectors > max_sectors ||
            !checked_range(req->segs[i].sector, req->segs[i].num_sectors, disk->file.sectors))
            return VIRTIO_BLK_S_IOERR;
    }
    return VIRTIO_BLK_S_OK;
}

/* Prepare the current segment, or finish. */
static int blk_req_seg(const struct blk_disk *disk, struct blk_req *req)
{
    const struct virtio_blk_discard_write_zeroes *s;
    struct blk_io *io = &req->io;

    while (req->seg < req->n_segs && req->segs[req->seg].num_sectors == 0)
        req->seg++;
    if (req->seg == req->n_segs) {
        if (!req->sync_after)
            return VIRTIO_BLK_S_OK;
        req->sync_after = false;
        return blk_req_flush(disk, req);
    }
    s = &req->segs[req->seg++];
    io->off = s->sector * BLK_SECTOR;
    io->len = (uint64_t)s->num_sectors * BLK_SECTOR;
    io->buffered = false;
    io->op = BLK_OP_ZERO;
    if (disk->file.can_punch &&
        (req->type == VIRTIO_BLK_T_DISCARD || (s->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)))
        io->op = BLK_OP_PUNCH;
    return BLK_REQ_IO;
}

static int blk_req_begin_segs(const struct blk_disk *disk, struct blk_req *req)
{
    bool discard = req->type == VIRTIO_BLK_T_DISCARD;
    int status;

    if (!blk_req_has(disk, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES))
        return VIRTIO_BLK_S_UNSUPP;
    if (disk->file.read_only)
        return VIRTIO_BLK_S_IOERR;
    status = blk_req_check_segs(disk, req);
    if (status != VIRTIO_BLK_S_OK)
        return status;
    req->sync_after = !blk_req_has(disk, VIRTIO_BLK_F_FLUSH);
    return blk_req_seg(disk, req);
}

/* Zeroes from our own page, in steps, for file systems without ZERO_RANGE (tmpfs). */
static int blk_req_zero_step(const struct blk_disk *disk, struct blk_req *req)
{
    const struct blk_file *f = &disk->file;
    struct blk_io *io = &req->io;

    req->zero_by_hand = true;
    io->op = BLK_OP_WRITE;
    io->buffered = true;
    io->dsync = false; /* one sync at the end */
    if (io->len < BLK_ZERO_PIECE) {
        req->one = (struct iovec){ f->zeroes, (size_t)io->len };
        io->iov = &req->one;
        io->n_iov = 1;
    } else {
        io->iov = (struct iovec *)(uintptr_t)f->zero_iov; /* backends do not change it */
        io->n_iov = (unsigned)MIN(io->len / BLK_ZERO_PIECE, (uint64_t)BLK_ZERO_IOV);
    }
    return BLK_REQ_IO;
}

static int blk_req_next_segs(const struct blk_disk *disk, struct blk_req *req)
{
    struct blk_io *io = &req->io;

    if (req->zero_by_hand) {
        if (io->res <= 0 || (uint64_t)io->res > io->len)
            return VIRTIO_BLK_S_IOERR;
        io->off += (uint64_t)io->res;
        io->len -= (uint64_t)io->res;
        if (io->len > 0)
            return blk_req_zero_step(disk, req);
        req->zero_by_hand = false;
        return blk_req_seg(disk, req);
    }
    if (io->res == -EOPNOTSUPP && req->type == VIRTIO_BLK_T_WRITE_ZEROES && io->op != BLK_OP_FLUSH)
        return blk_req_zero_step(disk, req);
    if (io->res < 0)
        return io->res == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
    return io->op == BLK_OP_FLUSH ? VIRTIO_BLK_S_OK : blk_req_seg(disk, req);
}

/* --- the whole -------------------------------------------------------------------------------- */

static int blk_req_get_id(const struct blk_disk *disk, struct blk_req *req)
{
    req->filled = virtq_chain_write(&req->chain, 0, disk->id, sizeof(disk->id));
    return VIRTIO_BLK_S_OK;
}

int blk_req_begin(const struct blk_disk *disk, struct blk_req *req)
{
    struct virtio_blk_outhdr hdr;

    req->filled = 0;
    req->retries = 0;
    req->sync_after = req->zero_by_hand = false;
    req->n_segs = req->seg = 0;
    req->status = blk_req_cut_status(&req->chain);
    if (req->chain.is_lost)
        return VIRTIO_BLK_S_IOERR;
    if (req->status == NULL)
        return BLK_REQ_BAD;
    if (virtq_chain_read(&req->chain, 0, &hdr, sizeof(hdr)) != sizeof(hdr))
        return VIRTIO_BLK_S_IOERR;
    req->type = hdr.type;
    switch (hdr.type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return blk_req_begin_rw(disk, req, hdr.sector);
    case VIRTIO_BLK_T_FLUSH:
        return blk_req_flush(disk, req);
    case VIRTIO_BLK_T_GET_ID:
        return blk_req_get_id(disk, req);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return blk_req_begin_segs(disk, req);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

int blk_req_next(const struct blk_disk *disk, struct blk_req *req)
{
    /* Nothing was done; bounded, because a broken file system must not keep us busy. */
    if ((req->io.res == -EINTR || req->io.res == -EAGAIN) && req->retries < BLK_RETRIES) {
        req->retries++;
        return BLK_REQ_IO;
    }
    req->retries = 0;
    switch (req->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return blk_req_next_rw(disk, req);
    case VIRTIO_BLK_T_FLUSH:
        return req->io.res < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
    default:
        return blk_req_next_segs(disk, req);
    }
}

uint32_t blk_req_answer(struct blk_req *req, int status)
{
    if (req->status == NULL) /* it is lost, too */
        return 0;
    __atomic_store_n(req->status, (uint8_t)status, __ATOMIC_RELAXED);
    return (uint32_t)(req->filled == req->chain.write_bytes - 1 ? req->chain.write_bytes
                                                                : req->filled);
}
