/* SPDX-License-Identifier: Apache-2.0 */
/* --topology, --scale and --distances: forms, contradictions, and what comes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_json.h"
#include "vmm/config/config_presets.h"
#include "vmm/config/config_topology.h"
#include "vmm/config/test/config_words.h"
#include "vmm/topology/test/archive.h"
#include "vmm/topology/topo_plan.h"

#define HOSTS "vmm/topology/test/hosts/"
#define TWO "--topology 2-socket "

static const char numactl[] = "available: 2 nodes (0-1)\n"
                              "node 0 cpus: 0 1\nnode 0 size: 512 MB\nnode 0 free: 7 MB\n"
                              "node 1 cpus: 2 3\nnode 1 size: 256 MB\nnode 1 free: 7 MB\n"
                              "node distances:\nnode 0 1\n 0: 10 17\n 1: 18 10\n";

/* A file with @text, gone with unlink(). */
static void put(char path[static 32], const char *text)
{
    int fd;

    (void)snprintf(path, 32, "/tmp/nv-topology-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void contradictions_are_sentences(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { TWO "--vnuma 2", "--topology and --vnuma exclude each other: the topology says which "
                           "CPUs, nodes and caches there are" },
        { "--node cpus=0 " TWO, "--topology and --node exclude each other: the topology says which "
                                "CPUs, nodes and caches there are" },
        { TWO "--cpus 4", "--topology and --cpus exclude each other: the topology says which CPUs, "
                          "nodes and caches there are" },
        { TWO "--l3 8M", "--topology and --l3 exclude each other: the topology says which CPUs, "
                         "nodes and caches there are" },
        { TWO "--topology ring", "--topology is given twice" },
        { TWO "--distance 0-1=20", "--distance 0-1 is given twice" },
        { TWO "--scale memory=1/2 --memory 1G",
          "--scale: memory= and --memory both say how much memory there is" },
        { TWO "--memory 2M", "--memory: 2M is too little to give each of 2 nodes a page of 2 MiB" },
        { TWO "--memory 5000001", "--memory 5000001 is not a multiple of 2M" },
        { TWO "--scale cpus=4", "--scale: cpus=: \"4\" is not of the form 1/N" },
        { "--scale cpus=1/2 --cpus 4", "--scale has no effect without --topology" },
        { "--topology 2-sockets", "--topology: \"2-sockets\" is neither a preset (numavisor "
          "topology list), nor a file or folder, nor hwloc's synthetic form; did you mean "
          "2-socket?" },
        { "--topology core:0", "--topology: \"core:0\" is not a machine in hwloc's synthetic form" },
        { "--topology core:100000",
          "--topology: \"core:100000\" describes more than 8192 CPUs" },
        { "--topology /nowhere/x.xml", "--topology: /nowhere/x.xml: No such file or directory" },
        { "--topology /dev/null/x.xml", "--topology: /dev/null/x.xml: Not a directory" },
        { "--topology vmm", "--topology: vmm holds no sys/devices/system/cpu, as an archive of "
                            "hwloc-gather-topology does: No such file or directory" },
        { "--topology Makefile", "--topology: Makefile is neither hwloc's XML, nor JSON, nor what "
                                 "numactl -H prints" },
        { "--distances ring", "--distances has no effect on a guest of one node" },
        { "--vnuma auto --distances ring", "--vnuma auto and --distances exclude each other: which "
                                           "nodes there are is decided on the host" },
        { "--vnuma 3 --cpus 3 --distances ring --distance 0-1=20",
          "--distances and --distance exclude each other: all distances are said, or some" },
        { "--vnuma 3 --cpus 3 --distances rung",
          "--distances: \"rung\" is neither a shape of distances nor a file; did you mean ring?" },
        { "--vnuma 3 --cpus 3 --distances ./ring",
          "--distances: ./ring: No such file or directory" },
        { "--vnuma 3 --cpus 3 --distances vmm", "--distances: vmm: cannot be read: Is a directory" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct machine_config config;
        struct errctx ec = { 0 };

        assert_true(config_words(rows[i].words, &config, &ec) < 0);
        if (strcmp(ec.msg, rows[i].sentence) != 0)
            fail_msg("\"%s\" is answered by \"%s\"", rows[i].words, ec.msg);
        config_fini(&config);
    }
}

static void files_contradict_with_their_names(void **state)
{
    static const struct {
        const char *json, *words, *sentence;
    } rows[] = {
        { "{ \"vnuma\": 2 }", "--config %s " TWO,
          "--topology and \"vnuma\" of %s exclude each other: the topology says it" },
        { "{ \"nodes\": [ { \"cpus\": \"0\", \"memory\": \"4M\" }, { \"memory\": \"4M\" } ], "
          "\"distances\": [ { \"from\": 0, \"to\": 1, \"value\": 20 } ] }",
          "--config %s --distances ring", "--distances: %s says \"distances\" too" },
        { "{ \"kernel\": \"vmlinuz\" }", "--topology %s",
          "--topology: %s: \"kernel\" is no part of a topology: --config reads whole machines" },
        { "{ \"nodes\": [ { \"memory\": 7 } ] }", "--topology %s",
          "--topology: %s: nodes[0]: memory: 7 is below the smallest allowed value 2M" },
        { "{ \"nodes\": ", "--topology %s", NULL },
        { "available: 1 nodes (0)\nnode 0 cpus: x\n", "--topology %s",
          "--topology: %s: line 2: a CPU's number is expected here" },
        { "<topology version=\"2.0\"><object", "--topology %s",
          "--topology: %s is not a machine in hwloc's XML form" },
        { "10 20\n20 9\n", TWO "--distances %s", "--distances: %s: line 2, number 2: 9, but a node "
          "is 10 from itself and more than that from others" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct machine_config config;
        struct errctx ec = { 0 };
        char path[32], words[256], want[512];

        put(path, rows[i].json);
        (void)snprintf(words, sizeof(words), rows[i].words, path);
        (void)snprintf(want, sizeof(want), rows[i].sentence != NULL ? rows[i].sentence
                                                                    : "--topology: %s: line 1", path);
        assert_true(config_words(words, &config, &ec) < 0);
        if (rows[i].sentence != NULL ? strcmp(ec.msg, want) != 0
                                     : strncmp(ec.msg, want, strlen(want)) != 0)
            fail_msg("\"%s\" is answered by \"%s\"", words, ec.msg);
        config_fini(&config);
        unlink(path);
    }
}

/* Every form of the same machine of two nodes; the synthetic one has no distances. */
static void forms_are_known_by_their_content(void **state)
{
    char paste[32], json[32];
    const char *const names[] = { numactl, paste, json, "pack:2 numa:1(memory=512MB) core:1 pu:2" };
    static const enum config_topology_form forms[] = {
        CONFIG_TOPOLOGY_NUMACTL, CONFIG_TOPOLOGY_NUMACTL, CONFIG_TOPOLOGY_JSON,
        CONFIG_TOPOLOGY_SYNTHETIC,
    };

    (void)state;
    put(paste, numactl);
    put(json, "{ \"about\": \"me\", \"vnuma\": 2, \"cpus\": 4, \"memory\": \"768M\", "
              "\"plan\": { \"anything\": 1 } }");
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct topo_notes notes = { 0 };
        struct guest_spec spec;
        struct errctx ec = { 0 };
        enum config_topology_form form;
        char *about;

        if (config_topology_read(names[i], &spec, &about, &form, &notes, &ec) < 0)
            fail_msg("%s", ec.msg);
        assert_int_equal(form, forms[i]);
        assert_int_equal(spec.n_cpus, 4);
        assert_int_equal(spec.n_nodes, i == 2 ? 0 : 2);
        if (i == 2)
            assert_string_equal(about, "me");
        free(about);
        guest_spec_fini(&spec);
    }
    unlink(paste);
    unlink(json);
}

static void archives_are_folders(void **state)
{
    char dir[] = "/tmp/nv-topology-XXXXXX", words[64];
    struct machine_config config;
    struct errctx ec = { 0 };

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_unpack(HOSTS "smt-offline-memory-only.sysfs", dir);
    (void)snprintf(words, sizeof(words), "--topology %s --memory 1G", dir);
    if (config_words(words, &config, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_true(config.spec.n_nodes > 1);
    config_fini(&config);
    archive_remove(dir);
}

static void options_do_what_they_say(void **state)
{
    struct machine_config config;

    (void)state;
    assert_int_equal(config_words("--memory 5G --scale cpus=1/4 --distances line --link "
                                  "from=0,to=1,latency=90 --topology " HOSTS "two-socket-hbm.xml",
                                  &config, NULL), 0);
    assert_int_equal(config.spec.n_nodes, 4);
    assert_int_equal(config.spec.n_cpus, 4);
    assert_int_equal(config.spec.n_links, 1);
    assert_int_equal(config.spec.n_distances, 12);
    assert_int_equal(config.spec.distances[2].value, 40);
    assert_true(config.spec.memory_bytes == 5ull * GIB);
    assert_true(config.spec.nodes[0].memory_bytes == 4 * config.spec.nodes[1].memory_bytes);
    config_fini(&config);
}

/* Of what was asked for nothing is lost in JSON. */
static void descriptions_survive_json(void **state)
{
    struct config_presets all;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(config_presets_list(&all, &ec), 0);
    assert_true(all.n >= 14);
    for (size_t i = 0; i < all.n; i++) {
        struct machine_config config;
        char words[128], path[32];
        char *text[2];

        (void)snprintf(words, sizeof(words), "--topology %s", all.name[i]);
        for (size_t k = 0; k < 2; k++) {
            json_t *json;

            if (config_words(words, &config, &ec) < 0)
                fail_msg("%s: %s", words, ec.msg);
            assert_non_null(config.about);
            assert_int_equal(config_json_write(&config, &json, NULL), 0);
            text[k] = json_dumps(json, 0);
            json_decref(json);
            config_fini(&config);
            if (k == 0) {
                put(path, text[0]);
                (void)snprintf(words, sizeof(words), "--config %s", path);
            }
        }
        assert_string_equal(text[0], text[1]);
        unlink(path);
        free(text[0]);
        free(text[1]);
    }
}

static void every_preset_is_planned(void **state)
{
    static const struct host_topo nowhere = { .source = "nowhere" };
    struct config_presets all;

    (void)state;
    assert_int_equal(config_presets_list(&all, NULL), 0);
    for (size_t i = 0; i < all.n; i++) {
        struct machine_config config;
        struct topo_plan *plan = NULL;
        struct errctx ec = { 0 };
        char words[128];

        (void)snprintf(words, sizeof(words), "--topology %s", all.name[i]);
        if (config_words(words, &config, &ec) < 0 ||
            topo_plan_make(&config.spec, &nowhere, &plan, &ec) < 0)
            fail_msg("%s: %s", all.name[i], ec.msg);
        topo_plan_free(plan);
        config_fini(&config);
    }
}

static void presets_can_be_elsewhere(void **state)
{
    struct config_presets all;
    struct errctx ec = { 0 };
    char path[PATH_MAX];

    (void)state;
    assert_true(config_preset_path(path, "ring"));
    assert_false(config_preset_path(path, "../presets/ring"));
    assert_int_equal(setenv("NUMAVISOR_TOPOLOGIES", "/nowhere", 1), 0);
    assert_false(config_preset_path(path, "ring"));
    assert_int_equal(config_presets_list(&all, &ec), -ENOENT);
    assert_string_equal(ec.msg, "/nowhere: No such file or directory");
    assert_int_equal(unsetenv("NUMAVISOR_TOPOLOGIES"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_sentences),
        cmocka_unit_test(files_contradict_with_their_names),
        cmocka_unit_test(forms_are_known_by_their_content),
        cmocka_unit_test(archives_are_folders),
        cmocka_unit_test(options_do_what_they_say),
        cmocka_unit_test(descriptions_survive_json),
        cmocka_unit_test(every_preset_is_planned),
        cmocka_unit_test(presets_can_be_elsewhere),
    };

    return cmocka_run_group_tests_name("config/config_topology", tests, NULL, NULL);
}
