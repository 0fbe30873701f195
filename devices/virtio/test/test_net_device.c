/* SPDX-License-Identifier: Apache-2.0 */
/* The network device against a backend that only records: queues, headers, control queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/test/net_driver.h"

struct record_backend {
    struct net_backend be;    /* first */
    unsigned sent, full_from; /* frames taken; -EAGAIN from this one on */
    size_t last_len;
    uint64_t features;
    unsigned pairs, rx_ready;
    bool running, destroyed;
    const struct vring_used *used; /* of the transmit queue, to be watched; or NULL */
    bool held_back;                /* a frame came before the one before it was handed back */
};

static struct record_backend *rec_of(struct net_backend *be)
{
    return container_of(be, struct record_backend, be);
}

static int rec_start(struct net_backend *be, uint64_t features)
{
    rec_of(be)->features = features;
    return 0;
}

static int rec_set_pairs(struct net_backend *be, unsigned n)
{
    rec_of(be)->pairs = n;
    return 0;
}

static void rec_run(struct net_backend *be)
{
    rec_of(be)->running = true;
}

static void rec_stop(struct net_backend *be)
{
    rec_of(be)->running = false;
}

static void rec_rx_ready(struct net_backend *be, unsigned pair)
{
    (void)pair;
    rec_of(be)->rx_ready++;
}

static int rec_send(struct net_backend *be, unsigned pair, const struct virtq_chain *chain)
{
    struct record_backend *rec = rec_of(be);

    (void)pair;
    if (rec->sent >= rec->full_from)
        return -EAGAIN;
    if (rec->used != NULL && rec->used->idx != rec->sent)
        rec->held_back = true;
    rec->sent++;
    rec->last_len = chain->read_bytes;
    return 0;
}

static void rec_destroy(struct net_backend *be)
{
    rec_of(be)->destroyed = true;
}

static const struct net_backend_ops rec_ops = {
    .start = rec_start,
    .set_pairs = rec_set_pairs,
    .run = rec_run,
    .stop = rec_stop,
    .rx_ready = rec_rx_ready,
    .send = rec_send,
    .destroy = rec_destroy,
};

/* No thread here: the loop never runs, ops are called at once. */
struct fixture {
    struct net_driver nd;
    struct record_backend rec;
    struct net_dev *dev;
};

static const uint8_t mac[ETH_ALEN] = { 2, 3, 4, 5, 6, 7 };

enum {
    CTRL = 1u << VIRTIO_NET_F_CTRL_VQ | 1u << VIRTIO_NET_F_CTRL_RX,
    MQ = 1u << VIRTIO_NET_F_MQ,
    MRG = 1u << VIRTIO_NET_F_MRG_RXBUF,
};

static struct fixture *open_dev(uint64_t features, unsigned pairs)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct virtio_dev *dev;

    assert_non_null(f);
    nd_init(&f->nd);
    f->rec.be = (struct net_backend){ .ops = &rec_ops, .max_pairs = pairs, .mtu = 1400 };
    f->rec.full_from = UINT32_MAX;
    assert_int_equal(net_dev_new(&f->nd.env, &f->rec.be, mac, &dev, NULL), 0);
    f->dev = container_of(dev, struct net_dev, vdev);
    fake_dev_init(&f->nd.fd, dev, &f->nd.fm, features, 256);
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);
    assert_true(f->rec.running);
    return f;
}

static void close_dev(struct fixture *f)
{
    fake_dev_fini(&f->nd.fd);
    assert_true(f->rec.destroyed);
    assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
    evloop_free(f->nd.fl.loop);
    fake_mem_fini(&f->nd.fm);
    free(f);
}

static void send_raw(struct fixture *f, uint32_t len, unsigned n_out, unsigned n_in)
{
    struct fake_buf bufs[2] = { { ND_TX_BASE, len }, { ND_TX_BASE, 64 } };

    fake_queue_add(&f->nd.fd.q[1], bufs, n_out, n_in);
    fake_dev_kick(&f->nd.fd, 1);
}

static void configuration_space_is_truthful(void **state)
{
    struct fixture *f = open_dev(CTRL | MQ, 4);
    struct virtio_dev *dev = &f->dev->vdev;
    struct virtio_net_config config;
    uint8_t tail[8];

    (void)state;
    dev->ops->config_read(dev, 0, &config, dev->config_len);
    assert_memory_equal(config.mac, mac, sizeof(mac));
    assert_int_equal(config.status, VIRTIO_NET_S_LINK_UP);
    assert_int_equal(config.max_virtqueue_pairs, 4);
    assert_int_equal(config.mtu, 1400);
    memset(tail, 0xee, sizeof(tail));
    dev->ops->config_read(dev, dev->config_len - 2, tail, sizeof(tail));
    assert_memory_equal(tail, "\x78\x05\0\0\0\0\0\0", 8);
    dev->ops->config_read(dev, UINT32_MAX, tail, sizeof(tail));
    assert_memory_equal(tail, "\0\0\0\0\0\0\0\0", 8);
    dev->ops->config_write(dev, 0, tail, sizeof(tail));
    dev->ops->config_read(dev, 0, &config, sizeof(mac));
    assert_memory_equal(config.mac, mac, sizeof(mac));
    assert_int_equal(dev->host_features & MQ, MQ);
    assert_int_equal(dev->n_queues, 9);
    close_dev(f);
}

static void frames_out_of_range_are_completed_but_not_sent(void **state)
{
    static const struct {
        uint32_t len;
        unsigned sent;
    } cases[] = {
        { NET_HDR_LEN, 0 },   { NET_HDR_LEN + ETH_HLEN - 1, 0 }, { NET_HDR_LEN + ETH_HLEN, 1 },
        { NET_FRAME_MAX, 1 }, { NET_FRAME_MAX + 1, 0 },          { 2 * MIB, 0 },
    };
    struct fixture *f = open_dev(0, 1);
    uint32_t head, len;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        f->rec.sent = 0;
        send_raw(f, cases[i].len, 1, 0);
        assert_true(fake_queue_used(&f->nd.fd.q[1], &head, &len));
        assert_int_equal(len, 0);
        assert_int_equal(f->rec.sent, cases[i].sent);
    }
    assert_false(f->dev->vdev.broken);
    close_dev(f);
}

static void chain_shorter_than_a_header_breaks_the_device(void **state)
{
    struct fixture *f = open_dev(0, 1);

    (void)state;
    send_raw(f, NET_HDR_LEN - 1, 1, 0);
    assert_true(f->dev->vdev.broken);
    assert_int_equal(f->nd.fd.config_interrupts, 1);
    send_raw(f, 100, 1, 0);
    assert_int_equal(f->rec.sent, 0);
    close_dev(f);
}

static void writable_transmit_buffer_breaks_the_device(void **state)
{
    struct fixture *f = open_dev(0, 1);

    (void)state;
    send_raw(f, 100, 1, 1);
    assert_true(f->dev->vdev.broken);
    close_dev(f);
}

static void stop(void *ctx)
{
    evloop_stop(ctx);
}

/* Let the loop go round once. */
static void turn(struct fixture *f)
{
    struct evloop *loop = f->nd.fl.loop;
    struct evloop_later *last;

    assert_int_equal(evloop_later_new(loop, stop, loop, &last, NULL), 0);
    evloop_later_ask(last);
    assert_int_equal(evloop_run(loop, NULL), 0);
    evloop_later_free(last);
}

static void add_frames(struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fake_queue_add(&f->nd.fd.q[1], &(struct fake_buf){ ND_TX_BASE, 64 }, 1, 0);
}

/* The driver rings when its index passes avail_event. */
static void steady_sender_rings_only_once(void **state)
{
    struct fixture *f = open_dev(1ull << VIRTIO_RING_F_EVENT_IDX, 1);
    const struct fake_queue *q = &f->nd.fd.q[1];
    const __virtio16 *avail_event = (const __virtio16 *)(const void *)&q->used->ring[q->size];

    (void)state;
    add_frames(f, 1);
    fake_dev_kick(&f->nd.fd, 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(*avail_event, 0); /* nobody waits for frame 1 and later ones */
        add_frames(f, 2);
        turn(f);
        assert_int_equal(f->rec.sent, 1 + 2 * (i + 1));
    }
    turn(f); /* found nothing: now it has to ring */
    assert_int_equal(*avail_event, 11);
    turn(f);
    assert_int_equal(f->rec.sent, 11);
    close_dev(f);
}

static void a_pause_ends_the_looking(void **state)
{
    struct fixture *f = open_dev(1ull << VIRTIO_RING_F_EVENT_IDX, 1);

    (void)state;
    add_frames(f, 1);
    fake_dev_kick(&f->nd.fd, 1);
    f->dev->vdev.ops->quiesce(&f->dev->vdev);
    add_frames(f, 1);
    turn(f);
    assert_int_equal(f->rec.sent, 1);
    f->dev->vdev.ops->resume(&f->dev->vdev);
    fake_dev_kick(&f->nd.fd, 1);
    assert_int_equal(f->rec.sent, 2);
    close_dev(f);
}

static void frames_are_handed_back_as_they_are_sent(void **state)
{
    static const struct {
        uint64_t features;
        uint16_t used_event;
        unsigned interrupts;
    } cases[] = {
        { 0, 0, 1 },                               /* one for the burst */
        { 1ull << VIRTIO_RING_F_EVENT_IDX, 0, 1 }, /* at the entry that the driver named */
        { 1ull << VIRTIO_RING_F_EVENT_IDX, 2, 2 }, /* there, and at the first one of all */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture *f = open_dev(cases[i].features, 1);
        struct fake_queue *q = &f->nd.fd.q[1];

        f->rec.used = q->used;
        q->avail->ring[q->size] = cases[i].used_event;
        add_frames(f, 5);
        fake_dev_kick(&f->nd.fd, 1);
        assert_int_equal(f->rec.sent, 5);
        assert_false(f->rec.held_back);
        assert_int_equal(f->nd.fd.queue_interrupts[1], cases[i].interrupts);
        close_dev(f);
    }
}

static void full_backend_keeps_frames_in_the_ring(void **state)
{
    struct fixture *f = open_dev(0, 1);
    uint32_t head, len;

    (void)state;
    f->rec.full_from = 2;
    for (unsigned i = 0; i < 5; i++)
        send_raw(f, 100 + i, 1, 0);
    assert_int_equal(f->rec.sent, 2);
    assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
    fake_dev_quiesce(&f->nd.fd);
    fake_dev_resume(&f->nd.fd);
    assert_int_equal(f->rec.sent, 2);
    f->rec.full_from = 5;
    net_tx_run(&f->dev->pairs[0]);
    assert_int_equal(f->rec.sent, 5);
    assert_int_equal(f->rec.last_len, 104);
    for (unsigned i = 0; i < 5; i++)
        assert_true(fake_queue_used(&f->nd.fd.q[1], &head, &len));
    close_dev(f);
}

/* --- receiving --- */

static int deliver(struct fixture *f, const void *frame, size_t len)
{
    struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
    int r = net_rx_frame(&f->dev->pairs[0], &hdr, frame, len);

    net_rx_end(&f->dev->pairs[0]);
    return r;
}

static void large_frame_takes_several_buffers_at_once(void **state)
{
    struct fixture *f = open_dev(MRG, 1);
    static uint8_t frame[5000];

    (void)state;
    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i % 251);
    nd_offer(&f->nd, 0, 8, 700);
    assert_int_equal(deliver(f, frame, sizeof(frame)), 0);
    assert_true(nd_receive(&f->nd));
    assert_int_equal(f->nd.frame_buffers, 8); /* 5012 bytes in buffers of 700 */
    assert_int_equal(f->nd.frame_len, sizeof(frame));
    assert_memory_equal(f->nd.frame, frame, sizeof(frame));
    assert_int_equal(f->nd.hdr.flags, VIRTIO_NET_HDR_F_DATA_VALID);
    close_dev(f);
}

static void frame_waits_until_enough_buffers_are_there(void **state)
{
    struct fixture *f = open_dev(MRG, 1);
    static uint8_t frame[2000];

    (void)state;
    nd_offer(&f->nd, 0, 2, 700);
    assert_int_equal(deliver(f, frame, sizeof(frame)), -EAGAIN);
    assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
    assert_int_equal(f->nd.fd.q[0].used->idx, 0);     /* nothing of it is to be seen */
    assert_int_equal(deliver(f, frame, 20), -EAGAIN); /* order is kept */
    f->rec.rx_ready = 0;
    nd_offer(&f->nd, 0, 1, 700);
    assert_int_equal(f->rec.rx_ready, 1);
    assert_int_equal(deliver(f, frame, sizeof(frame)), 0);
    assert_true(nd_receive(&f->nd));
    assert_int_equal(f->nd.frame_buffers, 3);
    close_dev(f);
}

static void unmergeable_frame_that_never_fits_is_dropped(void **state)
{
    struct fixture *f = open_dev(0, 1);
    static uint8_t frame[2000] = { 7 };

    (void)state;
    nd_offer(&f->nd, 0, 4, 1526);
    assert_int_equal(deliver(f, frame, sizeof(frame)), 0);
    assert_int_equal(f->nd.fd.q[0].used->idx, 0);
    assert_int_equal(deliver(f, frame, 1514), 0);
    assert_true(nd_receive(&f->nd));
    assert_int_equal(f->nd.frame_len, 1514);
    assert_int_equal(f->nd.frame_buffers, 1);
    close_dev(f);
}

static void bad_receive_buffers_break_the_device(void **state)
{
    struct fake_buf bufs[2] = { { ND_RX_BASE, 100 }, { ND_RX_BASE, NET_HDR_LEN - 1 } };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct fixture *f = open_dev(MRG, 1);

        fake_queue_add(&f->nd.fd.q[0], &bufs[i], 1 - i, i);
        assert_int_equal(deliver(f, "frame", 5), -EPROTO);
        assert_true(f->dev->vdev.broken);
        assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
        assert_int_equal(deliver(f, "frame", 5), -EPROTO);
        close_dev(f);
    }
}

/* Frames read from a descriptor, of all sizes, with little and much room in the pool. */
static void frames_read_from_a_descriptor_arrive_whole(void **state)
{
    static const size_t sizes[] = { 60, 1514, 1515, 9000, 60, 60000, 65000, 64, 30000 };
    struct fixture *f = open_dev(MRG, 1);
    struct net_pair *pair = &f->dev->pairs[0];
    static uint8_t packet[NET_FRAME_MAX];
    int fds[2], big = 1 << 20;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    nd_offer(&f->nd, 0, 64, 1536);
    assert_int_equal(net_rx_read(pair, fds[1]), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size_t k = NET_HDR_LEN; k < NET_HDR_LEN + sizes[i]; k++)
            packet[k] = (uint8_t)(k * 3 + i);
        assert_true(write(fds[0], packet, NET_HDR_LEN + sizes[i]) > 0);
        assert_int_equal(net_rx_read(pair, fds[1]), 1);
        if (i % 3 == 0)
            net_rx_end(pair);
        assert_true(nd_receive(&f->nd));
        assert_int_equal(f->nd.frame_len, sizes[i]);
        assert_memory_equal(f->nd.frame, packet + NET_HDR_LEN, sizes[i]);
        assert_int_equal(f->nd.frame_buffers, (sizes[i] + NET_HDR_LEN + 1535) / 1536);
    }
    net_rx_end(pair);
    assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    close_dev(f);
}

static void frame_already_read_waits_and_is_kept_over_a_pause(void **state)
{
    struct fixture *f = open_dev(MRG, 1);
    struct net_pair *pair = &f->dev->pairs[0];
    static uint8_t packet[5000];
    int fds[2];

    (void)state;
    for (size_t k = NET_HDR_LEN; k < sizeof(packet); k++)
        packet[k] = (uint8_t)(k * 5);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    nd_offer(&f->nd, 0, 2, 1536);
    assert_true(write(fds[0], packet, sizeof(packet)) > 0);
    assert_int_equal(net_rx_read(pair, fds[1]), -EAGAIN);
    net_rx_end(pair);
    assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
    fake_dev_quiesce(&f->nd.fd);
    fake_dev_resume(&f->nd.fd);
    assert_int_equal(net_rx_read(pair, fds[1]), -EAGAIN);
    nd_offer(&f->nd, 0, 3, 1536);
    assert_int_equal(net_rx_read(pair, fds[1]), 0); /* delivers it, then finds no other */
    net_rx_end(pair);
    assert_true(nd_receive(&f->nd));
    assert_int_equal(f->nd.frame_len, sizeof(packet) - NET_HDR_LEN);
    assert_memory_equal(f->nd.frame, packet + NET_HDR_LEN, f->nd.frame_len);
    (void)close(fds[0]);
    (void)close(fds[1]);
    close_dev(f);
}

/* --- control queue --- */

/* Send a command to queue @q; the answer, or -1 when none came. */
static int command(struct fixture *f, unsigned q, const void *cmd, uint32_t len)
{
    struct fake_buf bufs[2] = { { ND_TX_BASE, len }, { ND_TX_BASE + 4096, 1 } };
    uint32_t head, used;
    uint8_t ack = 0xee;

    (void)guest_mem_write(f->nd.fm.mem, (struct gpa){ ND_TX_BASE }, cmd, len);
    (void)guest_mem_write(f->nd.fm.mem, (struct gpa){ ND_TX_BASE + 4096 }, &ack, 1);
    fake_queue_add(&f->nd.fd.q[q], bufs, 1, 1);
    fake_dev_kick(&f->nd.fd, q);
    if (!fake_queue_used(&f->nd.fd.q[q], &head, &used))
        return -1;
    assert_int_equal(used, 1);
    (void)guest_mem_read(f->nd.fm.mem, (struct gpa){ ND_TX_BASE + 4096 }, &ack, 1);
    return ack;
}

static void control_commands_are_checked(void **state)
{
    struct fixture *f = open_dev(CTRL | MQ, 4);
    unsigned q = 8;

    (void)state;
    assert_int_equal(command(f, q, "\0\0\1", 3), VIRTIO_NET_OK);  /* promiscuous */
    assert_int_equal(command(f, q, "\0\1\1", 3), VIRTIO_NET_OK);  /* all multicast */
    assert_int_equal(command(f, q, "\0\5\1", 3), VIRTIO_NET_ERR); /* extra: not offered */
    assert_int_equal(command(f, q, "\0\0", 2), VIRTIO_NET_ERR);   /* no argument */
    assert_int_equal(command(f, q, "\0", 1), VIRTIO_NET_ERR);
    assert_int_equal(command(f, q, "\x9\0\0", 3), VIRTIO_NET_ERR);
    assert_int_equal(command(f, q, "\1\0\1\0\0\0abcdef\0\0\0\0", 16), VIRTIO_NET_OK);
    assert_int_equal(command(f, q, "\1\0\2\0\0\0abcdef\0\0\0\0", 16), VIRTIO_NET_ERR);
    assert_int_equal(command(f, q, "\1\0\xff\xff\xff\xff\0\0\0\0", 10), VIRTIO_NET_ERR);
    assert_int_equal(command(f, q, "\4\0\3\0", 4), VIRTIO_NET_OK);
    assert_int_equal(f->rec.pairs, 3);
    assert_int_equal(command(f, q, "\4\0\0\0", 4), VIRTIO_NET_ERR);
    assert_int_equal(command(f, q, "\4\0\5\0", 4), VIRTIO_NET_ERR);
    assert_int_equal(command(f, q, "\4\0\1", 3), VIRTIO_NET_ERR);
    assert_int_equal(f->rec.pairs, 3);
    assert_false(f->dev->vdev.broken);
    close_dev(f);
}

static void control_queue_moves_without_multi_queue(void **state)
{
    struct fixture *f = open_dev(CTRL, 4);

    (void)state;
    assert_int_equal(command(f, 2, "\0\0\1", 3), VIRTIO_NET_OK);
    assert_int_equal(command(f, 2, "\4\0\2\0", 4), VIRTIO_NET_ERR); /* MQ is off */
    assert_int_equal(command(f, 8, "\0\0\1", 3), -1);
    close_dev(f);
}

static void command_without_room_for_an_answer_breaks_the_device(void **state)
{
    struct fixture *f = open_dev(CTRL, 1);
    struct fake_buf buf = { ND_TX_BASE, 3 };

    (void)state;
    fake_queue_add(&f->nd.fd.q[2], &buf, 1, 0);
    fake_dev_kick(&f->nd.fd, 2);
    assert_true(f->dev->vdev.broken);
    assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
    close_dev(f);
}

/* --- saved state --- */

static void queue_pairs_survive_saving_and_loading(void **state)
{
    struct fixture *a = open_dev(CTRL | MQ, 4), *b = open_dev(CTRL | MQ, 4);
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;
    struct errctx ec = { 0 };
    struct virtio_dev *dev = &b->dev->vdev;

    (void)state;
    assert_int_equal(command(a, 8, "\4\0\3\0", 4), VIRTIO_NET_OK);
    fake_dev_quiesce(&a->nd.fd);
    assert_int_equal(a->dev->vdev.ops->save(&a->dev->vdev, &w, NULL), 0);
    fake_dev_quiesce(&b->nd.fd);
    dev->ops->reset(dev);
    assert_int_equal(b->rec.pairs, 1);
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(dev->ops->load(dev, &r, dev->ops->version, &ec), 0);
    assert_int_equal(fake_dev_start(&b->nd.fd), 0);
    assert_int_equal(b->rec.pairs, 3);

    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len - 1 };
    assert_int_equal(dev->ops->load(dev, &r, dev->ops->version, &ec), -EINVAL);
    assert_string_equal(ec.msg, "net0: saved state is cut short");
    w.buf[6] = 9;
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(dev->ops->load(dev, &r, dev->ops->version, &ec), -EINVAL);
    assert_string_equal(ec.msg, "net0: saved state has 9 queue pairs, this device 4");
    w.buf[0] ^= 2;
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(dev->ops->load(dev, &r, dev->ops->version, &ec), -EINVAL);
    assert_string_equal(ec.msg, "net0: saved state is of another MAC address");
    snapshot_writer_fini(&w);
    close_dev(a);
    close_dev(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_space_is_truthful),
        cmocka_unit_test(frames_out_of_range_are_completed_but_not_sent),
        cmocka_unit_test(chain_shorter_than_a_header_breaks_the_device),
        cmocka_unit_test(writable_transmit_buffer_breaks_the_device),
        cmocka_unit_test(steady_sender_rings_only_once),
        cmocka_unit_test(a_pause_ends_the_looking),
        cmocka_unit_test(frames_are_handed_back_as_they_are_sent),
        cmocka_unit_test(full_backend_keeps_frames_in_the_ring),
        cmocka_unit_test(large_frame_takes_several_buffers_at_once),
        cmocka_unit_test(frame_waits_until_enough_buffers_are_there),
        cmocka_unit_test(unmergeable_frame_that_never_fits_is_dropped),
        cmocka_unit_test(bad_receive_buffers_break_the_device),
        cmocka_unit_test(frames_read_from_a_descriptor_arrive_whole),
        cmocka_unit_test(frame_already_read_waits_and_is_kept_over_a_pause),
        cmocka_unit_test(control_commands_are_checked),
        cmocka_unit_test(control_queue_moves_without_multi_queue),
        cmocka_unit_test(command_without_room_for_an_answer_breaks_the_device),
        cmocka_unit_test(queue_pairs_survive_saving_and_loading),
    };
    return cmocka_run_group_tests_name("devices/virtio/net/device", tests, NULL, NULL);
}
