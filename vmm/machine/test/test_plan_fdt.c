/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as a device tree in a file: memory that no map has a place for is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "memory/test/plan_ram.h"
#include "vmm/base/macros.h"
#include "vmm/machine/plan_fdt.h"

static void every_failure_has_a_sentence(void **state)
{
    static const struct {
        uint64_t ram_bytes;
        int want;
        const char *says;
    } rows[] = {
        { 0, -EINVAL, "no virtual node has memory" },
        { 1ull << 50, -ERANGE, "48" }, /* bits of address; 40 were tried before */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct topo_notes notes = { 0 };
        struct errctx ec = { 0 };
        const struct fdt_arch *arch;
        struct plan_ram ram;

        assert_int_equal(plan_fdt_choose("arm64", &arch, NULL), 0);
        plan_ram_init(&ram, 1, &rows[i].ram_bytes);
        assert_int_equal(plan_fdt_write(arch, &ram.plan, "", "/nowhere/tree", &notes, &ec),
                         rows[i].want);
        if (strstr(ec.msg, rows[i].says) == NULL)
            fail_msg("%zu: \"%s\"", i, ec.msg);
        assert_string_equal(notes.text, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_has_a_sentence),
    };
    return cmocka_run_group_tests_name("vmm/machine/plan_fdt", tests, NULL, NULL);
}
