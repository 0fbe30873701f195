/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest physical address map, computed from the plan as a const value.
 *
 *   low_base   .. low_end    RAM, as far as nodes fit; what else is below 4 GiB is the map's
 *   high_base  .. high_end   RAM
 *   then                     hotplug windows, 2 GiB-aligned, per node
 *   then                     64-bit PCI windows, one per root bridge
 *
 * The map, and with it a drawing of the rest, is in firmware/, in the folder of its architecture.
 *
 * A node that fits below the map's low_end behind its predecessors goes there whole; the first that
 * does not starts at high_base, unless nothing is below yet, in which case it is split. So at most
 * one node is split, and only the one that holds the first page. A node with pages of 1 GiB begins
 * at a multiple of that: one that would not below goes above, and there a gap may be before it.
 */
#ifndef MEMORY_LAYOUT_H
#define MEMORY_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/topology/topo_plan.h"

#define LAYOUT_HOTPLUG_ALIGN 0x80000000ull

/* Where a machine's kind of processor wants things; the rules are the same for all. */
struct layout_map {
    uint64_t low_base, low_end; /* RAM below the hole; the first node may be split at its end */
    uint64_t high_base;         /* RAM above it */
    uint64_t pci32_base, pci32_len;
    uint64_t ecam_base; /* 1 MiB per bus */
};

enum layout_kind { LAYOUT_RAM, LAYOUT_HOTPLUG };

/* Ranges are sorted by base and never overlap. Which parts of them the guest may use is firmware's
 * business. */
struct layout_range {
    struct gpa base;
    uint64_t len_bytes;
    struct vnode_id vnode;
    enum layout_kind kind;
    uint64_t backing_off; /* offset of the range in its node's memory */
};

/* One PCI root bridge per virtual node; bus number == vnode. */
struct layout_bridge {
    struct vnode_id vnode;
    uint8_t bus;
    uint64_t mmio32_base, mmio32_len; /* len 0: no 32-bit window for this bridge */
    uint64_t mmio64_base, mmio64_len;
};

struct mem_layout {
    struct layout_range *ranges;
    size_t n_ranges;
    struct layout_bridge *bridges; /* n_nodes entries, index == vnode */
    size_t n_bridges;
    uint64_t low_end;  /* end of RAM below the map's low_end */
    uint64_t high_end; /* end of RAM above the hole, or the map's high_base when there is none */
    uint64_t ecam_base; /* the map's */
    uint64_t top;      /* one past the highest address in use, PCI windows included */
};

/**
 * mem_layout_make() - place RAM, hotplug windows and PCI windows on @map.
 * @phys_bits: guest physical address width, 36..52.
 * Pure. Return: 0, -ERANGE (does not fit @phys_bits; the sentence has both), -EINVAL (no node
 * has memory), -ENOMEM.
 */
int mem_layout_make(const struct layout_map *map, const struct topo_plan *plan, unsigned phys_bits,
                    struct mem_layout **ret_layout, struct errctx *ec);
void mem_layout_free(struct mem_layout *layout);

/** mem_layout_find() - the range that holds @addr, or NULL. */
const struct layout_range *mem_layout_find(const struct mem_layout *layout, struct gpa addr);

#endif
