/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI host bridges (the kernel's bindings host-generic-pci.yaml, pci-bus and pci-msi.txt): one per
 * virtual node, with its windows and its one bus.
 *
 * A device tree allows no two host bridges in one PCI domain, so each is a domain of its own, by
 * the number of its node. Its bus keeps that number too: the requester ids of devices are then
 * different between domains, and go to the interrupt controller as they are. There are no
 * interrupt pins, every device signals by MSI-X.
 */
#include <inttypes.h>

#include "firmware/fdt_parts.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

enum {
    ECAM_BUS_BYTES = 1 << 20,
    BUS_DEVICES = 256, /* requester ids of a bus */
    RANGE_CELLS = 7,
};

/* PCI Bus Binding to IEEE 1275, 2.2.1.1, the first cell of an address: not prefetchable, so that
 * BARs of both kinds may go there. */
#define SPACE_MEMORY32 0x02000000u
#define SPACE_MEMORY64 0x03000000u

static size_t put_range(uint32_t *cells, uint32_t space, uint64_t base, uint64_t len)
{
    if (len == 0)
        return 0;
    cells[0] = space;
    cells[1] = cells[3] = (uint32_t)(base >> 32); /* bus addresses are the guest's own */
    cells[2] = cells[4] = (uint32_t)base;
    cells[5] = (uint32_t)(len >> 32);
    cells[6] = (uint32_t)len;
    return RANGE_CELLS;
}

static void append_bridge(struct fdt_out *w, const struct fdt_arch *arch,
                          const struct layout_bridge *bridge)
{
    const uint64_t ecam = arch->map->ecam_base + (uint64_t)bridge->bus * ECAM_BUS_BYTES;
    const uint32_t buses[] = { bridge->bus, bridge->bus };
    const uint32_t first_id = (uint32_t)bridge->bus * BUS_DEVICES;
    const uint32_t msi[] = { first_id, arch->msi_handle, first_id, BUS_DEVICES };
    uint32_t ranges[2 * RANGE_CELLS];
    size_t n;

    n = put_range(ranges, SPACE_MEMORY32, bridge->mmio32_base, bridge->mmio32_len);
    n += put_range(ranges + n, SPACE_MEMORY64, bridge->mmio64_base, bridge->mmio64_len);
    fdt_out_begin(w, "pcie@%" PRIx64, ecam);
    fdt_out_text(w, "compatible", "pci-host-ecam-generic");
    fdt_out_text(w, "device_type", "pci");
    fdt_out_reg(w, ecam, ECAM_BUS_BYTES);
    fdt_out_u32(w, "#address-cells", 3);
    fdt_out_u32(w, "#size-cells", 2);
    fdt_out_cells(w, "bus-range", buses, ARRAY_SIZE(buses));
    fdt_out_u32(w, "linux,pci-domain", bridge->vnode.v);
    fdt_out_cells(w, "ranges", ranges, n);
    fdt_out_cells(w, "msi-map", msi, ARRAY_SIZE(msi));
    fdt_out_flag(w, "dma-coherent");
    fdt_out_u32(w, "numa-node-id", bridge->vnode.v);
    fdt_out_end(w);
}

void fdt_pci_append(struct fdt_out *w, const struct fdt_arch *arch, const struct fdt_input *in)
{
    for (size_t i = 0; i < in->layout->n_bridges; i++)
        append_bridge(w, arch, &in->layout->bridges[i]);
}
