/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a virtio disk: what it says of itself, what it refuses, what rights it keeps. */
// LDFLAGS: -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
#include "devices/virtio/test/blk_rig.h"

#include <dirent.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(configuration_describes_the_disk, setup, with_uring, "io_uring"),
        TEST(saved_state_fits_the_same_disk_only, setup, with_uring, "io_uring"),
        BOTH_BARE(one_writer_or_many_readers),
        TEST(files_that_are_no_disk_are_refused, setup_mem, with_uring, "io_uring"),
        TEST(options_without_sense_are_refused, setup_mem, with_uring, "io_uring"),
        TEST(the_ring_has_no_rights_to_spare, setup_mem, with_uring, "io_uring"),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk open", tests, NULL, NULL);
}
