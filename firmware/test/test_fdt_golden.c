/* SPDX-License-Identifier: Apache-2.0 */
/* The trees of the golden plans equal their files; see fdt_golden.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "firmware/test/fdt_golden.h"

static void trees_equal_the_golden_files(void **state)
{
    (void)state;
    fdt_golden_skip_without_dtc();
    for (size_t i = 0; i < ARRAY_SIZE(fdt_cases); i++) {
        struct topo_plan *plan;
        struct errctx ec = { 0 };

        if (fdt_case_plan(fdt_cases[i].spec, &plan, &ec) < 0)
            fail_msg("%s: %s", fdt_cases[i].name, ec.msg);
        fdt_golden_compare(plan, fdt_cases[i].name);
        topo_plan_free(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_equal_the_golden_files),
    };
    return cmocka_run_group_tests_name("firmware/fdt_golden", tests, NULL, NULL);
}
