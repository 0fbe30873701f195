/* SPDX-License-Identifier: Apache-2.0 */
/* What the devices of a description need of the host, which is what the sandbox grants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/macros.h"
#include "vmm/machine/machine_config.h"

enum { N_DEVICES = 4 };

static void each_device_gets_what_it_needs_and_no_more(void **state)
{
    static const struct {
        const char *devices[2 * N_DEVICES]; /* type, text, type, text ... */
        bool network;
        const char *socket;
    } rows[] = {
        { { NULL }, false, NULL },
        { { "disk", "/nosuch", "rng", "", "net", "tap=nv0" }, false, NULL },
        { { "net", "user" }, true, NULL },
        { { "net", "user,restrict", "net", "tap=nv0" }, true, NULL },
        { { "net", "tap=nv0", "vsock", "cid=3,socket=/nosuch/s" }, false, "/nosuch/s" },
        { { "vsock", "cid=3,socket=/nosuch/s", "net", "user", "rng", "" }, true, "/nosuch/s" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct device_args args[N_DEVICES];
        struct machine_config config = { .devices = args };
        struct device_needs needs;

        for (size_t k = 0; k < N_DEVICES && rows[i].devices[2 * k] != NULL; k++) {
            const struct device_type *type = registry_find(rows[i].devices[2 * k]);

            assert_int_equal(device_args_parse(type, rows[i].devices[2 * k + 1], &args[k], NULL), 0);
            config.n_devices++;
        }
        needs = machine_config_needs(&config);
        assert_int_equal(needs.network, rows[i].network);
        if (rows[i].socket == NULL)
            assert_null(needs.socket);
        else
            assert_string_equal(needs.socket, rows[i].socket);
        while (config.n_devices > 0)
            device_args_fini(&args[--config.n_devices]);
    }
}

/* A file server takes as many files as its protocol's table holds, or more if it says so. */
static void nodes_share_a_file_where_others_would_map_many(void **state)
{
    static const struct {
        const char *type, *text;
        size_t n_nodes, n_empty;
        bool one_file;
    } rows[] = {
        { "vhost-user", "fs,socket=/s,tag=t", 8, 0, true },
        { "vhost-user", "fs,socket=/s,tag=t", 128, 0, true },
        { "vhost-user", "fs,socket=/s,tag=t", 9, 1, true },
        { "vhost-user", "fs,socket=/s,tag=t", 9, 2, false },
        { "vhost-user", "fs,socket=/s,tag=t", 7, 0, false },
        { "disk", "/nosuch", 128, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct topo_plan_node nodes[128] = { 0 };
        struct topo_plan plan = { .nodes = nodes, .n_nodes = rows[i].n_nodes };
        struct device_args args;
        const struct machine_config config = { .devices = &args, .n_devices = 1 };

        for (size_t n = rows[i].n_empty; n < plan.n_nodes; n++)
            nodes[n].ram_bytes = 2 << 20;
        assert_int_equal(device_args_parse(registry_find(rows[i].type), rows[i].text, &args, NULL),
                         0);
        machine_config_files(&config, &plan);
        assert_int_equal(plan.one_file, rows[i].one_file);
        device_args_fini(&args);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_share_a_file_where_others_would_map_many),
        cmocka_unit_test(each_device_gets_what_it_needs_and_no_more),
    };
    return cmocka_run_group_tests_name("machine/machine_config", tests, NULL, NULL);
}
