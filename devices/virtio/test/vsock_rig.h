/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device between a guest, whose packets the tests write and read, and Unix sockets of
 * the host. The device's loop runs in a thread of its own.
 */
#ifndef DEVICES_VIRTIO_TEST_VSOCK_RIG_H
#define DEVICES_VIRTIO_TEST_VSOCK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/test/fake_driver.h"
#include "devices/virtio/vsock.h"
#include "devices/virtio/vsock_int.h"

enum {
    CID = 42,
    WAIT_MS = 5000,
    RX_LEN = 4096,
    RX_BASE = FAKE_DATA_BASE,           /* a receive buffer for each descriptor */
    TX_BASE = FAKE_DATA_BASE + 2 * MIB, /* one packet at a time */
    GUEST_BUF = 256 * KIB,
};

struct fixture {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct vsock_dev *dev;
    char dir[32], path[64];
    struct virtio_vsock_hdr hdr; /* of the packet that receive() got */
    uint8_t data[RX_LEN];
    bool hungry; /* receive() gives no buffers back */
};

/* --- the guest --- */

static inline void offer(struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct fake_buf buf = { RX_BASE + (uint64_t)f->fd.q[VSOCK_RX].next_desc * RX_LEN, RX_LEN };

        fake_queue_add(&f->fd.q[VSOCK_RX], &buf, 0, 1);
    }
    fake_dev_kick(&f->fd, VSOCK_RX);
}

static inline struct fixture *open_vsock(unsigned n_rx)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct device_env env = { .name = "vsock0" };
    struct virtio_dev *dev;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/nv-vsock-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/v.sock", f->dir);
    fake_mem_init(&f->fm);
    assert_int_equal(evloop_new(&f->fl.loop, NULL), 0);
    env.mem = f->fm.mem;
    env.loop = f->fl.loop;
    assert_int_equal(vsock_new(&env, CID, f->path, &dev, NULL), 0);
    f->dev = container_of(dev, struct vsock_dev, vdev);
    fake_dev_init(&f->fd, dev, &f->fm, 0, 256);
    fake_loop_serve(&f->fl);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    if (n_rx > 0)
        offer(f, n_rx);
    return f;
}

static inline void close_vsock(struct fixture *f)
{
    evloop_stop(f->fl.loop);
    (void)pthread_join(f->fl.thread, NULL);
    fake_dev_fini(&f->fd);
    assert_int_equal(access(f->path, F_OK), -1); /* the socket went with the device */
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    evloop_free(f->fl.loop);
    fake_mem_fini(&f->fm);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
}

static inline void send_hdr(struct fixture *f, const struct virtio_vsock_hdr *hdr, const void *data,
                            size_t len)
{
    struct fake_buf bufs[2] = { { TX_BASE, VSOCK_HDR_LEN },
                                { TX_BASE + VSOCK_HDR_LEN, (uint32_t)len } };
    uint32_t head, used;

    (void)guest_mem_write(f->fm.mem, (struct gpa){ TX_BASE }, hdr, VSOCK_HDR_LEN);
    (void)guest_mem_write(f->fm.mem, (struct gpa){ TX_BASE + VSOCK_HDR_LEN }, data, len);
    fake_queue_add(&f->fd.q[VSOCK_TX], bufs, len > 0 ? 2 : 1, 0);
    fake_dev_kick(&f->fd, VSOCK_TX);
    assert_true(fake_dev_wait_used(&f->fd, VSOCK_TX, &head, &used, WAIT_MS));
    assert_int_equal(used, 0);
}

static inline struct virtio_vsock_hdr make_hdr(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    return (struct virtio_vsock_hdr){ .src_cid = CID,
                                      .dst_cid = VSOCK_HOST_CID,
                                      .src_port = guest_port,
                                      .dst_port = host_port,
                                      .type = VIRTIO_VSOCK_TYPE_STREAM,
                                      .op = op,
                                      .buf_alloc = GUEST_BUF };
}

/* Send an operation; the guest has consumed @fwd bytes of this connection so far. */
static inline void tell(struct fixture *f, uint16_t op, uint32_t guest_port, uint32_t host_port,
                        uint32_t flags, uint32_t fwd)
{
    struct virtio_vsock_hdr hdr = make_hdr(op, guest_port, host_port);

    hdr.flags = flags;
    hdr.fwd_cnt = fwd;
    send_hdr(f, &hdr, "", 0);
}

static inline void tell_data(struct fixture *f, uint32_t guest_port, uint32_t host_port,
                             const void *data, uint32_t len)
{
    struct virtio_vsock_hdr hdr = make_hdr(VIRTIO_VSOCK_OP_RW, guest_port, host_port);

    hdr.len = len;
    send_hdr(f, &hdr, data, len);
}

static inline bool receive_for(struct fixture *f, unsigned timeout_ms)
{
    uint32_t head, len;
    uint64_t at;

    if (!fake_dev_wait_used(&f->fd, VSOCK_RX, &head, &len, timeout_ms))
        return false;
    at = RX_BASE + (uint64_t)head * RX_LEN;
    assert_true(len >= VSOCK_HDR_LEN);
    (void)guest_mem_read(f->fm.mem, (struct gpa){ at }, &f->hdr, VSOCK_HDR_LEN);
    assert_int_equal(len, VSOCK_HDR_LEN + f->hdr.len);
    (void)guest_mem_read(f->fm.mem, (struct gpa){ at + VSOCK_HDR_LEN }, f->data, f->hdr.len);
    assert_int_equal(f->hdr.src_cid, VSOCK_HOST_CID);
    assert_int_equal(f->hdr.dst_cid, CID);
    assert_int_equal(f->hdr.type, VIRTIO_VSOCK_TYPE_STREAM);
    if (!f->hungry)
        offer(f, 1);
    return true;
}

/* The next packet is @op. */
static inline void expect(struct fixture *f, uint16_t op)
{
    assert_true(receive_for(f, WAIT_MS));
    assert_int_equal(f->hdr.op, op);
}

/* --- the host --- */

static inline void fill_addr(struct sockaddr_un *sun, const char *path)
{
    *sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
    (void)snprintf(sun->sun_path, sizeof(sun->sun_path), "%s", path);
}

static inline int host_connect(struct fixture *f, const char *line)
{
    struct sockaddr_un sun;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    fill_addr(&sun, f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
    return fd;
}

static inline int host_listen(struct fixture *f, uint32_t port)
{
    struct sockaddr_un sun;
    char path[96];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(path, sizeof(path), "%s_%u", f->path, port);
    fill_addr(&sun, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 1024), 0);
    return fd;
}

static inline void host_unlisten(struct fixture *f, int fd, uint32_t port)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s_%u", f->path, port);
    (void)unlink(path);
    (void)close(fd);
}

static inline bool readable(int fd, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, timeout_ms) == 1;
}

static inline void expect_end(int fd)
{
    char c;

    assert_true(readable(fd, WAIT_MS));
    assert_true(recv(fd, &c, 1, 0) <= 0);
}

static inline uint8_t pattern(size_t i, uint8_t seed)
{
    return (uint8_t)(seed + i * 13 + (i >> 9));
}

/* A connection that the guest makes to port 80, where the test listens. */
static inline int guest_connect(struct fixture *f, int listener, uint32_t guest_port)
{
    int fd;

    tell(f, VIRTIO_VSOCK_OP_REQUEST, guest_port, 80, 0, 0);
    expect(f, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(f->hdr.src_port, 80);
    assert_int_equal(f->hdr.dst_port, guest_port);
    assert_int_equal(f->hdr.buf_alloc, VSOCK_BUF_BYTES);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

#endif
