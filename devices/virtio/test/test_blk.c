/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio disk as a driver sees it, through every backend. (Where /var/tmp is a tmpfs, the one
 * for files in memory serves all tests.)
 *
 * The disk's loop runs in a thread of its own, as in the machine, so the same tests show races
 * to ThreadSanitizer. Failures of system calls are injected at the seam of the thread pool, which
 * serves because the ring, at its own seam, cannot be made.
 */
// LDFLAGS: -Wl,--wrap=preadv2 -Wl,--wrap=pwritev2 -Wl,--wrap=fdatasync -Wl,--wrap=blk_uring_new
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_backend.h"
#include "devices/virtio/test/fake_driver.h"

enum {
    DISK_BYTES = 16 * MIB,
    HDR = FAKE_DATA_BASE,
    STATUS = FAKE_DATA_BASE + 64,
    DATA = FAKE_DATA_BASE + 4096,
    SLOT = 8 * KIB, /* of requests in flight together: header, status, data */
    WAIT_MS = 20000,
};

enum backend { URING, THREADS, INLINE };

struct fixture {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct virtio_dev *dev;
    char path[64];
    int file; /* our own descriptor for looking */
    enum backend backend;
};

static const enum backend with_uring = URING, with_threads = THREADS, with_inline = INLINE;

/* --- injected results ------------------------------------------------------------------------- */

static struct {
    bool no_ring;   /* as on a host that forbids io_uring; the rest is for the thread pool */
    ssize_t most;   /* bytes one call may transfer; 0: any */
    int fail;       /* errno of every call; 0: none */
    int last_flags; /* of pwritev2 */
    int syncs;      /* calls of fdatasync */
} inject;

ssize_t __real_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __real_pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags);
int __real_fdatasync(int fd);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags);
int __wrap_fdatasync(int fd);
int __real_blk_uring_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                         struct errctx *ec);
int __wrap_blk_uring_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                         struct errctx *ec);

int __wrap_blk_uring_new(const struct blk_backend_cfg *cfg, struct blk_backend **ret_be,
                         struct errctx *ec)
{
    return inject.no_ring ? errctx_set(ec, ENOSYS, "io_uring_setup")
                          : __real_blk_uring_new(cfg, ret_be, ec);
}

static bool cut(const struct iovec *iov, struct iovec *ret_one)
{
    size_t most = (size_t)__atomic_load_n(&inject.most, __ATOMIC_RELAXED);

    if (most == 0)
        return false;
    while (iov->iov_len == 0)
        iov++;
    *ret_one = (struct iovec){ iov->iov_base, MIN(iov->iov_len, most) };
    return true;
}

ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    struct iovec one;

    errno = __atomic_load_n(&inject.fail, __ATOMIC_RELAXED);
    if (errno != 0)
        return -1;
    return cut(iov, &one) ? __real_preadv2(fd, &one, 1, off, flags)
                          : __real_preadv2(fd, iov, n, off, flags);
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    struct iovec one;

    __atomic_store_n(&inject.last_flags, flags, __ATOMIC_RELAXED);
    errno = __atomic_load_n(&inject.fail, __ATOMIC_RELAXED);
    if (errno != 0)
        return -1;
    return cut(iov, &one) ? __real_pwritev2(fd, &one, 1, off, flags)
                          : __real_pwritev2(fd, iov, n, off, flags);
}

int __wrap_fdatasync(int fd)
{
    __atomic_fetch_add(&inject.syncs, 1, __ATOMIC_RELAXED);
    errno = __atomic_load_n(&inject.fail, __ATOMIC_RELAXED);
    return errno != 0 ? -1 : __real_fdatasync(fd);
}

/* --- fixture ---------------------------------------------------------------------------------- */

static int make_disk(struct fixture *f, const char *path, const char *options,
                     struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct device_env env = { .mem = f->fm.mem,
                              .loop = f->fl.loop,
                              .name = "disk7",
                              .console_in_fd = -1,
                              .console_out_fd = -1 };
    struct device_args args;
    char text[256];
    int r;

    (void)snprintf(text, sizeof(text), "%s%s", path, options);
    r = device_args_parse(&blk_device_type, text, &args, ec);
    if (r < 0)
        return r;
    r = blk_device_type.create(&args, &env, ret_dev, ec);
    device_args_fini(&args);
    return r;
}

/* Attach a disk on f->path, negotiate what it offers without @without. */
static void attach(struct fixture *f, const char *path, const char *options, uint64_t without)
{
    struct errctx ec = { 0 };

    if (make_disk(f, path, options, &f->dev, &ec) < 0)
        fail_msg("%s", ec.msg);
    fake_dev_init(&f->fd, f->dev, &f->fm,
                  (f->dev->host_features | 1ull << VIRTIO_RING_F_EVENT_IDX) & ~without, 256);
    assert_int_equal(fake_dev_start(&f->fd), 0);
}

static void detach(struct fixture *f)
{
    fake_dev_fini(&f->fd);
    f->dev = NULL;
}

static int setup_mem(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->backend = *(const enum backend *)*state;
    memset(&inject, 0, sizeof(inject));
    inject.no_ring = f->backend == THREADS;
    fake_mem_init(&f->fm);
    fake_loop_start(&f->fl);
    (void)strcpy(f->path, f->backend == INLINE ? "/dev/shm/numavisor-test-blk-XXXXXX"
                                               : "/var/tmp/numavisor-test-blk-XXXXXX");
    f->file = mkostemp(f->path, O_CLOEXEC);
    assert_true(f->file >= 0);
    assert_int_equal(ftruncate(f->file, DISK_BYTES), 0);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    (void)setup_mem(state);
    attach(*state, ((struct fixture *)*state)->path, ",queues=4,serial=ABC-1", 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    memset(&inject, 0, sizeof(inject));
    if (f->dev != NULL)
        detach(f);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_loop_stop(&f->fl);
    fake_mem_fini(&f->fm);
    (void)close(f->file);
    (void)unlink(f->path);
    free(f);
    return 0;
}

/* --- requests --------------------------------------------------------------------------------- */

static void *at(struct fixture *f, uint64_t addr)
{
    return fake_ptr(f->fm.mem, addr, 1);
}

static void put_header(struct fixture *f, uint64_t addr, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };

    assert_int_equal(guest_mem_write(f->fm.mem, (struct gpa){ addr }, &hdr, sizeof(hdr)), 0);
}

/* Offer @bufs on queue @q, wait, return the status; the used length in *ret_len if wanted. */
static int run_bufs(struct fixture *f, unsigned q, const struct fake_buf *bufs, unsigned n_out,
                    unsigned n_in, uint32_t *ret_len)
{
    uint8_t *status = at(f, STATUS);
    uint32_t head = 0, len = 0;
    uint16_t want;

    *status = 0xee;
    want = fake_queue_add(&f->fd.q[q], bufs, n_out, n_in);
    fake_dev_kick(&f->fd, q);
    assert_true(fake_dev_wait_used(&f->fd, q, &head, &len, WAIT_MS));
    assert_int_equal(head, want);
    if (ret_len != NULL)
        *ret_len = len;
    return *status;
}

static bool is_read(uint32_t type)
{
    return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

static int run(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, uint32_t *ret_len)
{
    struct fake_buf bufs[3] = { { HDR, 16 }, { DATA, len }, { STATUS, 1 } };
    bool in = is_read(type);

    put_header(f, HDR, type, sector);
    if (len == 0)
        bufs[1] = bufs[2];
    return run_bufs(f, 0, bufs, in || len == 0 ? 1 : 2, len == 0 ? 1 : in ? 2 : 1, ret_len);
}

static int run_segs(struct fixture *f, uint32_t type,
                    const struct virtio_blk_discard_write_zeroes *segs, unsigned n)
{
    memcpy(at(f, DATA), segs, n * sizeof(*segs));
    return run(f, type, 0, (uint32_t)(n * sizeof(*segs)), NULL);
}

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24 | 1); /* never zero */
    }
}

/* Give the file content everywhere. */
static void fill_file(struct fixture *f)
{
    uint8_t *p = malloc(DISK_BYTES);

    assert_non_null(p);
    fill(p, DISK_BYTES, 7);
    assert_int_equal(pwrite(f->file, p, DISK_BYTES, 0), DISK_BYTES);
    assert_int_equal(fsync(f->file), 0);
    free(p);
}

static bool file_is_zero(struct fixture *f, off_t off, size_t len)
{
    uint8_t *p = malloc(len);
    bool zero = true;

    assert_non_null(p);
    assert_int_equal(pread(f->file, p, len, off), len);
    for (size_t i = 0; i < len; i++)
        zero = zero && p[i] == 0;
    free(p);
    return zero;
}

static uint64_t file_blocks(struct fixture *f)
{
    struct stat st;

    assert_int_equal(fsync(f->file), 0);
    assert_int_equal(fstat(f->file, &st), 0);
    return (uint64_t)st.st_blocks;
}

/* --- tests: ordinary work --------------------------------------------------------------------- */

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

static void configuration_describes_the_disk(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config c;
    uint8_t beyond[8];

    f->dev->ops->config_read(f->dev, 0, &c, sizeof(c));
    assert_int_equal(c.capacity, DISK_BYTES / 512);
    assert_int_equal(c.seg_max, 254);
    assert_int_equal(c.blk_size, 512);
    assert_int_equal(c.num_queues, 4);
    assert_int_equal(f->dev->n_queues, 4);
    assert_true(c.max_discard_sectors > 0 && c.max_write_zeroes_sectors > 0);
    f->dev->ops->config_read(f->dev, UINT32_MAX - 3, beyond, sizeof(beyond));
    assert_int_equal(beyond[0] | beyond[7], 0);
}

/* --- tests: hostile and unlucky --------------------------------------------------------------- */

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

/* --- tests: many at once, life cycle ---------------------------------------------------------- */

/* The request in slot @i of queue @q: one data buffer of 4 KiB. */
static void offer_slot(struct fixture *f, unsigned q, unsigned i, uint32_t type, uint64_t sector)
{
    uint64_t base = FAKE_DATA_BASE + 64 * KIB + (q * 64 + i) * (uint64_t)SLOT;
    struct fake_buf bufs[] = { { base, 16 }, { base + 4096, 4096 }, { base + 16, 1 } };

    put_header(f, base, type, sector);
    *(uint8_t *)at(f, base + 16) = 0xee;
    fake_queue_add(&f->fd.q[q], bufs, type == VIRTIO_BLK_T_IN ? 1 : 2,
                   type == VIRTIO_BLK_T_IN ? 2 : 1);
}

static uint8_t *slot_data(struct fixture *f, unsigned q, unsigned i)
{
    return at(f, FAKE_DATA_BASE + 64 * KIB + (q * 64 + i) * (uint64_t)SLOT + 4096);
}

static void collect(struct fixture *f, unsigned q, unsigned n)
{
    uint32_t head, len;

    for (unsigned i = 0; i < n; i++)
        assert_true(fake_dev_wait_used(&f->fd, q, &head, &len, WAIT_MS));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(slot_data(f, q, i)[-4096 + 16], VIRTIO_BLK_S_OK);
}

static void many_requests_on_all_queues_keep_their_data(void **state)
{
    struct fixture *f = *state;

    for (unsigned round = 0; round < 12; round++) {
        bool write = round % 2 == 0;

        for (unsigned q = 0; q < 4; q++) {
            for (unsigned i = 0; i < 64; i++) {
                uint64_t sector = ((q * 64 + i) * 5 % 1024) * 8;

                if (write)
                    memset(slot_data(f, q, i), (int)(round * 31 + q * 64 + i), 4096);
                else
                    memset(slot_data(f, q, i), 0xee, 4096);
                offer_slot(f, q, i, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector);
            }
            fake_dev_kick(&f->fd, q);
        }
        for (unsigned q = 0; q < 4; q++)
            collect(f, q, 64);
        for (unsigned q = 0; !write && q < 4; q++)
            for (unsigned i = 0; i < 64; i++) {
                assert_int_equal(slot_data(f, q, i)[0], (uint8_t)((round - 1) * 31 + q * 64 + i));
                assert_int_equal(slot_data(f, q, i)[4095], slot_data(f, q, i)[0]);
            }
    }
    /* Batches are answered with few interrupts. */
    for (unsigned q = 0; q < 4; q++)
        assert_in_range(__atomic_load_n(&f->fd.queue_interrupts[q], __ATOMIC_ACQUIRE), 1, 768);
}

/* Does the driver have to ring after moving the available index from @old? (2.7.10) */
static bool wants_bell(struct fake_queue *q, uint16_t old)
{
    const uint16_t *avail_event = (const uint16_t *)(const void *)&q->used->ring[q->size];

    /* The index must be out before the event is read: a full barrier that ThreadSanitizer, which
     * knows no fences, accepts. */
    (void)__atomic_fetch_add(&q->avail->idx, 0, __ATOMIC_SEQ_CST);
    return vring_need_event(__atomic_load_n(avail_event, __ATOMIC_RELAXED), q->avail_idx, old);
}

static void ring_bell(void *ctx)
{
    struct fixture *f = ctx;

    f->dev->ops->kick(f->dev, 0);
}

/* The driver rings only when it is asked to, beside a device that runs: no wake-up is lost. */
static void a_driver_that_rings_only_when_asked_is_served(void **state)
{
    enum { TOTAL = 20000, DEPTH = 7 };
    struct fixture *f = *state;
    struct fake_queue *q = &f->fd.q[0];
    unsigned offered = 0, done = 0, rung = 0;
    uint32_t head = 0, len = 0;

    while (done < TOTAL) {
        while (offered < TOTAL && offered - done < 1 + offered % DEPTH) {
            uint16_t old = q->avail_idx;

            offer_slot(f, 0, offered % 64, VIRTIO_BLK_T_IN, offered * 8 % 4096);
            offered++;
            if (wants_bell(q, old)) {
                rung++;
                assert_int_equal(evloop_post(f->fl.loop, ring_bell, f), 0);
            }
        }
        assert_true(fake_dev_wait_used(&f->fd, 0, &head, &len, WAIT_MS));
        assert_int_equal(len, 4097);
        done++;
    }
    assert_in_range(rung, 1, TOTAL);
}

static void quiesce_answers_what_is_in_flight_and_resume_goes_on(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    for (unsigned i = 0; i < 64; i++)
        offer_slot(f, 2, i, VIRTIO_BLK_T_OUT, i * 8);
    fake_dev_kick(&f->fd, 2);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    collect(f, 2, 64);

    /* Offered while quiesced: stays in the ring. */
    offer_slot(f, 2, 0, VIRTIO_BLK_T_IN, 0);
    assert_false(fake_dev_wait_used(&f->fd, 2, &head, &len, 20));
    fake_dev_resume(&f->fd);
    collect(f, 2, 1);
}

static void reset_call(void *ctx)
{
    struct fixture *f = ctx;

    f->dev->ops->quiesce(f->dev);
    f->dev->ops->reset(f->dev);
}

static void a_broken_disk_works_again_after_a_reset(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 32; i++)
        offer_slot(f, 0, i, VIRTIO_BLK_T_OUT, i * 8);
    fake_queue_add(&f->fd.q[0], &(struct fake_buf){ HDR, 16 }, 1, 0);
    fake_dev_kick(&f->fd, 0);
    assert_true(f->dev->broken);
    evloop_call(f->fl.loop, reset_call, f);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);

    f->dev->broken = false;
    for (unsigned q = 0; q < 4; q++) {
        fake_queue_init(&f->fd.q[q], f->fm.mem, FAKE_RING_BASE + q * FAKE_RING_STRIDE, 256);
        fake_queue_attach(&f->fd.q[q], &f->dev->vqs[q], q, false);
    }
    assert_int_equal(fake_dev_start(&f->fd), 0);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

static void saved_state_fits_the_same_disk_only(void **state)
{
    struct fixture *f = *state;
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;
    struct errctx ec = { 0 };

    fake_dev_quiesce(&f->fd);
    assert_int_equal(f->dev->ops->save(f->dev, &w, &ec), 0);
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(f->dev->ops->load(f->dev, &r, f->dev->ops->version, &ec), 0);
    assert_int_equal(r.pos, w.len);

    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len - 1 };
    assert_int_equal(f->dev->ops->load(f->dev, &r, f->dev->ops->version, &ec), -EINVAL);
    w.buf[1] ^= 1;
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(f->dev->ops->load(f->dev, &r, f->dev->ops->version, &ec), -EINVAL);
    assert_non_null(strstr(ec.msg, "sectors"));
    snapshot_writer_fini(&w);
}

/* --- tests: opening --------------------------------------------------------------------------- */

static void expect_refusal(struct fixture *f, const char *path, const char *options, int code,
                           const char *words)
{
    struct virtio_dev *dev = NULL;
    struct errctx ec = { 0 };

    assert_int_equal(make_disk(f, path, options, &dev, &ec), -code);
    assert_null(dev);
    if (strstr(ec.msg, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", ec.msg, words);
}

static void one_writer_or_many_readers(void **state)
{
    struct fixture *f = *state;
    struct virtio_dev *second = NULL;

    attach(f, f->path, "", 0);
    expect_refusal(f, f->path, "", EBUSY, "another process has it open");
    expect_refusal(f, f->path, ",ro", EBUSY, "another process has it open for writing");
    detach(f);
    attach(f, f->path, ",ro", 0);
    assert_int_equal(make_disk(f, f->path, ",ro", &second, NULL), 0);
    expect_refusal(f, f->path, "", EBUSY, f->path);
    second->ops->destroy(second);
}

static void files_that_are_no_disk_are_refused(void **state)
{
    struct fixture *f = *state;

    expect_refusal(f, "/tmp", "", EINVAL, "neither a regular file nor a block device");
    expect_refusal(f, "/dev/null", "", EINVAL, "neither a regular file nor a block device");
    expect_refusal(f, "/nonexistent/disk", "", ENOENT, "/nonexistent/disk");
    assert_int_equal(ftruncate(f->file, 1000), 0);
    expect_refusal(f, f->path, "", EINVAL, "1000 bytes is not a multiple of 512");
    assert_int_equal(ftruncate(f->file, 0), 0);
    expect_refusal(f, f->path, "", EINVAL, "empty");
}

static void options_without_sense_are_refused(void **state)
{
    struct fixture *f = *state;

    expect_refusal(f, f->path, ",queues=0", EINVAL, "queues=0");
    expect_refusal(f, f->path, ",queues=65", EINVAL, "queues");
    expect_refusal(f, f->path, ",serial=123456789012345678901", EINVAL, "serial");
    expect_refusal(f, f->path, ",ro,sync=on", EINVAL, "sync");
    expect_refusal(f, f->path, ",cache=none", EINVAL, "cache");
}

/* The ring must refuse to be extended: nothing can be registered with it any more. */
static void the_ring_has_no_rights_to_spare(void **state)
{
    struct fixture *f = *state;
    struct dirent *d;
    struct statfs fs;
    DIR *dir;
    unsigned rings = 0;

    if (fstatfs(f->file, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        skip(); /* no ring for a file in memory */
    attach(f, f->path, "", 0);
    dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while ((d = readdir(dir)) != NULL) {
        char link[64] = { 0 };
        int files[] = { 0 };

        if (readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1) < 0 ||
            strcmp(link, "anon_inode:[io_uring]") != 0)
            continue;
        rings++;
        assert_int_equal(
            syscall(SYS_io_uring_register, atoi(d->d_name), IORING_REGISTER_FILES_UPDATE, files, 1),
            -1);
        assert_int_equal(errno, EACCES);
    }
    (void)closedir(dir);
    assert_int_equal(rings, 1);
}

/* clang-format off */
#define TEST(name, setup_fn, backend, suffix) \
    { #name " (" suffix ")", name, setup_fn, teardown, (void *)(uintptr_t)&backend }
#define EACH(name)                              \
    TEST(name, setup, with_uring, "io_uring"),  \
    TEST(name, setup, with_threads, "threads"), \
    TEST(name, setup, with_inline, "inline")
#define BOTH_BARE(name)                             \
    TEST(name, setup_mem, with_uring, "io_uring"),  \
    TEST(name, setup_mem, with_threads, "threads")
/* clang-format on */

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
        TEST(configuration_describes_the_disk, setup, with_uring, "io_uring"),
        EACH(requests_outside_the_disk_fail),
        EACH(unknown_requests_are_unsupported),
        EACH(bad_segments_are_refused_before_any_is_done),
        EACH(a_header_in_pieces_is_put_together),
        EACH(a_short_header_is_an_error_the_driver_hears),
        EACH(a_request_without_status_breaks_the_disk),
        EACH(a_chain_outside_memory_breaks_the_disk),
        EACH(a_file_that_got_shorter_is_an_error),
        TEST(short_transfers_are_continued, setup, with_threads, "threads"),
        TEST(an_io_error_reaches_the_driver, setup, with_threads, "threads"),
        TEST(without_flush_writes_are_stable, setup_mem, with_threads, "threads"),
        EACH(many_requests_on_all_queues_keep_their_data),
        EACH(a_driver_that_rings_only_when_asked_is_served),
        EACH(quiesce_answers_what_is_in_flight_and_resume_goes_on),
        EACH(a_broken_disk_works_again_after_a_reset),
        TEST(saved_state_fits_the_same_disk_only, setup, with_uring, "io_uring"),
        BOTH_BARE(one_writer_or_many_readers),
        TEST(files_that_are_no_disk_are_refused, setup_mem, with_uring, "io_uring"),
        TEST(options_without_sense_are_refused, setup_mem, with_uring, "io_uring"),
        TEST(the_ring_has_no_rights_to_spare, setup_mem, with_uring, "io_uring"),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk", tests, NULL, NULL);
}
