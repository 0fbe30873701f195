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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_device_gets_what_it_needs_and_no_more),
    };
    return cmocka_run_group_tests_name("machine/machine_config", tests, NULL, NULL);
}
