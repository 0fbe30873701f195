/* SPDX-License-Identifier: Apache-2.0 */
/* Requests with members: each is checked by itself, and what was asked for is what arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/macros.h"
#include "vmm/machine/test/control_rig.h"

struct exchange {
    const char *request, *reply;
};

/* One peer asks all of it, one after the other. */
static void answer_as(const struct exchange *rows, size_t n)
{
    struct fixture f;
    char buf[256];
    int fd;

    begin(&f);
    fd = join(&f);
    for (size_t i = 0; i < n; i++) {
        say(fd, rows[i].request);
        assert_string_equal(hear(fd, buf, sizeof(buf)), rows[i].reply);
    }
    close(fd);
    end(&f);
}

static void a_move_is_asked_for_member_by_member(void **state)
{
    static const struct exchange rows[] = {
        { "{\"command\":\"move\",\"vnode\":1,\"host\":3,\"rate\":4096,\"stay\":true}\n",
          "{\"ok\":true,\"result\":{}}" },
        { "{\"command\":\"move\",\"vnode\":2,\"host\":3}\n",
          "{\"ok\":false,\"error\":\"no such node\"}" },
        { "{\"command\":\"move\",\"vnode\":1}\n",
          "{\"ok\":false,\"error\":\"\\\"move\\\" needs \\\"vnode\\\" and \\\"host\\\"\"}" },
        { "{\"command\":\"move\",\"vnode\":-1,\"host\":3}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"move\\\" has the wrong type or value\"}" },
        { "{\"command\":\"move\",\"vnode\":4294967296,\"host\":3}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"move\\\" has the wrong type or value\"}" },
        { "{\"command\":\"move\",\"vnode\":1,\"host\":3,\"stay\":1}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"move\\\" has the wrong type or value\"}" },
        { "{\"command\":\"move\",\"vnode\":1,\"host\":3,\"fast\":true}\n",
          "{\"ok\":false,\"error\":\"\\\"move\\\" has an unknown member\"}" },
        { "{\"command\":\"move-cancel\"}\n", "{\"ok\":false,\"error\":\"go back where?\"}" },
        { "{\"command\":\"move-cancel\",\"stay\":true}\n",
          "{\"ok\":false,\"error\":\"stay where?\"}" },
        { "{\"command\":\"move-cancel\",\"vnode\":1}\n",
          "{\"ok\":false,\"error\":\"\\\"move-cancel\\\" may have \\\"stay\\\", true or false, and "
          "nothing else\"}" },
        { "{\"command\":\"balance\"}\n", "{\"ok\":true,\"result\":{\"mode\":\"off\"}}" },
        { "{\"command\":\"balance\",\"mode\":\"on\"}\n",
          "{\"ok\":true,\"result\":{\"mode\":\"on\"}}" },
        { "{\"command\":\"balance\",\"mode\":\"up\"}\n",
          "{\"ok\":false,\"error\":\"no such mode\"}" },
        { "{\"command\":\"balance\",\"mode\":1}\n",
          "{\"ok\":false,\"error\":\"\\\"balance\\\" may have \\\"mode\\\", a word, and nothing "
          "else\"}" },
        { "{\"command\":\"move-status\"}\n", "{\"ok\":true,\"result\":{\"state\":\"none\"}}" },
    };
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        say(fd, rows[i].request);
        assert_string_equal(hear(fd, buf, sizeof(buf)), rows[i].reply);
        if (i == 0)
            assert_true(f.move.vnode == 1 && f.move.host == 3 && f.move.bytes_per_s == 4096 &&
                        f.move.stay);
    }
    assert_int_equal(f.move.vnode, 2); /* nothing else came through */
    close(fd);
    end(&f);
}

static void an_eviction_is_asked_for_member_by_member(void **state)
{
    static const char needs[] = "{\"ok\":false,\"error\":\"\\\"evict\\\" needs \\\"vnode\\\" and "
                                "\\\"bytes\\\", and nothing else\"}";
    static const char target_needs[] =
        "{\"ok\":false,\"error\":\"\\\"target\\\" needs \\\"vnode\\\", may have \\\"bytes\\\", and "
        "nothing else\"}";
    static const char wrong[] = "{\"ok\":false,\"error\":\"a member of \\\"evict\\\" has the wrong "
                                "type or value\"}";
    static const struct exchange rows[] = {
        { "{\"command\":\"evict\",\"vnode\":1,\"bytes\":4096}\n", "{\"ok\":true,\"result\":{}}" },
        { "{\"command\":\"evict\",\"vnode\":2,\"bytes\":7}\n",
          "{\"ok\":false,\"error\":\"no 7 bytes of node 2\"}" },
        { "{\"command\":\"evict\",\"vnode\":1}\n", needs },
        { "{\"command\":\"evict\",\"bytes\":1}\n", needs },
        { "{\"command\":\"evict\",\"vnode\":1,\"bytes\":0}\n", needs },
        { "{\"command\":\"evict\",\"vnode\":1,\"bytes\":1,\"all\":true}\n", needs },
        { "{\"command\":\"evict\",\"vnode\":-1,\"bytes\":1}\n", wrong },
        { "{\"command\":\"evict\",\"vnode\":1,\"bytes\":\"1G\"}\n", wrong },
        { "{\"command\":\"target\",\"vnode\":1,\"bytes\":4096}\n", "{\"ok\":true,\"result\":{}}" },
        { "{\"command\":\"target\",\"vnode\":2,\"bytes\":0}\n",
          "{\"ok\":false,\"error\":\"no 0 bytes of node 2\"}" },
        { "{\"command\":\"target\",\"vnode\":2}\n",
          "{\"ok\":false,\"error\":\"no 4294967295 bytes of node 2\"}" },
        { "{\"command\":\"target\",\"bytes\":1}\n", target_needs },
        { "{\"command\":\"target\",\"vnode\":1,\"all\":true}\n", target_needs },
        { "{\"command\":\"target\",\"vnode\":1,\"bytes\":-1}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"target\\\" has the wrong type or value\"}" },
        { "{\"command\":\"evict-status\"}\n", "{\"ok\":true,\"result\":{\"state\":\"none\"}}" },
    };

    (void)state;
    answer_as(rows, ARRAY_SIZE(rows));
}

static void slow_nodes_are_switched_by_a_flag(void **state)
{
    static const char wrong[] = "{\"ok\":false,\"error\":\"\\\"slow\\\" may have \\\"on\\\", true or "
                                "false, and nothing else\"}";
    static const struct exchange rows[] = {
        { "{\"command\":\"slow\"}\n", "{\"ok\":true,\"result\":{\"on\":false}}" },
        { "{\"command\":\"slow\",\"on\":true}\n", "{\"ok\":true,\"result\":{\"on\":true}}" },
        { "{\"command\":\"slow\",\"on\":false}\n",
          "{\"ok\":false,\"error\":\"no slow nodes\"}" },
        { "{\"command\":\"slow\",\"on\":1}\n", wrong },
        { "{\"command\":\"slow\",\"on\":true,\"node\":1}\n", wrong },
    };

    (void)state;
    answer_as(rows, ARRAY_SIZE(rows));
}

static void a_balloon_is_asked_for_member_by_member(void **state)
{
    static const struct exchange rows[] = {
        { "{\"command\":\"balloon\",\"target\":4096,\"refresh\":true}\n",
          "{\"ok\":true,\"result\":{\"driver\":true}}" },
        { "{\"command\":\"balloon\",\"target\":1}\n", "{\"ok\":false,\"error\":\"no balloon\"}" },
        { "{\"command\":\"balloon\",\"target\":-1}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"balloon\\\" has the wrong type or value\"}" },
        { "{\"command\":\"balloon\",\"refresh\":1}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"balloon\\\" has the wrong type or value\"}" },
        { "{\"command\":\"balloon\",\"size\":1}\n",
          "{\"ok\":false,\"error\":\"\\\"balloon\\\" has an unknown member\"}" },
        { "{\"command\":\"balloon\"}\n", "{\"ok\":true,\"result\":{\"driver\":true}}" },
    };
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        say(fd, rows[i].request);
        assert_string_equal(hear(fd, buf, sizeof(buf)), rows[i].reply);
        if (i == 0)
            assert_true(f.balloon.has_target && f.balloon.target_bytes == 4096 && f.balloon.refresh);
    }
    assert_false(f.balloon.has_target || f.balloon.refresh);
    close(fd);
    end(&f);
}

static void plugging_is_asked_for_member_by_member(void **state)
{
    static const struct exchange rows[] = {
        { "{\"command\":\"plug\",\"vnode\":1,\"size\":4096}\n",
          "{\"ok\":true,\"result\":{\"driver\":true}}" },
        { "{\"command\":\"plug\",\"vnode\":2}\n", "{\"ok\":false,\"error\":\"no window\"}" },
        { "{\"command\":\"plug\",\"vnode\":1,\"size\":-1}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"plug\\\" has the wrong type or value\"}" },
        { "{\"command\":\"plug\",\"size\":1}\n",
          "{\"ok\":false,\"error\":\"\\\"plug\\\" needs \\\"vnode\\\", may have \\\"size\\\", and "
          "nothing else\"}" },
        { "{\"command\":\"plug\",\"vnode\":1,\"by\":1}\n",
          "{\"ok\":false,\"error\":\"\\\"plug\\\" needs \\\"vnode\\\", may have \\\"size\\\", and "
          "nothing else\"}" },
        { "{\"command\":\"plug\",\"vnode\":0}\n", "{\"ok\":true,\"result\":{\"driver\":true}}" },
    };
    struct fixture f;
    char buf[256];
    int fd;

    (void)state;
    begin(&f);
    fd = join(&f);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        say(fd, rows[i].request);
        assert_string_equal(hear(fd, buf, sizeof(buf)), rows[i].reply);
        if (i == 0)
            assert_true(f.plug.vnode == 1 && f.plug.has_size && f.plug.bytes == 4096);
    }
    assert_false(f.plug.has_size);
    close(fd);
    end(&f);
}

static void cpus_come_and_go_by_number(void **state)
{
    static const struct exchange rows[] = {
        { "{\"command\":\"cpus\"}\n", "{\"ok\":true,\"result\":{\"there\":false}}" },
        { "{\"command\":\"cpus\",\"cpu\":3,\"there\":true}\n",
          "{\"ok\":true,\"result\":{\"there\":true}}" },
        { "{\"command\":\"cpus\",\"cpu\":4,\"there\":false}\n",
          "{\"ok\":false,\"error\":\"no CPU 4\"}" },
        { "{\"command\":\"cpus\",\"cpu\":3}\n",
          "{\"ok\":false,\"error\":\"\\\"cpus\\\" may have \\\"cpu\\\" with \\\"there\\\", and "
          "nothing else\"}" },
        { "{\"command\":\"cpus\",\"there\":1}\n",
          "{\"ok\":false,\"error\":\"a member of \\\"cpus\\\" has the wrong type or value\"}" },
    };

    (void)state;
    answer_as(rows, ARRAY_SIZE(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_is_asked_for_member_by_member),
        cmocka_unit_test(an_eviction_is_asked_for_member_by_member),
        cmocka_unit_test(slow_nodes_are_switched_by_a_flag),
        cmocka_unit_test(a_balloon_is_asked_for_member_by_member),
        cmocka_unit_test(plugging_is_asked_for_member_by_member),
        cmocka_unit_test(cpus_come_and_go_by_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
