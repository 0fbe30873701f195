/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest physical address map, computed from the plan as a const value.
 *
 *   0          .. 640 KiB    RAM (node of the first range)
 *   640 KiB    .. 1 MiB      legacy hole; 0xE0000-0xFFFFF is reserved memory with the RSDP
 *   1 MiB      .. low_end    RAM, at most up to 3 GiB
 *   3 GiB      .. 3.5 GiB    32-bit PCI windows, an equal share per root bridge
 *   3.5 GiB    .. 3.75 GiB   ECAM, 1 MiB per bus, segment 0
 *   0xFEC00000, 0xFEE00000   I/O APIC, local APIC
 *   4 GiB      .. high_end   RAM
 *   then                     hotplug windows, 2 GiB-aligned, per node
 *   then                     64-bit PCI windows, one per root bridge
 *
 * A node that fits below 3 GiB behind its predecessors goes there whole; the first that does
 * not starts at 4 GiB, unless nothing is below yet, in which case it is split. So at most one
 * node is split, and only the one that holds page 0. A node with pages of 1 GiB begins at a
 * multiple of that: one that would not below goes above, and there a gap may be before it.
 */
#ifndef MEMORY_LAYOUT_H
#define MEMORY_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/topology/topo_plan.h"

#define LAYOUT_ISA_HOLE_START 0xa0000ull
#define LAYOUT_BIOS_START     0xe0000ull /* RSDP scan area: RAM-backed, reserved in E820 */
#define LAYOUT_BIOS_END       0x100000ull
#define LAYOUT_LOW_MAX        0xc0000000ull /* RAM below ends here at the latest */
#define LAYOUT_PCI32_BASE     0xc0000000ull
#define LAYOUT_PCI32_LEN      0x20000000ull
#define LAYOUT_ECAM_BASE      0xe0000000ull
#define LAYOUT_ECAM_LEN       0x10000000ull /* 256 buses */
#define LAYOUT_IOAPIC_BASE    0xfec00000ull
#define LAYOUT_LAPIC_BASE     0xfee00000ull
#define LAYOUT_HIGH_BASE      0x100000000ull
#define LAYOUT_HOTPLUG_ALIGN  0x80000000ull

/*
 * Where a machine's kind of processor wants things; the rules are the same for all. The map above
 * is the one of x86; firmware/ has those of other architectures.
 */
struct layout_map {
    uint64_t low_base, low_end; /* RAM below the hole; the first node may be split at its end */
    uint64_t high_base;         /* RAM above it */
    uint64_t pci32_base, pci32_len;
    uint64_t ecam_base; /* 1 MiB per bus */
};

extern const struct layout_map layout_map_x86;

enum layout_kind { LAYOUT_RAM, LAYOUT_HOTPLUG };

/* Ranges are sorted by base and never overlap. The RAM range that starts at 0 covers the legacy
 * hole too; which parts of it the guest may use is firmware's business (E820). */
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
    uint64_t low_end;  /* end of RAM below 4 GiB */
    uint64_t high_end; /* end of RAM above the hole, or the map's high_base when there is none */
    uint64_t ecam_base; /* the map's */
    uint64_t top;      /* one past the highest address in use, PCI windows included */
};

/**
 * mem_layout_make() - place RAM, hotplug windows and PCI windows.
 * @phys_bits: guest physical address width (CPUID 0x80000008 EAX[7:0]), 36..52.
 * Pure. Return: 0, -ERANGE (does not fit @phys_bits; the sentence has both), -EINVAL (no node
 * has memory), -ENOMEM.
 */
int mem_layout_make(const struct topo_plan *plan, unsigned phys_bits,
                    struct mem_layout **ret_layout, struct errctx *ec);

/** mem_layout_make_on() - the same on another map than that of x86. */
int mem_layout_make_on(const struct layout_map *map, const struct topo_plan *plan,
                       unsigned phys_bits, struct mem_layout **ret_layout, struct errctx *ec);
void mem_layout_free(struct mem_layout *layout);

/** mem_layout_find() - the range that holds @addr, or NULL. */
const struct layout_range *mem_layout_find(const struct mem_layout *layout, struct gpa addr);

#endif
