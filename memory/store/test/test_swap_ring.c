/* SPDX-License-Identifier: Apache-2.0 */
/* A swap file that is one, through io_uring; what the kernel answers may be cut short, or not
 * come. */
// LDFLAGS: -Wl,--wrap=io_uring_wait_cqe_timeout,--wrap=clock_gettime,--wrap=open
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory/store/swap_file.h"
#include "memory/store/swap_ring.h"
#include "vmm/base/macros.h"

/* What the kernel is made to do. */
static struct {
    int32_t at_most; /* bytes that a transfer has done; 0: all */
    int32_t result;  /* of the next transfers, in place of theirs; n_results times */
    unsigned n_results, n_waits;
    unsigned n_busy;   /* so many times a file that is opened is busy */
    bool silent;       /* nothing ends, and each look at the clock takes a second */
    int64_t passed_s;
    struct timespec now; /* when not: it stands still, and no disk is too slow for a test */
} kernel;

int __wrap_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                     struct __kernel_timespec *ts);
int __real_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                     struct __kernel_timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);

int __wrap_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                     struct __kernel_timespec *ts)
{
    int r;

    kernel.n_waits++;
    if (kernel.silent)
        return -ETIME;
    r = __real_io_uring_wait_cqe_timeout(ring, ret_cqe, ts);
    if (r == 0 && kernel.n_results > 0) {
        kernel.n_results--;
        (*ret_cqe)->res = kernel.result;
    }
    if (r == 0 && kernel.at_most > 0)
        (*ret_cqe)->res = MIN((*ret_cqe)->res, kernel.at_most);
    return r;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (kernel.now.tv_sec == 0 && __real_clock_gettime(clock, &kernel.now) < 0)
        return -1;
    kernel.passed_s += kernel.silent;
    *t = kernel.now;
    t->tv_sec += kernel.passed_s;
    return 0;
}

int __wrap_open(const char *name, int flags, ...);
int __real_open(const char *name, int flags, ...);

int __wrap_open(const char *name, int flags, ...)
{
    if (kernel.n_busy > 0) {
        kernel.n_busy--;
        errno = EBUSY;
        return -1;
    }
    return __real_open(name, flags);
}

enum { BYTES = 4 * MIB };

/* Beside the program: /tmp may be memory, which has no direct I/O everywhere. */
static char folder[256], path[sizeof(folder) + 32];

static int make_file(void **state)
{
    int fd;

    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    (void)snprintf(path, sizeof(path), "%s/swap.XXXXXX", folder);
    fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, BYTES) < 0)
        return -1;
    return close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* The file system of a build may have no direct I/O, and a container no io_uring. */
static struct swap_file must_open(void)
{
    struct swap_file file = { .fd = -1 };
    struct errctx ec = { 0 };
    const int r = swap_file_open(path, &file, &ec);

    if (r == -EINVAL && strstr(ec.msg, "no direct I/O") != NULL) {
        print_message("# skip: %s\n", ec.msg);
        skip();
    }
    if (r < 0)
        fail_msg("%s", ec.msg);
    return file;
}

static struct swap_ring *must_have_ring(struct swap_file *file)
{
    struct swap_ring *ring = NULL;
    struct errctx ec = { 0 };
    int r = swap_ring_new(file->fd, &ring, &ec);

    if (r == -EPERM || r == -ENOSYS || r == -EACCES) {
        swap_file_close(file);
        print_message("# skip: %s\n", ec.msg);
        skip();
    }
    if (r < 0)
        fail_msg("%s", ec.msg);
    return ring;
}

static void fill(struct swap_ring *ring, uint8_t with)
{
    for (size_t i = 0; i < (size_t)SWAP_BATCH * SWAP_BLOCK; i++)
        swap_ring_buffer(ring)[i] = (uint8_t)(with + i / 16);
}

static void must_be(struct swap_ring *ring, uint8_t with, size_t first, size_t n)
{
    for (size_t i = 0; i < n * SWAP_BLOCK; i++)
        assert_int_equal(swap_ring_buffer(ring)[i],
                         (uint8_t)(with + (i + first * SWAP_BLOCK) / 16));
}

static void blocks_come_back(void **state)
{
    static const int32_t parts[] = { 0, SWAP_BLOCK, 3 * SWAP_BLOCK, 2 * SWAP_BLOCK + 512, 8191 };
    struct swap_file file = must_open();
    struct swap_ring *ring = must_have_ring(&file);

    (void)state;
    assert_int_equal(file.n_blocks, BYTES / SWAP_BLOCK);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) { /* short reads and writes are gone on with */
        kernel.at_most = parts[i];
        fill(ring, (uint8_t)(3 * i + 1));
        assert_int_equal(swap_ring_write(ring, 100, SWAP_BATCH), 0);
        memset(swap_ring_buffer(ring), 0, (size_t)SWAP_BATCH * SWAP_BLOCK);
        assert_int_equal(swap_ring_read(ring, 100, SWAP_BATCH), 0);
        must_be(ring, (uint8_t)(3 * i + 1), 0, SWAP_BATCH);
        assert_int_equal(swap_ring_read(ring, 107, 2), 0);
        must_be(ring, (uint8_t)(3 * i + 1), 7, 2);
    }
    swap_ring_free(ring);
    swap_file_close(&file);
}

static void a_file_that_became_shorter_ends(void **state)
{
    struct swap_file file = must_open();
    struct swap_ring *ring = must_have_ring(&file);

    (void)state;
    fill(ring, 9);
    assert_int_equal(swap_ring_write(ring, 200, 8), 0);
    assert_int_equal(truncate(path, 204 * SWAP_BLOCK), 0);
    assert_int_equal(swap_ring_read(ring, 200, 8), -ENODATA);
    assert_int_equal(swap_ring_read(ring, 204, 1), -ENODATA);
    assert_int_equal(swap_ring_read(ring, 200, 4), 0);
    must_be(ring, 9, 0, 4);
    swap_ring_free(ring);
    swap_file_close(&file);
}

static void errors_of_the_disk_are_told(void **state)
{
    struct swap_file file = must_open();
    struct swap_ring *ring = must_have_ring(&file);

    (void)state;
    kernel.result = -EIO;
    kernel.n_results = 1;
    assert_int_equal(swap_ring_read(ring, 10, 1), -EIO);
    kernel.result = -ENOSPC;
    kernel.n_results = 1;
    assert_int_equal(swap_ring_write(ring, 10, 1), -ENOSPC);
    kernel.result = -EDQUOT; /* as full */
    kernel.n_results = 1;
    assert_int_equal(swap_ring_write(ring, 10, 1), -ENOSPC);
    kernel.result = 0; /* nothing was written: neither an error nor progress */
    kernel.n_results = 1;
    assert_int_equal(swap_ring_write(ring, 10, 1), -ENOSPC);
    /* The kernel had no memory for it, or was interrupted: once more. */
    kernel.result = -EAGAIN;
    kernel.n_results = 3;
    fill(ring, 77);
    assert_int_equal(swap_ring_write(ring, 10, 1), 0);
    assert_int_equal(kernel.n_results, 0);
    assert_int_equal(swap_ring_read(ring, 10, 1), 0);
    must_be(ring, 77, 0, 1);
    swap_ring_free(ring);
    swap_file_close(&file);
}

static void a_disk_that_does_not_answer_is_not_waited_for(void **state)
{
    struct swap_file file = must_open();
    struct swap_ring *ring = must_have_ring(&file);
    unsigned n;

    (void)state;
    kernel.silent = true;
    assert_int_equal(swap_ring_read(ring, 10, 1), -ETIMEDOUT);
    assert_true(kernel.n_waits > 0 && kernel.passed_s <= 2 * SWAP_DEADLINE_S);
    n = kernel.n_waits;
    kernel.silent = false; /* what comes late is in a buffer that nobody looks at */
    assert_int_equal(swap_ring_read(ring, 10, 1), -ETIMEDOUT);
    assert_int_equal(swap_ring_write(ring, 10, 1), -ETIMEDOUT);
    assert_int_equal(kernel.n_waits, n);
    swap_ring_free(ring);
    swap_file_close(&file);
}

/* --- the file --------------------------------------------------------------------------------- */

static void must_refuse(const char *what, int code, const char *why)
{
    struct swap_file file = { .fd = -7 };
    struct errctx ec = { 0 };

    assert_int_equal(swap_file_open(what, &file, &ec), code);
    if (strstr(ec.msg, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", ec.msg, why);
    assert_int_equal(file.fd, -7);
}

static void write_at(off_t off, const char *what)
{
    FILE *f = fopen(path, "r+");

    assert_non_null(f);
    assert_int_equal(fseek(f, off, SEEK_SET), 0);
    assert_true(fputs(what, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void what_is_not_a_swap_file_is_not_written_over(void **state)
{
    struct swap_file file = must_open();

    (void)state;
    must_refuse(path, -EBUSY, "another process has");
    swap_file_close(&file);
    file = must_open(); /* an old one is taken again */
    swap_file_close(&file);
    write_at(3000, "x");
    must_refuse(path, -EINVAL, "holds something that is not a swap file");
    assert_int_equal(truncate(path, 0), 0); /* 64 KiB of zeroes, as some file systems begin */
    assert_int_equal(truncate(path, BYTES), 0);
    write_at(64 * 1024 + 64, "_BHRfS_M");
    must_refuse(path, -EINVAL, "count=256");
    write_at(0, "QFI");
    must_refuse(path, -EINVAL, "holds something that is not a swap file");
    assert_int_equal(truncate(path, 0), 0);
    must_refuse(path, -EINVAL, "at least 1 MiB");
    must_refuse(".", -EINVAL, "neither a file nor a block device");
    must_refuse("/dev/null", -EINVAL, "neither a file nor a block device");
    must_refuse("./there-is-none", -ENOENT, "truncate -s 8G ./there-is-none");
}

/* Where a write may come late, the ring that it is in keeps the lock. */
static void a_late_write_keeps_the_next_machine_out(void **state)
{
    struct swap_file file = must_open();
    struct swap_ring *ring = must_have_ring(&file);

    (void)state;
    file.late = true;
    swap_file_close(&file);
    must_refuse(path, -EBUSY, "another process has");
    swap_ring_free(ring);
}

/* The device of a machine that ended is busy for a moment, or mounted for longer. */
static void a_busy_device_is_waited_for(void **state)
{
    struct swap_file file;

    (void)state;
    kernel.n_busy = 3;
    file = must_open();
    assert_int_equal(kernel.n_busy, 0);
    swap_file_close(&file);
    kernel.n_busy = UINT_MAX;
    must_refuse(path, -EBUSY, "is mounted, or another process has it");
    assert_true(kernel.n_busy < UINT_MAX);
    kernel.n_busy = 0;
}

static void which_first_blocks_are_ours(void **state)
{
    uint8_t *start = calloc(1, SWAP_START);

    (void)state;
    assert_non_null(start);
    assert_true(swap_file_is_ours(start));
    start[SWAP_START - 1] = 1;
    assert_false(swap_file_is_ours(start));
    memcpy(start, "numavisor swap 1\n", 17); /* what it kept is behind the first block */
    assert_true(swap_file_is_ours(start));
    start[17] = 1;
    assert_false(swap_file_is_ours(start));
    start[17] = 0;
    start[SWAP_BLOCK - 1] = 1;
    assert_false(swap_file_is_ours(start));
    memset(start, 0, SWAP_START);
    memcpy(start, "numavisor swap 2\n", 17);
    assert_false(swap_file_is_ours(start));
    free(start);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_come_back, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_file_that_became_shorter_ends, make_file, remove_file),
        cmocka_unit_test_setup_teardown(errors_of_the_disk_are_told, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_disk_that_does_not_answer_is_not_waited_for, make_file,
                                        remove_file),
        cmocka_unit_test_setup_teardown(what_is_not_a_swap_file_is_not_written_over, make_file,
                                        remove_file),
        cmocka_unit_test_setup_teardown(a_late_write_keeps_the_next_machine_out, make_file,
                                        remove_file),
        cmocka_unit_test_setup_teardown(a_busy_device_is_waited_for, make_file, remove_file),
        cmocka_unit_test(which_first_blocks_are_ours),
    };
    (void)argc;
    (void)snprintf(folder, sizeof(folder), "%s", argv[0]);
    *strrchr(folder, '/') = '\0'; /* run-tests says where it is */
    return cmocka_run_group_tests_name("memory/store/swap_ring", tests, NULL, NULL);
}
