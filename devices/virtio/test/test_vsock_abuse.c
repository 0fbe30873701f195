/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device and a guest that keeps to no rule. */
#include "devices/virtio/test/vsock_rig.h"

#include <sys/resource.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_that_fit_no_connection_are_reset),
        cmocka_unit_test(protocol_errors_reset_only_their_connection),
        cmocka_unit_test(chain_without_a_header_breaks_the_device),
        cmocka_unit_test(guest_that_takes_no_resets_stops_itself),
        cmocka_unit_test(connections_are_limited),
    };

    return cmocka_run_group_tests_name("devices/virtio/vsock abuse", tests, NULL, NULL);
}
