/* SPDX-License-Identifier: Apache-2.0 */
/* Events as people write them: what is meant, in which order, and where one is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/lab/lab_events.h"

static void each_kind_reads_back(void **state)
{
    static const struct {
        const char *text;
        struct lab_event event;
        const char *again;
    } rows[] = {
        { "at 2s offline cpu 3", { .at_ns = 2000000000, .kind = LAB_OFFLINE_CPU, .id = 3 }, NULL },
        { "500ms  online\tcpu 0", { .at_ns = 500000000, .kind = LAB_ONLINE_CPU },
          "at 500ms online cpu 0" },
        { "at 3s hotplug cpu 4",
          { .at_ns = 3000000000, .kind = LAB_HOTPLUG_CPU, .id = 4 }, NULL },
        { "at 3s unplug cpu 4",
          { .at_ns = 3000000000, .kind = LAB_UNPLUG_CPU, .id = 4 }, NULL },
        { "at 4s hotplug node 2 1G",
          { .at_ns = 4000000000, .kind = LAB_HOTPLUG_NODE, .id = 2, .bytes = 1u << 30 }, NULL },
        { "at 0s unplug node 127 4096M",
          { .kind = LAB_UNPLUG_NODE, .id = 127, .bytes = 4ull << 30 },
          "at 0s unplug node 127 4G" },
        { "at 8s move vnode 1 to host 3",
          { .at_ns = 8000000000, .kind = LAB_MOVE_VNODE, .id = 1, .host = 3 }, NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct lab_events events = { .n = 0 };
        const struct lab_event *e = &events.list[0], *want = &rows[i].event;
        char text[LAB_EVENT_TEXT];

        assert_int_equal(lab_events_add(&events, rows[i].text, NULL), 0);
        assert_int_equal(events.n, 1);
        assert_int_equal(e->at_ns, want->at_ns);
        assert_int_equal(e->kind, want->kind);
        assert_int_equal(e->id, want->id);
        assert_int_equal(e->host, want->host);
        assert_int_equal(e->bytes, want->bytes);
        assert_string_equal(lab_event_format(e, text),
                            rows[i].again != NULL ? rows[i].again : rows[i].text);
    }
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "", "a time is missing: \"2s offline cpu 3\"" },
        { "at", "a time is missing: \"2s offline cpu 3\"" },
        { "2 offline cpu 3", "\"2\" is no time: say 2s or 2ms" },
        { "2000000s online cpu 1", "\"2000000s\" is later than 1000000 s" },
        { "2s", "it ends where one of offline, online, hotplug, unplug, move should follow" },
        { "2s ofline cpu 3", "\"ofline\" is none of offline, online, hotplug, unplug, move" },
        { "2s offline node 3", "\"node\" stands where \"cpu\" should" },
        { "2s offline cpu", "it ends where a number should follow" },
        { "2s hotplug node 1", "it ends where a size should follow" },
        { "2s move vnode 1", "it ends where \"to\" should follow" },
        { "2s offline cpu 3 4", "\"4\" is too much" },
        { "2s hotplug node 1 0", "\"0\": from 1 byte to 8191P" },
        { "a b c d e f g h i j", "\"i\" and what follows is too much" },
        { "2s offline cpu 000000000000000000000000000000000000000000000000001",
          "\"000000000000000000000000000000...\" is no word of an event" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct lab_events events = { .n = 0 };
        struct errctx ec = { 0 };

        assert_true(lab_events_add(&events, rows[i].text, &ec) < 0);
        assert_string_equal(ec.msg, rows[i].says);
        assert_int_equal(events.n, 0);
    }
}

static void a_file_is_ordered_by_time_and_names_its_lines(void **state)
{
    struct lab_events events = { .n = 0 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(lab_events_parse(&events,
                                      "# all of it\n"
                                      "at 3s offline cpu 3 # then\n"
                                      "\n"
                                      "1s offline cpu 1\r\n"
                                      "3s online cpu 3",
                                      &ec),
                     0);
    assert_int_equal(events.n, 3);
    assert_int_equal(events.list[0].id, 1);
    assert_int_equal(events.list[1].kind, LAB_OFFLINE_CPU);
    assert_int_equal(events.list[2].kind, LAB_ONLINE_CPU);
    assert_int_equal(lab_events_parse(&events, "\n1s online cpu x\n", &ec), -EINVAL);
    assert_non_null(strstr(ec.msg, "line 2: "));
}

static void there_is_an_end_of_them(void **state)
{
    struct lab_events events = { .n = 0 };
    struct errctx ec = { 0 };

    (void)state;
    for (size_t i = 0; i < LAB_EVENTS_MAX; i++)
        assert_int_equal(lab_events_add(&events, "1s online cpu 1", NULL), 0);
    assert_int_equal(lab_events_add(&events, "1s online cpu 1", &ec), -E2BIG);
    assert_string_equal(ec.msg, "more than 256 events");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_reads_back),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_file_is_ordered_by_time_and_names_its_lines),
        cmocka_unit_test(there_is_an_end_of_them),
    };

    return cmocka_run_group_tests_name("lab/events", tests, NULL, NULL);
}
