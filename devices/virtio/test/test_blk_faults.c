/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio disk on a host that fails it: short transfers, errors, no way to flush. */
// LDFLAGS: -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
#include "devices/virtio/test/blk_rig.h"

static void a_file_that_got_shorter_is_an_error(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 1 * MIB + 512), 0);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 2048, 1024, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 8192, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 2048, 512, NULL), VIRTIO_BLK_S_OK);
}

static void short_transfers_are_continued(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[] = { { HDR, 16 }, { DATA, 700 }, { DATA + 1000, 836 }, { STATUS, 1 } };
    uint8_t want[1536];

    fill(want, sizeof(want), 21);
    memcpy(at(f, DATA), want, 700);
    memcpy(at(f, DATA + 1000), want + 700, 836);
    __atomic_store_n(&inject.most, 123, __ATOMIC_RELAXED);
    put_header(f, HDR, VIRTIO_BLK_T_OUT, 77);
    assert_int_equal(run_bufs(f, 0, bufs, 3, 1, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 77, 1536, NULL), VIRTIO_BLK_S_OK);
    assert_memory_equal(at(f, DATA), want, sizeof(want));
}

static void an_io_error_reaches_the_driver(void **state)
{
    struct fixture *f = *state;

    __atomic_store_n(&inject.fail, EIO, __ATOMIC_RELAXED);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(run(f, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
    __atomic_store_n(&inject.fail, EAGAIN, __ATOMIC_RELAXED); /* for ever: given up */
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
    __atomic_store_n(&inject.fail, 0, __ATOMIC_RELAXED);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

/* Write-through: asked for by the user, or because the driver does not know how to flush. */
static void without_flush_writes_are_stable(void **state)
{
    static const struct {
        const char *options;
        uint64_t without;
        bool stable;
    } cases[] = { { "", 0, false },
                  { ",sync=on", 0, true },
                  { "", 1ull << VIRTIO_BLK_F_FLUSH, true } };
    struct virtio_blk_discard_write_zeroes seg = { 0, 8, 0 };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        attach(f, f->path, cases[i].options, cases[i].without);
        inject.syncs = 0;
        assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
        assert_int_equal(!!(inject.last_flags & RWF_DSYNC), cases[i].stable);
        assert_int_equal(run_segs(f, VIRTIO_BLK_T_WRITE_ZEROES, &seg, 1), VIRTIO_BLK_S_OK);
        assert_int_equal(run_segs(f, VIRTIO_BLK_T_DISCARD, &seg, 1), VIRTIO_BLK_S_OK);
        assert_int_equal(inject.syncs, cases[i].stable ? 2 : 0);
        detach(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_file_that_got_shorter_is_an_error),
        TEST(short_transfers_are_continued, setup, with_threads, "threads"),
        TEST(an_io_error_reaches_the_driver, setup, with_threads, "threads"),
        TEST(without_flush_writes_are_stable, setup_mem, with_threads, "threads"),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk faults", tests, NULL, NULL);
}
