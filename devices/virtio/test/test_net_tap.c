/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TAP backend against the kernel, in a network namespace of the test's own. Needs the right
 * to make one and /dev/net/tun; says so and skips otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/test/net_driver.h"
#include "devices/virtio/test/net_packets.h"

struct fixture {
    struct net_driver nd;
    struct net_dev *dev;
    int packet_fd; /* the host's end of the interface */
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

#define NEEDS_TAP()                                                                                \
    do {                                                                                           \
        if (why_not != NULL) {                                                                     \
            print_message("skip: %s\n", why_not);                                                  \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

static struct fixture *open_tap(unsigned queues, uint64_t features)
{
    struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
    struct fixture *f = calloc(1, sizeof(*f));
    struct net_backend *be;
    struct virtio_dev *dev;
    struct errctx ec = { 0 };

    assert_non_null(f);
    nd_init(&f->nd);
    if (net_tap_new("nvtest0", queues, false, &f->nd.env, &be, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(net_dev_new(&f->nd.env, be, np_guest_mac, &dev, NULL), 0);
    f->dev = container_of(dev, struct net_dev, vdev);
    nd_attach(&f->nd, dev, features, 256);
    assert_int_equal(fake_dev_start(&f->nd.fd), 0);

    f->packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
    assert_true(f->packet_fd >= 0);
    ll.sll_ifindex = (int)if_nametoindex("nvtest0");
    assert_int_not_equal(ll.sll_ifindex, 0);
    assert_int_equal(bind(f->packet_fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
    return f;
}

static void close_tap(struct fixture *f)
{
    (void)close(f->packet_fd);
    nd_fini(&f->nd);
    free(f);
    assert_int_equal(if_nametoindex("nvtest0"), 0); /* it went with us */
}

/* A frame of our own kind, with a number; the interface also carries what the kernel sends. */
static size_t make_frame(uint8_t *frame, uint32_t number, size_t len)
{
    memset(frame, 0, len);
    memset(frame, 0xff, ETH_ALEN);
    memcpy(frame + ETH_ALEN, np_guest_mac, ETH_ALEN);
    frame[12] = 0x88;
    frame[13] = 0xb5; /* local experimental */
    memcpy(frame + 14, &number, sizeof(number));
    for (size_t i = 18; i < len; i++)
        frame[i] = (uint8_t)(i * 11 + number);
    return len;
}

static bool is_ours(const uint8_t *frame, size_t len)
{
    return len > 18 && frame[12] == 0x88 && frame[13] == 0xb5;
}

static void frames_pass_both_ways(void **state)
{
    static uint8_t frame[1514], got[2000];
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_tap(1, 1u << VIRTIO_NET_F_MRG_RXBUF);
    nd_offer(&f->nd, 0, 64, 512); /* a frame takes three */
    for (uint32_t i = 0; i < 200; i++) {
        size_t len = make_frame(frame, i, 60 + (i * 37) % 1455);
        struct pollfd p = { .fd = f->packet_fd, .events = POLLIN };
        ssize_t n;

        assert_true(nd_send(&f->nd, frame, len));
        do {
            assert_int_equal(poll(&p, 1, ND_WAIT_MS), 1);
            n = recv(f->packet_fd, got, sizeof(got), 0);
        } while (n > 0 && !is_ours(got, (size_t)n));
        assert_int_equal(n, len);
        assert_memory_equal(got, frame, len);

        frame[0] = 2;
        assert_int_equal(send(f->packet_fd, frame, len, 0), len);
        do {
            assert_true(nd_receive(&f->nd));
        } while (!is_ours(f->nd.frame, f->nd.frame_len));
        assert_int_equal(f->nd.frame_len, len);
        assert_memory_equal(f->nd.frame, frame, len);
        assert_int_equal(f->nd.frame_buffers, (len + NET_HDR_LEN + 511) / 512);
    }
    close_tap(f);
}

static void burst_without_buffers_waits_in_the_interface(void **state)
{
    uint8_t frame[200];
    uint32_t next = 0;
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_tap(1, 1u << VIRTIO_NET_F_MRG_RXBUF);
    nd_offer(&f->nd, 0, 4, 2048);
    for (uint32_t i = 0; i < 100; i++) {
        size_t len = make_frame(frame, i, sizeof(frame));

        assert_int_equal(send(f->packet_fd, frame, len, 0), len);
        if (i == 60) {
            fake_dev_quiesce(&f->nd.fd);
            assert_int_equal(guest_mem_leases(f->nd.fm.mem), 0);
            fake_dev_resume(&f->nd.fd);
        }
    }
    while (next < 100) {
        uint32_t number;

        assert_true(nd_receive(&f->nd));
        if (!is_ours(f->nd.frame, f->nd.frame_len))
            continue;
        memcpy(&number, f->nd.frame + 14, sizeof(number));
        assert_int_equal(number, next++);
    }
    close_tap(f);
}

static void malformed_header_loses_only_its_frame(void **state)
{
    struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 65535 };
    uint8_t frame[100], got[200];
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_tap(1, 0);
    assert_true(nd_send_hdr(&f->nd, 1, &hdr, frame, make_frame(frame, 1, 100)));
    assert_true(nd_send(&f->nd, frame, make_frame(frame, 2, 100)));
    for (;;) {
        struct pollfd p = { .fd = f->packet_fd, .events = POLLIN };

        assert_int_equal(poll(&p, 1, ND_WAIT_MS), 1);
        if (recv(f->packet_fd, got, sizeof(got), 0) == 100 && is_ours(got, 100))
            break;
    }
    assert_int_equal(got[14], 2);
    assert_false(f->nd.fd.dev->broken);
    close_tap(f);
}

static int tap_flags(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = { .ifr_name = "nvtest0" };
    int r = ioctl(fd, SIOCGIFFLAGS, &ifr);

    (void)close(fd);
    return r < 0 ? 0 : ifr.ifr_flags;
}

static void queue_pairs_are_attached_on_demand(void **state)
{
    struct fake_buf bufs[2] = { { ND_TX_BASE, 4 }, { ND_TX_BASE + 4096, 1 } };
    static uint8_t got[200];
    uint8_t frame[100], ack = 0xee;
    uint32_t head, len;
    struct fixture *f;
    ssize_t n;

    (void)state;
    NEEDS_TAP();
    f = open_tap(4, 1u << VIRTIO_NET_F_MQ | 1u << VIRTIO_NET_F_CTRL_VQ);
    assert_true(tap_flags() & IFF_UP);
    (void)guest_mem_write(f->nd.fm.mem, (struct gpa){ ND_TX_BASE }, "\4\0\3\0", 4);
    fake_queue_add(&f->nd.fd.q[8], bufs, 1, 1);
    fake_dev_kick(&f->nd.fd, 8);
    assert_true(fake_dev_wait_used(&f->nd.fd, 8, &head, &len, ND_WAIT_MS));
    (void)guest_mem_read(f->nd.fm.mem, (struct gpa){ ND_TX_BASE + 4096 }, &ack, 1);
    assert_int_equal(ack, VIRTIO_NET_OK);
    assert_true(nd_send_hdr(&f->nd, 5, NULL, frame, make_frame(frame, 3, 100)));
    do {
        struct pollfd p = { .fd = f->packet_fd, .events = POLLIN };

        assert_int_equal(poll(&p, 1, ND_WAIT_MS), 1);
        n = recv(f->packet_fd, got, sizeof(got), 0);
    } while (n > 0 && !is_ours(got, (size_t)n));
    assert_memory_equal(got, frame, sizeof(frame));
    close_tap(f);
}

static void removed_interface_takes_the_link_down(void **state)
{
    struct virtio_net_config config = { 0 };
    struct fixture *f;
    uint8_t frame[100];

    (void)state;
    NEEDS_TAP();
    for (unsigned paused = 0; paused < 2; paused++) {
        f = open_tap(1, 0);
        nd_offer(&f->nd, 0, 64, 2048);
        if (paused)
            fake_dev_quiesce(&f->nd.fd);
        if (system("ip link del nvtest0 2>/dev/null") != 0) {
            print_message("skip: ip link del does not work here\n");
            skip();
        }
        if (paused) { /* nothing is raised while the device is quiesced */
            (void)usleep(50000);
            assert_int_equal(__atomic_load_n(&f->nd.fd.config_interrupts, __ATOMIC_ACQUIRE), 0);
            fake_dev_resume(&f->nd.fd);
        }
        for (unsigned i = 0; i < ND_WAIT_MS; i++) {
            if (__atomic_load_n(&f->nd.fd.config_interrupts, __ATOMIC_ACQUIRE) != 0)
                break;
            (void)usleep(1000);
        }
        assert_int_equal(__atomic_load_n(&f->nd.fd.config_interrupts, __ATOMIC_ACQUIRE), 1);
        f->nd.fd.dev->ops->config_read(f->nd.fd.dev, 0, &config, sizeof(config));
        assert_int_equal(config.status, 0);
        assert_true(nd_send(&f->nd, frame, make_frame(frame, 1, 100))); /* lost, but taken */
        close_tap(f);
    }
}

static void removed_interface_is_noticed_when_sending(void **state)
{
    uint8_t frame[100];
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_tap(1, 0);
    assert_int_equal(send(f->packet_fd, frame, make_frame(frame, 1, 100), 0), 100);
    if (system("ip link del nvtest0 2>/dev/null") != 0) {
        print_message("skip: ip link del does not work here\n");
        skip();
    }
    assert_true(nd_send(&f->nd, frame, make_frame(frame, 1, 100)));
    assert_int_equal(__atomic_load_n(&f->nd.fd.config_interrupts, __ATOMIC_ACQUIRE), 1);
    close_tap(f);
}

static void unusable_names_are_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *name, *sentence;
        int code;
    } cases[] = {
        { "", "tap: \"\" is not 1 to 15 characters long", EINVAL },
        { "sixteencharacter", "tap: \"sixteencharacter\" is not 1 to 15 characters long", EINVAL },
        { "tap%d", "tap: \"tap%d\" is no name of an interface", EINVAL },
        { "a/b", "tap: \"a/b\" is no name of an interface", EINVAL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct net_backend *be = (void *)&be;
        struct errctx ec = { 0 };

        assert_int_equal(net_tap_new(cases[i].name, 1, false, NULL, &be, &ec), -cases[i].code);
        assert_string_equal(ec.msg, cases[i].sentence);
        assert_ptr_equal(be, &be);
    }
}

static void interface_in_use_or_of_another_kind_is_refused(void **state)
{
    struct net_backend *be = NULL;
    struct errctx ec = { 0 };
    struct fixture *f;

    (void)state;
    NEEDS_TAP();
    f = open_tap(1, 0);
    assert_int_equal(net_tap_new("nvtest0", 1, false, &f->nd.env, &be, &ec), -EBUSY);
    assert_string_equal(ec.msg, "TAP nvtest0 is in use by another program");
    assert_int_equal(net_tap_new("lo", 1, false, &f->nd.env, &be, &ec), -EINVAL);
    assert_string_equal(ec.msg, "interface lo is no TAP");
    close_tap(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_pass_both_ways),
        cmocka_unit_test(burst_without_buffers_waits_in_the_interface),
        cmocka_unit_test(malformed_header_loses_only_its_frame),
        cmocka_unit_test(queue_pairs_are_attached_on_demand),
        cmocka_unit_test(removed_interface_takes_the_link_down),
        cmocka_unit_test(removed_interface_is_noticed_when_sending),
        cmocka_unit_test(unusable_names_are_refused_with_a_sentence),
        cmocka_unit_test(interface_in_use_or_of_another_kind_is_refused),
    };
    return cmocka_run_group_tests_name("devices/virtio/net/tap", tests, group_setup, NULL);
}
