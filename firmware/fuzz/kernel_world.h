/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small guest whose kernel is the fuzzer's input: the first two bytes choose an initrd's and a
 * command line's size, the rest is the file. For the fuzz targets of kernel loaders.
 */
#ifndef FIRMWARE_FUZZ_KERNEL_WORLD_H
#define FIRMWARE_FUZZ_KERNEL_WORLD_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "firmware/loader.h"
#include "firmware/test/plan_fixture.h"
#include "vmm/base/macros.h"

enum { KERNEL_WORLD_RAM = 32 * MIB };

/* Made once; loaders keep nothing. */
struct kernel_world {
    struct plan_fixture guest;
    struct guest_mem *mem;
    int kernel_fd, initrd_fd;
    char cmdline[255 * 16 + 1];
};

/* A guest of one node on the address map that @map draws, with addresses of @phys_bits. */
static inline void kernel_world_init(struct kernel_world *w, const struct layout_map *map,
                                     unsigned phys_bits)
{
    struct errctx ec = { 0 };

    plan_fixture_init(&w->guest, 1, 1, KERNEL_WORLD_RAM);
    if (mem_layout_make(map, &w->guest.plan, phys_bits, &w->guest.layout, &ec) < 0 ||
        guest_mem_new(&w->guest.plan, w->guest.layout, &w->mem, &ec) < 0)
        abort();
    w->kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
    w->initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
    if (w->kernel_fd < 0 || w->initrd_fd < 0)
        abort();
}

/* What to load of the input; at least two bytes. */
static inline struct boot_source kernel_world_take(struct kernel_world *w, const uint8_t *data,
                                                   size_t size)
{
    if (ftruncate(w->initrd_fd, (off_t)data[0] * 256 * KIB) < 0 || ftruncate(w->kernel_fd, 0) < 0 ||
        pwrite(w->kernel_fd, data + 2, size - 2, 0) != (ssize_t)(size - 2))
        abort();
    memset(w->cmdline, 'x', sizeof(w->cmdline));
    w->cmdline[data[1] * 16] = '\0';
    return (struct boot_source){ .kernel_fd = w->kernel_fd,
                                 .kernel_name = "kernel",
                                 .initrd_fd = data[0] ? w->initrd_fd : -1,
                                 .initrd_name = "initrd",
                                 .cmdline = w->cmdline };
}

/* After a load with result @r: a sentence or none, no lease out, memory as at power-on again. */
static inline void kernel_world_end(struct kernel_world *w, int r, const struct errctx *said)
{
    struct errctx ec = { 0 };

    if ((r < 0) != (said->msg[0] != '\0') || guest_mem_leases(w->mem) != 0)
        abort();
    if (guest_mem_discard(w->mem, &ec) < 0)
        abort();
}

#endif
