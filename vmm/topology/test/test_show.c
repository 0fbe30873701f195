/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forms of plans and hosts. The JSON is compared with facts worked out by hand, since a
 * checker outside compares guests with it; the picture is checked for being well-formed and for
 * drawing nothing outside of its page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/macros.h"
#include "vmm/topology/places_svg.h"
#include "vmm/topology/show.h"
#include "vmm/topology/test/spec_text.h"

#define SMALL_HOST                                                                                 \
    "pack:2 numa:1(memory=8589934592) l3:1(size=33554432) l2:2(size=1048576) "                     \
    "l1d:1(size=32768) l1i:1(size=32768) core:1 pu:2"

struct shown {
    struct host_topo host;
    struct topo_plan *plan;
};

static struct shown plan_of(const char *text)
{
    struct shown s = { 0 };
    struct guest_spec spec;
    struct errctx ec = { 0 };

    assert_int_equal(host_topo_from_synthetic(SMALL_HOST, &s.host, &ec), 0);
    spec_text_parse(text, &spec);
    if (topo_plan_make(&spec, &s.host, &s.plan, &ec) < 0)
        fail_msg("%s: %s", text, ec.msg);
    guest_spec_fini(&spec);
    return s;
}

static void shown_fini(struct shown *s)
{
    topo_plan_free(s->plan);
    host_topo_fini(&s->host);
}

/* Compare the member of @j at @path ("nodes/1/memory") with the JSON text @expected. */
static void assert_member(const json_t *j, const char *path, const char *expected)
{
    char *copy = strdup(path), *save = NULL, *got;

    for (char *w = strtok_r(copy, "/", &save); w != NULL; w = strtok_r(NULL, "/", &save))
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(w)) : json_object_get(j, w);
    free(copy);
    if (j == NULL)
        fail_msg("%s is missing", path);
    got = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);
    if (strcmp(got, expected) != 0)
        print_error("%s\n", path);
    assert_string_equal(got, expected);
    free(got);
}

static void json_says_every_fact_outright(void **state)
{
    static const struct {
        const char *path, *json;
    } row[] = {
        { "nodes/0/cpus", "\"0-3\"" },
        { "nodes/0/memory", "1073741824" },
        { "nodes/0/host", "\"1\"" },
        { "nodes/0/initiator", "0" },
        { "nodes/0/distances", "[10,21,20]" },
        { "nodes/1/distances", "[21,10,20]" },
        { "nodes/1/host", "\"\"" },
        { "nodes/2/cpus", "\"\"" },
        { "nodes/2/has_cpus", "false" },
        { "nodes/2/has_memory", "true" },
        { "nodes/2/hotplug", "2147483648" },
        { "nodes/2/initiator", "1" },
        { "nodes/2/mem_caches",
          "[{\"level\":1,\"size\":536870912,\"line\":64,\"associativity\":\"none\","
          "\"write\":\"none\"}]" },
        { "vcpus/7",
          "{\"id\":7,\"node\":1,\"socket\":1,\"die\":1,\"complex\":0,\"core\":0,\"thread\":1,"
          "\"apic_id\":7,\"linux\":{\"physical_package_id\":1,\"die_id\":1,\"core_id\":1},"
          "\"host_cpus\":\"\"}" },
        { "vcpus/0/host_cpus", "\"4-7\"" },
        { "apic", "{\"core_shift\":1,\"complex_shift\":1,\"die_shift\":1,\"socket_shift\":2,"
                  "\"max_id\":7}" },
        { "groups/core", "[\"0-1\",\"2-3\",\"4-5\",\"6-7\"]" },
        { "groups/die", "[\"0-1\",\"2-3\",\"4-5\",\"6-7\"]" },
        { "groups/socket", "[\"0-3\",\"4-7\"]" },
        { "caches/3", "{\"level\":3,\"type\":\"Unified\",\"size\":33554432,\"line\":64,\"ways\":16,"
                      "\"sets\":32768,\"apic_shift\":1,\"groups\":[\"0-1\",\"2-3\",\"4-5\","
                      "\"6-7\"]}" },
        { "caches/1/type", "\"Instruction\"" },
        { "distances", "[[10,21,20],[21,10,20],[20,20,10]]" },
        { "links", "[{\"from\":0,\"to\":2,\"latency_ns\":180,\"bandwidth\":2097152}]" },
        { "notes/0", "\"1 of 1 distance was given for one direction and holds for both.\"" },
    };
    struct shown s = plan_of("threads=2 dies=2 node:cpus=0-3;memory=1G;host=1 "
                             "node:cpus=4-7;memory=1G "
                             "node:memory=2G;hotplug=2G;initiator=1;mc=512M;line=64 d:0-1=21 "
                             "l:0-2=180;2097152");
    json_t *j = NULL;

    (void)state;
    assert_int_equal(topo_plan_to_json(s.plan, &j), 0);
    for (size_t i = 0; i < ARRAY_SIZE(row); i++)
        assert_member(j, row[i].path, row[i].json);
    json_decref(j);
    shown_fini(&s);
}

static void host_json_says_what_the_planner_sees(void **state)
{
    struct host_topo h = { 0 };
    json_t *j = NULL;

    (void)state;
    assert_int_equal(host_topo_from_synthetic(SMALL_HOST, &h, NULL), 0);
    assert_int_equal(host_topo_to_json(&h, &j), 0);
    assert_member(j, "nodes/1/cpus", "\"4-7\"");
    assert_member(j, "nodes/1/memory", "8589934592");
    assert_member(j, "nodes/1/memory_free", "null");
    assert_member(j, "cpus/5",
                  "{\"id\":5,\"node\":1,\"package\":1,\"die\":1,\"core\":2,\"llc\":1,"
                  "\"thread\":1}");
    assert_member(j, "distances", "[[10,20],[20,10]]");
    assert_member(j, "distances_known", "false");
    json_decref(j);
    host_topo_fini(&h);
}

static char *table_of(const struct shown *s, bool colour)
{
    char *text = NULL;
    size_t len = 0;
    FILE *mem = open_memstream(&text, &len);

    topo_plan_print_table(s->plan, &s->host, mem, colour);
    (void)fputs("---\n", mem);
    host_topo_print_table(&s->host, mem, colour);
    assert_int_equal(fclose(mem), 0);
    return text;
}

static void tables_show_nodes_caches_and_distances(void **state)
{
    static const char *const lines[] = {
        "Guest of 2 nodes, 4 CPUs and 1 GiB, planned for pack:2",
        "sockets 2, dies per socket 1, cores per die 2, threads per core 1\n",
        "     1     512 MiB           -  any       1           2-3\n",
        "  L3        32 MiB   64 B     16     32768          2  0-1\n",
        "     0   10   20\n",
        "  No memory was asked for: the guest has 1G.\n",
        "nodes 2, CPUs 8, cores 4, packages 2, last-level caches 2, memory 16 GiB\n",
        "     1       8 GiB           -  4-7\n",
        "  L3        32 MiB   64 B      0          2  0-3\n",
    };
    struct shown s = plan_of("vnuma=2 cpus=4");
    char *plain = table_of(&s, false), *coloured = table_of(&s, true);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (strstr(plain, lines[i]) == NULL)
            fail_msg("missing: %s in\n%s", lines[i], plain);
    assert_null(strchr(plain, '\033'));
    assert_non_null(strstr(coloured, "\033[1mNodes\033[0m\n"));
    free(plain);
    free(coloured);
    shown_fini(&s);
}

static void caches_that_a_host_does_not_tell_are_not_counted(void **state)
{
    static const struct {
        const char *host, *summary, *note;
    } row[] = {
        { "node:2 core:4 pu:2", "nodes 2, CPUs 16, cores 8, packages 1, memory 2 GiB\n",
          "  This host's caches are not known, so the guest is told of none.\n" },
        { "node:1 l3:1 core:2 pu:1", "packages 1, last-level caches 1, memory 1 GiB\n",
          "  This host's caches are known without level 1, so the guest is told of none.\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        const struct guest_spec spec = { .n_cpus = 2 };
        struct shown s = { 0 };
        char *text;

        assert_int_equal(host_topo_from_synthetic(row[i].host, &s.host, NULL), 0);
        assert_int_equal(topo_plan_make(&spec, &s.host, &s.plan, NULL), 0);
        text = table_of(&s, false);
        assert_non_null(strstr(text, row[i].summary));
        assert_non_null(strstr(text, row[i].note));
        free(text);
        shown_fini(&s);
    }
}

static void many_nodes_list_their_distances_by_value(void **state)
{
    struct shown s = plan_of("vnuma=20 d:0-1=12");
    char *text = table_of(&s, false);

    (void)state;
    assert_non_null(strstr(text, "     0: 10 to 0, 12 to 1, 20 to 2-19\n"));
    free(text);
    shown_fini(&s);
}

/* Every opening tag has its end and every coordinate is on the page. */
static void assert_picture(const char *svg, unsigned texts)
{
    double w = 0, h = 0, x, y, bw, bh;
    unsigned open = 0, closed = 0;
    const char *page = strstr(svg, "<svg ");

    assert_non_null(page);
    assert_int_equal(sscanf(strstr(page, "width="), "width=\"%lf\" height=\"%lf\"", &w, &h), 2);
    for (const char *p = svg; (p = strstr(p, "<text ")) != NULL; p++, open++) {
        assert_int_equal(sscanf(p, "<text x=\"%lf\" y=\"%lf\"", &x, &y), 2);
        assert_true(x >= 0 && x < w && y >= 0 && y < h);
    }
    for (const char *p = svg; (p = strstr(p, "</text>")) != NULL; p++)
        closed++;
    assert_int_equal(open, closed);
    assert_true(open >= texts);
    for (const char *p = svg; (p = strstr(p, "<rect x=")) != NULL; p++) {
        assert_int_equal(
            sscanf(p, "<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf\"", &x, &y, &bw, &bh),
            4);
        assert_true(x >= 0 && y >= 0 && bw > 0 && bh > 0 && x + bw <= w && y + bh <= h);
    }
    assert_non_null(strstr(svg, "</svg>\n"));
}

static void pictures_stay_on_their_page(void **state)
{
    static const struct {
        const char *spec;
        unsigned texts; /* at least: a name per node, a number per CPU where they are drawn */
    } row[] = {
        { "", 1 + 1 },
        { "vnuma=2 cpus=8", 2 + 8 },
        { "vnuma=4 cpus=32 threads=2 d:0-3=21 d:3-0=31 l:0-1=90;1048576", 4 + 32 },
        { "vnuma=8 cpus=128 dies=2 threads=2 c:3;u;8M;0;0;2", 8 + 128 },
        { "cpus=1024", 1 + 1024 },
        { "node:cpus=0-2;memory=2M node:memory=2M;initiator=0;mc=1M node:hotplug=2G", 3 + 3 },
        { "vnuma=17", 17 },
        { "vnuma=128 cpus=1024 sockets=8", 128 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct shown s = plan_of(row[i].spec);
        char *text = NULL;
        size_t len = 0;
        FILE *mem = open_memstream(&text, &len);

        assert_int_equal(topo_plan_write_svg(s.plan, mem, NULL), 0);
        assert_int_equal(fclose(mem), 0);
        assert_picture(text, row[i].texts);
        free(text);
        shown_fini(&s);
    }
}

static char *picture_of_places(const struct places *places, const struct topo_plan *plan,
                               const char *synthetic)
{
    struct host_topo host;
    char *text = NULL;
    size_t len = 0;
    FILE *mem = open_memstream(&text, &len);

    assert_int_equal(host_topo_from_synthetic(synthetic, &host, NULL), 0);
    places_write_svg(places, plan, &host, mem);
    assert_int_equal(fclose(mem), 0);
    host_topo_fini(&host);
    return text;
}

/* Every virtual node on host node 0, and then each on two. */
static void places_stay_on_their_page(void **state)
{
    static const struct places_term terms[] = { { "traffic", "far & near <accesses>", 2.5 },
                                                { "broken", "", 0 },
                                                { "overload", "", 1e9 } };
    static const char *const hosts[] = { "numa:1 core:4 pu:1", "numa:4(memory=8GB) core:4 pu:2",
                                         "numa:128(memory=1GB) core:2 pu:1" };
    static const char *const specs[] = { "cpus=1", "vnuma=4 cpus=32", "vnuma=128 cpus=1024" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(hosts) * ARRAY_SIZE(specs) * 2; i++) {
        struct shown s = plan_of(specs[i / 2 % ARRAY_SIZE(specs)]);
        struct idset *nodes = calloc(s.plan->n_nodes, sizeof(*nodes));
        const struct places places = { .nodes = nodes, .terms = terms, .n_terms = i % 4,
                                       .total = 2.5, .bound = 2, .proved = i % 2 == 0,
                                       .kept = true, .applied = i % 2 == 0 };
        char *text;

        assert_non_null(nodes);
        for (size_t k = 0; k < s.plan->n_nodes; k++) {
            idset_add(&nodes[k], 0);
            if (i % 2 == 1)
                idset_add(&nodes[k], 1);
        }
        text = picture_of_places(&places, s.plan, hosts[i / 2 / ARRAY_SIZE(specs)]);
        assert_picture(text, 1 + 3 + (unsigned)MIN(s.plan->n_nodes, (size_t)8));
        assert_non_null(strstr(text, "node 0: "));
        assert_int_equal(strstr(text, "and 121 more") != NULL, s.plan->n_nodes == 128);
        assert_int_equal(strstr(text, "proved") != NULL, i % 2 == 0);
        free(text);
        free(nodes);
        shown_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_says_every_fact_outright),
        cmocka_unit_test(host_json_says_what_the_planner_sees),
        cmocka_unit_test(tables_show_nodes_caches_and_distances),
        cmocka_unit_test(caches_that_a_host_does_not_tell_are_not_counted),
        cmocka_unit_test(many_nodes_list_their_distances_by_value),
        cmocka_unit_test(pictures_stay_on_their_page),
        cmocka_unit_test(places_stay_on_their_page),
    };
    return cmocka_run_group_tests_name("topology/show", tests, NULL, NULL);
}
