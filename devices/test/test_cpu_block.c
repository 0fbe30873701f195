/* SPDX-License-Identifier: Apache-2.0 */
/* The block of CPUs: who may change what, and what anybody sees of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "devices/cpu_block.h"
#include "devices/platform.h"
#include "devices/test/legacy_rig.h"

struct cpus {
    unsigned gone[8];
};

static void gone(void *ctx, uint32_t cpu)
{
    ((struct cpus *)ctx)->gone[cpu]++;
}

static const struct cpu_block_ops ops = { .gone = gone };

static struct device *new_block(struct cpus *cpus)
{
    struct idset later = { 0 };
    struct device *dev;

    idset_add_range(&later, 2, 2); /* CPUs 2 and 3 */
    *cpus = (struct cpus){ { 0 } };
    assert_int_equal(cpu_block_new(&later, &ops, cpus, &dev, NULL), 0);
    return dev;
}

static void a_cpu_comes_and_goes(void **state)
{
    struct cpu_block_cpu c;
    struct cpus cpus;
    struct device *dev = new_block(&cpus), *copy = new_block(&cpus);

    (void)state;
    assert_int_equal(rig_in(dev, 2), 0);
    assert_int_equal(cpu_block_plug(dev, 2, NULL), 0);
    assert_int_equal(rig_in(dev, 2), PLATFORM_CPU_THERE | PLATFORM_CPU_COMES);
    assert_int_equal(rig_in(dev, 3), 0);
    assert_true(cpu_block_look(dev, 2, &c));
    assert_true(c.there && !c.told && !c.asked);
    rig_out(dev, 2, PLATFORM_CPU_COMES);
    assert_true(cpu_block_look(dev, 2, &c));
    assert_true(c.there && c.told && !c.asked);

    assert_int_equal(cpu_block_ask(dev, 2, NULL), 0);
    assert_int_equal(rig_in(dev, 2), PLATFORM_CPU_THERE | PLATFORM_CPU_ASKED);
    assert_int_equal(rig_copy(dev, copy, NULL), 0);
    assert_int_equal(rig_in(copy, 2), PLATFORM_CPU_THERE | PLATFORM_CPU_ASKED);
    rig_out(dev, 2, PLATFORM_CPU_ASKED);
    assert_true(cpu_block_look(dev, 2, &c));
    assert_true(c.there && c.told && c.asked); /* it knows, and has not done it */
    assert_int_equal(cpus.gone[2], 0);
    rig_out(dev, 2, PLATFORM_CPU_GONE);
    assert_int_equal(cpus.gone[2], 1);
    assert_true(cpu_block_look(dev, 2, &c));
    assert_true(!c.there && c.told && !c.asked);
    assert_int_equal(rig_in(dev, 2), 0);
    rig_destroy(dev);
    rig_destroy(copy);
}

static void what_cannot_be_is_refused(void **state)
{
    struct cpus cpus;
    struct device *dev = new_block(&cpus);
    struct cpu_block_cpu c;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(cpu_block_plug(dev, 1, &ec), -ENOENT);
    assert_string_equal(ec.msg, "CPU 1 cannot be plugged (hotplug-cpus=)");
    assert_int_equal(cpu_block_ask(dev, 3, &ec), -EALREADY);
    assert_string_equal(ec.msg, "CPU 3 is not there");
    assert_int_equal(cpu_block_plug(dev, 3, NULL), 0);
    assert_int_equal(cpu_block_plug(dev, 3, &ec), -EALREADY);
    assert_string_equal(ec.msg, "CPU 3 is there");
    assert_false(cpu_block_look(dev, 4, &c));
    assert_int_equal(cpu_block_ask(dev, UINT32_MAX, NULL), -ENOENT);
    rig_destroy(dev);
}

static void a_guest_can_do_nothing_else(void **state)
{
    const uint32_t wide = UINT32_MAX;
    uint8_t bytes[8];
    struct cpus cpus;
    struct device *dev = new_block(&cpus);

    (void)state;
    for (uint64_t off = 0; off < PLATFORM_CPU_LEN; off++)
        rig_out(dev, off, 0xff); /* none is there */
    for (size_t cpu = 0; cpu < 8; cpu++)
        assert_int_equal(cpus.gone[cpu], 0);
    assert_int_equal(rig_in(dev, 2), 0);
    assert_int_equal(cpu_block_plug(dev, 2, NULL), 0);
    dev->ops->write(dev, 2, &wide, sizeof(wide));
    assert_int_equal(cpus.gone[2], 0);
    rig_out(dev, 2, PLATFORM_CPU_THERE | 0xf0);
    assert_int_equal(rig_in(dev, 2), PLATFORM_CPU_THERE | PLATFORM_CPU_COMES);
    memset(bytes, 0xaa, sizeof(bytes));
    dev->ops->read(dev, PLATFORM_CPU_LEN - 4, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], 0);
    rig_destroy(dev);
}

static void a_reset_takes_them_away(void **state)
{
    struct cpus cpus;
    struct device *dev = new_block(&cpus);

    (void)state;
    assert_int_equal(cpu_block_plug(dev, 3, NULL), 0);
    dev->ops->reset(dev);
    assert_int_equal(rig_in(dev, 3), 0);
    assert_int_equal(cpus.gone[3], 1);
    assert_int_equal(cpus.gone[2], 0);
    rig_destroy(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cpu_comes_and_goes),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_guest_can_do_nothing_else),
        cmocka_unit_test(a_reset_takes_them_away),
    };

    return cmocka_run_group_tests_name("devices/cpu_block", tests, NULL, NULL);
}
