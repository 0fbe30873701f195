/* SPDX-License-Identifier: Apache-2.0 */
/* I/O threads: who serves whom, and where they run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_options.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/machine/machine_threads.h"
#include "vmm/topology/test/spec_text.h"

#define HOST "pack:2 numa:2(memory=8GiB) l3:1 core:4 pu:1" /* CPUs 0-3, 4-7, 8-11, 12-15 */

struct fixture {
    struct machine_config config;
    struct topo_plan *plan;
    struct machine_threads *threads;
};

/* @devices: a digit each, the node that it is on. */
static void fixture_init(struct fixture *f, const char *spec, enum guest_pin pin,
                         const char *devices, uint32_t io_threads)
{
    struct errctx ec = { 0 };
    struct host_topo host;

    config_init(&f->config);
    spec_text_parse(spec, &f->config.spec);
    f->config.spec.pin = pin;
    f->config.io_threads = io_threads;
    for (; *devices != '\0'; devices++) {
        struct device_args args = { .type = registry_find("rng"),
                                    .vnode = (uint32_t)(*devices - '0') };

        assert_int_equal(config_add_device(&f->config, &args, NULL), 0);
    }
    assert_int_equal(host_topo_from_synthetic(HOST, &host, NULL), 0);
    if (machine_plan_make(&f->config.spec, &host, NULL, &f->plan, NULL, &ec) < 0)
        fail_msg("%s: %s", spec, ec.msg);
    host_topo_fini(&host);
    assert_int_equal(machine_threads_plan(&f->config, f->plan, &f->threads, NULL), 0);
}

static void fixture_fini(struct fixture *f)
{
    machine_threads_free(f->threads);
    topo_plan_free(f->plan);
    config_fini(&f->config);
}

/* "main 0-7; io0 0-3 (rng0 rng1); ..." */
static const char *tell(const struct fixture *f, char *buf, size_t size)
{
    json_t *list = machine_threads_json(&f->config, f->threads), *thread, *device;
    size_t len = 0, i, k;

    json_array_foreach(list, i, thread)
    {
        len += (size_t)snprintf(buf + len, size - len, "%s%s %s", i > 0 ? "; " : "",
                                json_string_value(json_object_get(thread, "name")),
                                json_string_value(json_object_get(thread, "host_cpus")));
        json_array_foreach(json_object_get(thread, "devices"), k, device)
            len += (size_t)snprintf(buf + len, size - len, " %s", json_string_value(device));
    }
    json_decref(list);
    return buf;
}

static void threads_run_beside_the_vcpus_they_serve(void **state)
{
    static const struct {
        const char *spec;
        enum guest_pin pin;
        const char *devices;
        uint32_t io_threads;
        const char *threads;
    } row[] = {
        /* nothing is pinned */
        { "cpus=8 vnuma=2", GUEST_PIN_UNSAID, "01", 2, "main ; io0  rng0; io1  rng1" },
        { "cpus=8 vnuma=2", GUEST_PIN_NODE, "01", 2, "main 0-7; io0 0-3 rng0; io1 4-7 rng1" },
        { "cpus=8 vnuma=2", GUEST_PIN_NODE, "", 1, "main 0-7" },
        /* one thread for both nodes runs near both */
        { "cpus=8 vnuma=2", GUEST_PIN_NODE, "01", 1, "main 0-7; io0 0-7 rng0 rng1" },
        /* node 1 keeps a thread of its own, however many devices node 0 has */
        { "cpus=8 vnuma=2", GUEST_PIN_NODE, "0001", 2,
          "main 0-7; io0 0-3 rng0 rng1 rng2; io1 4-7 rng3" },
        { "cpus=8 vnuma=2", GUEST_PIN_NODE, "0010", 3,
          "main 0-7; io0 0-3 rng0 rng3; io1 0-3 rng1; io2 4-7 rng2" },
        { "cpus=12 vnuma=3", GUEST_PIN_NODE, "012", 2,
          "main 0-11; io0 0-3,8-11 rng0 rng2; io1 4-7 rng1" },
        /* a node of memory only belongs to its initiator; one that is free frees its thread */
        { "node:cpus=0;memory=1G;host=2 node:memory=1G;initiator=0", GUEST_PIN_UNSAID, "1", 1,
          "main 8-11; io0 8-11 rng0" },
        { "node:cpus=0;memory=1G;host=2 node:cpus=1;memory=1G", GUEST_PIN_UNSAID, "01", 1,
          "main ; io0  rng0 rng1" },
        { "node:cpus=0;memory=1G;host=2 node:cpus=1;memory=1G", GUEST_PIN_UNSAID, "01", 2,
          "main ; io0 8-11 rng0; io1  rng1" },
        /* beside dedicated CPUs while there are others */
        { "cpus=3", GUEST_PIN_DEDICATED, "0", 1, "main 3; io0 3 rng0" },
        { "cpus=4", GUEST_PIN_DEDICATED, "0", 1, "main 0-3; io0 0-3 rng0" },
    };
    char buf[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct fixture f;

        fixture_init(&f, row[i].spec, row[i].pin, row[i].devices, row[i].io_threads);
        if (strcmp(tell(&f, buf, sizeof(buf)), row[i].threads) != 0)
            print_error("%s, devices %s\n", row[i].spec, row[i].devices);
        assert_string_equal(tell(&f, buf, sizeof(buf)), row[i].threads);
        fixture_fini(&f);
    }
}

static void a_virtio_console_is_the_first_device(void **state)
{
    struct fixture f;
    char buf[512];

    (void)state;
    fixture_init(&f, "cpus=8 vnuma=2", GUEST_PIN_NODE, "1", 2);
    f.config.console = CONSOLE_VIRTIO;
    machine_threads_free(f.threads);
    assert_int_equal(machine_threads_plan(&f.config, f.plan, &f.threads, NULL), 0);
    assert_string_equal(tell(&f, buf, sizeof(buf)),
                        "main 0-7; io0 0-3 console0; io1 4-7 rng0");
    fixture_fini(&f);
}

static void what_gives_memory_back_has_a_thread_of_its_own(void **state)
{
    struct fixture f;
    char buf[512], name[MACHINE_THREAD_NAME];

    (void)state;
    fixture_init(&f, "cpus=8 vnuma=2", GUEST_PIN_NODE, "01", 2);
    f.config.devices[1].type = registry_find("balloon");
    f.config.devices[1].vnode = 0;
    machine_threads_free(f.threads);
    f.config.io_threads = 1;
    assert_int_equal(machine_threads_plan(&f.config, f.plan, &f.threads, NULL), 0);
    assert_string_equal(tell(&f, buf, sizeof(buf)), "main 0-7; io0 0-3 rng0; reclaim 0-7 balloon0");
    assert_int_equal(f.threads->n_io, 2);
    assert_true(f.threads->io[1].reclaims);
    assert_string_equal(machine_thread_name(f.threads, 1, name), "reclaim");
    assert_int_equal(idset_count(&f.threads->io[1].vnodes), 2);
    fixture_fini(&f);
}

static void windows_have_devices_on_that_thread(void **state)
{
    struct fixture f;
    char buf[512];

    (void)state;
    fixture_init(&f, "node:cpus=0;memory=1G;hotplug=2G node:cpus=1;memory=1G node:memory=1G;"
                     "hotplug=4G;initiator=0",
                 GUEST_PIN_UNSAID, "1", 1);
    assert_string_equal(tell(&f, buf, sizeof(buf)), "main ; io0  rng0; reclaim  mem0 mem1");
    assert_int_equal(f.threads->n_devices, 3);
    fixture_fini(&f);
}

static uint32_t next_random(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}

static void devices_are_spread_evenly_and_by_node(void **state)
{
    uint64_t seed = 88172645463325252ull;

    (void)state;
    for (unsigned round = 0; round < 400; round++) {
        uint32_t n = 1 + next_random(&seed, 12), n_io = 1 + next_random(&seed, n), used = 0;
        char devices[16] = "";
        struct idset nodes = { 0 };
        struct fixture f;

        for (uint32_t i = 0; i < n; i++) {
            devices[i] = (char)('0' + next_random(&seed, 4));
            idset_add(&nodes, (uint32_t)(devices[i] - '0'));
        }
        fixture_init(&f, "cpus=16 vnuma=4", GUEST_PIN_NODE, devices, n_io);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(f.threads->device[i] < n_io);
            assert_true(idset_has(&f.threads->io[f.threads->device[i]].vnodes,
                                  (uint32_t)(devices[i] - '0')));
        }
        for (uint32_t i = 0; i < n_io; i++) {
            used += f.threads->io[i].n_devices > 0;
            if (n_io >= idset_count(&nodes))
                assert_true(idset_count(&f.threads->io[i].vnodes) <= 1);
        }
        assert_int_equal(used, n_io); /* no thread that was asked for is idle */
        fixture_fini(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_run_beside_the_vcpus_they_serve),
        cmocka_unit_test(a_virtio_console_is_the_first_device),
        cmocka_unit_test(what_gives_memory_back_has_a_thread_of_its_own),
        cmocka_unit_test(windows_have_devices_on_that_thread),
        cmocka_unit_test(devices_are_spread_evenly_and_by_node),
    };
    return cmocka_run_group_tests_name("machine/machine_threads", tests, NULL, NULL);
}
