/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel images (kernel_world.h): whatever the file holds, loader_load() must return a sentence or
 * an entry, and no lease may stay out. */
#include "firmware/fuzz/kernel_world.h"
#include "firmware/x86/x86_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kernel_world world;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot_source src;
    struct boot_entry entry;
    struct errctx ec = { 0 };
    int r;

    if (size < 2)
        return 0;
    if (world.mem == NULL)
        kernel_world_init(&world, &x86_layout_map, 46);
    src = kernel_world_take(&world, data, size);
    r = loader_load(&src, &world.guest.plan, world.mem, &entry, &ec);
    if (r == 0 && entry.rip >= KERNEL_WORLD_RAM)
        abort(); /* an entry point that is not in RAM was accepted */
    kernel_world_end(&world, r, &ec);
    return 0;
}
