/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel images: the input's first two bytes choose an initrd's and a command line's size, the
 * rest is the file. Whatever it holds, loader_load() must return a sentence or an entry, and no
 * lease may stay out.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "firmware/loader.h"
#include "firmware/test/plan_fixture.h"
#include "vmm/base/macros.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM_BYTES = 32 * MIB };

/* Made once; the loader itself keeps nothing. */
static struct {
    struct plan_fixture guest;
    struct guest_mem *mem;
    int kernel_fd, initrd_fd;
    char cmdline[255 * 16 + 1];
} world;

static void world_init(void)
{
    struct errctx ec = { 0 };

    plan_fixture_init(&world.guest, 1, 1, RAM_BYTES);
    if (plan_fixture_layout(&world.guest, &ec) < 0 ||
        guest_mem_new(&world.guest.plan, world.guest.layout, &world.mem, &ec) < 0)
        abort();
    world.kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
    world.initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
    if (world.kernel_fd < 0 || world.initrd_fd < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot_source src = { .kernel_name = "kernel", .initrd_name = "initrd" };
    struct boot_entry entry;
    struct errctx ec = { 0 };
    int r;

    if (size < 2)
        return 0;
    if (world.mem == NULL)
        world_init();
    memset(world.cmdline, 'x', sizeof(world.cmdline));
    world.cmdline[data[1] * 16] = '\0';
    src.cmdline = world.cmdline;
    src.kernel_fd = world.kernel_fd;
    src.initrd_fd = data[0] ? world.initrd_fd : -1;
    if (ftruncate(world.initrd_fd, (off_t)data[0] * 256 * KIB) < 0 ||
        ftruncate(world.kernel_fd, 0) < 0 ||
        pwrite(world.kernel_fd, data + 2, size - 2, 0) != (ssize_t)(size - 2))
        abort();
    r = loader_load(&src, &world.guest.plan, world.mem, &entry, &ec);
    if ((r < 0) != (ec.msg[0] != '\0') || guest_mem_leases(world.mem) != 0)
        abort();
    if (r == 0 && entry.rip >= RAM_BYTES)
        abort(); /* an entry point that is not in RAM was accepted */
    if (guest_mem_discard(world.mem, &ec) < 0)
        abort();
    return 0;
}
