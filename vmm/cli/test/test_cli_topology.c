/* SPDX-License-Identifier: Apache-2.0 */
/* numavisor topology: the presets listed, forms converted there and back, losses told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/cli/test/cli_fixture.h"
#include "vmm/config/config_presets.h"

static void list_names_every_preset_and_its_model(void **state)
{
    struct config_presets all;
    struct outcome o = run("topology list");

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.err, "");
    assert_int_equal(config_presets_list(&all, NULL), 0);
    for (size_t i = 0; i < all.n; i++) {
        char line[CONFIG_PRESET_NAME_MAX + 2];

        (void)snprintf(line, sizeof(line), "\n%s ", all.name[i]);
        assert_non_null(strstr(o.out, line));
    }
    assert_non_null(strstr(o.out, "\n128-nodes              128     2   2.5 GiB\n    As many"));
    outcome_fini(&o);
}

/* Through XML and back every preset of the kind that hwloc knows is the same guest. */
static void xml_and_json_keep_machines_whole(void **state)
{
    static const char *const names[] = { "2-socket", "2-socket-nps4", "2-socket-snc2", "8-socket",
                                         "ring", "mesh", "asymmetric", "cpu-only", "memoryless",
                                         "unequal", "cxl-expander", "hbm-ddr" };
    char dir[] = "/tmp/nv-convert-XXXXXX", words[256];

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct outcome o, first, second;

        (void)snprintf(words, sizeof(words), "topology convert %s %s/a.xml", names[i], dir);
        o = run(words);
        assert_string_equal(o.err, "");
        assert_string_equal(o.out, "");
        assert_int_equal(o.status, CLI_OK);
        outcome_fini(&o);
        (void)snprintf(words, sizeof(words), "topology convert %s/a.xml %s/a.json", dir, dir);
        o = run(words);
        assert_string_equal(o.err, "");
        assert_int_equal(o.status, CLI_OK);
        outcome_fini(&o);
        (void)snprintf(words, sizeof(words), "topology convert --to xml %s", names[i]);
        first = run(words);
        (void)snprintf(words, sizeof(words), "topology convert --to xml %s/a.json", dir);
        second = run(words);
        assert_string_equal(first.out, second.out);
        assert_non_null(strstr(first.out, "<topology version=\"2.0\">"));
        outcome_fini(&first);
        outcome_fini(&second);
    }
    (void)snprintf(words, sizeof(words), "rm -r %s", dir);
    assert_int_equal(system(words), 0);
}

static void losses_are_told(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { "--to numactl cxl-expander",
          "note: numactl's output, as written here, does not hold latencies and bandwidths.\n" },
        { "--to xml hotplug-node",
          "note: hwloc's XML, as written here, does not hold all nodes: of 3 there are 2.\n" },
        { "--to numactl hotplug-node",
          "note: numactl's output, as written here, does not hold all nodes: of 3 there are 2.\n"
          "numavisor: note: numactl's output, as written here, does not hold windows for memory "
          "that is added later.\n"
          "numavisor: note: numactl's output, as written here, does not hold the caches and who "
          "shares them.\n" },
        { "--to numactl generic-initiator",
          "numavisor: note: numactl's output, as written here, does not hold latencies and "
          "bandwidths.\n"
          "numavisor: note: numactl's output, as written here, does not hold which nodes have a "
          "generic initiator.\n" },
        { "--to numactl 2-socket", "note: numactl's output, as written here, does not hold "
          "sockets, dies, cores and threads as they are.\n" },
        { "--to synthetic 8-socket",
          "note: hwloc's synthetic form, as written here, does not hold the distances.\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char words[128];
        struct outcome o;

        (void)snprintf(words, sizeof(words), "topology convert %s", rows[i].words);
        o = run(words);
        assert_int_equal(o.status, CLI_OK);
        if (strstr(o.err, rows[i].sentence) == NULL)
            fail_msg("\"%s\" is answered by \"%s\"", words, o.err);
        outcome_fini(&o);
    }
}

static void synthetic_and_numactl_forms_are_golden(void **state)
{
    struct outcome o = run("topology convert --to synthetic 2-socket-nps4");

    (void)state;
    assert_string_equal(o.out, "Package:2 Die:4 NUMANode:1(memory=134217728) L3:2(size=16777216) "
                               "L2:1(size=524288) L1i:1(size=32768) L1:1(size=32768) Core:1 PU:1\n");
    outcome_fini(&o);
    o = run("topology convert --to numactl hbm-ddr");
    assert_string_equal(o.out, "available: 4 nodes (0-3)\n"
                               "node 0 cpus: 0 1\nnode 0 size: 384 MB\nnode 0 free: 384 MB\n"
                               "node 1 cpus: 2 3\nnode 1 size: 384 MB\nnode 1 free: 384 MB\n"
                               "node 2 cpus:\nnode 2 size: 128 MB\nnode 2 free: 128 MB\n"
                               "node 3 cpus:\nnode 3 size: 128 MB\nnode 3 free: 128 MB\n"
                               "node distances:\nnode    0    1    2    3 \n"
                               "  0:   10   21   13   23 \n  1:   21   10   23   13 \n"
                               "  2:   13   23   10   23 \n  3:   23   13   23   10 \n");
    outcome_fini(&o);
}

static void qemu_gets_the_same_machine(void **state)
{
    static const char *const lines[] = {
        "-machine q35,hmat=on\n-m 1024M\n-smp 4,sockets=2,dies=1,cores=2,threads=1\n",
        ("-object memory-backend-ram,id=mem2,size=256M\n"
         "-numa node,nodeid=2,memdev=mem2,initiator=1\n"),
        "-numa cpu,node-id=1,socket-id=1,core-id=0,thread-id=0\n",
        "-numa dist,src=0,dst=2,val=28\n",
        "-numa hmat-lb,initiator=1,target=2,hierarchy=memory,data-type=access-latency,latency=250\n",
    };
    struct outcome o = run("topology convert --to qemu cxl-expander");

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(o.out, lines[i]) == NULL)
            fail_msg("no %s in %s", lines[i], o.out);
    assert_string_equal(o.err, "numavisor: note: QEMU's options do not hold the caches: they are "
                               "its CPU model's.\n");
    outcome_fini(&o);
}

/* The node's cache is only for who knows what lies behind it: node 1 has no bandwidth. */
static void qemu_gets_no_cache_without_what_lies_behind(void **state)
{
    static const char text[] =
        "{\"nodes\": ["
        "{\"cpus\": \"0\", \"memory\": \"256M\", \"memory_caches\": [{\"size\": \"16M\"}]},"
        "{\"cpus\": \"1\", \"memory\": \"256M\", \"memory_caches\": [{\"size\": \"32M\"}]}],"
        "\"links\": [{\"from\": 0, \"to\": 0, \"latency\": \"100ns\", \"bandwidth\": \"10G/s\"},"
        "{\"from\": 0, \"to\": 1, \"latency\": \"200ns\"}]}";
    char path[] = "/tmp/nv-convert-XXXXXX", words[256];
    const int fd = mkstemp(path);
    struct outcome o;

    (void)state;
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
    (void)snprintf(words, sizeof(words), "topology convert --to qemu %s", path);
    o = run(words);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "-numa hmat-cache,node-id=0,size=16384K,level=1,"));
    assert_null(strstr(o.out, "hmat-cache,node-id=1"));
    assert_non_null(strstr(o.err, "note: QEMU takes memory-side caches only of nodes whose latency "
                                  "and bandwidth it knows: those of node 1 are left out.\n"));
    outcome_fini(&o);
}

static void mistakes_are_sentences(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { "topology lst", "topology: \"lst\" is neither list nor convert\n" },
        { "topology list all", "topology list: unexpected argument \"all\"\n" },
        { "topology list --to xml", "--to has no effect on topology list\n" },
        { "topology convert", "topology convert: say what is to be converted\n" },
        { "topology convert ring", "say the form with --to, or by the end of the file's name: "
                                   ".json, .xml, .synthetic, .numactl or .qemu\n" },
        { "topology convert ring --to yaml",
          "--to: \"yaml\" is not json, xml, synthetic, numactl or qemu\n" },
        { "topology convert --to synthetic unequal", "hwloc's synthetic form has the same CPUs in "
          "every node, one behind the other, which node 0 has not\n" },
        { "topology convert --to qemu unequal", "QEMU wants the same number of cores and threads "
          "in every socket and die, and here they differ\n" },
        { "topology convert rung a.xml", "\"rung\" is neither a preset (numavisor topology list), "
          "nor a file or folder, nor hwloc's synthetic form; did you mean ring?\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct outcome o = run(rows[i].words);
        char want[512];

        (void)snprintf(want, sizeof(want), "numavisor: %s", rows[i].sentence);
        assert_int_equal(o.status, CLI_USAGE);
        assert_string_equal(o.err, want);
        assert_string_equal(o.out, "");
        outcome_fini(&o);
    }
}

/* The plan of a topology, saved, is a topology that plans the same. */
static void a_saved_plan_is_a_topology(void **state)
{
    char path[] = "/tmp/nv-topology-XXXXXX", words[256];
    struct outcome a = run("plan --json --host-synthetic node:1@pu:4 --topology "
                           "node:4@l3:2@core:4@pu:2 --scale cpus=1/2 --distances ring"), b;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(a.status, CLI_OK);
    assert_non_null(strstr(a.err, "numavisor: note: L2 cache: not described"));
    assert_int_equal(write(fd, a.out, strlen(a.out)), strlen(a.out));
    close(fd);
    (void)snprintf(words, sizeof(words), "plan --json --host-synthetic node:1@pu:4 --topology %s",
                   path);
    b = run(words);
    assert_string_equal(a.out, b.out);
    assert_string_equal(b.err, "");
    outcome_fini(&a);
    outcome_fini(&b);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_names_every_preset_and_its_model),
        cmocka_unit_test(xml_and_json_keep_machines_whole),
        cmocka_unit_test(losses_are_told),
        cmocka_unit_test(synthetic_and_numactl_forms_are_golden),
        cmocka_unit_test(qemu_gets_the_same_machine),
        cmocka_unit_test(qemu_gets_no_cache_without_what_lies_behind),
        cmocka_unit_test(mistakes_are_sentences),
        cmocka_unit_test(a_saved_plan_is_a_topology),
    };

    return cmocka_run_group_tests_name("cli/cli_topology", tests, NULL, NULL);
}
