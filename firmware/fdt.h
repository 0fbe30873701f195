/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree of one machine, as bytes: what ACPI tables and CPUID say to x86 guests, said to
 * those of other architectures (Devicetree Specification 0.4, and the bindings of the kernel).
 *
 * fdt_build() is pure and deterministic. What an architecture has of its own (names of its CPUs,
 * interrupt controller, timer, console) comes from a const table; CPUs and their places, caches,
 * memory, distances and PCI host bridges are written from plan and layout alike for all.
 *
 * Linux puts a CPU's level 1 caches with the CPU itself, so threads of a core do not share them
 * there; dies and complexes become clusters, flat within a socket, for it knows no nesting.
 */
#ifndef FIRMWARE_FDT_H
#define FIRMWARE_FDT_H

#include <stddef.h>
#include <stdint.h>

#include "firmware/fdt_out.h"
#include "memory/layout.h"
#include "vmm/base/errctx.h"
#include "vmm/topology/topo_notes.h"
#include "vmm/topology/topo_plan.h"

enum {
    FDT_LIMIT_BYTES = 2 << 20, /* what Linux maps of it early on arm64 */
    /* Handles by which nodes refer to each other; an architecture's own are below the first. */
    FDT_HANDLE_CPU = 0x100,
    FDT_HANDLE_CACHE = 0x10000,
};

struct fdt_input {
    const struct topo_plan *plan;
    const struct mem_layout *layout; /* on the architecture's map */
    const char *cmdline;             /* NULL: none is told */
    uint64_t initrd_start, initrd_end; /* 0, 0: there is none, or its place is not known yet */
};

/* What the trees of an architecture have of their own; const, one per architecture. */
struct fdt_arch {
    const char *name; /* "arm64" */
    const struct layout_map *map;
    /* Bits of a guest's addresses: unless its memory needs more, and then. */
    uint8_t phys_bits, phys_bits_most;
    const char *console; /* path of the node, with its speed */
    /* "reg" of a CPU: how the hardware names it. */
    uint32_t (*cpu_reg)(struct vcpu_id id);
    /* More properties of a CPU's node. */
    void (*cpu)(struct fdt_out *w);
    /* Nodes beside those that all have, and properties of the root, which it is first in. */
    void (*platform)(struct fdt_out *w, const struct fdt_input *in);
    /* What MSIs of PCI devices go to; a device is known there by bus, slot and function. */
    uint32_t msi_handle;
};

/**
 * fdt_build() - make the tree.
 * @ret_blob: @ret_len bytes; release with free().
 * Return: 0, -ENOMEM, -E2BIG (larger than a kernel takes), -ERANGE (a cache's size does not fit),
 * or -ENOTSUP with a sentence: the plan has something that a tree cannot say and without which the
 * guest would go wrong.
 */
int fdt_build(const struct fdt_arch *arch, const struct fdt_input *in, void **ret_blob,
              size_t *ret_len, struct errctx *ec);

/** fdt_note_losses() - a sentence for each thing in the plan that a tree leaves out. */
void fdt_note_losses(const struct topo_plan *plan, struct topo_notes *notes);

#endif
