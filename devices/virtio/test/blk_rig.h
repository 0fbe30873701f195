/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk and its driver for the tests of virtio-blk, with any of its backends. (Where /var/tmp is
 * a tmpfs, the backend for files in memory serves all tests.)
 *
 * The disk's loop runs in a thread of its own, as in the machine, so the same tests show races
 * to ThreadSanitizer. Results of system calls are injected at the seam of the thread pool, which
 * serves because the ring, at its own seam, cannot be made; a test links with
 *
 *     -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
 */
#ifndef DEVICES_VIRTIO_TEST_BLK_RIG_H
#define DEVICES_VIRTIO_TEST_BLK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_backend.h"
#include "devices/virtio/test/fake_driver.h"

enum {
    DISK_BYTES = 16 * MIB,
    HDR = FAKE_DATA_BASE,
    STATUS = FAKE_DATA_BASE + 64,
    DATA = FAKE_DATA_BASE + 4096,
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

static inline int make_disk(struct fixture *f, const char *path, const char *options,
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
static inline void attach(struct fixture *f, const char *path, const char *options,
                          uint64_t without)
{
    struct errctx ec = { 0 };

    if (make_disk(f, path, options, &f->dev, &ec) < 0)
        fail_msg("%s", ec.msg);
    fake_dev_init(&f->fd, f->dev, &f->fm,
                  (f->dev->host_features | 1ull << VIRTIO_RING_F_EVENT_IDX) & ~without, 256);
    assert_int_equal(fake_dev_start(&f->fd), 0);
}

static inline void detach(struct fixture *f)
{
    fake_dev_fini(&f->fd);
    f->dev = NULL;
}

static inline int setup_mem(void **state)
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

static inline int setup(void **state)
{
    (void)setup_mem(state);
    attach(*state, ((struct fixture *)*state)->path, ",queues=4,serial=ABC-1", 0);
    return 0;
}

static inline int teardown(void **state)
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

static inline void *at(struct fixture *f, uint64_t addr)
{
    return fake_ptr(f->fm.mem, addr, 1);
}

static inline void put_header(struct fixture *f, uint64_t addr, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };

    assert_int_equal(guest_mem_write(f->fm.mem, (struct gpa){ addr }, &hdr, sizeof(hdr)), 0);
}

/* Offer @bufs on queue @q, wait, return the status; the used length in *ret_len if wanted. */
static inline int run_bufs(struct fixture *f, unsigned q, const struct fake_buf *bufs,
                           unsigned n_out, unsigned n_in, uint32_t *ret_len)
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

static inline bool is_read(uint32_t type)
{
    return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

static inline int run(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len,
                      uint32_t *ret_len)
{
    struct fake_buf bufs[3] = { { HDR, 16 }, { DATA, len }, { STATUS, 1 } };
    bool in = is_read(type);

    put_header(f, HDR, type, sector);
    if (len == 0)
        bufs[1] = bufs[2];
    return run_bufs(f, 0, bufs, in || len == 0 ? 1 : 2, len == 0 ? 1 : in ? 2 : 1, ret_len);
}

static inline int run_segs(struct fixture *f, uint32_t type,
                           const struct virtio_blk_discard_write_zeroes *segs, unsigned n)
{
    memcpy(at(f, DATA), segs, n * sizeof(*segs));
    return run(f, type, 0, (uint32_t)(n * sizeof(*segs)), NULL);
}

static inline void fill(uint8_t *p, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24 | 1); /* never zero */
    }
}

/* Give the file content everywhere. */
static inline void fill_file(struct fixture *f)
{
    uint8_t *p = malloc(DISK_BYTES);

    assert_non_null(p);
    fill(p, DISK_BYTES, 7);
    assert_int_equal(pwrite(f->file, p, DISK_BYTES, 0), DISK_BYTES);
    assert_int_equal(fsync(f->file), 0);
    free(p);
}

static inline bool file_is_zero(struct fixture *f, off_t off, size_t len)
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

static inline uint64_t file_blocks(struct fixture *f)
{
    struct stat st;

    assert_int_equal(fsync(f->file), 0);
    assert_int_equal(fstat(f->file, &st), 0);
    return (uint64_t)st.st_blocks;
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

#endif
