/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio disk and a driver that asks for nonsense. */
// LDFLAGS: -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
#include <stdatomic.h>

#include "devices/virtio/test/blk_rig.h"

static void requests_outside_the_disk_fail(void **state)
{
    struct fixture *f = *state;
    uint64_t end = DISK_BYTES / 512;
    uint32_t len;

    assert_int_equal(run(f, VIRTIO_BLK_T_IN, end - 1, 512, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, end, 512, &len), VIRTIO_BLK_S_IOERR);
    assert_int_equal(len, 0);
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, end - 1, 1024, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, UINT64_MAX, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 511, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 513, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 0, NULL), VIRTIO_BLK_S_OK);
}

static void unknown_requests_are_unsupported(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f, 0x1234, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(run(f, VIRTIO_BLK_T_SCSI_CMD, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(run(f, VIRTIO_BLK_T_SECURE_ERASE, 0, 16, NULL), VIRTIO_BLK_S_UNSUPP);
}

static void bad_segments_are_refused_before_any_is_done(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_discard_write_zeroes segs[17] = { { 0, 8, 0 }, { 8, 8, 1 } };
    uint64_t end = DISK_BYTES / 512;

    fill_file(f);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, segs, 2), VIRTIO_BLK_S_UNSUPP);
    segs[1] = (struct virtio_blk_discard_write_zeroes){ end - 1, 2, 0 };
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, segs, 2), VIRTIO_BLK_S_IOERR);
    segs[1] = (struct virtio_blk_discard_write_zeroes){ UINT64_MAX, UINT32_MAX, 0 };
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, segs, 2), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_WRITE_ZEROES, segs, 2), VIRTIO_BLK_S_IOERR);
    segs[0].flags = 2;
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_WRITE_ZEROES, segs, 1), VIRTIO_BLK_S_UNSUPP);
    memset(segs, 0, sizeof(segs));
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, segs, 17), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, segs, 16), VIRTIO_BLK_S_OK);
    assert_int_equal(run(f, VIRTIO_BLK_T_DISCARD, 0, 17, NULL), VIRTIO_BLK_S_IOERR);
    assert_false(file_is_zero(f, 0, 512));
}

static void a_header_in_pieces_is_put_together(void **state)
{
    struct fixture *f = *state;
    /* The header's last piece and the first data share a buffer, as do last data and status. */
    struct fake_buf out[] = {
        { DATA, 1 }, { DATA + 101, 7 }, { DATA + 208, 8 + 100 }, { DATA + 600, 412 }, { STATUS, 1 }
    };
    struct fake_buf in[] = { { HDR, 16 }, { DATA, 100 }, { DATA + 200, 413 } };
    uint8_t hdr[16] = { VIRTIO_BLK_T_OUT }, want[512], got[512];
    uint8_t *p = at(f, DATA);

    hdr[8] = 5;
    fill(want, 512, 11);
    p[0] = hdr[0];
    memcpy(p + 101, hdr + 1, 7);
    memcpy(p + 208, hdr + 8, 8);
    memcpy(p + 216, want, 100);
    memcpy(p + 600, want + 100, 412);
    assert_int_equal(run_bufs(f, 0, out, 4, 1, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(f->file, got, 512, 5 * 512), 512);
    assert_memory_equal(got, want, 512);

    memset(p, 0xdd, 1024);
    put_header(f, HDR, VIRTIO_BLK_T_IN, 5);
    (void)run_bufs(f, 0, in, 1, 2, NULL);
    assert_int_equal(p[200 + 412], VIRTIO_BLK_S_OK);
    assert_memory_equal(p, want, 100);
    assert_memory_equal(p + 200, want + 100, 412);
}

static void a_short_header_is_an_error_the_driver_hears(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[] = { { HDR, 15 }, { STATUS, 1 } };

    put_header(f, HDR, VIRTIO_BLK_T_FLUSH, 0);
    assert_int_equal(run_bufs(f, 0, bufs, 1, 1, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run_bufs(f, 0, &bufs[1], 0, 1, NULL), VIRTIO_BLK_S_IOERR);
    assert_false(f->dev->broken);
}

static void a_request_without_status_breaks_the_disk(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    put_header(f, HDR, VIRTIO_BLK_T_FLUSH, 0);
    fake_queue_add(&f->fd.q[0], &(struct fake_buf){ HDR, 16 }, 1, 0);
    fake_dev_kick(&f->fd, 0);
    assert_true(f->dev->broken);
    assert_false(fake_queue_used(&f->fd.q[0], &head, &len));
}

static void a_chain_outside_memory_breaks_the_disk(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[] = { { HDR, 16 }, { FAKE_HOLE, 512 }, { STATUS, 1 } };

    put_header(f, HDR, VIRTIO_BLK_T_IN, 0);
    fake_queue_add(&f->fd.q[0], bufs, 1, 2);
    fake_dev_kick(&f->fd, 0);
    assert_true(f->dev->broken);
}

/* A pager that lost what was in one page. */
static int no_lost_page(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    const _Atomic(const char *) *where = ctx;
    const char *lost = atomic_load(where), *at = ptr;

    (void)vnode;
    return lost >= at && lost < at + len ? -EHWPOISON : 0;
}

static void nothing(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    (void)ctx;
    (void)vnode;
    (void)ptr;
    (void)len;
}

static void a_request_for_lost_memory_fails_and_no_other(void **state)
{
    static const struct guest_mem_dma_ops ops = { .begin = no_lost_page, .end = nothing };
    static _Atomic(const char *) lost;
    struct fixture *f = *state;
    const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };
    uint32_t head, len;

    guest_mem_set_dma_ops(f->fm.mem, &ops, &lost); /* before there are threads that look */
    attach(f, f->path, ",queues=4,serial=ABC-1", 0);
    for (size_t i = 0; i < 2; i++) {
        const bool in = is_read(types[i]);
        struct fake_buf bufs[] = { { HDR, 16 }, { DATA, 512 }, { STATUS, 1 } };

        atomic_store(&lost, at(f, DATA + 8));
        put_header(f, HDR, types[i], 0);
        assert_int_equal(run_bufs(f, 0, bufs, in ? 1 : 2, in ? 2 : 1, NULL), VIRTIO_BLK_S_IOERR);
        atomic_store(&lost, at(f, HDR));
        assert_int_equal(run_bufs(f, 0, bufs, in ? 1 : 2, in ? 2 : 1, NULL), VIRTIO_BLK_S_IOERR);
        atomic_store(&lost, at(f, DATA + 4096));
        assert_int_equal(run_bufs(f, 0, bufs, in ? 1 : 2, in ? 2 : 1, NULL), VIRTIO_BLK_S_OK);
    }
    /* Where even the answer has no place it is said to be empty. */
    atomic_store(&lost, at(f, STATUS));
    fake_queue_add(&f->fd.q[0], (struct fake_buf[]){ { HDR, 16 }, { STATUS, 1 } }, 1, 1);
    fake_dev_kick(&f->fd, 0);
    assert_true(fake_queue_used(&f->fd.q[0], &head, &len));
    assert_int_equal(len, 0);
    assert_false(f->dev->broken);
    atomic_store(&lost, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(requests_outside_the_disk_fail),
        EACH(unknown_requests_are_unsupported),
        EACH(bad_segments_are_refused_before_any_is_done),
        EACH(a_header_in_pieces_is_put_together),
        EACH(a_short_header_is_an_error_the_driver_hears),
        EACH(a_request_without_status_breaks_the_disk),
        EACH(a_chain_outside_memory_breaks_the_disk),
        BOTH_BARE(a_request_for_lost_memory_fails_and_no_other),
        TEST(a_request_for_lost_memory_fails_and_no_other, setup_mem, with_inline, "inline"),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk abuse", tests, NULL, NULL);
}
