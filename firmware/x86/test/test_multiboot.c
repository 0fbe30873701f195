/* SPDX-License-Identifier: Apache-2.0 */
/* Multiboot images: by ELF headers and by address fields, good and with each kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "firmware/x86/test/elf_fixture.h"
#include "firmware/x86/test/loader_fixture.h"

enum { ADDRESSES = 1u << 16, CODE_AT = offsetof(struct elf32_image, code) };

static void load(struct loader_fixture *f, const struct elf32_image *e, int want, const char *msg)
{
    loader_fixture_kernel(f, e, sizeof(*e));
    loader_expect(f, want, msg);
}

static void an_elf_image_gets_its_information(void **state)
{
    struct loader_fixture f;
    struct elf32_image e;
    uint32_t info[18], module[4], mmap[6];
    char text[32];

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    loader_fixture_initrd(&f, 5000);
    f.src.cmdline = "one two";
    elf32_make(&e, 4 * MIB, 3);
    load(&f, &e, 0, "");
    assert_int_equal(f.entry.mode, BOOT_PROT32);
    assert_int_equal(f.entry.rax, 0x2badb002);
    assert_int_equal(f.entry.rip, 4 * MIB + 32);
    loader_expect_bytes(&f, 4 * MIB, 0x90, ELF_CODE_BYTES);
    loader_peek(&f, f.entry.rbx, info, sizeof(info));
    assert_int_equal(info[0], 0x24d);
    assert_int_equal(info[1], 640);
    assert_int_equal(info[2], (64 * MIB - 4096 - 1 * MIB) / 1024);
    loader_peek(&f, info[4], text, 15);
    assert_string_equal(text, "kernel one two");
    assert_int_equal(info[5], 1);
    loader_peek(&f, info[6], module, sizeof(module));
    assert_int_equal(module[1] - module[0], 5000);
    loader_expect_bytes(&f, module[0], 0xa5, 5000);
    loader_peek(&f, module[2], text, 7);
    assert_string_equal(text, "initrd");
    assert_int_equal(info[11], 5 * 24);
    loader_peek(&f, info[12] + 24, mmap, sizeof(mmap));
    assert_int_equal(mmap[0], 20);
    assert_int_equal(mmap[1], 0xe0000);
    assert_int_equal(mmap[3], 0x20000);
    assert_int_equal(mmap[5], 2);
    loader_fixture_fini(&f);
}

/* Linux' default is not for it: its words would be options of another program. */
static void without_a_command_line_an_image_gets_its_name_alone(void **state)
{
    struct loader_fixture f;
    struct elf32_image e;
    uint32_t cmdline;
    char text[8];

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    elf32_make(&e, 4 * MIB, 3);
    load(&f, &e, 0, "");
    loader_peek(&f, f.entry.rbx + 16, &cmdline, sizeof(cmdline));
    loader_peek(&f, cmdline, text, 7);
    assert_string_equal(text, "kernel");
    loader_fixture_fini(&f);
}

static void an_image_may_load_below_the_boot_data(void **state)
{
    struct loader_fixture f;
    struct elf32_image e;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    elf32_make(&e, 0x4000, 0);
    load(&f, &e, 0, "");
    assert_int_equal(f.entry.rip, 0x4020);
    loader_expect_bytes(&f, 0x4000, 0x90, ELF_CODE_BYTES);
    loader_fixture_fini(&f);
}

static void address_fields_serve_where_there_is_no_elf(void **state)
{
    struct loader_fixture f;
    struct elf32_image e;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    elf32_make(&e, 2 * MIB, ADDRESSES);
    memset(&e.h, 0, sizeof(e.h));
    load(&f, &e, 0, "");
    assert_int_equal(f.entry.rip, 2 * MIB + CODE_AT);
    loader_expect_bytes(&f, 2 * MIB + CODE_AT, 0x90, ELF_CODE_BYTES);

    elf32_make(&e, 2 * MIB, 0);
    memset(&e.h, 0, sizeof(e.h));
    load(&f, &e, -ENOEXEC, "kernel has a multiboot header without addresses and is not ELF");
    loader_fixture_fini(&f);
}

static void each_damaged_field_gets_its_sentence(void **state)
{
    struct loader_fixture f;
    struct elf32_image e;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
#define DAMAGE(flags, change, code, msg)                                                           \
    do {                                                                                           \
        elf32_make(&e, 4 * MIB, flags);                                                            \
        change;                                                                                    \
        load(&f, &e, -(code), msg);                                                                \
    } while (0)
    DAMAGE(4, (void)0, ENOEXEC,
           "kernel: its multiboot header demands a video mode; there is no display");
    DAMAGE(0x8000, (void)0, ENOEXEC,
           "kernel: its multiboot header demands unknown features 0x8000");
    DAMAGE(0, e.multiboot[2]++, ENOEXEC,
           "kernel is an ELF file with neither a PVH note nor a multiboot header");
    DAMAGE(0, e.h.e_entry = 0x100, ENOEXEC, "kernel: its entry 0x100 is in no segment below 4 GiB");
    DAMAGE(0, e.load.p_paddr = 0xfffff000, E2BIG,
           "kernel needs 8192 bytes at 0xfffff000, but usable RAM below 4 GiB ends at 0x3fff000");
    DAMAGE(ADDRESSES, e.multiboot[4] = 0x100000, ENOEXEC,
           "kernel: multiboot load address 0x100000 lies before the file's beginning or behind "
           "its header at 0x400054");
    DAMAGE(ADDRESSES, e.multiboot[4] = 0x500000, ENOEXEC,
           "kernel: multiboot load address 0x500000 lies before the file's beginning or behind "
           "its header at 0x400054");
    DAMAGE(ADDRESSES, e.multiboot[5] = 0x500000, ENOEXEC,
           "kernel is truncated: multiboot load end 0x500000 does not match the file");
    DAMAGE(ADDRESSES, e.multiboot[5] = 1, ENOEXEC,
           "kernel is truncated: multiboot load end 0x1 does not match the file");
    DAMAGE(ADDRESSES, e.multiboot[6] = 0x400001, ENOEXEC,
           "kernel: multiboot bss end 0x400001 lies before the load end");
    DAMAGE(ADDRESSES, e.multiboot[7] = 0x3fffff, ENOEXEC,
           "kernel: multiboot entry 0x3fffff is not in what is loaded");
    DAMAGE(ADDRESSES, e.multiboot[6] = 0xfffffff0, E2BIG,
           "kernel needs 4290772976 bytes at 0x400000, but usable RAM below 4 GiB ends at "
           "0x3fff000");
#undef DAMAGE
    loader_fixture_fini(&f);
}

static void an_initrd_that_does_not_fit_is_refused_with_sizes(void **state)
{
    struct loader_fixture f;
    struct elf32_image e;

    (void)state;
    loader_fixture_init(&f, 8 * MIB);
    loader_fixture_initrd(&f, 4 * MIB);
    elf32_make(&e, 4 * MIB, 0);
    load(&f, &e, -E2BIG,
         "initrd (4194304 bytes) does not fit: the kernel ends at 0x402000, memory for an initrd "
         "ends at 0x7ff000");
    loader_fixture_fini(&f);
}

static void a_header_beyond_8_kib_is_not_seen(void **state)
{
    uint32_t words[8192 / 4 + 3] = { 0 };
    struct loader_fixture f;

    (void)state;
    loader_fixture_init(&f, 8 * MIB);
    words[8192 / 4 - 2] = 0x1badb002;
    words[8192 / 4] = 0u - 0x1badb002u;
    loader_fixture_kernel(&f, words, sizeof(words));
    loader_expect(&f, -ENOEXEC,
                  "kernel is no kernel: neither a Linux bzImage nor an ELF or multiboot image");
    loader_fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_elf_image_gets_its_information),
        cmocka_unit_test(without_a_command_line_an_image_gets_its_name_alone),
        cmocka_unit_test(an_image_may_load_below_the_boot_data),
        cmocka_unit_test(address_fields_serve_where_there_is_no_elf),
        cmocka_unit_test(each_damaged_field_gets_its_sentence),
        cmocka_unit_test(an_initrd_that_does_not_fit_is_refused_with_sizes),
        cmocka_unit_test(a_header_beyond_8_kib_is_not_seen),
    };
    return cmocka_run_group_tests_name("firmware/multiboot", tests, NULL, NULL);
}
