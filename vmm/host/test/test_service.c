/* SPDX-License-Identifier: Apache-2.0 */
/* What a service answers to machines that keep to the rules and to some that do not. */
#include "vmm/host/test/service_child.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "memory/store/domain/domain_wire.h"
#include "memory/store/golden/golden.h"

enum { PATIENCE_MS = 30000 };

static struct domain_message m;

static int setup(void **state)
{
    static struct service_child child;

    service_child_init(&child);
    *state = &child;
    return 0;
}

static int teardown(void **state)
{
    struct service_child *child = *state;

    assert_int_equal(service_child_end(child, SIGTERM), 0);
    service_child_fini(child);
    return 0;
}

static int join(const struct service_child *c)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", c->path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, enum domain_type type, uint32_t n, uint32_t store, uint32_t arg)
{
    m.head = (struct domain_head){ .type = type, .n = n, .store = store, .arg = arg };
    assert_int_equal(domain_wire_send(fd, &m, -1), 0);
}

/* Return: as domain_wire_receive(), which is waited for. */
static int listen_to(int fd, int *ret_passed)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    return domain_wire_receive(fd, false, &m, ret_passed, NULL);
}

static bool is_silent(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, 200) == 0;
}

static bool is_sent_away(int fd)
{
    const int r = listen_to(fd, NULL);

    (void)close(fd);
    return r == 0 || r == -ECONNRESET;
}

static int member(const struct service_child *c, const char *domain, uint32_t node)
{
    const int fd = join(c);

    memset(&m, 0, sizeof(m));
    (void)snprintf(m.items.name.name, DOMAIN_NAME, "%s", domain);
    say(fd, DOMAIN_HELLO, 1, 0, DOMAIN_VERSION);
    assert_int_equal(listen_to(fd, NULL), 1);
    assert_int_equal(m.head.type, DOMAIN_WELCOME);
    say(fd, DOMAIN_JOIN, 0, 3, node);
    return fd;
}

static void fill(uint8_t *page, uint8_t with)
{
    memset(page, with, CODEC_PAGE);
    for (uint32_t i = 0; i < 64; i++)
        page[i] = (uint8_t)(i * with);
}

static struct domain_hash hash_of(uint8_t with)
{
    uint8_t page[CODEC_PAGE];
    struct golden_hash h;

    fill(page, with);
    h = golden_hash(page);
    return (struct domain_hash){ .low = h.low, .high = h.high };
}

static void offer(int fd, uint8_t with)
{
    m.items.hashes[0] = hash_of(with);
    say(fd, DOMAIN_OFFER, 1, 3, 0);
}

static void send_page(int fd, uint8_t says, uint8_t with)
{
    memset(&m, 0, sizeof(m));
    m.items.bytes.hash = hash_of(says);
    m.items.bytes.len = CODEC_PAGE;
    m.items.bytes.kind = CODEC_RAW;
    fill(m.items.bytes.bytes, with);
    say(fd, DOMAIN_BYTES, 1, 3, 0);
}

static void must_need(int fd, uint8_t with)
{
    const struct domain_hash hash = hash_of(with);

    assert_int_equal(listen_to(fd, NULL), 1);
    assert_int_equal(m.head.type, DOMAIN_NEED);
    assert_int_equal(m.head.store, 3);
    assert_int_equal(m.head.n, 1);
    assert_memory_equal(&m.items.hashes[0], &hash, sizeof(hash));
}

/* A segment, and in it the page. Return: the segment's number. */
static uint32_t must_place(int fd, uint8_t with)
{
    static struct codec_decoder decoder;
    uint8_t page[CODEC_PAGE], want[CODEC_PAGE], *base;
    const struct domain_place *p = &m.items.places[0];
    int passed = -1;
    uint32_t number;

    assert_int_equal(listen_to(fd, &passed), 1);
    assert_int_equal(m.head.type, DOMAIN_SEGMENT_IS);
    number = m.head.arg;
    base = mmap(NULL, DOMAIN_SEGMENT, PROT_READ, MAP_SHARED, passed, 0);
    assert_true(base != MAP_FAILED);
    (void)close(passed);
    assert_int_equal(listen_to(fd, NULL), 1);
    assert_int_equal(m.head.type, DOMAIN_PLACES);
    assert_int_equal(m.head.arg, number);
    assert_int_equal(m.head.n, 1);
    assert_int_equal(codec_decoder_init(&decoder), 0);
    assert_int_equal(codec_decode(&decoder, (enum codec_kind)p->kind,
                                  base + (size_t)p->at * DOMAIN_UNIT, p->len, page), 0);
    codec_decoder_fini(&decoder);
    fill(want, with);
    assert_memory_equal(page, want, CODEC_PAGE);
    (void)munmap(base, DOMAIN_SEGMENT);
    return number;
}

static void two_that_have_a_page_are_told_where_it_is(void **state)
{
    const int a = member(*state, "web", DOMAIN_ANY_NODE), b = member(*state, "web", DOMAIN_ANY_NODE);
    uint32_t number;

    offer(a, 7);
    offer(a, 7);
    assert_true(is_silent(a));
    offer(b, 7);
    must_need(b, 7);
    send_page(b, 7, 7);
    number = must_place(a, 7);
    assert_int_equal(must_place(b, 7), number);
    m.items.hashes[0] = hash_of(7);
    say(a, DOMAIN_WITHDRAW, 1, 3, 0);
    (void)close(b); /* nobody has it any more: the segment goes */
    assert_int_equal(listen_to(a, NULL), 1);
    assert_int_equal(m.head.type, DOMAIN_RETIRE);
    assert_int_equal(m.head.arg, number);
    (void)close(a);
}

static void domains_and_nodes_share_nothing(void **state)
{
    const int a = member(*state, "web", DOMAIN_ANY_NODE), b = member(*state, "db", DOMAIN_ANY_NODE),
              c = member(*state, "web", 0);

    offer(a, 9);
    offer(b, 9);
    offer(c, 9);
    assert_true(is_silent(a));
    assert_true(is_silent(b));
    assert_true(is_silent(c));
    (void)close(a);
    (void)close(b);
    (void)close(c);
}

static void a_page_that_is_another_one_is_not_published(void **state)
{
    const int a = member(*state, "web", DOMAIN_ANY_NODE), b = member(*state, "web", DOMAIN_ANY_NODE),
              c = member(*state, "web", DOMAIN_ANY_NODE);

    offer(a, 7);
    offer(b, 7);
    must_need(b, 7);
    send_page(a, 7, 7); /* was not asked */
    send_page(b, 7, 8);
    assert_true(is_silent(a));
    assert_true(is_silent(b));
    offer(c, 7);
    must_need(c, 7);
    (void)close(c); /* the next is asked when there is one */
    assert_true(is_silent(a));
    offer(b, 7);
    must_need(b, 7);
    send_page(b, 7, 7);
    (void)must_place(a, 7);
    (void)close(a);
    (void)close(b);
}

static void who_breaks_the_rules_is_sent_away(void **state)
{
    const struct service_child *c = *state;
    int fd = join(c);

    memset(&m, 0, sizeof(m));
    say(fd, DOMAIN_JOIN, 0, 0, 0); /* no hello */
    assert_true(is_sent_away(fd));
    fd = join(c);
    (void)snprintf(m.items.name.name, DOMAIN_NAME, "web");
    say(fd, DOMAIN_HELLO, 1, 0, DOMAIN_VERSION + 1);
    assert_true(is_sent_away(fd));
    fd = member(c, "web", 0);
    say(fd, DOMAIN_JOIN, 0, 3, 0); /* twice */
    assert_true(is_sent_away(fd));
    fd = member(c, "web", 0);
    say(fd, DOMAIN_OFFER, 1, 4, 0); /* a store that did not join */
    assert_true(is_sent_away(fd));
    fd = member(c, "web", 0);
    memset(&m, 0, sizeof(m));
    (void)snprintf(m.items.name.name, DOMAIN_NAME, "db");
    say(fd, DOMAIN_HELLO, 1, 0, DOMAIN_VERSION); /* another domain */
    assert_true(is_sent_away(fd));
    fd = member(c, "web", 0);
    assert_int_equal(send(fd, "?", 1, 0), 1);
    assert_true(is_sent_away(fd));
    fd = member(c, "web", 0);
    m.head = (struct domain_head){ .type = DOMAIN_LEAVE, .store = 3 };
    assert_int_equal(domain_wire_send(fd, &m, STDERR_FILENO), 0); /* with a descriptor */
    assert_true(is_sent_away(fd));
}

static void a_machine_that_does_not_listen_holds_up_nobody(void **state)
{
    const struct service_child *c = *state;
    const int deaf = member(c, "web", DOMAIN_ANY_NODE), a = member(c, "web", DOMAIN_ANY_NODE);
    struct pollfd pfd = { .fd = a, .events = POLLIN };
    unsigned answered = 0;

    for (uint32_t i = 1; i <= 20000; i += DOMAIN_BATCH) {
        for (uint32_t k = 0; k < DOMAIN_BATCH; k++)
            m.items.hashes[k] = (struct domain_hash){ .low = i + k, .high = 1 };
        m.head = (struct domain_head){ .type = DOMAIN_OFFER, .n = DOMAIN_BATCH, .store = 3 };
        assert_int_equal(poll(&(struct pollfd){ .fd = a, .events = POLLOUT }, 1, PATIENCE_MS), 1);
        assert_int_equal(domain_wire_send(a, &m, -1), 0);
        assert_int_equal(poll(&(struct pollfd){ .fd = deaf, .events = POLLOUT }, 1, PATIENCE_MS), 1);
        assert_int_equal(domain_wire_send(deaf, &m, -1), 0); /* it is asked for all of them */
    }
    offer(deaf, 3);
    offer(a, 5);
    for (int fd = member(c, "web", DOMAIN_ANY_NODE); answered == 0; answered++) {
        offer(fd, 5);
        must_need(fd, 5);
        send_page(fd, 5, 5);
        (void)must_place(fd, 5);
        (void)close(fd);
    }
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    (void)close(a);
    (void)close(deaf);
}

static void one_service_is_at_a_socket(void **state)
{
    const struct service_child *c = *state;
    struct service *other = NULL;
    struct errctx ec = { 0 };
    struct service_params params = { .path = c->path, .limit_bytes = 1 };
    char path[200], held[210], want[256];
    FILE *f;

    assert_int_equal(service_new(&params, &other, &ec), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "a service is at %s already", c->path);
    assert_string_equal(ec.msg, want);
    assert_int_equal(access(c->path, F_OK), 0); /* it is still there */
    (void)snprintf(path, sizeof(path), "%s/file", c->dir);
    (void)snprintf(held, sizeof(held), "%s.held", path);
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fclose(f);
    params.path = path;
    assert_int_equal(service_new(&params, &other, &ec), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "%s exists and is no socket", path);
    assert_string_equal(ec.msg, want);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(held), 0);
    memset(path, 'a', 150);
    path[150] = '\0';
    assert_int_equal(service_new(&params, &other, &ec), -ENAMETOOLONG);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_that_have_a_page_are_told_where_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(domains_and_nodes_share_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_page_that_is_another_one_is_not_published, setup, teardown),
        cmocka_unit_test_setup_teardown(who_breaks_the_rules_is_sent_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_machine_that_does_not_listen_holds_up_nobody, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_service_is_at_a_socket, setup, teardown),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(240);
    return cmocka_run_group_tests_name("vmm/host/service", tests, NULL, NULL);
}
