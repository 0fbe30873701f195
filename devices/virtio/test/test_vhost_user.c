/* SPDX-License-Identifier: Apache-2.0 */
/* The front end of vhost-user against a back end in a thread, honest and not. */
#include "devices/virtio/test/vu_rig.h"
#include "devices/virtio/vhost_user.h"

enum { WAIT_MS = 20000 /* a bound, not a measure */ };

struct fixture {
    struct vu_rig rig;
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct virtio_dev *dev;
    bool made;
    unsigned said; /* atomic */
    char last[256];
};

static void hear(void *ctx, const char *sentence)
{
    struct fixture *f = ctx;

    (void)snprintf(f->last, sizeof(f->last), "%s", sentence);
    __atomic_fetch_add(&f->said, 1, __ATOMIC_RELEASE);
}

static int make(struct fixture *f, const char *type, struct errctx *ec)
{
    struct device_env env = { .mem = f->fm.mem,
                              .loop = f->fl.loop,
                              .name = "vhost-user0",
                              .say = hear,
                              .say_ctx = f };
    struct device_args args;
    char text[160];
    int r;

    (void)snprintf(text, sizeof(text), "%s,socket=%s%s", type, f->rig.path,
                   strncmp(type, "fs", 2) == 0 ? ",tag=root" : "");
    assert_int_equal(device_args_parse(&vhost_user_device_type, text, &args, ec), 0);
    r = vhost_user_device_type.create(&args, &env, &f->dev, ec);
    device_args_fini(&args);
    return r;
}

static struct fixture *begin(enum vu_lie lie)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_mem_init(&f->fm);
    vu_rig_init(&f->rig);
    f->rig.lie = lie;
    assert_int_equal(evloop_new(&f->fl.loop, NULL), 0);
    return f;
}

static struct fixture *begin_running(enum vu_lie lie, const char *type)
{
    struct fixture *f = begin(lie);

    vu_rig_start(&f->rig);
    assert_int_equal(make(f, type, NULL), 0);
    f->made = true;
    fake_dev_init(&f->fd, f->dev, &f->fm, 0, 16);
    fake_loop_serve(&f->fl);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    return f;
}

static void end(struct fixture *f)
{
    if (f->made) {
        evloop_stop(f->fl.loop); /* a device is destroyed when its loop is idle */
        (void)pthread_join(f->fl.thread, NULL);
        fake_dev_fini(&f->fd);
    }
    evloop_free(f->fl.loop);
    vu_rig_fini(&f->rig);
    fake_mem_fini(&f->fm);
    free(f);
}

static void request(struct fixture *f, unsigned queue)
{
    const struct fake_buf buf = { FAKE_DATA_BASE, 512 };
    uint32_t head, len;

    fake_queue_add(&f->fd.q[queue], &buf, 1, 0);
    fake_dev_kick(&f->fd, queue);
    assert_true(fake_dev_wait_used(&f->fd, queue, &head, &len, WAIT_MS));
}

static struct vu_dev *vu_of(struct fixture *f)
{
    return container_of(f->dev, struct vu_dev, vdev);
}

/* What only the device's loop may look at. */
struct look {
    struct fixture *f;
    bool broken;
    int link_fd;
};

static void do_look(void *ctx)
{
    struct look *l = ctx;

    l->broken = l->f->dev->broken;
    l->link_fd = vu_of(l->f)->link.fd;
}

static struct look look_at(struct fixture *f)
{
    struct look l = { .f = f };

    evloop_call(f->dev->loop, do_look, &l);
    return l;
}

static bool becomes(const unsigned *what, unsigned least)
{
    const uint64_t deadline = evloop_now_ns() + WAIT_MS * 1000000ull;

    while (__atomic_load_n(what, __ATOMIC_ACQUIRE) < least) {
        const struct timespec nap = { .tv_nsec = 1000000 };

        if (evloop_now_ns() > deadline)
            return false;
        (void)nanosleep(&nap, NULL);
    }
    return true;
}

static void a_back_end_serves_rings_and_interrupts(void **state)
{
    struct fixture *f = begin_running(VU_HONEST, "fs,queues=2");

    (void)state;
    assert_int_equal(f->dev->n_queues, 3);
    request(f, 1);
    request(f, 2);
    assert_true(becomes(&f->fd.queue_interrupts[1], 1));
    assert_true(becomes(&f->fd.queue_interrupts[2], 1));
    assert_int_equal(f->fd.queue_interrupts[0], 0);
    vu_rig_stop(&f->rig);
    assert_int_equal(f->rig.n_tables, 1);
    assert_int_equal(f->rig.acked_protocol & 1ull << 40, 0);
    assert_true(f->rig.acked_features >> VU_F_PROTOCOL_FEATURES & 1);
    end(f);
}

static void a_stopped_device_goes_on_where_it_was(void **state)
{
    struct fixture *f = begin_running(VU_HONEST, "fs");

    (void)state;
    request(f, 1);
    request(f, 1);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(f->dev->vqs[1].next_avail, 2);
    assert_int_equal(f->dev->vqs[1].next_used, 2);
    fake_dev_resume(&f->fd);
    request(f, 1);
    vu_rig_stop(&f->rig);
    assert_int_equal(f->rig.rings[1].served, 3);
    assert_int_equal(f->rig.n_tables, 1); /* told once */
    end(f);
}

static void a_configuration_is_the_back_ends(void **state)
{
    struct virtio_blk_config got = { 0 }, *told;
    struct fixture *f = begin(VU_HONEST);

    (void)state;
    told = (void *)f->rig.config;
    f->rig.features |= 1ull << VIRTIO_BLK_F_MQ;
    told->capacity = 12345;
    told->num_queues = 77;
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "blk,queues=2", NULL), 0);
    f->dev->ops->config_read(f->dev, 0, &got, 60);
    assert_int_equal(got.capacity, 12345);
    assert_int_equal(got.num_queues, 2);
    assert_int_equal(f->dev->host_features, 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_MQ);
    assert_int_equal(f->dev->lacking_features, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
    f->dev->ops->destroy(f->dev);
    vu_rig_stop(&f->rig);
    end(f);
}

static void a_lie_is_one_sentence(void **state)
{
    static const struct {
        enum vu_lie lie;
        const char *says;
    } lies[] = {
        { VU_OTHER_REQUEST,
          "--vhost-user fs: the back end's reply to GET_FEATURES makes no sense" },
        { VU_LONG, "--vhost-user fs: the back end's reply to GET_FEATURES makes no sense" },
        { VU_NO_REPLY_FLAG,
          "--vhost-user fs: the back end's reply to GET_FEATURES makes no sense" },
        { VU_NACK, "--vhost-user fs: the back end refused SET_OWNER" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        struct fixture *f = begin(lies[i].lie);
        struct errctx ec = { 0 };

        vu_rig_start(&f->rig);
        assert_true(make(f, "fs", &ec) < 0);
        assert_string_equal(ec.msg, lies[i].says);
        assert_null(f->dev);
        vu_rig_stop(&f->rig);
        end(f);
    }
}

static void what_a_back_end_cannot_do_is_said(void **state)
{
    struct errctx ec = { 0 };
    struct fixture *f = begin(VU_HONEST);

    (void)state;
    assert_int_equal(make(f, "fs", &ec), -ENOENT);
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "fs,queues=7", &ec), -ENOTSUP);
    assert_string_equal(ec.msg,
                        "--vhost-user fs: the back end has 4 rings, and the device needs 8");
    assert_int_equal(make(f, "blk,queues=2", &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "--vhost-user blk: the back end tells no guest of more than one "
                                "ring, so queues= has no effect");
    vu_rig_stop(&f->rig);
    f->rig.protocol &= ~(1ull << VU_PROTOCOL_CONFIG);
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "blk", &ec), -ENOTSUP);
    assert_string_equal(ec.msg,
                        "--vhost-user blk: the back end does not tell the device's configuration");
    vu_rig_stop(&f->rig);
    f->rig.features = 0;
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "net", &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "--vhost-user net: the back end does not know virtio 1");
    vu_rig_stop(&f->rig);
    end(f);
}

static void descriptors_nobody_asked_for_are_closed(void **state)
{
    struct fixture *f = begin(VU_DESCRIPTORS);
    int before, after;

    (void)state;
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "fs", NULL), 0);
    f->dev->ops->destroy(f->dev);
    vu_rig_stop(&f->rig);
    before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)close(before);
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "fs", NULL), 0);
    f->dev->ops->destroy(f->dev);
    vu_rig_stop(&f->rig);
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)close(after);
    assert_int_equal(before, after);
    end(f);
}

static void silence_has_an_end(void **state)
{
    struct vhost_user_link link = { .fd = -1 };
    struct errctx ec = { 0 };
    uint64_t value = 7;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    link.fd = pair[0];
    vhost_user_allow(&link, 20);
    assert_int_equal(vhost_user_ask_u64(&link, VU_GET_FEATURES, &value, &ec), -ETIMEDOUT);
    assert_string_equal(ec.msg, "the back end did not answer GET_FEATURES in time");
    assert_int_equal(send(pair[1], "abc", 3, 0), 3); /* a header that is never whole */
    assert_int_equal(vhost_user_ask_u64(&link, VU_GET_FEATURES, &value, &ec), -ETIMEDOUT);
    assert_int_equal(close(pair[1]), 0);
    vhost_user_allow(&link, WAIT_MS);
    assert_int_equal(vhost_user_ask_u64(&link, VU_GET_FEATURES, &value, &ec), -ECONNRESET);
    assert_string_equal(ec.msg, "the back end hung up at GET_FEATURES");
    assert_int_equal(value, 7);
    vhost_user_close(&link);
}

static void a_disk_with_work_under_way_waits_for_a_reset(void **state)
{
    struct fixture *f = begin_running(VU_DEAF, "blk");
    const struct fake_buf buf = { FAKE_DATA_BASE, 512 };

    (void)state;
    fake_queue_add(&f->fd.q[0], &buf, 1, 0); /* nobody is going to answer it */
    vu_rig_stop(&f->rig);
    f->rig.lie = VU_HONEST;
    assert_true(becomes(&f->said, 1));
    assert_non_null(strstr(f->last, "vhost-user0: the back end is gone, the device needs a reset"));
    assert_true(becomes(&f->fd.config_interrupts, 1));
    assert_true(look_at(f).broken);

    /* What the transport does when the driver resets the device and starts it anew. */
    fake_dev_quiesce(&f->fd);
    f->dev->ops->reset(f->dev);
    f->dev->broken = false;
    assert_int_equal(fake_dev_start(&f->fd), -ECONNREFUSED); /* nobody listens */
    vu_rig_start(&f->rig);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    vu_rig_stop(&f->rig);
    end(f);
}

static void an_idle_disk_comes_back(void **state)
{
    struct fixture *f = begin_running(VU_HONEST, "blk");
    const struct fake_buf buf = { FAKE_DATA_BASE, 512 };
    uint32_t head, len;

    (void)state;
    request(f, 0);
    vu_rig_stop(&f->rig);
    assert_true(becomes(&f->said, 1));
    assert_non_null(strstr(f->last, "vhost-user0: the back end is gone, requests wait until it"));
    assert_false(look_at(f).broken);
    fake_queue_add(&f->fd.q[0], &buf, 1, 0);
    fake_dev_kick(&f->fd, 0);
    f->rig.config[0] = 1; /* another size: another disk */
    vu_rig_start(&f->rig);
    assert_true(becomes(&f->said, 2));
    assert_non_null(strstr(f->last, "the back end that came is of no use"));
    assert_non_null(strstr(f->last, "is another device than the old one was"));
    vu_rig_stop(&f->rig);
    f->rig.config[0] = 0;
    vu_rig_start(&f->rig);
    assert_true(becomes(&f->said, 3));
    assert_non_null(strstr(f->last, "vhost-user0: the back end is back"));
    assert_true(fake_dev_wait_used(&f->fd, 0, &head, &len, WAIT_MS)); /* what waited is served */
    request(f, 0);
    assert_int_equal(__atomic_load_n(&f->fd.config_interrupts, __ATOMIC_ACQUIRE), 0);
    vu_rig_stop(&f->rig);
    end(f);
}

static void a_network_comes_back(void **state)
{
    struct fixture *f = begin_running(VU_HONEST, "net");
    uint16_t status = 9;

    (void)state;
    request(f, 1);
    vu_rig_stop(&f->rig);
    assert_true(becomes(&f->said, 1));
    f->dev->ops->config_read(f->dev, offsetof(struct virtio_net_config, status), &status, 2);
    assert_int_equal(status, 0);
    assert_false(look_at(f).broken);
    vu_rig_start(&f->rig);
    assert_true(becomes(&f->said, 2));
    assert_true(becomes(&f->fd.config_interrupts, 2));
    f->dev->ops->config_read(f->dev, offsetof(struct virtio_net_config, status), &status, 2);
    assert_int_equal(status, VIRTIO_NET_S_LINK_UP);
    request(f, 1);
    vu_rig_stop(&f->rig);
    end(f);
}

static void what_was_not_carried_is_looked_at_again(void **state)
{
    struct fixture *f = begin_running(VU_HONEST, "net");
    const struct fake_buf buf = { FAKE_DATA_BASE, 512 };
    uint32_t head, len;

    (void)state;
    vu_rig_stop(&f->rig);
    assert_true(becomes(&f->said, 1));
    fake_queue_add(&f->fd.q[1], &buf, 1, 0);
    fake_dev_kick(&f->fd, 1); /* nobody hears it */
    assert_int_equal(f->fd.queue_interrupts[0], 0);
    vu_rig_start(&f->rig);
    assert_true(fake_dev_wait_used(&f->fd, 1, &head, &len, WAIT_MS));
    assert_true(becomes(&f->fd.queue_interrupts[1], 1));
    assert_true(becomes(&f->fd.queue_interrupts[0], 1)); /* its last one may be lost, too */
    vu_rig_stop(&f->rig);
    end(f);
}

static void a_network_starts_without_back_end(void **state)
{
    struct fixture *f = begin(VU_HONEST);

    (void)state;
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "net", NULL), 0);
    f->made = true;
    fake_dev_init(&f->fd, f->dev, &f->fm, 0, 16);
    fake_loop_serve(&f->fl);
    vu_rig_stop(&f->rig);
    assert_true(becomes(&f->said, 1));
    assert_int_equal(fake_dev_start(&f->fd), 0);
    assert_non_null(strstr(f->last, "the link is down until there is a back end"));
    assert_false(look_at(f).broken);
    assert_int_equal(__atomic_load_n(&vu_of(f)->net_status, __ATOMIC_RELAXED), 0);
    vu_rig_start(&f->rig);
    assert_true(becomes(&f->said, 3));
    request(f, 1);
    vu_rig_stop(&f->rig);
    end(f);
}

static void nobody_comes_back_in_a_pause(void **state)
{
    struct fixture *f = begin_running(VU_HONEST, "net");

    (void)state;
    fake_dev_quiesce(&f->fd);
    vu_rig_stop(&f->rig);
    assert_true(becomes(&f->said, 1));
    f->rig.acked_features = 0;
    vu_rig_start(&f->rig);
    evloop_call(f->fl.loop, vu_retry, vu_of(f)); /* a timer that fires late */
    assert_true(look_at(f).link_fd < 0);
    vu_rig_stop(&f->rig);
    assert_int_equal(f->rig.acked_features, 0);
    vu_rig_start(&f->rig);
    fake_dev_resume(&f->fd);
    assert_true(becomes(&f->said, 2));
    request(f, 1);
    vu_rig_stop(&f->rig);
    end(f);
}

/* Each answer is in time, all of them are not. */
static void a_conversation_has_an_end(void **state)
{
    struct fixture *f = begin_running(VU_SLOW_STOP, "fs,queues=3");

    (void)state;
    vu_of(f)->patience_ms = 2 * VU_RIG_LATE_MS;
    fake_dev_quiesce(&f->fd);
    assert_non_null(strstr(f->last, "the back end did not answer GET_VRING_BASE in time"));
    assert_true(look_at(f).broken);
    vu_rig_stop(&f->rig);
    end(f);
}

static void a_doorbell_never_waits(void **state)
{
    struct fixture *f = begin_running(VU_DEAF, "fs");

    (void)state;
    /* Its flags are not ours, and it has not to make room. */
    assert_true(fcntl(vu_of(f)->rings[1].kick_fd[0], F_GETFL) & O_NONBLOCK);
    for (int i = 0; i < 5000; i++)
        fake_dev_kick(&f->fd, 1);
    fake_dev_quiesce(&f->fd);
    assert_false(look_at(f).broken);
    vu_rig_stop(&f->rig);
    end(f);
}

static void memory_in_many_parts_is_told_one_by_one(void **state)
{
    enum { MANY = 12 };
    struct fixture *f = begin(VU_HONEST);
    struct guest_mem_piece *more = calloc(MANY, sizeof(*more));
    struct errctx ec = { 0 };
    struct vu_dev *dev;

    (void)state;
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "fs", NULL), 0);
    f->made = true;
    fake_dev_init(&f->fd, f->dev, &f->fm, 0, 16);
    dev = vu_of(f);
    assert_non_null(more);
    for (size_t i = 0; i < MANY; i++)
        more[i] = dev->pieces[i < dev->n_pieces ? i : 0];
    free(dev->pieces);
    dev->pieces = more;
    dev->n_pieces = VU_RIG_REGIONS + 1;
    assert_int_equal(vu_hello(dev, true, &ec), -ENOTSUP); /* before any guest has booted */
    assert_string_equal(ec.msg, "the guest's memory has 17 parts, and the back end takes 16");
    dev->n_pieces = MANY;
    fake_loop_serve(&f->fl);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    request(f, 1);
    vu_rig_stop(&f->rig);
    assert_int_equal(f->rig.n_tables, 0);
    assert_int_equal(f->rig.n_added, MANY);
    end(f);
}

static void a_back_end_that_cannot_stop_is_left(void **state)
{
    struct fixture *f = begin_running(VU_WRONG_RING, "fs");

    (void)state;
    request(f, 1);
    fake_dev_quiesce(&f->fd);
    assert_non_null(strstr(f->last, "the back end's reply to GET_VRING_BASE makes no sense"));
    assert_true(look_at(f).broken);
    vu_rig_stop(&f->rig);
    end(f);
}

static void a_ring_across_two_files_is_refused(void **state)
{
    struct fixture *f = begin(VU_HONEST);

    (void)state;
    vu_rig_start(&f->rig);
    assert_int_equal(make(f, "fs", NULL), 0);
    f->made = true;
    fake_dev_init(&f->fd, f->dev, &f->fm, 0, 16);
    f->dev->vqs[1].desc.v = FAKE_NODE0_LEN - 64;
    fake_loop_serve(&f->fl);
    assert_int_equal(fake_dev_start(&f->fd), -EFAULT);
    assert_non_null(strstr(f->last, "ring 1 lies across two parts of the guest's memory"));
    for (int i = 0; i < 100; i++) /* as fast as a guest can, but it is said now and then only */
        assert_int_equal(fake_dev_start(&f->fd), -EFAULT);
    assert_true(__atomic_load_n(&f->said, __ATOMIC_ACQUIRE) < 100);
    assert_true(look_at(f).link_fd >= 0); /* it is no fault of the back end's, which heard nothing */
    vu_rig_stop(&f->rig);
    assert_int_equal(f->rig.acked_features, 0);
    end(f);
}

static void options_are_held_against_the_type(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "scsi,socket=/s", "--vhost-user: type \"scsi\" is none of fs, blk and net" },
        { "fs,socket=/s", "--vhost-user fs: tag= is what the guest mounts, 1 to 36 bytes" },
        { "blk,socket=/s,tag=a", "--vhost-user blk: tag= has no effect for this type" },
        { "net,socket=/s,queues=2", "--vhost-user net: queues= has no effect for this type" },
        { "blk,socket=/s,queues=0", "--vhost-user blk: queues=0 would serve nothing" },
        { "fs,socket=/s,tag=t,mac=02:00:00:00:00:01",
          "--vhost-user fs: mac= has no effect for this type" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct device_args args;
        struct errctx ec = { 0 };

        assert_int_equal(device_args_parse(&vhost_user_device_type, bad[i].text, &args, &ec),
                         -EINVAL);
        assert_string_equal(ec.msg, bad[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_back_end_serves_rings_and_interrupts),
        cmocka_unit_test(a_stopped_device_goes_on_where_it_was),
        cmocka_unit_test(a_configuration_is_the_back_ends),
        cmocka_unit_test(a_lie_is_one_sentence),
        cmocka_unit_test(what_a_back_end_cannot_do_is_said),
        cmocka_unit_test(descriptors_nobody_asked_for_are_closed),
        cmocka_unit_test(silence_has_an_end),
        cmocka_unit_test(a_disk_with_work_under_way_waits_for_a_reset),
        cmocka_unit_test(an_idle_disk_comes_back),
        cmocka_unit_test(a_network_comes_back),
        cmocka_unit_test(what_was_not_carried_is_looked_at_again),
        cmocka_unit_test(a_network_starts_without_back_end),
        cmocka_unit_test(nobody_comes_back_in_a_pause),
        cmocka_unit_test(a_conversation_has_an_end),
        cmocka_unit_test(a_doorbell_never_waits),
        cmocka_unit_test(memory_in_many_parts_is_told_one_by_one),
        cmocka_unit_test(a_back_end_that_cannot_stop_is_left),
        cmocka_unit_test(a_ring_across_two_files_is_refused),
        cmocka_unit_test(options_are_held_against_the_type),
    };
    return cmocka_run_group_tests_name("devices/virtio/vhost_user", tests, NULL, NULL);
}
