/* SPDX-License-Identifier: Apache-2.0 */
/* What each option means, and one sentence for everything that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_json.h"
#include "vmm/config/test/config_words.h"

static void the_options_fill_the_config(void **state)
{
    struct machine_config c;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(config_words("--name web.1 --kernel k --initrd i --cmdline c --cpus 8 "
                                  "--memory 2G --vnuma 2 --threads 2 --cores 2 --sockets 2 "
                                  "--l3 16M,cores=2 --console none --on-reset exit "
                                  "--cpu-feature -avx512f --no-sandbox --disk a.img,ro",
                                  &c, &ec),
                     0);
    assert_string_equal(c.name, "web.1");
    assert_string_equal(c.kernel, "k");
    assert_string_equal(c.initrd, "i");
    assert_string_equal(c.cmdline, "c");
    assert_int_equal(c.spec.n_cpus, 8);
    assert_int_equal(c.spec.memory_bytes, 2ull << 30);
    assert_int_equal(c.spec.n_vnuma, 2);
    assert_int_equal(c.spec.threads, 2);
    assert_int_equal(c.spec.cores, 2);
    assert_int_equal(c.spec.sockets, 2);
    assert_int_equal(c.spec.n_caches, 1);
    assert_int_equal(c.spec.caches[0].level, 3);
    assert_int_equal(c.spec.caches[0].size_bytes, 16 << 20);
    assert_int_equal(c.spec.caches[0].cores, 2);
    assert_int_equal(c.console, CONSOLE_NONE);
    assert_int_equal(c.on_reset, ON_RESET_EXIT);
    assert_int_equal(c.n_cpu_features_off, 1);
    assert_string_equal(c.cpu_features_off[0], "avx512f");
    assert_true(c.no_sandbox);
    assert_int_equal(c.n_devices, 1);
    assert_string_equal(device_args_get(&c.devices[0], "file")->text, "a.img");
    assert_int_equal(device_args_number(&c.devices[0], "ro", 0), 1);
    config_fini(&c);
}

static void nodes_distances_and_links_add_up(void **state)
{
    struct machine_config c;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(config_words("--node cpus=0-1,4,memory=1G,host=0 --node cpus=2-3 "
                                  "--node memory=2G,initiator=1,hotplug=4G --distance 0-1=15 "
                                  "--distance 1-0=17 --link from=0,to=2,latency=90,bandwidth=20G/s",
                                  &c, &ec),
                     0);
    assert_int_equal(c.spec.n_nodes, 3);
    assert_int_equal(idset_count(&c.spec.nodes[0].cpus), 3); /* the list kept its commas */
    assert_true(idset_has(&c.spec.nodes[0].cpus, 4));
    assert_true(idset_has(&c.spec.nodes[0].host_nodes, 0));
    assert_false(c.spec.nodes[0].has_initiator);
    assert_int_equal(c.spec.nodes[1].memory_bytes, 0);
    assert_true(idset_empty(&c.spec.nodes[2].cpus));
    assert_true(c.spec.nodes[2].has_initiator);
    assert_int_equal(c.spec.nodes[2].initiator, 1);
    assert_int_equal(c.spec.nodes[2].hotplug_bytes, 4ull << 30);
    assert_int_equal(c.spec.n_distances, 2);
    assert_int_equal(c.spec.distances[1].value, 17);
    assert_int_equal(c.spec.links[0].latency_ns, 90);
    assert_int_equal(c.spec.links[0].bandwidth_bytes_per_s, 20ull << 30);
    config_fini(&c);
}

static const struct {
    const char *words;
    int r;
    const char *sentence;
} refusals[] = {
    { "--cpus 2 --cpus 2", -EINVAL, "--cpus is given twice" },
    { "--cpus 0", -ERANGE, "--cpus: 0 is below the smallest allowed value 1" },
    { "--cpus -1", -EINVAL, "--cpus: \"-1\" is not a whole number" },
    { "--memory 0", -ERANGE, "--memory: 0 is below the smallest allowed value 2M" },
    { "--node memory=1G,cpus=0,hotplug=1G", -ERANGE,
      "--node: hotplug=: 1G is below the smallest allowed value 2G" },
    { "--link from=0,to=0,bandwidth=512K/s", -ERANGE,
      "--link: bandwidth=: 512K/s is below the smallest allowed value 1M/s" },
    { "--memory 2X", -EINVAL, "--memory: \"2X\" is not a size such as 512M or 2G" },
    { "--memory 99999999999999999999", -ERANGE,
      "--memory: \"99999999999999999999\" does not fit in 64 bits" },
    { "--node cpus=0-3,8,memory=1G,cpus=9", -EINVAL, "--node: cpus= is given twice" },
    { "--node cpus=0,mem=1G", -EINVAL, "--node: unknown key \"mem\" (known: cpus, memory, host, policy, weights, pages, reserve, "
      "prealloc, generic_initiator, initiator, hotplug, "
      "hotplug-cpus)" },
    { "--node cpus=0,memroy=1G", -EINVAL,
      "--node: unknown key \"memroy\" (known: cpus, memory, host, policy, weights, pages, reserve, "
      "prealloc, generic_initiator, initiator, hotplug, "
      "hotplug-cpus); did you mean memory?" },
    { "--node cpus=,memory=1G", -EINVAL,
      "--node: cpus=: an empty list says nothing, leave it out" },
    { "--node cpus=0,memory=0", -ERANGE,
      "--node: memory=: 0 is below the smallest allowed value 2M" },
    { "--node 0-3", -EINVAL, "--node: \"0-3\" is not of the form key=value" },
    { "--node cpus=3-0,memory=1G", -EINVAL,
      "--node: cpus=: \"3-0\" holds a range that runs backwards" },
    { "--distance 0-1", -EINVAL, "--distance: \"0-1\" is not of the form A-B=D" },
    { "--distance 0=1-2", -EINVAL, "--distance: \"0=1-2\" is not of the form A-B=D" },
    { "--link from=0", -EINVAL, "--link: to= is missing" },
    { "--link from=0,to=1", -EINVAL,
      "--link: \"from=0,to=1\" says neither latency= nor bandwidth=" },
    { "--link from=0,to=1,latency=0", -ERANGE,
      "--link: latency=: 0 is below the smallest allowed value 1" },
    { "--link from=0,to=1,bandwidth=20G", -EINVAL,
      "--link: bandwidth=: \"20G\" is not a rate such as 20G/s" },
    { "--l3 0", -EINVAL, "--l3: a cache of size 0 is no cache" },
    { "--l3 16M,core=2", -EINVAL, "--l3: \"16M,core=2\" is not of the form SIZE[,cores=N]" },
    { "--l3 16M,cores=0", -EINVAL, "--l3: cores=0: a cache belongs to at least one core" },
    { "--console vga", -EINVAL, "--console: \"vga\" is not serial, virtio or none" },
    { "--on-reset stop", -EINVAL, "--on-reset: \"stop\" is not restart or exit" },
    { "--cpu-feature avx", -EINVAL,
      "--cpu-feature: \"avx\" does not start with a minus; features can only be taken away" },
    { "--cpu-feature -avx --cpu-feature -avx", -EINVAL,
      "--cpu-feature: avx is taken away twice" },
    { "--cpu-feature -AVX", -EINVAL,
      "--cpu-feature: \"AVX\" is not a feature's name as /proc/cpuinfo spells it" },
    { "--initrd i", -EINVAL, "--initrd has no effect without --kernel" },
    { "--cmdline c", -EINVAL, "--cmdline has no effect without --kernel" },
    { "--io-threads 1", -EINVAL, "--io-threads has no effect without a virtio device" },
    { "--io-poll 32", -EINVAL, "--io-poll has no effect without a virtio device" },
    { "--io-poll 0 --rng", -ERANGE, "--io-poll: 0 is below the smallest allowed value 1" },
    { "--io-poll 10001 --rng", -ERANGE,
      "--io-poll: 10001 is above the largest allowed value 10000" },
    { "--io-threads 2 --rng", -EINVAL,
      "--io-threads: 2 threads have only 1 virtio device to serve" },
    { "--io-threads 2 --balloon 1M --rng", -EINVAL,
      "--io-threads: 2 threads have only 1 virtio device to serve" },
    { "--balloon 1M --balloon 1M", -EINVAL,
      "--balloon is given twice" },
    { "--node cpus=0,memory=1G --node memory=1G,host=0,reserve --balloon 1G", -EINVAL,
      "--balloon gives memory back that --node 1 takes for good with reserve: leave one out" },
    { "--vhost-user blk,socket=/s --pager on", -EINVAL,
      "--vhost-user and --pager on exclude each other: the back end would read zeroes where memory "
      "was taken away" },
    { "--vhost-user blk,socket=/s --balance on", -EINVAL,
      "--vhost-user and --balance on exclude each other: memory that a back end maps stays on its "
      "host node" },
    { "--vhost-user blk,socket=/s --vhost-user net,socket=/s", -EINVAL,
      "--vhost-user: socket=/s is given to two devices" },
    { "--vhost-user fs,socket=/a,tag=t --vhost-user fs,socket=/b,tag=t", -EINVAL,
      "--vhost-user: tag=t is given to two devices" },
    { "--net tap=t --disk a --net tap=t", -EINVAL, "--net: tap=t is given to two devices" },
    { "--disk a --disk b --disk a,ro", -EINVAL,
      "--disk a is given twice, which only read-only disks may be" },
    { "--net user,hostfwd=tcp::1-:2 --net user,hostfwd=tcp:127.0.0.1:1-:3", -EINVAL,
      "--net: hostfwd=tcp::1-:2 and hostfwd=tcp:127.0.0.1:1-:3 take the same port of the "
      "host" },
    { "--net user,mac=52:54:00:00:00:0a --net tap=t,mac=52:54:00:00:00:0A", -EINVAL,
      "--net: mac=52:54:00:00:00:0a is given to two devices" },
    { "--io-threads 65", -ERANGE, "--io-threads: 65 is above the largest allowed value 64" },
    { "--disk a,node=1 --vnuma auto --cpus 2", -EINVAL,
      "--disk: node=1: with --vnuma auto only node 0 is sure to exist" },
    { "--cpu-weight 0", -ERANGE, "--cpu-weight: 0 is below the smallest allowed value 1" },
    { "--cpu-weight 10001", -ERANGE,
      "--cpu-weight: 10001 is above the largest allowed value 10000" },
    { "--cpu-max 0.009", -ERANGE, "--cpu-max: 0.009 is not between 0.01 and 8192 CPUs" },
    { "--cpu-max much", -EINVAL,
      "--cpu-max: \"much\" is not a number of CPUs such as 1.5 or 150%" },
    { "--cpu-max 1 --cpu-reserve 150%", -EINVAL,
      "--cpu-reserve 1.5 is more than --cpu-max 1 allows" },
    { "--halt-poll 2ms", -ERANGE,
      "--halt-poll: 2000000 is above the largest allowed value 1000000" },
    { "--slow node=1", -EINVAL, "--slow: factor= is missing" },
    { "--slow factor=2", -EINVAL, "--slow: node= is missing" },
    { "--slow node=0,factor=1", -ERANGE, "--slow: factor=: 1 is not between 1.1 and 16" },
    { "--slow node=0,factor=17", -ERANGE, "--slow: factor=: 17 is not between 1.1 and 16" },
    { "--slow node=0,factor=2x", -EINVAL, "--slow: factor=: \"2x\" is not a factor such as 4 or 2.5" },
    { "--slow node=2,factor=4 --vnuma 2 --cpus 2", -EINVAL,
      "--slow: node=2 does not exist, the guest's last node is 1" },
    { "--slow node=1,factor=4 --vnuma auto", -EINVAL,
      "--slow: node=1: with --vnuma auto only node 0 is sure to exist" },
    { "--slow node=0,factor=4 --slow node=0,factor=2", -EINVAL, "--slow: node=0 is given twice" },
    { "--slow node=0,factor=4 --pager on", -EINVAL,
      "--slow and --pager on exclude each other: both take pages out of the page table" },
    { "--slow node=0,factor=4 --balance on", -EINVAL,
      "--slow and --balance on exclude each other: a slow node is not moved" },
    { "--vnuma some", -EINVAL, "--vnuma: \"some\" is not a whole number" },
    { "--vnuma 0", -ERANGE, "--vnuma: 0 is below the smallest allowed value 1" },
    { "--disk a,node=2 --vnuma 2 --cpus 2", -EINVAL,
      "--disk: node=2 does not exist, the guest's last node is 1" },
};

static void every_refusal_has_its_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        struct machine_config c;
        struct errctx ec = { 0 };

        assert_int_equal(config_words(refusals[i].words, &c, &ec), refusals[i].r);
        assert_string_equal(ec.msg, refusals[i].sentence);
        config_fini(&c);
    }
}

static void back_ends_have_a_number(void **state)
{
    char words[4096] = "";
    struct machine_config c;
    struct errctx ec = { 0 };

    (void)state;
    for (int i = 0; i < DEVICE_PEERS_MAX; i++)
        (void)snprintf(words + strlen(words), sizeof(words) - strlen(words),
                       "%s--vhost-user net,socket=/s%d", i > 0 ? " " : "", i);
    assert_int_equal(config_words(words, &c, &ec), 0);
    config_fini(&c);
    (void)snprintf(words + strlen(words), sizeof(words) - strlen(words),
                   " --vhost-user net,socket=/one-more");
    assert_int_equal(config_words(words, &c, &ec), -EINVAL);
    assert_string_equal(ec.msg, "--vhost-user: at most 32 of them");
    config_fini(&c);
}

static void the_default_command_line_is_the_terminals(void **state)
{
    static const char *const rows[][2] = {
        { "--kernel k", "console=ttyS0" },
        { "--kernel k --console virtio", "console=hvc0" },
        { "--kernel k --console none", "" },
        { "--kernel k --node cpus=0,memory=1G,hotplug=2G",
          "console=ttyS0 memhp_default_state=online_movable" },
        { "--kernel k --console none --node cpus=0,memory=1G,hotplug=2G",
          "memhp_default_state=online_movable" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct machine_config c;
        struct errctx ec = { 0 };

        assert_int_equal(config_words(rows[i][0], &c, &ec), 0);
        assert_null(c.cmdline);
        assert_string_equal(config_linux_cmdline(&c, false), rows[i][1]);
        assert_null(strstr(config_linux_cmdline(&c, true), "ttyS0"));
        config_fini(&c);
    }
}

static void names_are_plain(void **state)
{
    (void)state;
    assert_true(config_name_ok("web-1.example_x"));
    assert_true(config_name_ok("0"));
    assert_false(config_name_ok(""));
    assert_false(config_name_ok(".hidden"));
    assert_false(config_name_ok("-flag"));
    assert_false(config_name_ok("a/b"));
    assert_false(config_name_ok("a b"));
    assert_true(config_name_ok("1234567890123456789012345678901234567890123456789012345678901234"));
    assert_false(
        config_name_ok("12345678901234567890123456789012345678901234567890123456789012345"));
}

static void a_run_needs_a_kernel_and_gets_a_name(void **state)
{
    struct machine_config c;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(config_words("--cpus 1", &c, &ec), 0);
    assert_int_equal(config_check(&c, true, &ec), -EINVAL);
    assert_string_equal(ec.msg, "there is nothing to boot, say --kernel FILE");
    assert_int_equal(config_complete(&c, &ec), 0);
    assert_true(config_name_ok(c.name));
    assert_memory_equal(c.name, "vm-", 3);
    assert_int_equal(c.io_threads, 1);
    config_fini(&c);
}

static void every_option_has_help_and_a_json_member(void **state)
{
    (void)state;
    assert_true(config_options_count() <= CONFIG_MAX_OPTIONS);
    for (size_t i = 0; i < config_options_count(); i++) {
        struct config_option o = config_options_get(i);
        bool found = o.field == NULL;

        assert_int_equal(config_input_find(o.name), i); /* no name twice */
        assert_true(o.help != NULL && o.help[0] != '\0');
        for (size_t k = 0; config_json_field(k) != NULL; k++)
            found = found || strcmp(config_json_field(k), o.field) == 0;
        assert_true(found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_options_fill_the_config),
        cmocka_unit_test(nodes_distances_and_links_add_up),
        cmocka_unit_test(every_refusal_has_its_sentence),
        cmocka_unit_test(back_ends_have_a_number),
        cmocka_unit_test(the_default_command_line_is_the_terminals),
        cmocka_unit_test(names_are_plain),
        cmocka_unit_test(a_run_needs_a_kernel_and_gets_a_name),
        cmocka_unit_test(every_option_has_help_and_a_json_member),
    };
    return cmocka_run_group_tests_name("config/options", tests, NULL, NULL);
}
