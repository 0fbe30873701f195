/* SPDX-License-Identifier: Apache-2.0 */
/* bzImage loading: a hand-made image, good and with each kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <asm/bootparam.h>
#include <errno.h>
#include <stdio.h>

#include "firmware/x86/test/loader_fixture.h"

enum { SETUP_BYTES = 1024, PAYLOAD_BYTES = 8192, IMAGE_BYTES = SETUP_BYTES + PAYLOAD_BYTES };

struct bz {
    uint8_t bytes[IMAGE_BYTES];
};

static struct setup_header *header(struct bz *bz)
{
    return (struct setup_header *)(bz->bytes + 0x1f1);
}

static void make_image(struct bz *bz)
{
    memset(bz->bytes, 0, SETUP_BYTES);
    memset(bz->bytes + SETUP_BYTES, 0x90, PAYLOAD_BYTES);
    *header(bz) = (struct setup_header){
        .setup_sects = SETUP_BYTES / 512 - 1,
        .syssize = PAYLOAD_BYTES / 16,
        .boot_flag = 0xaa55,
        .jump = 0x66eb,
        .header = 0x53726448,
        .version = 0x020f,
        .loadflags = LOADED_HIGH,
        .xloadflags = XLF_KERNEL_64,
        .relocatable_kernel = 1,
        .kernel_alignment = 2 * MIB,
        .pref_address = 16 * MIB,
        .init_size = 4 * MIB,
        .initrd_addr_max = 0x7fffffff,
        .cmdline_size = 2047,
    };
}

static void load(struct loader_fixture *f, const struct bz *bz, int want, const char *msg)
{
    loader_fixture_kernel(f, bz->bytes, sizeof(bz->bytes));
    loader_expect(f, want, msg);
}

static void a_good_image_boots_at_its_preferred_address(void **state)
{
    struct loader_fixture f;
    struct boot_params bp;
    struct bz bz;
    uint64_t v[4];
    char text[16];
    uint64_t initrd;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    loader_fixture_initrd(&f, 5000);
    make_image(&bz);
    load(&f, &bz, 0, "");

    assert_int_equal(f.entry.mode, BOOT_LONG64);
    assert_int_equal(f.entry.rip, 16 * MIB + 0x200);
    loader_expect_bytes(&f, 16 * MIB, 0x90, PAYLOAD_BYTES);
    loader_peek(&f, f.entry.rsi, &bp, sizeof(bp));
    assert_int_equal(bp.hdr.header, 0x53726448);
    assert_int_equal(bp.hdr.type_of_loader, 0xff);
    assert_int_equal(bp.acpi_rsdp_addr, 0xe0000);
    assert_int_equal(bp.sentinel, 0);
    loader_peek(&f, bp.hdr.cmd_line_ptr, text, 14);
    assert_string_equal(text, "console=ttyS0");

    /* The initrd: page-aligned, just below the tables, as the map tells them. */
    initrd = bp.hdr.ramdisk_image;
    assert_int_equal(bp.hdr.ramdisk_size, 5000);
    assert_int_equal(initrd % 4096, 0);
    loader_expect_bytes(&f, initrd, 0xa5, 5000);
    assert_int_equal(bp.e820_entries, 5);
    assert_int_equal(bp.e820_table[3].type, 3);
    assert_true(initrd + 5000 <= bp.e820_table[3].addr);
    assert_true(initrd + 5000 + 4096 > bp.e820_table[3].addr);
    assert_int_equal(bp.e820_table[3].addr + bp.e820_table[3].size, 64 * MIB);
    loader_peek(&f, 0xe0000, text, 8);
    assert_memory_equal(text, "RSD PTR ", 8);

    /* What is at f000:fff0 asks for a reset: mov dx, 0xcf9; mov al, 6; out dx, al. */
    loader_peek(&f, 0xffff0, text, 6);
    assert_memory_equal(text, "\xba\xf9\x0c\xb0\x06\xee", 6);

    /* Identity map of 4 GiB in 2 MiB pages, and a flat 64-bit GDT. */
    loader_peek(&f, f.entry.cr3, v, 8);
    loader_peek(&f, (v[0] & ~0xfffull) + 3 * 8, v, 8);
    loader_peek(&f, (v[0] & ~0xfffull) + 511 * 8, v, 8);
    assert_int_equal(v[0], 0xffe00083);
    assert_int_equal(f.entry.gdt_limit, 31);
    loader_peek(&f, f.entry.gdt_base, v, sizeof(v));
    assert_int_equal(v[0], 0);
    assert_int_equal(v[2], 0x00af9b000000ffff);
    assert_int_equal(v[3], 0x00cf93000000ffff);
    loader_fixture_fini(&f);
}

static void a_relocatable_kernel_moves_down_when_ram_is_short(void **state)
{
    struct loader_fixture f;
    struct bz bz;

    (void)state;
    loader_fixture_init(&f, 16 * MIB);
    make_image(&bz);
    load(&f, &bz, 0, "");
    assert_int_equal(f.entry.rip, 2 * MIB + 0x200);
    loader_expect_bytes(&f, 2 * MIB, 0x90, 16);

    header(&bz)->relocatable_kernel = 0;
    load(&f, &bz, -E2BIG,
         "kernel needs 4194304 bytes at 0x1000000, but usable RAM below 4 GiB ends at 0xfff000");
    loader_fixture_fini(&f);
}

static void an_initrd_goes_where_the_kernel_allows(void **state)
{
    struct loader_fixture f;
    struct boot_params bp;
    struct bz bz;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    make_image(&bz);
    header(&bz)->initrd_addr_max = 32 * MIB - 1;
    loader_fixture_initrd(&f, 4 * MIB);
    load(&f, &bz, 0, "");
    loader_peek(&f, f.entry.rsi, &bp, sizeof(bp));
    assert_int_equal(bp.hdr.ramdisk_image, 28 * MIB);

    /* Not between kernel and limit, but below the kernel. */
    header(&bz)->initrd_addr_max = 20 * MIB - 1;
    load(&f, &bz, 0, "");
    loader_peek(&f, f.entry.rsi, &bp, sizeof(bp));
    assert_int_equal(bp.hdr.ramdisk_image, 12 * MIB);

    loader_fixture_initrd(&f, 16 * MIB);
    load(&f, &bz, -E2BIG,
         "initrd (16777216 bytes) does not fit: the kernel ends at 0x1400000, memory for an "
         "initrd ends at 0x1400000");
    loader_fixture_fini(&f);
}

static void an_initrd_goes_above_4g_only_where_the_kernel_can(void **state)
{
    struct loader_fixture f;
    struct boot_params bp;
    struct bz bz;

    (void)state;
    loader_fixture_init(&f, 4ull * GIB);
    make_image(&bz);
    header(&bz)->pref_address = 1 * MIB;
    header(&bz)->kernel_alignment = 1 * MIB;
    header(&bz)->init_size = 0xbfe00000; /* all but the last MiB below */
    loader_fixture_initrd(&f, 2 * MIB);
    load(&f, &bz, -E2BIG,
         "initrd (2097152 bytes) does not fit: the kernel ends at 0xbff00000, memory for an "
         "initrd ends at 0x80000000");
    header(&bz)->xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
    load(&f, &bz, 0, "");
    loader_peek(&f, f.entry.rsi, &bp, sizeof(bp));
    assert_int_equal(bp.hdr.ramdisk_image, 5ull * GIB - 2 * MIB - 4ull * GIB);
    assert_int_equal(bp.ext_ramdisk_image, 1);
    loader_expect_bytes(&f, 5ull * GIB - 2 * MIB, 0xa5, 16);
    loader_fixture_fini(&f);
}

static void each_damaged_header_field_gets_its_sentence(void **state)
{
    struct loader_fixture f;
    struct bz bz;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
#define DAMAGE(change, code, msg)                                                                  \
    do {                                                                                           \
        make_image(&bz);                                                                           \
        change;                                                                                    \
        load(&f, &bz, -(code), msg);                                                               \
    } while (0)
    DAMAGE(header(&bz)->version = 0x020a, ENOEXEC, "kernel: boot protocol 2.10 is older than 2.12");
    DAMAGE(header(&bz)->loadflags = 0, ENOEXEC, "kernel is a zImage, to be loaded below 640 KiB");
    DAMAGE(header(&bz)->xloadflags = 0, ENOEXEC, "kernel has no 64-bit entry point");
    DAMAGE(header(&bz)->kernel_alignment = 0, ENOEXEC,
           "kernel: kernel_alignment 0x0 is no power of two");
    DAMAGE(header(&bz)->kernel_alignment = 0x300000, ENOEXEC,
           "kernel: kernel_alignment 0x300000 is no power of two");
    DAMAGE(header(&bz)->initrd_addr_max = 0, ENOEXEC, "kernel: initrd_addr_max is 0");
    DAMAGE(header(&bz)->syssize = 0, ENOEXEC,
           "kernel: the kernel proper has 0 bytes, no entry fits");
    DAMAGE(header(&bz)->syssize = 0xffffffff, ENOEXEC,
           "kernel is truncated: its header promises 68719477744 bytes, the file has 9216");
    DAMAGE(header(&bz)->setup_sects = 255, ENOEXEC,
           "kernel is truncated: its header promises 139264 bytes, the file has 9216");
    DAMAGE(header(&bz)->init_size = 4096, ENOEXEC,
           "kernel: init_size 0x1000 is less than the kernel's 0x2000 bytes");
    DAMAGE(header(&bz)->jump = 0x10eb, ENOEXEC,
           "kernel: the setup header ends at 0x212, before its 64-bit part");
    DAMAGE(header(&bz)->init_size = 0xfffff000, E2BIG,
           "kernel needs 4294963200 bytes at 0x200000, but usable RAM below 4 GiB ends at "
           "0x3fff000");
    DAMAGE((header(&bz)->relocatable_kernel = 0, header(&bz)->pref_address = UINT64_MAX), E2BIG,
           "kernel needs 4194304 bytes at 0xffffffffffffffff, but usable RAM below 4 GiB ends at "
           "0x3fff000");
    DAMAGE((header(&bz)->relocatable_kernel = 0, header(&bz)->pref_address = 0x8f000), ENOEXEC,
           "kernel wants 4194304 bytes at 0x8f000, over memory that the firmware keeps "
           "(0x88000-0xfffff)");
#undef DAMAGE
    loader_fixture_fini(&f);
}

static void a_cut_file_is_truncated_at_every_length(void **state)
{
    struct loader_fixture f;
    struct bz bz;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    make_image(&bz);
    for (size_t len = 0; len < IMAGE_BYTES; len = len < 0x300 ? len + 1 : len + 509) {
        loader_fixture_kernel(&f, bz.bytes, len);
        f.ec = (struct errctx){ 0 };
        assert_int_equal(loader_load(&f.src, &f.guest.plan, f.mem, &f.entry, &f.ec), -ENOEXEC);
        assert_string_not_equal(f.ec.msg, "");
    }
    loader_fixture_fini(&f);
}

static void the_command_line_has_the_kernels_limit(void **state)
{
    struct loader_fixture f;
    struct bz bz;
    char text[2100];

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    make_image(&bz);
    memset(text, 'x', sizeof(text));
    text[2047] = '\0';
    f.src.cmdline = text;
    load(&f, &bz, 0, "");
    text[2047] = 'x';
    text[2048] = '\0';
    load(&f, &bz, -E2BIG, "the command line has 2048 bytes, but kernel takes at most 2047");
    loader_fixture_fini(&f);
}

static void files_that_are_no_kernel_are_named(void **state)
{
    static const char text[] = "#!/bin/sh\necho this is not the kernel you are looking for\n";
    struct loader_fixture f;
    int pipes[2];

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    loader_fixture_kernel(&f, text, sizeof(text) - 1);
    loader_expect(&f, -ENOEXEC,
                  "kernel is no kernel: neither a Linux bzImage nor an ELF or multiboot image");
    loader_fixture_kernel(&f, "", 0);
    loader_expect(&f, -ENOEXEC, "kernel is empty");
    assert_int_equal(pipe(pipes), 0);
    (void)close(f.src.kernel_fd);
    f.src.kernel_fd = pipes[0];
    loader_expect(&f, -ENOEXEC, "kernel is not a regular file");
    (void)close(pipes[1]);
    loader_fixture_fini(&f);
}

static void kernels_for_another_architecture_are_named(void **state)
{
    static const struct {
        const char *magic, *sentence;
    } rows[] = {
        { "ARM\x64", "kernel is a Linux kernel for arm64, and guests here are x86-64" },
        { "RSC\x05", "kernel is a Linux kernel for riscv64, and guests here are x86-64" },
        { "ARM\x65", "kernel is no kernel: neither a Linux bzImage nor an ELF or multiboot image" },
    };
    struct loader_fixture f;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char header[64] = "MZ";

        memcpy(header + 56, rows[i].magic, 4);
        loader_fixture_kernel(&f, header, sizeof(header));
        loader_expect(&f, -ENOEXEC, rows[i].sentence);
        loader_fixture_kernel(&f, header, 59); /* ends within the word */
        loader_expect(&f, -ENOEXEC, rows[2].sentence);
    }
    loader_fixture_fini(&f);
}

static void ram_that_cannot_hold_the_tables_is_refused(void **state)
{
    struct loader_fixture f;
    struct acpi_tables t;
    char want[128];
    struct bz bz;

    (void)state;
    loader_fixture_init(&f, 2 * MIB);
    make_image(&bz);
    header(&bz)->init_size = 1 * MIB;
    load(&f, &bz, -E2BIG,
         "kernel needs 1048576 bytes at 0x200000, but usable RAM below 4 GiB ends at 0x1ff000");
    f.guest.layout->low_end = 0x100200;
    assert_int_equal(acpi_build(&f.guest.plan, f.guest.layout, (struct gpa){ 0 }, &t, &f.ec), 0);
    (void)snprintf(want, sizeof(want),
                   "%zu bytes of ACPI tables do not fit the RAM that ends at 0x100200", t.len);
    acpi_tables_fini(&t);
    load(&f, &bz, -E2BIG, want);
    loader_fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_image_boots_at_its_preferred_address),
        cmocka_unit_test(a_relocatable_kernel_moves_down_when_ram_is_short),
        cmocka_unit_test(an_initrd_goes_where_the_kernel_allows),
        cmocka_unit_test(an_initrd_goes_above_4g_only_where_the_kernel_can),
        cmocka_unit_test(each_damaged_header_field_gets_its_sentence),
        cmocka_unit_test(a_cut_file_is_truncated_at_every_length),
        cmocka_unit_test(the_command_line_has_the_kernels_limit),
        cmocka_unit_test(files_that_are_no_kernel_are_named),
        cmocka_unit_test(kernels_for_another_architecture_are_named),
        cmocka_unit_test(ram_that_cannot_hold_the_tables_is_refused),
    };
    return cmocka_run_group_tests_name("firmware/bzimage", tests, NULL, NULL);
}
