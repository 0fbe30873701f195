/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON form: it says what the options say, and nothing else gets in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_json.h"
#include "vmm/config/test/config_words.h"
#include "vmm/topology/show.h"
#include "vmm/topology/topo_plan.h"

static int read_text(const char *text, struct machine_config *config, struct errctx *ec)
{
    struct config_input in = { .config = config };

    config_init(config);
    return config_json_read_text(&in, text, strlen(text), ec);
}

static char *dump(const struct machine_config *config)
{
    json_t *json;
    char *text;

    assert_int_equal(config_json_write(config, &json, NULL), 0);
    text = json_dumps(json, JSON_COMPACT);
    assert_non_null(text);
    json_decref(json);
    return text;
}

static const char *const described[] = {
    "--cpus 8 --memory 2G --vnuma 2 --prealloc",
    "--cpus 8 --memory 2G --vnuma auto",
    "--cpus 4 --memory 2G --vnuma 2 --slow node=1,factor=2.5 --slow node=0,factor=4",
    "--cpus 2 --cpu-weight 250 --cpu-max 1.5 --cpu-reserve 75% --halt-poll 0",
    "--cpus 2 --memory 8G --vnuma 2 --pages 1G:2G+2M:512M+thp --policy interleave --fallback pages",
    ("--node cpus=0,memory=4G,host=0-1,policy=weighted-interleave,weights=3:1,pages=1G:2G+4K,"
     "reserve --node memory=1G,host=0,policy=preferred,prealloc --fallback host,pages,policy"),
    "--name a --kernel k --initrd i --cmdline c --console virtio --on-reset exit --no-sandbox",
    "--cpus 8 --threads 2 --cores 2 --dies 1 --sockets 2 --l3 8M,cores=2",
    ("--node cpus=0-1,4,memory=1G,host=0 --node cpus=2-3 "
     "--node memory=2G,initiator=1,hotplug=4G --distance 0-1=15 --distance 1-0=17 "
     "--link from=0,to=2,latency=90ns,bandwidth=20G/s --link from=1,to=2,latency=2us"),
    ("--cpu-feature -avx --cpu-feature -avx2 --disk a.img,ro,queues=2 --disk b.img,node=1 "
     "--vnuma 2 --cpus 2 --io-threads 2 --io-poll 32"),
};

static void options_and_file_say_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(described); i++) {
        struct machine_config by_options, by_file;
        struct errctx ec = { 0 };
        char *first, *second;

        assert_int_equal(config_words(described[i], &by_options, &ec), 0);
        first = dump(&by_options);
        assert_int_equal(read_text(first, &by_file, &ec), 0);
        assert_int_equal(config_check(&by_file, false, &ec), 0);
        second = dump(&by_file);
        assert_string_equal(first, second);
        assert_int_equal(by_file.spec.n_nodes, by_options.spec.n_nodes);
        assert_int_equal(by_file.n_devices, by_options.n_devices);
        assert_int_equal(by_file.no_sandbox, by_options.no_sandbox);
        assert_int_equal(by_file.spec.prealloc, by_options.spec.prealloc);
        free(first);
        free(second);
        config_fini(&by_options);
        config_fini(&by_file);
    }
}

static char *dump_plan(const struct machine_config *config, const struct host_topo *host)
{
    struct topo_plan *plan;
    json_t *json;
    char *text;

    assert_int_equal(topo_plan_make(&config->spec, host, &plan, NULL), 0);
    assert_int_equal(topo_plan_to_json(plan, &json), 0);
    text = json_dumps(json, JSON_COMPACT);
    assert_non_null(text);
    json_decref(json);
    topo_plan_free(plan);
    return text;
}

/* What `numavisor plan --json` prints, read again, gives the plan that it shows. */
static void a_saved_plan_run_again_is_the_same_plan(void **state)
{
    struct host_topo host;

    (void)state;
    assert_int_equal(host_topo_from_synthetic("node:4 l3:1 l2:4 l1:1 core:1 pu:2", &host, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(described); i++) {
        struct machine_config before, after;
        struct errctx ec = { 0 };
        char *plan, *again, *saved;
        struct topo_plan *made;
        json_t *json;

        assert_int_equal(config_words(described[i], &before, &ec), 0);
        assert_int_equal(topo_plan_make(&before.spec, &host, &made, NULL), 0);
        topo_plan_describe_caches(made, &before.spec); /* as the command does */
        topo_plan_free(made);
        plan = dump_plan(&before, &host);
        assert_int_equal(config_json_write(&before, &json, &ec), 0);
        assert_int_equal(json_object_set_new(json, "plan", json_loads(plan, 0, NULL)), 0);
        saved = json_dumps(json, JSON_INDENT(2));
        json_decref(json);

        assert_int_equal(read_text(saved, &after, &ec), 0);
        assert_true(after.spec.no_host_caches);
        again = dump_plan(&after, &host);
        assert_string_equal(plan, again);
        free(plan);
        free(again);
        free(saved);
        config_fini(&before);
        config_fini(&after);
    }
    host_topo_fini(&host);
}

static void only_the_file_can_say_some_things(void **state)
{
    static const char text[] =
        "{\"nodes\": [{\"cpus\": 0, \"memory\": 1073741824, \"host\": 3, \"memory_caches\": ["
        "{\"size\": \"64M\", \"line\": 64, \"associativity\": \"direct\", \"write\": \"back\"},"
        "{\"size\": 1048576}]}], "
        "\"caches\": [{\"level\": 2, \"type\": \"unified\", \"size\": \"1M\", \"line\": 64, "
        "\"ways\": 8, \"span_nodes\": true}], "
        "\"sandbox\": true, \"plan\": {\"anything\": [1]}}";
    struct machine_config c;
    struct errctx ec = { 0 };
    char *dumped;

    (void)state;
    assert_int_equal(read_text(text, &c, &ec), 0);
    assert_true(idset_has(&c.spec.nodes[0].host_nodes, 3));
    assert_int_equal(c.spec.nodes[0].n_mem_caches, 2);
    assert_int_equal(c.spec.nodes[0].mem_cache[0].size_bytes, 64 << 20);
    assert_int_equal(c.spec.nodes[0].mem_cache[0].assoc, MEM_CACHE_ASSOC_DIRECT);
    assert_int_equal(c.spec.nodes[0].mem_cache[0].write, MEM_CACHE_WRITE_BACK);
    assert_int_equal(c.spec.nodes[0].mem_cache[1].assoc, MEM_CACHE_ASSOC_NONE);
    assert_int_equal(c.spec.n_caches, 1);
    assert_int_equal(c.spec.caches[0].type, CACHE_UNIFIED);
    assert_int_equal(c.spec.caches[0].ways, 8);
    assert_true(c.spec.caches[0].span_nodes);
    assert_false(c.no_sandbox);
    dumped = dump(&c);
    assert_non_null(strstr(dumped, "\"memory_caches\":[{\"size\":\"64M\",\"line\":64,"
                                   "\"associativity\":\"direct\",\"write\":\"back\"},"
                                   "{\"size\":\"1M\"}]"));
    assert_null(strstr(dumped, "plan"));
    free(dumped);
    config_fini(&c);
}

static void every_refusal_names_its_member(void **state)
{
    static const struct {
        const char *text;
        int r;
        const char *sentence;
    } rows[] = {
        { "", -EINVAL, NULL },
        { "[1]", -EINVAL, "the outermost value is not an object" },
        { "{\"cpus\": 1, \"cpus\": 2}", -EINVAL, NULL },
        { "{\"memroy\": 1}", -EINVAL, "unknown member \"memroy\"; did you mean memory?" },
        { "{\"cpus\": \"4\"}", -EINVAL, "cpus: a whole number is expected here" },
        { "{\"cpus\": 4.5}", -EINVAL, "cpus: a whole number is expected here" },
        { "{\"cpus\": -4}", -ERANGE, "cpus: a negative number makes no sense here" },
        { "{\"cpus\": 4294967296}", -ERANGE,
          "cpus: 4294967296 is above the largest allowed value 4294967295" },
        { "{\"memory\": true}", -EINVAL, "memory: a string or a whole number is expected here" },
        { "{\"memory\": \"lots\"}", -EINVAL, "memory: \"lots\" is not a size such as 512M or 2G" },
        { "{\"kernel\": 1}", -EINVAL, "kernel: a string is expected here" },
        { "{\"kernel\": \"\"}", -EINVAL, "kernel: an empty text says nothing" },
        { "{\"kernel\": \"a\\u0000b\"}", -EINVAL, NULL },
        { "{\"console\": \"vga\"}", -EINVAL, "console: \"vga\" is not serial, virtio or none" },
        { "{\"sandbox\": 0}", -EINVAL, "sandbox: true or false is expected here" },
        { "{\"nodes\": {}}", -EINVAL, "nodes: a list is expected here" },
        { "{\"nodes\": [1]}", -EINVAL, "nodes[0]: an object is expected here" },
        { "{\"nodes\": [{\"memory\": \"2M\"}, {\"cpu\": 0}]}", -EINVAL,
          "nodes[1]: unknown member \"cpu\"; did you mean cpus?" },
        { "{\"nodes\": [{\"memory_caches\": [{\"line\": 64}]}]}", -EINVAL,
          "nodes[0]: memory_caches[0]: \"size\" is missing" },
        { "{\"nodes\": [{\"memory_caches\": [{},{},{},{}]}]}", -E2BIG,
          "nodes[0]: memory_caches: a node has at most 3" },
        { "{\"distances\": [{\"from\": 0, \"to\": 1}]}", -EINVAL,
          "distances[0]: \"value\" is missing" },
        { "{\"links\": [{\"from\": 0, \"to\": 1}]}", -EINVAL,
          "links[0]: neither \"latency\" nor \"bandwidth\" is there" },
        { "{\"slow\": [{\"node\": 1}]}", -EINVAL, "slow[0]: \"factor\" is missing" },
        { "{\"slow\": [{\"node\": 1, \"factor\": 17}]}", -ERANGE,
          "slow[0]: factor: 17 is not between 1.1 and 16" },
        { "{\"caches\": [{\"level\": 5, \"type\": \"data\"}]}", -ERANGE,
          "caches[0]: level: 5 is above the largest allowed value 4" },
        { "{\"caches\": [{\"level\": 1, \"type\": \"\"}]}", -EINVAL,
          "caches[0]: type: \"\" is not data, instruction or unified" },
        { "{\"devices\": [{\"file\": \"x\"}]}", -EINVAL,
          "devices[0]: \"type\" is missing or not a string" },
        { "{\"devices\": [{\"type\": \"floppy\"}]}", -EINVAL,
          "devices[0]: there is no device of type \"floppy\"" },
        { "{\"devices\": [{\"type\": \"disk\", \"file\": {}}]}", -EINVAL,
          "devices[0]: file: a string, a whole number, true or false is expected" },
        { "{\"cpu_features_off\": [1]}", -EINVAL,
          "cpu_features_off[0]: a string is expected here" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct machine_config c;
        struct errctx ec = { 0 };

        assert_int_equal(read_text(rows[i].text, &c, &ec), rows[i].r);
        assert_true(ec.msg[0] != '\0');
        if (rows[i].sentence != NULL)
            assert_string_equal(ec.msg, rows[i].sentence);
        config_fini(&c);
    }
}

/* Writes @text to a file; the caller unlinks it. */
static void make_file(char *path, const char *text)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

static void file_and_option_may_not_say_the_same(void **state)
{
    char path[] = "/tmp/nv-config-XXXXXX", words[128], want[128];
    struct machine_config c;
    struct errctx ec = { 0 };

    (void)state;
    make_file(path, "{\"cpus\": 4, \"devices\": [{\"type\": \"disk\", \"file\": \"a\"}]}");

    (void)snprintf(words, sizeof(words), "--config %s --cpus 4", path);
    assert_int_equal(config_words(words, &c, &ec), -EINVAL);
    (void)snprintf(want, sizeof(want), "--cpus: %s says \"cpus\" too", path);
    assert_string_equal(ec.msg, want);
    config_fini(&c);

    (void)snprintf(words, sizeof(words), "--cpus 4 --config %s", path);
    assert_int_equal(config_words(words, &c, &ec), -EINVAL);
    (void)snprintf(want, sizeof(want), "--config: %s: \"cpus\" and the option --cpus both say it",
                   path);
    assert_string_equal(ec.msg, want);
    config_fini(&c);

    (void)snprintf(words, sizeof(words), "--disk b --config %s --memory 1G", path);
    assert_int_equal(config_words(words, &c, &ec), 0); /* lists add up, the rest is new */
    assert_int_equal(c.n_devices, 2);
    assert_int_equal(c.spec.n_cpus, 4);
    config_fini(&c);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(config_words("--config /nowhere/x.json", &c, &ec), -ENOENT);
    assert_string_equal(ec.msg,
                        "--config: /nowhere/x.json: cannot be opened: No such file or directory");
    config_fini(&c);
}

static void a_name_that_is_not_utf8_cannot_be_said(void **state)
{
    json_t *json = (void *)0x1;
    struct machine_config c;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(config_words("--kernel k\xff", &c, &ec), 0);
    assert_int_equal(config_json_write(&c, &json, &ec), -EILSEQ);
    assert_string_equal(ec.msg, "a name that is not UTF-8 cannot be said in JSON");
    assert_ptr_equal(json, (void *)0x1);
    config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_file_say_the_same),
        cmocka_unit_test(a_saved_plan_run_again_is_the_same_plan),
        cmocka_unit_test(only_the_file_can_say_some_things),
        cmocka_unit_test(every_refusal_names_its_member),
        cmocka_unit_test(file_and_option_may_not_say_the_same),
        cmocka_unit_test(a_name_that_is_not_utf8_cannot_be_said),
    };
    return cmocka_run_group_tests_name("config/json", tests, NULL, NULL);
}
