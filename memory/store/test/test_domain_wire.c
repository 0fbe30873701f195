/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between machines and the host service: what is one, and what comes through a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory/store/domain/domain_wire.h"

static struct domain_message m;

static int check(bool from_machine, long more)
{
    return domain_wire_check(&m, (size_t)((long)domain_wire_bytes(&m.head) + more), from_machine,
                             NULL);
}

static void set(enum domain_type type, uint32_t n)
{
    memset(&m, 0, sizeof(m));
    m.head = (struct domain_head){ .type = type, .n = n };
}

static void names_of_domains(void **state)
{
    char name[DOMAIN_NAME + 1] = "";

    (void)state;
    assert_true(domain_name_ok("web"));
    assert_true(domain_name_ok("0.A-b_c"));
    assert_false(domain_name_ok(""));
    assert_false(domain_name_ok(".web"));
    assert_false(domain_name_ok("-"));
    assert_false(domain_name_ok("a/b"));
    assert_false(domain_name_ok("a b"));
    memset(name, 'a', DOMAIN_NAME - 1);
    assert_true(domain_name_ok(name));
    name[DOMAIN_NAME - 1] = 'a';
    assert_false(domain_name_ok(name));
}

static void only_whole_messages_of_the_right_side_count(void **state)
{
    struct errctx ec = { 0 };

    (void)state;
    set(DOMAIN_OFFER, DOMAIN_BATCH);
    assert_int_equal(check(true, 0), 0);
    assert_int_equal(check(false, 0), -EPROTO);
    assert_int_equal(check(true, -1), -EPROTO);
    assert_int_equal(check(true, 1), -EPROTO);
    m.head.n = DOMAIN_BATCH + 1;
    assert_int_equal(domain_wire_check(&m, sizeof(m), true, NULL), -EPROTO);
    m.head.n = UINT32_MAX;
    assert_int_equal(domain_wire_check(&m, sizeof(m.head), true, NULL), -EPROTO);
    set(DOMAIN_OFFER, 0);
    assert_int_equal(check(true, 0), -EPROTO);
    set(DOMAIN_JOIN, 0);
    m.head.store = DOMAIN_STORES - 1;
    assert_int_equal(check(true, 0), 0);
    m.head.store = DOMAIN_STORES;
    assert_int_equal(domain_wire_check(&m, sizeof(m.head), true, &ec), -EPROTO);
    assert_string_equal(ec.msg, "message join: no machine has a store 512");
    for (uint32_t type = 0; type < 40; type++) {
        m.head = (struct domain_head){ .type = type, .n = 7 };
        assert_int_equal(domain_wire_check(&m, sizeof(m.head) - 1, true, NULL), -EPROTO);
        if (type == 0 || type >= DOMAIN_TYPES)
            assert_int_equal(domain_wire_check(&m, sizeof(m.head), type % 2 == 0, NULL), -EPROTO);
    }
}

static void what_is_in_them_is_in_range(void **state)
{
    (void)state;
    set(DOMAIN_HELLO, 1);
    assert_int_equal(check(true, 0), -EPROTO);
    memset(m.items.name.name, 'a', DOMAIN_NAME);
    assert_int_equal(check(true, 0), -EPROTO);
    m.items.name.name[DOMAIN_NAME - 1] = '\0';
    assert_int_equal(check(true, 0), 0);

    set(DOMAIN_BYTES, 1);
    assert_int_equal(check(true, 0), -EPROTO);
    m.items.bytes.len = CODEC_PAGE;
    assert_int_equal(check(true, 0), 0);
    m.items.bytes.len = CODEC_PAGE + 1;
    assert_int_equal(check(true, 0), -EPROTO);
    m.items.bytes.len = 1;
    m.items.bytes.kind = CODEC_KINDS;
    assert_int_equal(check(true, 0), -EPROTO);

    set(DOMAIN_PLACES, 2);
    m.items.places[0].len = m.items.places[1].len = DOMAIN_UNIT;
    m.items.places[1].at = DOMAIN_SEGMENT / DOMAIN_UNIT - 1;
    assert_int_equal(check(false, 0), 0);
    m.items.places[1].len++;
    assert_int_equal(check(false, 0), -EPROTO);
    m.items.places[1].at = UINT32_MAX;
    m.items.places[1].len = 1;
    assert_int_equal(check(false, 0), -EPROTO);
    m.items.places[1] = (struct domain_place){ .len = 1, .zero = 1 };
    assert_int_equal(check(false, 0), -EPROTO);
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void messages_come_with_the_descriptor_that_was_sent(void **state)
{
    static struct domain_message got;
    int fds[2], passed = -1;
    unsigned before;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(domain_wire_receive(fds[1], false, &got, NULL, NULL), -EAGAIN);
    set(DOMAIN_SEGMENT_IS, 0);
    m.head.arg = 7;
    assert_int_equal(domain_wire_send(fds[0], &m, STDERR_FILENO), 0);
    assert_int_equal(domain_wire_receive(fds[1], false, &got, &passed, NULL), 1);
    assert_memory_equal(&got.head, &m.head, sizeof(m.head));
    assert_true(passed >= 0);
    (void)close(passed);
    passed = -1;
    set(DOMAIN_NEED, 3);
    m.items.hashes[2].high = 9;
    assert_int_equal(domain_wire_send(fds[0], &m, -1), 0);
    assert_int_equal(domain_wire_receive(fds[1], false, &got, &passed, NULL), 1);
    assert_memory_equal(&got, &m, domain_wire_bytes(&m.head));
    assert_int_equal(passed, -1);

    /* What nobody asked for is closed. */
    before = open_descriptors();
    set(DOMAIN_LEAVE, 0);
    assert_int_equal(domain_wire_send(fds[0], &m, STDERR_FILENO), 0);
    assert_int_equal(domain_wire_receive(fds[1], true, &got, NULL, NULL), -EPROTO);
    assert_int_equal(send(fds[0], "nothing", 7, 0), 7);
    assert_int_equal(domain_wire_receive(fds[1], true, &got, &passed, NULL), -EPROTO);
    assert_int_equal(open_descriptors(), before);

    (void)close(fds[0]);
    assert_int_equal(domain_wire_receive(fds[1], true, &got, NULL, NULL), 0);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_domains),
        cmocka_unit_test(only_whole_messages_of_the_right_side_count),
        cmocka_unit_test(what_is_in_them_is_in_range),
        cmocka_unit_test(messages_come_with_the_descriptor_that_was_sent),
    };
    return cmocka_run_group_tests_name("memory/store/domain_wire", tests, NULL, NULL);
}
