/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device through pause, reset and a saved state. */
#include "devices/virtio/test/vsock_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pause_keeps_and_reset_closes_connections),
        cmocka_unit_test(loading_tells_the_guest_that_connections_are_gone),
    };

    return cmocka_run_group_tests_name("devices/virtio/vsock life", tests, NULL, NULL);
}
