/* SPDX-License-Identifier: Apache-2.0 */
/* Nice values that keep reservations: cases by hand, and random ones against fair shares. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_nice.h"

#define HOST "numa:3(memory=8GiB) l3:1 core:4 pu:1" /* three nodes of four CPUs */

enum { NODES = 3, MOST = 7, ROUNDS = 5000 };

static struct host_topo host;

static int read_host(void **state)
{
    (void)state;
    return host_topo_from_synthetic(HOST, &host, NULL);
}

static int free_host(void **state)
{
    (void)state;
    host_topo_fini(&host);
    return 0;
}

/* Machines, and the one or two host nodes of each. */
struct crowd {
    struct machine_use use[MOST];
    struct machine_use_node node[MOST][2];
    int least[MOST], nice[MOST];
    size_t n;
};

static void add(struct crowd *c, uint32_t weight, uint32_t node, uint32_t vcpus,
                uint32_t floor_milli)
{
    struct machine_use *use = &c->use[c->n];

    c->node[c->n][0] = (struct machine_use_node){ .node = { node },
                                                  .cpu_milli = vcpus * 1000,
                                                  .reserve_milli = floor_milli };
    *use = (struct machine_use){
        .weight = weight, .reserve_milli = floor_milli, .n_nodes = 1, .nodes = c->node[c->n]
    };
    c->n++;
}

/* Some of the last machine's vCPUs are on one more node. */
static void add_node(struct crowd *c, uint32_t node, uint32_t vcpus, uint32_t floor_milli)
{
    struct machine_use *use = &c->use[c->n - 1];

    use->nodes[use->n_nodes++] = (struct machine_use_node){ .node = { node },
                                                            .cpu_milli = vcpus * 1000,
                                                            .reserve_milli = floor_milli };
    use->reserve_milli += floor_milli;
}

static int values(struct crowd *c)
{
    return machine_nice_values(&host, c->use, c->n, c->least, c->nice);
}

static void a_floor_makes_others_step_back(void **state)
{
    struct crowd c = { .n = 0 };

    (void)state;
    add(&c, 100, 0, 4, 3000);
    add(&c, 100, 0, 4, 0);
    assert_int_equal(values(&c), 1);
    assert_int_equal(c.nice[0], 0);
    assert_int_equal(c.nice[1], 9); /* weights 3.5 and 0.5: 1.25 to the 8.7th */
    /* A thread weighs, so the same machine with half of the threads has to give less. */
    add_node(&c, 1, 4, 0);
    assert_int_equal(values(&c), 1);
    assert_in_range(c.nice[1], 9, 19);
}

static void nobody_goes_below_what_he_may(void **state)
{
    struct crowd c = { .n = 0 };

    (void)state;
    add(&c, 100, 0, 4, 3000);
    add(&c, 100, 0, 4, 0);
    c.least[0] = 5; /* it was set back once, and nobody may take that back */
    assert_int_equal(values(&c), 1);
    assert_int_equal(c.nice[0], 5);
    assert_int_equal(c.nice[1], 14);
    c.least[0] = 15; /* no room left above */
    assert_int_equal(values(&c), 0);
    assert_int_equal(c.nice[0], 15);
    assert_int_equal(c.nice[1], 19);
    c.least[1] = -20;
    c.least[0] = -3;
    assert_int_equal(values(&c), 1);
    assert_int_equal(c.nice[0], 0);
}

static void who_is_alone_on_his_node_is_left_alone(void **state)
{
    struct crowd c = { .n = 0 };

    (void)state;
    add(&c, 100, 0, 4, 4000);
    add(&c, 100, 1, 4, 4000);
    assert_int_equal(values(&c), 1);
    assert_int_equal(c.nice[0], 0);
    assert_int_equal(c.nice[1], 0);
}

static uint32_t roll(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}

static void make_crowd(struct crowd *c, uint64_t *seed)
{
    const uint32_t n = 1 + roll(seed, MOST);

    *c = (struct crowd){ .n = 0 };
    while (c->n < n) {
        const uint32_t vcpus = 1 + roll(seed, 8), split = roll(seed, vcpus),
                       node = roll(seed, NODES);
        const uint32_t floor_milli = roll(seed, 3) == 0 ? 0 : roll(seed, vcpus * 700);

        add(c, 1 + roll(seed, 1000), node, vcpus - split, floor_milli * (vcpus - split) / vcpus);
        if (split > 0)
            add_node(c, (node + 1) % NODES, split, floor_milli * split / vcpus);
        if (machine_use_admit(&host, c->use, c->n - 1, &c->use[c->n - 1], NULL) < 0)
            c->n--;
        else
            c->least[c->n - 1] = (int)roll(seed, 4);
        if (c->n == 0)
            return;
    }
}

/* What each machine gets of a node by weights, no thread more than a CPU: who has enough leaves the
 * rest to the others. */
static void fair_shares(const struct crowd *c, uint32_t node, double *share)
{
    bool full[MOST] = { false };
    double left = 4;

    for (size_t round = 0; round <= c->n; round++) {
        double all = 0, given = 0;
        bool again = false;

        for (size_t i = 0; i < c->n; i++) {
            const struct machine_use_node *u =
                machine_use_on(&c->use[i], (struct hnode_id){ node });

            all += u != NULL && !full[i] ? u->cpu_milli / 1000.0 * place_weight_of_nice(c->nice[i])
                                         : 0;
        }
        for (size_t i = 0; i < c->n; i++) {
            const struct machine_use_node *u =
                machine_use_on(&c->use[i], (struct hnode_id){ node });
            const double wanted = u != NULL ? u->cpu_milli / 1000.0 : 0;

            if (full[i])
                continue;
            share[i] = wanted > 0 ? left * wanted * place_weight_of_nice(c->nice[i]) / all : 0;
            if (share[i] >= wanted) {
                share[i] = wanted;
                full[i] = again = true;
                given += wanted;
            }
        }
        if (!again)
            return;
        left -= given;
    }
}

static void floors_hold_in_random_crowds(void **state)
{
    uint64_t seed = 0x853c49e6748fea9bull;
    unsigned kept = 0, tried = 0, tight = 0;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct crowd c;
        int r;

        make_crowd(&c, &seed);
        if (c.n == 0)
            continue;
        r = values(&c);
        assert_in_range(r, 0, 1);
        tried++;
        kept += r == 1;
        for (size_t i = 0; i < c.n; i++)
            assert_in_range(c.nice[i], c.least[i], 19);
        for (uint32_t h = 0; r == 1 && h < NODES; h++) {
            double share[MOST] = { 0 }, floors = 0;

            fair_shares(&c, h, share);
            for (size_t i = 0; i < c.n; i++) {
                const struct machine_use_node *u =
                    machine_use_on(&c.use[i], (struct hnode_id){ h });
                const double least = u != NULL ? u->reserve_milli / 1000.0 : 0;

                assert_true(share[i] >= least * 0.985);
                floors += least;
            }
            tight += floors > 3;
        }
    }
    assert_true(tight > 300);
    assert_true(kept > tried * 9 / 10);
    print_message("%u of %u crowds, %u nodes nearly given away\n", kept, tried, tight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_floor_makes_others_step_back),
        cmocka_unit_test(nobody_goes_below_what_he_may),
        cmocka_unit_test(who_is_alone_on_his_node_is_left_alone),
        cmocka_unit_test(floors_hold_in_random_crowds),
    };

    return cmocka_run_group_tests_name("machine/machine_nice", tests, read_host, free_host);
}
