/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: bytes both ways within credit, and the ends of a connection. */
#include "devices/virtio/test/vsock_rig.h"

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

/* --- ends ----------------------------------------------------------------------------------- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_passes_both_ways),
        cmocka_unit_test(host_waits_for_the_guests_credit),
        cmocka_unit_test(guest_that_exceeds_its_credit_is_reset),
        cmocka_unit_test(each_direction_ends_on_its_own),
        cmocka_unit_test(guests_last_bytes_reach_a_slow_host),
        cmocka_unit_test(host_that_leaves_takes_no_bytes_from_the_guest),
    };

    return cmocka_run_group_tests_name("devices/virtio/vsock stream", tests, NULL, NULL);
}
