/* SPDX-License-Identifier: Apache-2.0 */
/* The console device over pipes and a pseudo terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <linux/virtio_console.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "devices/virtio/console.h"
#include "devices/virtio/test/fake_driver.h"

enum { RX, TX };

struct fixture {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    int in[2], out[2]; /* pipes; we write in[1] and read out[0] */
};

static int make_console(struct fixture *f, int in, int out, struct virtio_dev **ret_dev)
{
    struct device_env env = { .mem = f->fm.mem, .loop = f->fl.loop, .name = "console0",
                              .console_in_fd = in, .console_out_fd = out };
    struct device_args args = { .type = &console_device_type };

    return console_device_type.create(&args, &env, ret_dev, NULL);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct virtio_dev *vdev = NULL;

    assert_non_null(f);
    fake_mem_init(&f->fm);
    fake_loop_start(&f->fl);
    assert_int_equal(pipe(f->in), 0);
    assert_int_equal(pipe(f->out), 0);
    assert_int_equal(make_console(f, f->in[0], f->out[1], &vdev), 0);
    fake_dev_init(&f->fd, vdev, &f->fm, 0, 64);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fake_dev_fini(&f->fd);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_loop_stop(&f->fl);
    for (int i = 0; i < 2; i++) {
        (void)close(f->in[i]);
        (void)close(f->out[i]);
    }
    fake_mem_fini(&f->fm);
    free(f);
    return 0;
}

static void output_comes_out(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[2] = { { FAKE_DATA_BASE, 6 }, { FAKE_DATA_BASE + 100, 6 } };
    uint32_t head, len;
    char got[13] = "";

    memcpy(fake_ptr(f->fm.mem, FAKE_DATA_BASE, 6), "hello ", 6);
    memcpy(fake_ptr(f->fm.mem, FAKE_DATA_BASE + 100, 6), "world\n", 6);
    fake_queue_add(&f->fd.q[TX], bufs, 2, 0);
    fake_dev_kick(&f->fd, TX);
    assert_true(fake_dev_wait_used(&f->fd, TX, &head, &len, 5000));
    assert_int_equal(len, 0);
    assert_int_equal(read(f->out[0], got, 12), 12);
    assert_string_equal(got, "hello world\n");
    assert_int_equal(f->fd.queue_interrupts[TX], 1);
}

static void input_waits_for_a_buffer(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_DATA_BASE, 3 };
    uint32_t head, len;

    fake_dev_kick(&f->fd, RX);
    assert_int_equal(write(f->in[1], "abcde", 5), 5);
    fake_dev_kick(&f->fd, RX);
    assert_false(fake_queue_used(&f->fd.q[RX], &head, &len));
    fake_queue_add(&f->fd.q[RX], &buf, 0, 1);
    fake_queue_add(&f->fd.q[RX], &buf, 0, 1);
    fake_dev_kick(&f->fd, RX);
    assert_true(fake_dev_wait_used(&f->fd, RX, &head, &len, 5000));
    assert_int_equal(len, 3);
    assert_true(fake_dev_wait_used(&f->fd, RX, &head, &len, 5000));
    assert_int_equal(len, 2);
    assert_memory_equal(fake_ptr(f->fm.mem, FAKE_DATA_BASE, 3), "dec", 3);

    /* With a buffer waiting, input needs no doorbell. */
    fake_queue_add(&f->fd.q[RX], &buf, 0, 1);
    fake_dev_kick(&f->fd, RX);
    assert_int_equal(write(f->in[1], "xyz", 3), 3);
    assert_true(fake_dev_wait_used(&f->fd, RX, &head, &len, 5000));
    assert_memory_equal(fake_ptr(f->fm.mem, FAKE_DATA_BASE, 3), "xyz", 3);
    (void)close(f->in[1]); /* the end of input is no error */
    f->in[1] = -1;
    fake_queue_add(&f->fd.q[RX], &buf, 0, 1);
    fake_dev_kick(&f->fd, RX);
    assert_false(f->fd.dev->broken);
    assert_false(fake_queue_used(&f->fd.q[RX], &head, &len));
}

/* A terminal that is not read: the guest waits, nothing grows, and every byte comes in the end. */
static void stuck_output_holds_the_guest_back(void **state)
{
    struct fixture *f = *state;
    enum { REQUEST = 100000, REQUESTS = 5 };
    uint8_t *data = fake_ptr(f->fm.mem, FAKE_DATA_BASE, REQUEST);
    struct fake_buf buf = { FAKE_DATA_BASE, REQUEST };
    uint32_t head, len, used = 0;
    size_t got = 0;

    for (int i = 0; i < REQUEST; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    for (int i = 0; i < REQUESTS; i++)
        fake_queue_add(&f->fd.q[TX], &buf, 1, 0);
    fake_dev_kick(&f->fd, TX);
    while (fake_queue_used(&f->fd.q[TX], &head, &len))
        used++;
    assert_in_range(used, 0, REQUESTS - 1);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_dev_quiesce(&f->fd);
    fake_dev_resume(&f->fd);

    while (got < (size_t)REQUEST * REQUESTS) {
        struct pollfd readable = { .fd = f->out[0], .events = POLLIN };
        uint8_t buf2[8192];
        ssize_t n;

        while (poll(&readable, 1, 10) == 0) /* the device may have asked for it from its loop */
            if (__atomic_load_n(&f->fd.kick_again[TX], __ATOMIC_ACQUIRE))
                fake_dev_kick(&f->fd, TX);
        n = read(f->out[0], buf2, sizeof(buf2));

        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++, got++)
            if (buf2[i] != data[got % REQUEST])
                fail_msg("byte %zu differs", got);
    }
    while (used < REQUESTS && fake_dev_wait_used(&f->fd, TX, &head, &len, 5000))
        used++;
    assert_int_equal(used, REQUESTS);
}

static void lost_output_is_swallowed(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_DATA_BASE, 100000 };
    uint32_t head, len;

    (void)close(f->out[0]);
    f->out[0] = -1;
    for (int i = 0; i < 4; i++) {
        fake_queue_add(&f->fd.q[TX], &buf, 1, 0);
        fake_dev_kick(&f->fd, TX);
        assert_true(fake_dev_wait_used(&f->fd, TX, &head, &len, 5000));
    }
    assert_false(f->fd.dev->broken);
}

static void bad_rings_break_the_device(void **state)
{
    struct fixture *f = *state;

    fake_queue_offer(&f->fd.q[TX], 4000);
    fake_dev_kick(&f->fd, TX);
    assert_true(f->fd.dev->broken);
    assert_int_equal(f->fd.config_interrupts, 1);
}

static void pending_output_is_saved(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_DATA_BASE, 200000 };
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;
    struct virtio_dev *other = NULL;
    int pipe2[2];
    struct errctx ec = { 0 };

    fake_queue_add(&f->fd.q[TX], &buf, 1, 0);
    fake_dev_kick(&f->fd, TX);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(f->fd.dev->ops->save(f->fd.dev, &w, NULL), 0);
    assert_true(w.len > 1000); /* the buffer is full of it */

    assert_int_equal(pipe(pipe2), 0);
    assert_int_equal(make_console(f, -1, pipe2[1], &other), 0);
    for (size_t cut = 0; cut < w.len; cut += 1 + cut / 3) {
        r = (struct snapshot_reader){ .buf = w.buf, .len = cut };
        assert_true(other->ops->load(other, &r, 1, &ec) < 0 || !snapshot_reader_ok(&r));
    }
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(other->ops->load(other, &r, 1, NULL), 0);
    assert_int_equal(r.pos, w.len);
    other->ops->quiesce(other); /* flushes what fits */
    other->ops->destroy(other);
    (void)close(pipe2[0]);
    (void)close(pipe2[1]);
    snapshot_writer_fini(&w);
}

static void window_size_is_told(void **state)
{
    struct fixture *f = *state;
    struct winsize ws = { .ws_col = 132, .ws_row = 50 };
    struct virtio_console_config config;
    struct virtio_dev *vdev = NULL;
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave, flags;
    char path[64];

    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    assert_int_equal(ptsname_r(master, path, sizeof(path)), 0);
    slave = open(path, O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &ws), 0);
    flags = fcntl(slave, F_GETFL);
    assert_int_equal(make_console(f, slave, slave, &vdev), 0);
    assert_int_equal(fcntl(slave, F_GETFL), flags); /* the shell's terminal stays as it was */
    assert_true(vdev->host_features & 1ull << VIRTIO_CONSOLE_F_SIZE);
    vdev->ops->config_read(vdev, 0, &config, sizeof(config));
    assert_int_equal(config.cols, 132);
    assert_int_equal(config.rows, 50);
    vdev->ops->destroy(vdev);
    (void)close(slave);
    (void)close(master);
    assert_false(f->fd.dev->host_features & 1ull << VIRTIO_CONSOLE_F_SIZE); /* a pipe has none */
}

static void shared_description_gets_its_flags_back(void **state)
{
    struct fixture *f = *state;
    struct virtio_dev *vdev = NULL;
    FILE *file = tmpfile();
    int flags;

    assert_non_null(file);
    flags = fcntl(fileno(file), F_GETFL);
    assert_int_equal(make_console(f, -1, fileno(file), &vdev), 0);
    vdev->ops->destroy(vdev);
    assert_int_equal(fcntl(fileno(file), F_GETFL), flags);
    (void)fclose(file);
    assert_int_equal(make_console(f, -1, -1, &vdev), -ENOTTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(output_comes_out),
        T(input_waits_for_a_buffer),
        T(stuck_output_holds_the_guest_back),
        T(lost_output_is_swallowed),
        T(bad_rings_break_the_device),
        T(pending_output_is_saved),
        T(window_size_is_told),
        T(shared_description_gets_its_flags_back),
#undef T
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests_name("devices/virtio/console", tests, NULL, NULL);
}
