/* SPDX-License-Identifier: Apache-2.0 */
/* Where configuration space is: host bridges are PCI domains of their own, with a bus each by the
 * number of their node, and lie behind each other. */
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/pci.h"

struct ecam {
    uint64_t base;
    unsigned first, last, n;
};

static void take(const struct tree_node *node, void *arg)
{
    struct ecam *e = arg;
    unsigned bus = tree_cell(node, "bus-range", 0, 0);
    uint64_t base = tree_two(node, "reg", 0);

    if (!tree_is(node, "compatible", "pci-host-ecam-generic"))
        return;
    if (e->n == 0) {
        e->base = base;
        e->first = bus;
    }
    if (base != e->base + ((uint64_t)(bus - e->first) << 20)) {
        ok(false, "the configuration space of bus %u is behind that of bus %u", bus, e->last);
        tap_done();
    }
    e->last = bus;
    e->n++;
}

void pci_ecam(uint64_t *ret_base, unsigned *ret_first, unsigned *ret_last)
{
    struct ecam e = { 0 };

    tree_each(take, &e);
    if (e.n == 0) {
        ok(false, "there is a PCI host bridge");
        tap_done();
    }
    *ret_base = e.base;
    *ret_first = e.first;
    *ret_last = e.last;
}
