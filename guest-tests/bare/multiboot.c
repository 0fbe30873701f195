/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a multiboot image finds at its entry (Multiboot 0.6.96, 3.2 and 3.3): registers, memory
 * sizes, command line, module. The host gives an initrd of "module=N" bytes that count up.
 */
#include "guest-tests/bare/lib/bare.h"

enum {
    MAGIC = 0x2badb002,
    HAS_MEMORY = 1,
    HAS_CMDLINE = 4,
    HAS_MODULES = 8,
    HAS_MAP = 64,
    EFLAGS_IF = 1u << 9,
    EFLAGS_VM = 1u << 17,
    KIB = 1024,
};

static void memory(void)
{
    uint64_t low_end = 0;
    size_t i;

    for (i = 0; i < boot.n_ranges; i++)
        if (boot.range[i].type == 1 && boot.range[i].base <= MIB &&
            boot.range[i].base + boot.range[i].len > MIB)
            low_end = boot.range[i].base + boot.range[i].len;
    ok(boot.mem_lower_kib >= 512 && boot.mem_lower_kib <= 640, "%u KiB of lower memory",
       boot.mem_lower_kib);
    ok(MIB + (uint64_t)boot.mem_upper_kib * KIB <= low_end && boot.mem_upper_kib > 0,
       "%u KiB of upper memory lie within the memory map", boot.mem_upper_kib);
    /* With the gate closed the two would be one. */
    write32(16 * MIB, 0x11111111);
    write32(17 * MIB, 0x22222222);
    ok(read32(16 * MIB) == 0x11111111, "address line 20 is on");
}

static void module(void)
{
    uint64_t want = text_number(boot.cmdline, "module", 0), i;
    uint32_t bad = 0;

    if (want == 0) {
        ok(boot.n_modules == 0, "no module");
        return;
    }
    ok(boot.n_modules == 1 && boot.module_end - boot.module_start == want,
       "one module of %lu bytes (%u of %u)", want, boot.n_modules,
       boot.module_end - boot.module_start);
    ok(boot.module_end <= phys(image_start) || boot.module_start >= phys(image_end),
       "it does not lie in the image");
    for (i = 0; i < want && boot.n_modules == 1; i++)
        bad += read8(boot.module_start + i) != (i & 255);
    ok(bad == 0, "it holds what the host gave");
}

void guest_main(void)
{
    ok(boot.magic == MAGIC, "EAX was %x", boot.magic);
    ok((boot.cr0 & CR0_PE) != 0 && (boot.cr0 & CR0_PG) == 0,
       "protected mode without paging (CR0 was %x)", boot.cr0);
    ok((boot.eflags & (EFLAGS_IF | EFLAGS_VM)) == 0, "interrupts were off (EFLAGS was %x)",
       boot.eflags);
    ok((boot.flags & (HAS_MEMORY | HAS_CMDLINE | HAS_MAP)) == (HAS_MEMORY | HAS_CMDLINE | HAS_MAP),
       "memory sizes, memory map and command line are given (flags %x)", boot.flags);
    ok(boot.image[0] != '\0', "the command line starts with the image's name: %s", boot.image);
    ok(boot.loader[0] != '\0', "the loader gives its name: %s", boot.loader);
    memory();
    module();
    tap_done();
}
