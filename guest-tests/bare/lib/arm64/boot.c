/* SPDX-License-Identifier: Apache-2.0 */
/* First C code of the boot CPU: take from the tree what guests want of it, then start the guest.
 * Also the two functions that x86 has an instruction each for. */
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"

enum { RAM = 1 };

struct boot_data boot;

void boot_main(uint64_t tree);

static void take(const struct tree_node *node, void *arg)
{
    uint32_t len, i;
    const uint8_t *text;

    (void)arg;
    if (tree_is(node, "device_type", "memory") && boot.n_ranges < BOOT_MAX_RANGES)
        boot.range[boot.n_ranges++] =
            (struct boot_range){ tree_two(node, "reg", 0), tree_two(node, "reg", 2), RAM };
    text = tree_prop(node, "bootargs", &len);
    for (i = 0; text != NULL && i < len && i < sizeof(boot.cmdline) - 1; i++)
        boot.cmdline[i] = (char)text[i];
}

void boot_main(uint64_t tree)
{
    boot.tree = tree;
    boot.level = sys_read("CurrentEL") >> 2;
    if (!tree_each(take, NULL)) {
        out("not ok - X0 is %lx, and there is no device tree\n", tree);
        exit_with(1);
    }
    if (!gic_cpu_on()) {
        out("not ok - no redistributor is the boot CPU's\n");
        exit_with(1);
    }
    guest_main();
    tap_done();
}

bool describer_at(unsigned i, struct describer *ret_d)
{
    static uint32_t sum_before;
    uint32_t sum = 1, k;

    if (i > 0)
        return false;
    for (k = 0; k < tree_bytes(); k++)
        sum = sum * 31 + ((const uint8_t *)(uintptr_t)boot.tree)[k];
    if (sum_before == 0)
        sum_before = sum;
    *ret_d = (struct describer){ "the device tree", boot.tree, tree_bytes(), true,
                                 tree_bytes() != 0 && sum == sum_before };
    return true;
}

void *memcpy(void *dst, const void *src, size_t n)
{
    uint8_t *d = dst;
    const uint8_t *s = src;

    while (n-- > 0)
        *d++ = *s++;
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    uint8_t *d = dst;

    while (n-- > 0)
        *d++ = (uint8_t)c;
    return dst;
}
