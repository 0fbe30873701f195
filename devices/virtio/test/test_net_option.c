/* SPDX-License-Identifier: Apache-2.0 */
/* --net: keys, addresses and forwards, and the sentences for what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "devices/virtio/net.h"
#include "devices/virtio/test/net_driver.h"

static void parse_and_check(const char *text, int code, const char *sentence)
{
    struct device_args args = { 0 };
    struct errctx ec = { 0 };
    int r = device_args_parse(&net_device_type, text, &args, &ec);

    if (r == 0)
        r = device_args_check(&args, &ec);
    assert_int_equal(r, code);
    if (sentence != NULL)
        assert_string_equal(ec.msg, sentence);
    device_args_fini(&args);
}

static void good_options_are_taken(void **state)
{
    (void)state;
    assert_ptr_equal(registry_find("net"), &net_device_type);
    parse_and_check("user", 0, NULL);
    parse_and_check("user,restrict,mac=02:00:00:00:00:01", 0, NULL);
    parse_and_check("user,hostfwd=tcp::2222-:22,hostfwd=udp:0.0.0.0:53-10.0.2.15:53", 0, NULL);
    parse_and_check("tap=tap0,queues=4", 0, NULL);
    parse_and_check("tap=fifteen-letters", 0, NULL);
    parse_and_check("user,hostfwd=tcp::7-:1,hostfwd=udp::7-:1,hostfwd=tcp:127.0.0.2:7-:1", 0, NULL);
}

static void contradictions_are_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        { "user,tap=tap0", "--net: user and tap= exclude each other" },
        { "mac=02:00:00:00:00:01", "--net: one of user and tap=NAME is needed" },
        { "tap=tap0,hostfwd=tcp::1-:1", "--net: hostfwd= has no meaning with tap=" },
        { "tap=tap0,restrict", "--net: restrict has no meaning with tap=" },
        { "user,queues=2", "--net: queues= has no meaning with user" },
        { "user,vhost", "--net: vhost has no meaning with user" },
        { "user,vhost=off", "--net: vhost has no meaning with user" },
        { "tap=tap0,queues=0", "--net: queues=0 leaves no queue" },
        { "user,mac=01:00:00:00:00:01",
          "--net: mac: \"01:00:00:00:00:01\" is a multicast address" },
        { "user,hostfwd=sctp::1-:1",
          "--net: hostfwd: \"sctp::1-:1\" begins with neither tcp: nor udp:" },
        { "user,hostfwd=tcp::1",
          "--net: hostfwd: \"tcp::1\" names no port of the guest after a \"-\"" },
        { "user,hostfwd=udp:10.0.0.1:7-:1,hostfwd=udp:0.0.0.0:7-:2",
          "--net: hostfwd=udp:10.0.0.1:7-:1 and hostfwd=udp:0.0.0.0:7-:2 take the same port of "
          "the host" },
        { "tap=sixteen-letters-", "--net: tap: \"sixteen-letters-\" is not 1 to 15 characters long" },
        { "tap=a/b", "--net: tap: \"a/b\" is no name of an interface" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        parse_and_check(cases[i].text, -EINVAL, cases[i].sentence);
    parse_and_check("tap=tap0,queues=17", -EINVAL, NULL);
    parse_and_check("tap=tap0,vhost=maybe", -EINVAL, NULL);
    parse_and_check("tap=tap0,vhost=on,queues=2", 0, NULL);
    parse_and_check("tap=tap0,vhost=off", 0, NULL);
    parse_and_check("user,speed=1", -EINVAL, NULL);
}

static void forwards_are_read(void **state)
{
    static const struct {
        const char *text;
        bool udp;
        const char *host, *guest;
        uint16_t host_port, guest_port;
    } good[] = {
        { "tcp::2222-:22", false, "127.0.0.1", "0.0.0.0", 2222, 22 },
        { "udp:0.0.0.0:1-10.0.2.20:65535", true, "0.0.0.0", "10.0.2.20", 1, 65535 },
    };
    static const char *const bad[] = {
        "tcp:",
        "tcp:-",
        "tcp::0-:1",
        "tcp::1-:0",
        "tcp::65536-:1",
        "tcp:x:1-:1",
        "tcp::1-1.2:1",
        "tcp::1-:1-:2",
        "tcp:1-1",
        "tcp:::1-:1",
        "tcp::+1-:1",
        "tcp:: 1-:1",
        "tcp:1.2.3.4.5:1-:1",
        "tcp:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1-:1",
    };
    struct net_forward fwd;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(net_forward_parse(good[i].text, &fwd, NULL), 0);
        assert_int_equal(fwd.udp, good[i].udp);
        assert_int_equal(fwd.host_addr, inet_addr(good[i].host));
        assert_int_equal(fwd.guest_addr, inet_addr(good[i].guest));
        assert_int_equal(fwd.host_port, good[i].host_port);
        assert_int_equal(fwd.guest_port, good[i].guest_port);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct net_forward before = { .host_port = 77 };

        fwd = before;
        assert_int_equal(net_forward_parse(bad[i], &fwd, NULL), -EINVAL);
        assert_memory_equal(&fwd, &before, sizeof(fwd));
    }
}

static void addresses_are_read_and_derived(void **state)
{
    static const char *const bad[] = { "",
                                       "02:00:00:00:00",
                                       "02:00:00:00:00:00:00",
                                       "02:00:00:00:00:0g",
                                       "02-00-00-00-00-00",
                                       "00:00:00:00:00:00",
                                       "ff:ff:ff:ff:ff:ff",
                                       "+2:00:00:00:00:01",
                                       "02:00:00:00:00:01 " };
    uint8_t a[ETH_ALEN] = { 0 }, b[ETH_ALEN];

    (void)state;
    assert_int_equal(net_mac_parse("0A:1b:2c:3d:4e:5f", a, NULL), 0);
    assert_memory_equal(a, "\x0a\x1b\x2c\x3d\x4e\x5f", ETH_ALEN);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(net_mac_parse(bad[i], a, NULL), -EINVAL);
    assert_memory_equal(a, "\x0a\x1b\x2c\x3d\x4e\x5f", ETH_ALEN);

    net_mac_default("one", "net0", a);
    assert_int_equal(a[0] & 3, 2); /* unicast, locally administered */
    net_mac_default("one", "net0", b);
    assert_memory_equal(a, b, ETH_ALEN);
    net_mac_default("one", "net1", b);
    assert_memory_not_equal(a, b, ETH_ALEN);
    net_mac_default("two", "net0", b);
    assert_memory_not_equal(a, b, ETH_ALEN);
    net_mac_default(NULL, "net0", b);
    assert_memory_not_equal(a, b, ETH_ALEN);
}

static void create_makes_a_device_of_the_option(void **state)
{
    struct device_args args = { 0 };
    struct virtio_net_config config;
    struct net_driver *nd = calloc(1, sizeof(*nd));
    struct virtio_dev *dev = NULL;
    struct errctx ec = { 0 };

    (void)state;
    assert_non_null(nd);
    nd_init(nd);
    nd->env.vm_name = "one";
    assert_int_equal(device_args_parse(&net_device_type, "user", &args, NULL), 0);
    assert_int_equal(net_device_type.create(&args, &nd->env, &dev, NULL), 0);
    dev->ops->config_read(dev, 0, &config, dev->config_len);
    net_mac_default("one", "net0", nd->frame);
    assert_memory_equal(config.mac, nd->frame, ETH_ALEN);
    assert_int_equal(config.mtu, 65520);
    dev->ops->destroy(dev);
    device_args_fini(&args);

    dev = (void *)nd;
    args.type = &net_device_type; /* as if nobody had checked it */
    assert_int_equal(device_args_set(&args, "tap", "a/b", NULL), 0);
    assert_int_equal(net_device_type.create(&args, &nd->env, &dev, &ec), -EINVAL);
    assert_string_equal(ec.msg, "--net: tap: \"a/b\" is no name of an interface");
    assert_ptr_equal(dev, nd);
    device_args_fini(&args);
    evloop_free(nd->fl.loop);
    fake_mem_fini(&nd->fm);
    free(nd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_options_are_taken),
        cmocka_unit_test(contradictions_are_refused_with_a_sentence),
        cmocka_unit_test(forwards_are_read),
        cmocka_unit_test(addresses_are_read_and_derived),
        cmocka_unit_test(create_makes_a_device_of_the_option),
    };
    return cmocka_run_group_tests_name("devices/virtio/net/option", tests, NULL, NULL);
}
