/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel images for arm64 (kernel_world.h): whatever the file holds, arm64_loader_load() must
 * return a sentence or an entry, and no lease may stay out. */
#include "firmware/arm64/arm64_fdt.h"
#include "firmware/arm64/arm64_loader.h"
#include "firmware/arm64/arm64_platform.h"
#include "firmware/fuzz/kernel_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kernel_world world;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot_source src;
    struct arm64_entry entry;
    struct errctx ec = { 0 };
    int r;

    if (size < 2)
        return 0;
    if (world.mem == NULL)
        kernel_world_init(&world, fdt_arch_arm64.map, 40);
    src = kernel_world_take(&world, data, size);
    r = arm64_loader_load(&src, &world.guest.plan, world.mem, &entry, &ec);
    if (r == 0 && entry.pc - ARM64_RAM_BASE >= KERNEL_WORLD_RAM)
        abort(); /* an entry point that is not in RAM was accepted */
    kernel_world_end(&world, r, &ec);
    return 0;
}
