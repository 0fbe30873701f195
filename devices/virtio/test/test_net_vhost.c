/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network device whose queues the kernel serves: a real TAP, in a network namespace of the test's
 * own, and the kernel of fake_vhost.h. Needs what test_net_tap.c needs.
 */
// LDFLAGS: -Wl,--wrap=vhost_kernel_open,--wrap=vhost_kernel_ioctl
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/virtio/test/fake_vhost.h"
#include "devices/virtio/test/net_driver.h"
#include "devices/virtio/test/net_packets.h"

#define MQ (1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_CTRL_VQ)

struct fixture {
    struct net_driver nd;
    struct net_dev *dev;
    int started;
    unsigned n_said;
    char said[ERRCTX_MSG_MAX + 64];
};

static const char *why_not;

static int group_setup(void **state)
{
    int fd;

    (void)state;
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        why_not = "may not make a network namespace";
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        why_not = "may not open /dev/net/tun";
    else
        (void)close(fd);
    return 0;
}

static void say(void *ctx, const char *sentence)
{
    struct fixture *f = ctx;

    f->n_said++;
    (void)snprintf(f->said, sizeof(f->said), "%s", sentence);
}

static struct fixture *open_net(unsigned queues, uint64_t features)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct net_backend *be;
    struct virtio_dev *dev;
    struct errctx ec = { 0 };

    assert_non_null(f);
    nd_init(&f->nd);
    f->nd.env.say = say;
    f->nd.env.say_ctx = f;
    if (net_tap_new("nvtest0", queues, true, &f->nd.env, &be, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(net_dev_new(&f->nd.env, be, np_guest_mac, &dev, NULL), 0);
    f->dev = container_of(dev, struct net_dev, vdev);
    nd_attach(&f->nd, dev, features, 256);
    return f;
}

static void close_net(struct fixture *f)
{
    nd_fini(&f->nd);
    free(f);
    assert_int_equal(if_nametoindex("nvtest0"), 0);
}

#define NEEDS_TAP()                                                                                \
    do {                                                                                           \
        kernel_init();                                                                             \
        if (why_not != NULL) {                                                                     \
            print_message("skip: %s\n", why_not);                                                  \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

/* Ask for @n pairs; what the device answers. */
static uint8_t ask_pairs(struct fixture *f, unsigned ctrl, uint8_t n)
{
    const uint8_t command[4] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, n, 0 };
    struct fake_buf bufs[2] = { { ND_TX_BASE, 4 }, { ND_TX_BASE + 4096, 1 } };
    uint8_t ack = 0xee;
    uint32_t head, len;

    (void)guest_mem_write(f->nd.fm.mem, (struct gpa){ ND_TX_BASE }, command, 4);
    fake_queue_add(&f->nd.fd.q[ctrl], bufs, 1, 1);
    fake_dev_kick(&f->nd.fd, ctrl);
    assert_true(fake_dev_wait_used(&f->nd.fd, ctrl, &head, &len, ND_WAIT_MS));
    (void)guest_mem_read(f->nd.fm.mem, (struct gpa){ ND_TX_BASE + 4096 }, &ack, 1);
    return ack;
}

static void pairs_are_served_on_demand(void **state)
{
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_net(3, MQ);
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);
    assert_true(f->nd.fd.lent[0] && f->nd.fd.lent[1]);
    assert_false(f->nd.fd.lent[2] || f->nd.fd.lent[3]);
    assert_false(kernel.at[1].owned);
    assert_int_equal(ask_pairs(f, 6, 3), VIRTIO_NET_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(f->nd.fd.lent[2 * i] && f->nd.fd.lent[2 * i + 1]);
        assert_true(kernel.at[i].ring[0].backend >= 0);
        assert_true(i == 0 || kernel.at[i].ring[0].backend != kernel.at[0].ring[0].backend);
    }
    assert_false(f->nd.fd.lent[6]); /* the control queue stays ours */
    assert_int_equal(ask_pairs(f, 6, 1), VIRTIO_NET_OK);
    assert_true(f->nd.fd.lent[1]);
    assert_false(f->nd.fd.lent[2] || f->nd.fd.lent[5]);
    assert_int_equal(kernel.at[1].ring[1].backend, -1);
    close_net(f);
}

static void what_the_kernel_lacks_is_not_offered(void **state)
{
    const uint64_t may_lack = 1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_RING_F_EVENT_IDX |
                              1ull << VIRTIO_RING_F_INDIRECT_DESC;
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_net(1, 0);
    assert_true(f->dev->vdev.host_features >> VIRTIO_NET_F_MRG_RXBUF & 1);
    assert_int_equal(f->dev->vdev.lacking_features, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
    close_net(f);
    kernel_init();
    kernel.offers = 1ull << VIRTIO_F_VERSION_1;
    f = open_net(1, 0);
    assert_false(f->dev->vdev.host_features >> VIRTIO_NET_F_MRG_RXBUF & 1);
    assert_int_equal(f->dev->vdev.lacking_features, may_lack);
    close_net(f);
}

static void frames_that_the_guest_sends_wait_for_the_kernel(void **state)
{
    struct fixture *f;
    uint8_t frame[100] = { 0 };

    (void)state;
    NEEDS_TAP();
    f = open_net(1, 0);
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);
    nd_offer(&f->nd, 0, 4, 2048);
    fake_queue_add(&f->nd.fd.q[1], &(struct fake_buf){ ND_TX_BASE, sizeof(frame) }, 1, 0);
    fake_dev_kick(&f->nd.fd, 1);
    fake_dev_quiesce(&f->nd.fd); /* nobody served it: it is still there */
    assert_int_equal(f->dev->vdev.vqs[1].next_avail, 0);
    fake_dev_resume(&f->nd.fd);
    assert_int_equal(kernel_serve(&kernel.at[0].ring[1]), 1);
    assert_int_equal(f->nd.fd.q[0].used->idx, 0);
    close_net(f);
}

static void failed_ring_needs_a_reset(void **state)
{
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_net(1, 0);
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);
    assert_int_equal(eventfd_write(kernel.at[0].ring[0].err, 1), 0);
    for (unsigned i = 0; i < ND_WAIT_MS; i++) {
        if (__atomic_load_n(&f->nd.fd.config_interrupts, __ATOMIC_ACQUIRE) != 0)
            break;
        (void)usleep(1000);
    }
    fake_dev_quiesce(&f->nd.fd);
    assert_true(f->dev->vdev.broken);
    assert_int_equal(f->nd.fd.config_interrupts, 1);
    assert_int_equal(kernel.at[0].ring[0].backend, -1);
    assert_int_equal(f->n_said, 1);
    assert_string_equal(f->said, "net0: vhost-net met a ring that makes no sense, or memory that is "
                                 "not there: it needs a reset by its driver");
    close_net(f);
}

static void removed_interface_takes_the_link_down(void **state)
{
    struct virtio_net_config config = { 0 };
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_net(1, 0);
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);
    fake_dev_quiesce(&f->nd.fd);
    kernel.tap_error = EBADFD; /* what the kernel says where it is gone */
    fake_dev_resume(&f->nd.fd);
    f->dev->vdev.ops->config_read(&f->dev->vdev, 0, &config, sizeof(config));
    assert_int_equal(config.status, 0);
    assert_int_equal(f->nd.fd.config_interrupts, 1);
    fake_dev_quiesce(&f->nd.fd);
    fake_dev_resume(&f->nd.fd);
    assert_int_equal(f->nd.fd.config_interrupts, 1);
    assert_false(f->dev->vdev.broken);
    assert_int_equal(f->n_said, 0);
    close_net(f);
}

static void kernel_that_refuses_to_start_is_told_of_once(void **state)
{
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_net(1, 0);
    for (unsigned i = 0; i < 2; i++) {
        kernel.n_asked = 0;
        kernel.fail_at = 3;
        (void)fake_dev_start(&f->nd.fd);
        assert_true(f->dev->vdev.broken);
        assert_false(f->nd.fd.lent[0] || f->nd.fd.lent[1]);
        assert_int_equal(f->n_said, 1);
        f->dev->vdev.broken = false; /* as a reset has it */
    }
    assert_non_null(strstr(f->said, "net0: vhost-net: "));
    kernel.fail_at = 0;
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);
    assert_true(f->nd.fd.lent[0]);
    close_net(f);
}

static void missing_module_is_refused_and_leaves_no_interface(void **state)
{
    struct net_backend *be = (void *)&be;
    struct net_driver *nd = calloc(1, sizeof(*nd));
    struct errctx ec = { 0 };

    (void)state;
    NEEDS_TAP();
    assert_non_null(nd);
    nd_init(nd);
    kernel.open_error = ENOENT;
    assert_int_equal(net_tap_new("nvtest0", 2, true, &nd->env, &be, &ec), -ENOENT);
    assert_string_equal(ec.msg, "open it: No such file or directory");
    assert_ptr_equal(be, &be);
    assert_int_equal(if_nametoindex("nvtest0"), 0);
    evloop_free(nd->fl.loop);
    fake_mem_fini(&nd->fm);
    free(nd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_served_on_demand),
        cmocka_unit_test(what_the_kernel_lacks_is_not_offered),
        cmocka_unit_test(frames_that_the_guest_sends_wait_for_the_kernel),
        cmocka_unit_test(failed_ring_needs_a_reset),
        cmocka_unit_test(removed_interface_takes_the_link_down),
        cmocka_unit_test(kernel_that_refuses_to_start_is_told_of_once),
        cmocka_unit_test(missing_module_is_refused_and_leaves_no_interface),
    };
    return cmocka_run_group_tests_name("devices/virtio/net/vhost", tests, group_setup, NULL);
}
