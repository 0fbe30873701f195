/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: a guest's packets on one side, Unix sockets of the host on the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

static void offer(struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct fake_buf buf = { RX_BASE + (uint64_t)f->fd.q[VSOCK_RX].next_desc * RX_LEN, RX_LEN };

        fake_queue_add(&f->fd.q[VSOCK_RX], &buf, 0, 1);
    }
    fake_dev_kick(&f->fd, VSOCK_RX);
}

static struct fixture *open_vsock(unsigned n_rx)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct device_env env = { .name = "vsock0" };
    struct virtio_dev *dev;
    sem_t up;

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
    assert_int_equal(sem_init(&up, 0, 0), 0);
    assert_int_equal(evloop_post(f->fl.loop, fake_loop_is_up, &up), 0);
    assert_int_equal(pthread_create(&f->fl.thread, NULL, fake_loop_main, f->fl.loop), 0);
    while (sem_wait(&up) < 0)
        assert_int_equal(errno, EINTR);
    (void)sem_destroy(&up);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    if (n_rx > 0)
        offer(f, n_rx);
    return f;
}

static void close_vsock(struct fixture *f)
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

static void send_hdr(struct fixture *f, const struct virtio_vsock_hdr *hdr, const void *data,
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

static struct virtio_vsock_hdr make_hdr(uint16_t op, uint32_t guest_port, uint32_t host_port)
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
static void tell(struct fixture *f, uint16_t op, uint32_t guest_port, uint32_t host_port,
                 uint32_t flags, uint32_t fwd)
{
    struct virtio_vsock_hdr hdr = make_hdr(op, guest_port, host_port);

    hdr.flags = flags;
    hdr.fwd_cnt = fwd;
    send_hdr(f, &hdr, "", 0);
}

static void tell_data(struct fixture *f, uint32_t guest_port, uint32_t host_port, const void *data,
                      uint32_t len)
{
    struct virtio_vsock_hdr hdr = make_hdr(VIRTIO_VSOCK_OP_RW, guest_port, host_port);

    hdr.len = len;
    send_hdr(f, &hdr, data, len);
}

static bool receive_for(struct fixture *f, unsigned timeout_ms)
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
static void expect(struct fixture *f, uint16_t op)
{
    assert_true(receive_for(f, WAIT_MS));
    assert_int_equal(f->hdr.op, op);
}

/* --- the host --- */

static void fill_addr(struct sockaddr_un *sun, const char *path)
{
    *sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
    (void)snprintf(sun->sun_path, sizeof(sun->sun_path), "%s", path);
}

static int host_connect(struct fixture *f, const char *line)
{
    struct sockaddr_un sun;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    fill_addr(&sun, f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
    return fd;
}

static int host_listen(struct fixture *f, uint32_t port)
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

static void host_unlisten(struct fixture *f, int fd, uint32_t port)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s_%u", f->path, port);
    (void)unlink(path);
    (void)close(fd);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, timeout_ms) == 1;
}

static void expect_end(int fd)
{
    char c;

    assert_true(readable(fd, WAIT_MS));
    assert_true(recv(fd, &c, 1, 0) <= 0);
}

static uint8_t pattern(size_t i, uint8_t seed)
{
    return (uint8_t)(seed + i * 13 + (i >> 9));
}

/* A connection that the guest makes to port 80, where the test listens. */
static int guest_connect(struct fixture *f, int listener, uint32_t guest_port)
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

/* --- connecting --- */

static void host_connects_to_a_guest_port(void **state)
{
    struct fixture *f = open_vsock(16);
    int fd = host_connect(f, "CONNECT 1234\nearly");
    char line[64], want[64];
    struct stat st;

    (void)state;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(f->hdr.dst_port, 1234);
    (void)snprintf(want, sizeof(want), "OK %u\n", f->hdr.src_port);
    assert_false(readable(fd, 20)); /* no answer before the guest's */
    tell(f, VIRTIO_VSOCK_OP_RESPONSE, 1234, f->hdr.src_port, 0, 0);
    assert_true(readable(fd, WAIT_MS));
    assert_int_equal(recv(fd, line, sizeof(line), 0), strlen(want));
    assert_memory_equal(line, want, strlen(want));

    /* What followed the line was the guest's from the start. */
    expect(f, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(f->hdr.len, 5);
    assert_memory_equal(f->data, "early", 5);
    (void)close(fd);
    expect(f, VIRTIO_VSOCK_OP_SHUTDOWN);
    close_vsock(f);
}

static void refused_and_malformed_requests_end_the_stream(void **state)
{
    static const char *const bad[] = {
        "CONNECT \n",   "CONNECT x\n",    "CONNECT 4294967296\n",
        "CONNECT -1\n", "connect 1\n",    "CONNECT 1 \n",
        "\n",           "CONNECT 0x10\n", "CONNECT 00000000000000000000000000000001\n",
    };
    struct fixture *f = open_vsock(16);
    int fd = host_connect(f, "CONNECT 9\n");

    (void)state;
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    tell(f, VIRTIO_VSOCK_OP_RST, 9, f->hdr.src_port, 0, 0);
    expect_end(fd);
    (void)close(fd);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        fd = host_connect(f, bad[i]);
        expect_end(fd);
        (void)close(fd);
    }
    assert_false(receive_for(f, 20)); /* the guest heard of none */
    close_vsock(f);
}

static void stalled_handshakes_make_room_for_others(void **state)
{
    struct fixture *f = open_vsock(16);
    int fds[VSOCK_MAX_HELLOS + 8];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = host_connect(f, "CONN");
    expect_end(fds[0]);
    assert_int_equal(send(fds[ARRAY_SIZE(fds) - 1], "ECT 5\n", 6, 0), 6);
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        (void)close(fds[i]);
    close_vsock(f);
}

static void guest_port_without_listener_is_reset(void **state)
{
    struct fixture *f = open_vsock(16);

    (void)state;
    tell(f, VIRTIO_VSOCK_OP_REQUEST, 1000, 81, 0, 0);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->hdr.src_port, 81);
    assert_int_equal(f->hdr.dst_port, 1000);
    close_vsock(f);
}

/* --- data --- */

static void data_passes_both_ways(void **state)
{
    enum { TOTAL = 1500000, PART = 3000 };
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000);
    static uint8_t buf[VSOCK_BUF_BYTES];
    uint32_t sent = 0, got = 0, credit = VSOCK_BUF_BYTES, fwd = 0;

    (void)state;
    while (got < TOTAL) { /* the guest sends within its credit, the host reads */
        ssize_t n;

        if (sent < TOTAL && sent - fwd + PART <= credit) {
            for (size_t i = 0; i < PART; i++)
                buf[i] = pattern(sent + i, 3);
            tell_data(f, 1000, 80, buf, PART);
            sent += PART;
            continue;
        }
        n = recv(fd, buf, sizeof(buf), 0);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++, got++)
            assert_int_equal(buf[i], pattern(got, 3));
        while (sent < TOTAL && sent - fwd + PART > credit) {
            expect(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            fwd = f->hdr.fwd_cnt;
            credit = f->hdr.buf_alloc;
        }
    }
    while (receive_for(f, 20)) /* what is left of credit updates */
        assert_int_equal(f->hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    got = 0;
    for (sent = 0; got < TOTAL;) { /* the host sends, the guest takes and says so */
        if (sent < TOTAL && sent - got < 100000) {
            for (size_t i = 0; i < PART; i++)
                buf[i] = pattern(sent + i, 5);
            assert_int_equal(send(fd, buf, PART, 0), PART);
            sent += PART;
            continue;
        }
        expect(f, VIRTIO_VSOCK_OP_RW);
        for (size_t i = 0; i < f->hdr.len; i++, got++)
            assert_int_equal(f->data[i], pattern(got, 5));
        if (got % 16 < 8)
            tell(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1000, 80, 0, got);
    }
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void host_waits_for_the_guests_credit(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd;
    struct virtio_vsock_hdr hdr = make_hdr(VIRTIO_VSOCK_OP_REQUEST, 7, 80);
    uint32_t got = 0;
    char buf[1000] = { 0 };

    (void)state;
    hdr.buf_alloc = 100;
    send_hdr(f, &hdr, "", 0);
    expect(f, VIRTIO_VSOCK_OP_RESPONSE);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(send(fd, buf, sizeof(buf), 0), sizeof(buf));
    for (unsigned turn = 0; turn < 10; turn++) {
        expect(f, VIRTIO_VSOCK_OP_RW);
        assert_int_equal(f->hdr.len, 100);
        got += f->hdr.len;
        expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
        assert_false(receive_for(f, 20));
        hdr.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
        hdr.fwd_cnt = got;
        send_hdr(f, &hdr, "", 0);
    }
    /* A guest that claims to have consumed what it never got has no credit at all. */
    hdr.fwd_cnt = got + 1;
    send_hdr(f, &hdr, "", 0);
    assert_int_equal(send(fd, buf, 10, 0), 10);
    assert_false(receive_for(f, 20) && f->hdr.op == VIRTIO_VSOCK_OP_RW);
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void guest_that_exceeds_its_credit_is_reset(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000);
    static uint8_t buf[32768];
    unsigned n = 0;

    (void)state;
    /* The host does not read: its socket fills, then our buffer, then the credit is used up. */
    do {
        assert_true(n++ < 100);
        tell_data(f, 1000, 80, buf, sizeof(buf));
        if (!receive_for(f, 5))
            f->hdr.op = 0;
    } while (f->hdr.op != VIRTIO_VSOCK_OP_RST);
    assert_true(n > 2);
    tell_data(f, 1000, 80, buf, 1); /* the connection is no more */
    expect(f, VIRTIO_VSOCK_OP_RST);
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

/* --- ends --- */

static void each_direction_ends_on_its_own(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000);
    char buf[16];

    (void)state;
    assert_int_equal(send(fd, "last", 4, 0), 4);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect(f, VIRTIO_VSOCK_OP_RW);
    expect(f, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(f->hdr.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    tell_data(f, 1000, 80, "still here", 10);
    assert_int_equal(recv(fd, buf, sizeof(buf), 0), 10);
    tell(f, VIRTIO_VSOCK_OP_SHUTDOWN, 1000, 80, VIRTIO_VSOCK_SHUTDOWN_SEND, 4);
    expect_end(fd);
    (void)close(fd);
    expect(f, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(f->hdr.flags, VSOCK_SHUT_BOTH);
    tell(f, VIRTIO_VSOCK_OP_RST, 1000, 80, 0, 4);
    assert_false(receive_for(f, 20));

    /* The other way round. */
    fd = guest_connect(f, listener, 1001);
    tell(f, VIRTIO_VSOCK_OP_SHUTDOWN, 1001, 80, VIRTIO_VSOCK_SHUTDOWN_SEND, 0);
    expect_end(fd);
    assert_int_equal(send(fd, "answer", 6, 0), 6);
    expect(f, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(f->hdr.len, 6);
    tell(f, VIRTIO_VSOCK_OP_SHUTDOWN, 1001, 80, VSOCK_SHUT_BOTH, 6);
    expect(f, VIRTIO_VSOCK_OP_RST);
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void guests_last_bytes_reach_a_slow_host(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000);
    static uint8_t buf[8192];
    size_t sent = 0, got = 0;
    uint32_t fwd = 0;
    ssize_t n;

    (void)state;
    /* Fill the socket and our buffer, then close from the guest. */
    while (sent - fwd + sizeof(buf) <= VSOCK_BUF_BYTES) {
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = pattern(sent + i, 9);
        tell_data(f, 1000, 80, buf, sizeof(buf));
        sent += sizeof(buf);
        while (receive_for(f, 2)) {
            assert_int_equal(f->hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            fwd = f->hdr.fwd_cnt;
        }
    }
    tell(f, VIRTIO_VSOCK_OP_SHUTDOWN, 1000, 80, VSOCK_SHUT_BOTH, 0);
    expect(f, VIRTIO_VSOCK_OP_RST);
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
        for (ssize_t i = 0; i < n; i++, got++)
            assert_int_equal(buf[i], pattern(got, 9));
    }
    assert_int_equal(n, 0);
    assert_int_equal(got, sent);
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void host_that_leaves_takes_no_bytes_from_the_guest(void **state)
{
    struct fixture *f = open_vsock(4);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000);
    static uint8_t buf[50000];
    size_t got = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = pattern(i, 11);
    assert_int_equal(send(fd, buf, sizeof(buf), 0), sizeof(buf));
    (void)close(fd);
    tell_data(f, 1000, 80, "nobody reads this", 17);
    do {
        assert_true(receive_for(f, WAIT_MS));
        if (f->hdr.op == VIRTIO_VSOCK_OP_RW) {
            for (size_t i = 0; i < f->hdr.len; i++, got++)
                assert_int_equal(f->data[i], pattern(got, 11));
        } else {
            assert_int_equal(f->hdr.op, VIRTIO_VSOCK_OP_SHUTDOWN);
        }
    } while (f->hdr.op != VIRTIO_VSOCK_OP_SHUTDOWN || f->hdr.flags != VSOCK_SHUT_BOTH);
    assert_int_equal(got, sizeof(buf));
    tell(f, VIRTIO_VSOCK_OP_RST, 1000, 80, 0, 0);
    fd = guest_connect(f, listener, 1000); /* the ports are free again */
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

/* --- abuse --- */

static void packets_that_fit_no_connection_are_reset(void **state)
{
    static const uint16_t ops[] = { 0,
                                    VIRTIO_VSOCK_OP_RESPONSE,
                                    VIRTIO_VSOCK_OP_SHUTDOWN,
                                    VIRTIO_VSOCK_OP_RW,
                                    VIRTIO_VSOCK_OP_CREDIT_UPDATE,
                                    VIRTIO_VSOCK_OP_CREDIT_REQUEST,
                                    8,
                                    0xffff };
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80);
    struct virtio_vsock_hdr hdr;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        tell(f, ops[i], 55, 66, 0, 0);
        expect(f, VIRTIO_VSOCK_OP_RST);
    }
    tell(f, VIRTIO_VSOCK_OP_RST, 55, 66, 0, 0); /* is never answered */
    hdr = make_hdr(VIRTIO_VSOCK_OP_REQUEST, 55, 80);
    hdr.src_cid = CID + 1;
    send_hdr(f, &hdr, "", 0);
    hdr.src_cid = CID;
    hdr.dst_cid = 3;
    send_hdr(f, &hdr, "", 0);
    assert_false(receive_for(f, 20));
    hdr.dst_cid = VSOCK_HOST_CID;
    hdr.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    send_hdr(f, &hdr, "", 0);
    expect(f, VIRTIO_VSOCK_OP_RST);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void protocol_errors_reset_only_their_connection(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), good = guest_connect(f, listener, 1);
    char buf[8];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        int fd = guest_connect(f, listener, 2);
        struct virtio_vsock_hdr hdr = make_hdr(VIRTIO_VSOCK_OP_RW, 2, 80);

        hdr.len = 50; /* ... of which there are 4 */
        switch (i) {
        case 0:
            send_hdr(f, &hdr, "abcd", 4);
            break;
        case 1:
            tell(f, VIRTIO_VSOCK_OP_REQUEST, 2, 80, 0, 0); /* a second one */
            break;
        case 2:
            tell(f, VIRTIO_VSOCK_OP_SHUTDOWN, 2, 80, VIRTIO_VSOCK_SHUTDOWN_SEND, 0);
            tell_data(f, 2, 80, "x", 1); /* after its end */
            break;
        default:
            tell(f, VIRTIO_VSOCK_OP_RESPONSE, 2, 80, 0, 0);
        }
        expect(f, VIRTIO_VSOCK_OP_RST);
        assert_int_equal(f->hdr.dst_port, 2);
        expect_end(fd);
        (void)close(fd);
    }
    tell_data(f, 1, 80, "fine", 4);
    assert_int_equal(recv(good, buf, sizeof(buf), 0), 4);
    (void)close(good);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void chain_without_a_header_breaks_the_device(void **state)
{
    struct fixture *f = open_vsock(4);
    struct fake_buf buf = { TX_BASE, VSOCK_HDR_LEN - 1 };

    (void)state;
    fake_queue_add(&f->fd.q[VSOCK_TX], &buf, 1, 0);
    fake_dev_kick(&f->fd, VSOCK_TX);
    assert_true(f->fd.dev->broken);
    close_vsock(f);
}

static void guest_that_takes_no_resets_stops_itself(void **state)
{
    struct fixture *f = open_vsock(0);
    struct virtio_vsock_hdr hdr = make_hdr(VIRTIO_VSOCK_OP_RW, 5, 6);
    struct fake_buf buf = { TX_BASE, VSOCK_HDR_LEN };
    uint32_t head, len;
    unsigned taken = 0, resets = 0;

    (void)state;
    (void)guest_mem_write(f->fm.mem, (struct gpa){ TX_BASE }, &hdr, VSOCK_HDR_LEN);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 128; i++)
            fake_queue_add(&f->fd.q[VSOCK_TX], &buf, 1, 0);
        fake_dev_kick(&f->fd, VSOCK_TX);
        while (fake_queue_used(&f->fd.q[VSOCK_TX], &head, &len))
            taken++;
        if (taken == VSOCK_RST_HIGH)
            break;
    }
    assert_int_equal(taken, VSOCK_RST_HIGH);
    for (unsigned i = 0; i < 128; i++)
        fake_queue_add(&f->fd.q[VSOCK_TX], &buf, 1, 0);
    fake_dev_kick(&f->fd, VSOCK_TX);
    assert_false(fake_queue_used(&f->fd.q[VSOCK_TX], &head, &len));
    offer(f, 64); /* and goes on when it does */
    while (resets < VSOCK_RST_HIGH + 128) {
        expect(f, VIRTIO_VSOCK_OP_RST);
        resets++;
    }
    assert_false(receive_for(f, 20));
    close_vsock(f);
}

static void connections_are_limited(void **state)
{
    struct rlimit files = { 0 };
    struct fixture *f = open_vsock(128);
    int listener = host_listen(f, 80);
    unsigned made = 0;
    int *fds = calloc(VSOCK_MAX_CONNS, sizeof(*fds));

    (void)state;
    assert_non_null(fds);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * VSOCK_MAX_CONNS + 100) {
        print_message("skip: the limit of open files is %llu\n",
                      (unsigned long long)files.rlim_cur);
        skip();
    }
    for (; made < VSOCK_MAX_CONNS; made++)
        fds[made] = guest_connect(f, listener, 10000 + made);
    tell(f, VIRTIO_VSOCK_OP_REQUEST, 9999, 80, 0, 0);
    expect(f, VIRTIO_VSOCK_OP_RST);
    tell(f, VIRTIO_VSOCK_OP_RST, 10000, 80, 0, 0);
    expect_end(fds[0]);
    (void)close(fds[0]);
    fds[0] = guest_connect(f, listener, 9999);
    for (unsigned i = 0; i < made; i += 97) {
        char c;

        tell_data(f, i == 0 ? 9999 : 10000 + i, 80, "z", 1);
        assert_int_equal(recv(fds[i], &c, 1, 0), 1);
    }
    for (unsigned i = 0; i < made; i++)
        (void)close(fds[i]);
    free(fds);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

/* --- life cycle --- */

static void do_reset(void *ctx)
{
    struct fixture *f = ctx;

    f->fd.dev->ops->quiesce(f->fd.dev);
    f->fd.dev->ops->reset(f->fd.dev);
    f->fd.dev->ops->resume(f->fd.dev);
}

static void pause_keeps_and_reset_closes_connections(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000), early;

    (void)state;
    fake_dev_quiesce(&f->fd);
    assert_int_equal(send(fd, "wait", 4, 0), 4);
    assert_false(receive_for(f, 30));
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_dev_resume(&f->fd);
    expect(f, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(f->data, "wait", 4);

    evloop_call(f->fl.loop, do_reset, f);
    expect_end(fd);
    early = host_connect(f, "CONNECT 3\n"); /* waits in the backlog for the next driver */
    assert_false(receive_for(f, 20));
    assert_int_equal(fake_dev_start(&f->fd), 0);
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    (void)close(early);
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

struct load_call {
    struct fixture *f;
    struct snapshot_reader r;
    struct errctx ec;
    int result;
};

static void do_load(void *ctx)
{
    struct load_call *c = ctx;
    struct virtio_dev *dev = c->f->fd.dev;

    c->result = dev->ops->load(dev, &c->r, dev->ops->version, &c->ec);
}

static void loading_tells_the_guest_that_connections_are_gone(void **state)
{
    struct fixture *f = open_vsock(64);
    int listener = host_listen(f, 80), fd = guest_connect(f, listener, 1000);
    struct fake_buf buf = { TX_BASE, sizeof(struct virtio_vsock_event) };
    struct snapshot_writer w = { 0 };
    struct load_call c = { .f = f };
    struct virtio_vsock_event event = { .id = 0xffffffff };
    uint32_t head, len;

    (void)state;
    (void)guest_mem_write(f->fm.mem, (struct gpa){ TX_BASE }, &event, sizeof(event));
    fake_queue_add(&f->fd.q[VSOCK_EVENT], &buf, 0, 1);
    fake_dev_kick(&f->fd, VSOCK_EVENT);
    assert_false(fake_queue_used(&f->fd.q[VSOCK_EVENT], &head, &len));
    fake_dev_quiesce(&f->fd);
    assert_int_equal(f->fd.dev->ops->save(f->fd.dev, &w, NULL), 0);
    c.r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    evloop_call(f->fl.loop, do_load, &c);
    assert_int_equal(c.result, 0);
    fake_dev_resume(&f->fd);
    expect_end(fd);
    assert_true(fake_dev_wait_used(&f->fd, VSOCK_EVENT, &head, &len, WAIT_MS));
    assert_int_equal(len, sizeof(event));
    (void)guest_mem_read(f->fm.mem, (struct gpa){ TX_BASE }, &event, sizeof(event));
    assert_int_equal(event.id, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);

    w.buf[0] ^= 1;
    c.r.pos = 0;
    evloop_call(f->fl.loop, do_load, &c);
    assert_int_equal(c.result, -EINVAL);
    assert_string_equal(c.ec.msg, "vsock0: saved state is of another CID");
    snapshot_writer_fini(&w);
    (void)close(fd);
    host_unlisten(f, listener, 80);
    close_vsock(f);
}

static void socket_file_is_replaced_only_when_nobody_serves_it(void **state)
{
    struct fixture *f = open_vsock(4);
    struct device_env env = { .mem = f->fm.mem, .name = "vsock1" };
    struct virtio_dev *dev = (void *)f;
    struct errctx ec = { 0 };
    struct sockaddr_un sun;
    char path[80], want[160];
    int fd;

    (void)state;
    assert_int_equal(evloop_new(&env.loop, NULL), 0); /* idle, as it is when devices are made */
    assert_int_equal(vsock_new(&env, CID, f->path, &dev, &ec), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "%s is in use by a running process", f->path);
    assert_string_equal(ec.msg, want);
    assert_ptr_equal(dev, f);
    assert_int_equal(access(f->path, F_OK), 0);

    (void)snprintf(path, sizeof(path), "%s/stale", f->dir);
    fill_addr(&sun, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    (void)close(fd);
    assert_int_equal(vsock_new(&env, CID, path, &dev, &ec), 0);
    dev->ops->destroy(dev);
    assert_int_equal(access(path, F_OK), -1);

    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    assert_int_equal(vsock_new(&env, CID, path, &dev, &ec), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "%s exists and is no socket", path);
    assert_string_equal(ec.msg, want);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(vsock_new(&env, 2, path, &dev, &ec), -EINVAL);
    assert_string_equal(ec.msg, "cid: 2 is not a guest's; use 3 to 4294967294");
    evloop_free(env.loop);
    close_vsock(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_connects_to_a_guest_port),
        cmocka_unit_test(refused_and_malformed_requests_end_the_stream),
        cmocka_unit_test(stalled_handshakes_make_room_for_others),
        cmocka_unit_test(guest_port_without_listener_is_reset),
        cmocka_unit_test(data_passes_both_ways),
        cmocka_unit_test(host_waits_for_the_guests_credit),
        cmocka_unit_test(guest_that_exceeds_its_credit_is_reset),
        cmocka_unit_test(each_direction_ends_on_its_own),
        cmocka_unit_test(guests_last_bytes_reach_a_slow_host),
        cmocka_unit_test(host_that_leaves_takes_no_bytes_from_the_guest),
        cmocka_unit_test(packets_that_fit_no_connection_are_reset),
        cmocka_unit_test(protocol_errors_reset_only_their_connection),
        cmocka_unit_test(chain_without_a_header_breaks_the_device),
        cmocka_unit_test(guest_that_takes_no_resets_stops_itself),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(pause_keeps_and_reset_closes_connections),
        cmocka_unit_test(loading_tells_the_guest_that_connections_are_gone),
        cmocka_unit_test(socket_file_is_replaced_only_when_nobody_serves_it),
    };
    return cmocka_run_group_tests_name("devices/virtio/vsock", tests, NULL, NULL);
}
