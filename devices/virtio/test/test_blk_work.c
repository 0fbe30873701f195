/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio disk at work: reads, writes, flushes, discards, through every backend. */
// LDFLAGS: -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
#include "devices/virtio/test/blk_rig.h"

#include <sys/mman.h>

static void what_is_written_is_read_back(void **state)
{
    struct fixture *f = *state;
    uint8_t want[12 * 512], file[12 * 512];
    uint32_t len;

    fill(want, sizeof(want), 1);
    memcpy(at(f, DATA), want, sizeof(want));
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 9, sizeof(want), &len), VIRTIO_BLK_S_OK);
    assert_int_equal(len, 1);
    assert_int_equal(pread(f->file, file, sizeof(file), 9 * 512), sizeof(file));
    assert_memory_equal(file, want, sizeof(want));

    memset(at(f, DATA), 0, sizeof(want));
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 9, sizeof(want), &len), VIRTIO_BLK_S_OK);
    assert_int_equal(len, sizeof(want) + 1);
    assert_memory_equal(at(f, DATA), want, sizeof(want));
    assert_true(f->fd.queue_interrupts[0] > 0);
}

static void a_megabyte_across_nodes_in_many_pieces_is_whole(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[2 + 128];
    uint8_t *file = malloc(1 * MIB);

    assert_non_null(file);
    /* One buffer crosses the border of the two nodes at 4 MiB; the others come in odd order. */
    put_header(f, HDR, VIRTIO_BLK_T_OUT, 2048);
    bufs[0] = (struct fake_buf){ HDR, 16 };
    for (unsigned i = 0; i < 128; i++)
        bufs[1 + i] = (struct fake_buf){ 4 * MIB - 512 * KIB - 4096 + (i * 37 % 128) * 8192, 8192 };
    bufs[129] = (struct fake_buf){ STATUS, 1 };
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(
            guest_mem_fill(f->fm.mem, (struct gpa){ bufs[1 + i].addr }, (uint8_t)(i + 1), 8192), 0);
    assert_int_equal(run_bufs(f, 1, bufs, 129, 1, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(f->file, file, 1 * MIB, 2048 * 512), 1 * MIB);
    for (unsigned i = 0; i < 1 * MIB; i++)
        if (file[i] != i / 8192 + 1)
            fail_msg("byte %u is %u", i, file[i]);
    free(file);
}

static void flush_succeeds(void **state)
{
    assert_int_equal(run(*state, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
}

static void identity_is_the_serial(void **state)
{
    struct fixture *f = *state;
    static const char want[VIRTIO_BLK_ID_BYTES] = "ABC-1";
    uint32_t len;

    memset(at(f, DATA), 0xff, 32);
    assert_int_equal(run(f, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES, &len), VIRTIO_BLK_S_OK);
    assert_int_equal(len, VIRTIO_BLK_ID_BYTES + 1);
    assert_memory_equal(at(f, DATA), want, sizeof(want));
}

static void discard_gives_blocks_back(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_discard_write_zeroes segs[] = { { 2048, 2048, 0 }, { 8192, 4096, 0 } };
    uint64_t before;

    fill_file(f);
    before = file_blocks(f);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, segs, 2), VIRTIO_BLK_S_OK);
    assert_true(file_is_zero(f, 2048 * 512, 2048 * 512));
    assert_true(file_is_zero(f, 8192 * 512, 4096 * 512));
    assert_false(file_is_zero(f, 4096 * 512, 512));
    assert_in_range(file_blocks(f), 0, before - 6000);
}

static void zeroes_are_written_with_and_without_giving_blocks_back(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_discard_write_zeroes keep = { 1, 4096, 0 };
    struct virtio_blk_discard_write_zeroes unmap = { 8192, 4096,
                                                     VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP };
    uint64_t before;

    fill_file(f);
    before = file_blocks(f);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_WRITE_ZEROES, &keep, 1), VIRTIO_BLK_S_OK);
    assert_true(file_is_zero(f, 512, 4096 * 512));
    assert_false(file_is_zero(f, 0, 512));
    assert_false(file_is_zero(f, 4097 * 512, 512));
    assert_in_range(file_blocks(f), before - 64, before + 64);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_WRITE_ZEROES, &unmap, 1), VIRTIO_BLK_S_OK);
    assert_true(file_is_zero(f, 8192 * 512, 4096 * 512));
    assert_in_range(file_blocks(f), 0, before - 4000);
}

/* tmpfs has no ZERO_RANGE. 9 MiB and one sector: two full steps, a part, an odd rest. */
static void zeroes_are_written_by_hand_where_the_file_system_cannot(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_discard_write_zeroes seg = { 3, 9 * 2048 + 1, 0 };
    char path[64];
    int fd = memfd_create("blk-test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
    (void)close(f->file);
    f->file = fd;
    fill_file(f);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    attach(f, path, "", 0);
    assert_int_equal(run_segs(f, VIRTIO_BLK_T_WRITE_ZEROES, &seg, 1), VIRTIO_BLK_S_OK);
    assert_true(file_is_zero(f, 3 * 512, (9 * 2048 + 1) * 512));
    assert_false(file_is_zero(f, 2 * 512, 512));
    assert_false(file_is_zero(f, (3 + 9 * 2048 + 1) * 512, 512));
    detach(f);
}

static void a_read_only_disk_refuses_every_change(void **state)
{
    struct fixture *f = *state;
    uint8_t before[512], after[512];

    fill_file(f);
    attach(f, f->path, ",ro", 0);
    assert_true(f->dev->host_features >> VIRTIO_BLK_F_RO & 1);
    assert_false(f->dev->host_features >> VIRTIO_BLK_F_DISCARD & 1);
    assert_false(f->dev->host_features >> VIRTIO_BLK_F_WRITE_ZEROES & 1);
    assert_int_equal(pread(f->file, before, 512, 0), 512);
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(pread(f->file, after, 512, 0), 512);
    assert_memory_equal(before, after, 512);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
    assert_memory_equal(at(f, DATA), before, 512);
    assert_int_equal(run(f, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
}

static void direct_io_takes_aligned_and_odd_buffers(void **state)
{
    struct fixture *f = *state;
    struct fake_buf odd[] = {
        { HDR, 16 }, { DATA + 7, 512 }, { DATA + 1001, 1024 }, { STATUS, 1 }
    };
    uint8_t want[8192], got[8192];

    attach(f, f->path, ",direct=on", 0);
    fill(want, sizeof(want), 3);
    memcpy(at(f, DATA), want, sizeof(want));
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 8, 8192, NULL), VIRTIO_BLK_S_OK);
    fill(want, 1536, 4);
    memcpy(at(f, DATA + 7), want, 512);
    memcpy(at(f, DATA + 1001), want + 512, 1024);
    put_header(f, HDR, VIRTIO_BLK_T_OUT, 8);
    assert_int_equal(run_bufs(f, 0, odd, 3, 1, NULL), VIRTIO_BLK_S_OK);
    memset(at(f, DATA), 0, 8192);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 8, 8192, NULL), VIRTIO_BLK_S_OK);
    assert_memory_equal(at(f, DATA), want, sizeof(want));
    assert_int_equal(pread(f->file, got, sizeof(got), 8 * 512), sizeof(got));
    assert_memory_equal(got, want, sizeof(want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(what_is_written_is_read_back),
        EACH(a_megabyte_across_nodes_in_many_pieces_is_whole),
        EACH(flush_succeeds),
        EACH(identity_is_the_serial),
        EACH(discard_gives_blocks_back),
        EACH(zeroes_are_written_with_and_without_giving_blocks_back),
        BOTH_BARE(zeroes_are_written_by_hand_where_the_file_system_cannot),
        BOTH_BARE(a_read_only_disk_refuses_every_change),
        BOTH_BARE(direct_io_takes_aligned_and_odd_buffers),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk work", tests, NULL, NULL);
}
