/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put an arm64 kernel, its device tree and an initrd into guest memory (the kernel's
 * Documentation/arm64/booting.rst).
 *
 *   start of RAM   the image, at the offset that it asks for
 *   then           the tree, in 2 MiB of its own: the kernel maps it by such blocks
 *   then           the initrd
 *
 * All of it below the hole at 4 GiB. An image may be packed by gzip; it is unpacked into guest
 * memory piece by piece. Its bytes are untrusted: every length is checked.
 */
#ifndef FIRMWARE_ARM64_ARM64_LOADER_H
#define FIRMWARE_ARM64_ARM64_LOADER_H

#include "firmware/loader.h"

/* How the first vCPU starts: at EL1, caches and interrupts off. */
struct arm64_entry {
    uint64_t pc;
    uint64_t tree; /* its address, for X0 */
};

/** arm64_loader_check() - as loader_check(). */
int arm64_loader_check(const struct boot_source *src, struct errctx *ec);

/** arm64_loader_load() - as loader_load(); @mem is on the map of arm64. Return: as loader_load(), or
 *  what fdt_build() says. */
int arm64_loader_load(const struct boot_source *src, const struct topo_plan *plan,
                      struct guest_mem *mem, struct arm64_entry *ret_entry, struct errctx *ec);

#endif
