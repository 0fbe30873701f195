/* SPDX-License-Identifier: Apache-2.0 */
/* ELF kernels with a PVH note: a hand-made image, good and with each kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "firmware/x86/test/elf_fixture.h"
#include "firmware/x86/test/loader_fixture.h"

static void load(struct loader_fixture *f, const struct elf64_image *e, int want, const char *msg)
{
    loader_fixture_kernel(f, e, sizeof(*e));
    loader_expect(f, want, msg);
}

static void a_good_image_gets_start_info(void **state)
{
    struct loader_fixture f;
    struct elf64_image e;
    uint32_t head[4], counts[2];
    uint64_t at[4], module[4], v[3];
    char text[8];

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    loader_fixture_initrd(&f, 5000);
    f.src.cmdline = "quiet";
    elf64_make(&e, 16 * MIB);
    load(&f, &e, 0, "");
    assert_int_equal(f.entry.mode, BOOT_PROT32);
    assert_int_equal(f.entry.rip, 16 * MIB + 16);
    loader_expect_bytes(&f, 16 * MIB, 0x90, ELF_CODE_BYTES);
    loader_expect_bytes(&f, 16 * MIB + ELF_CODE_BYTES, 0, ELF_CODE_BYTES);

    loader_peek(&f, f.entry.rbx, head, sizeof(head));
    assert_int_equal(head[0], 0x336ec578);
    assert_int_equal(head[1], 1);
    assert_int_equal(head[3], 1); /* modules */
    loader_peek(&f, f.entry.rbx + 16, at, sizeof(at));
    loader_peek(&f, at[1], text, 6);
    assert_string_equal(text, "quiet");
    assert_int_equal(at[2], 0xe0000);
    loader_peek(&f, at[0], module, sizeof(module));
    assert_int_equal(module[1], 5000);
    loader_expect_bytes(&f, module[0], 0xa5, 5000);
    loader_peek(&f, f.entry.rbx + 48, counts, sizeof(counts));
    assert_int_equal(counts[0], 5);
    loader_peek(&f, at[3] + 24 * 3, v, sizeof(v));
    assert_int_equal(v[0] + v[1], 64 * MIB);
    assert_int_equal((uint32_t)v[2], 3);
    loader_peek(&f, f.entry.gdt_base + 16, v, 16);
    assert_int_equal(v[0], 0x00cf9b000000ffff);
    loader_fixture_fini(&f);
}

static void each_damaged_field_gets_its_sentence(void **state)
{
    struct loader_fixture f;
    struct elf64_image e;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
#define DAMAGE(change, code, msg)                                                                  \
    do {                                                                                           \
        elf64_make(&e, 16 * MIB);                                                                  \
        change;                                                                                    \
        load(&f, &e, -(code), msg);                                                                \
    } while (0)
    DAMAGE(e.h.e_ident[EI_CLASS] = 3, ENOEXEC, "kernel is an ELF file of unknown class 3");
    DAMAGE(e.h.e_ident[EI_DATA] = ELFDATA2MSB, ENOEXEC,
           "kernel is an ELF file of unknown version or byte order");
    DAMAGE(e.h.e_machine = EM_AARCH64, ENOEXEC,
           "kernel is an ELF file for another machine (number 183)");
    DAMAGE(e.h.e_type = ET_REL, ENOEXEC, "kernel is an ELF file that cannot be executed (type 1)");
    DAMAGE(e.h.e_phnum = 0, ENOEXEC, "kernel is an ELF file without segments");
    DAMAGE(e.h.e_phnum = 129, ENOEXEC, "kernel: 129 program headers are more than 128");
    DAMAGE(e.h.e_phentsize = 55, ENOEXEC, "kernel: program headers have 55 bytes instead of 56");
    DAMAGE(e.h.e_phoff = UINT64_MAX - 8, ENOEXEC,
           "kernel is truncated: its program headers are beyond its end");
    DAMAGE(e.load.p_offset = UINT64_MAX, ENOEXEC,
           "kernel is truncated: segment 0 has 4096 bytes at 18446744073709551615, the file ends "
           "at 4320");
    DAMAGE(e.load.p_memsz = 4095, ENOEXEC,
           "kernel: segment 0 has 4096 bytes in the file, 4095 in memory");
    DAMAGE(e.load.p_paddr = UINT64_MAX - 4, E2BIG,
           "kernel needs 8192 bytes at 0xfffffffffffffffb, but usable RAM below 4 GiB ends at "
           "0x3fff000");
    DAMAGE(e.load.p_memsz = 64 * MIB, E2BIG,
           "kernel needs 67108864 bytes at 0x1000000, but usable RAM below 4 GiB ends at "
           "0x3fff000");
    DAMAGE(e.load.p_paddr = 0x9f000, ENOEXEC,
           "kernel wants 8192 bytes at 0x9f000, over memory that the firmware keeps "
           "(0x88000-0xfffff)");
    DAMAGE(e.load.p_type = PT_NULL, ENOEXEC, "kernel is an ELF file without anything to load");
    DAMAGE(e.notes.pvh_desc = 0x2000000, ENOEXEC, "kernel: its entry 0x2000000 is in no segment");
    DAMAGE(e.notes.pvh.n_descsz = 3, ENOEXEC, "kernel: its PVH note has 3 bytes instead of 4 or 8");
    DAMAGE(memcpy(e.notes.pvh_name, "Xer", 4), ENOEXEC,
           "kernel is an ELF file with neither a PVH note nor a multiboot header");
    DAMAGE(e.notes.other.n_namesz = UINT32_MAX, ENOEXEC,
           "kernel is an ELF file with neither a PVH note nor a multiboot header");
    DAMAGE(e.note.p_filesz = 20000, ENOEXEC,
           "kernel is truncated: segment 1 has 20000 bytes at 176, the file ends at 4320");
#undef DAMAGE
    loader_fixture_fini(&f);
}

static void an_eight_byte_entry_must_be_below_4g(void **state)
{
    struct loader_fixture f;
    struct elf64_image e;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    elf64_make(&e, 16 * MIB);
    e.notes.pvh.n_descsz = 8; /* the code behind it becomes the upper half */
    e.note.p_filesz += 4;
    load(&f, &e, -ENOEXEC, "kernel: its PVH entry 0x9090909001000010 is above 4 GiB");
    memset(e.code, 0, 4);
    load(&f, &e, 0, "");
    assert_int_equal(f.entry.rip, 16 * MIB + 16);
    loader_fixture_fini(&f);
}

static void a_cut_file_is_refused_at_every_length(void **state)
{
    struct loader_fixture f;
    struct elf64_image e;

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    elf64_make(&e, 16 * MIB);
    for (size_t len = 0; len < sizeof(e); len = len < 300 ? len + 1 : len + 61) {
        loader_fixture_kernel(&f, &e, len);
        f.ec = (struct errctx){ 0 };
        assert_int_equal(loader_load(&f.src, &f.guest.plan, f.mem, &f.entry, &f.ec), -ENOEXEC);
        assert_string_not_equal(f.ec.msg, "");
    }
    loader_fixture_fini(&f);
}

static void a_command_line_that_linux_would_cut_is_refused(void **state)
{
    struct loader_fixture f;
    struct elf64_image e;
    char text[2049];

    (void)state;
    loader_fixture_init(&f, 64 * MIB);
    elf64_make(&e, 16 * MIB);
    memset(text, 'x', 2048);
    text[2048] = '\0';
    f.src.cmdline = text;
    load(&f, &e, -E2BIG, "the command line has 2048 bytes, but kernel takes at most 2047");
    loader_fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_image_gets_start_info),
        cmocka_unit_test(each_damaged_field_gets_its_sentence),
        cmocka_unit_test(an_eight_byte_entry_must_be_below_4g),
        cmocka_unit_test(a_cut_file_is_refused_at_every_length),
        cmocka_unit_test(a_command_line_that_linux_would_cut_is_refused),
    };
    return cmocka_run_group_tests_name("firmware/pvh", tests, NULL, NULL);
}
