/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariants of plan_invariants.h over many descriptions made of pseudo-random bytes; the
 * sequence is fixed, so a failure comes again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/topology/topo_plan.h"
#include "vmm/topology/test/plan_invariants.h"
#include "vmm/topology/test/spec_bytes.h"

enum { ROUNDS = 20000, SPEC_BYTES = 700 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void random_descriptions_make_sound_plans(void **state)
{
    struct host_topo host = { 0 };
    uint64_t seed = 0x9e3779b97f4a7c15ull;
    unsigned made = 0, shared = 0;

    (void)state;
    assert_int_equal(host_topo_from_synthetic("pack:2 numa:2(memory=8GB) l3:1(size=33554432) l2:4 "
                                              "l1d:1 l1i:1 core:1 pu:2",
                                              &host, NULL),
                     0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t bytes[SPEC_BYTES];
        struct guest_spec spec;
        struct topo_plan *plan = NULL;
        struct errctx ec = { 0 };
        int r;

        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)(next_random(&seed) >> 24);
        spec_from_bytes(bytes, sizeof(bytes), &spec);
        r = topo_plan_make(&spec, &host, &plan, &ec);
        if (r == 0) {
            plan_check_invariants(&spec, &host, plan);
            made++;
            shared += plan->n_caches > 0 && plan->apic.complex_shift != plan->apic.die_shift;
        } else {
            assert_null(plan);
            assert_true(ec.msg[0] != '\0' && ec.code == -r);
        }
        topo_plan_free(plan);
        guest_spec_fini(&spec);
    }
    host_topo_fini(&host);
    /* The generator must not drift into making nothing but contradictions. */
    assert_true(made > ROUNDS / 10);
    print_message("# %u plans, %u with complexes\n", made, shared);
    assert_true(shared > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_descriptions_make_sound_plans),
    };
    return cmocka_run_group_tests_name("topology/plan_property", tests, NULL, NULL);
}
