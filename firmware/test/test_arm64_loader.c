/* SPDX-License-Identifier: Apache-2.0 */
/* arm64 images, packed and not: where they and what is with them lie, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "firmware/arm64/arm64_fdt.h"
#include "firmware/arm64/arm64_loader.h"
#include "firmware/arm64/arm64_platform.h"
#include "firmware/test/plan_fixture.h"
#include "vmm/base/macros.h"

#define IMAGE_BYTES  (300ull * KIB)
#define MEMORY_BYTES (3ull * MIB)

struct fixture {
    struct plan_fixture guest;
    struct guest_mem *mem;
    struct boot_source src;
    struct arm64_entry entry;
    struct errctx ec;
    uint8_t *image;
};

static void put64(uint8_t *image, size_t off, uint64_t v)
{
    memcpy(image + off, &v, sizeof(v));
}

static void set_kernel(struct fixture *f, const void *bytes, size_t len)
{
    if (f->src.kernel_fd >= 0)
        (void)close(f->src.kernel_fd);
    f->src.kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
    assert_true(f->src.kernel_fd >= 0);
    assert_int_equal(write(f->src.kernel_fd, bytes, len), len);
}

/* What Linux of today says of itself, and bytes that differ. */
static void make_image(struct fixture *f)
{
    for (size_t i = 0; i < IMAGE_BYTES; i++)
        f->image[i] = (uint8_t)(i * 7 + i / 256);
    put64(f->image, 8, 0);
    put64(f->image, 16, MEMORY_BYTES);
    put64(f->image, 24, 0xa);
    memcpy(f->image + 56, "ARMd", 4);
}

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .src = { .kernel_fd = -1, .initrd_fd = -1, .kernel_name = "kernel",
                                   .initrd_name = "initrd", .linux_cmdline = "quiet" } };
    plan_fixture_init(&f.guest, 2, 1, 64 * MIB);
    assert_int_equal(mem_layout_make(fdt_arch_arm64.map, &f.guest.plan, 40, &f.guest.layout,
                                        NULL),
                     0);
    assert_int_equal(guest_mem_new(&f.guest.plan, f.guest.layout, &f.mem, NULL), 0);
    f.image = malloc(IMAGE_BYTES);
    assert_non_null(f.image);
    make_image(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->src.kernel_fd >= 0)
        (void)close(f->src.kernel_fd);
    if (f->src.initrd_fd >= 0)
        (void)close(f->src.initrd_fd);
    free(f->image);
    guest_mem_free(f->mem);
    plan_fixture_fini(&f->guest);
    return 0;
}

static int load(struct fixture *f)
{
    f->ec = (struct errctx){ 0 };
    memset(&f->entry, 0x5a, sizeof(f->entry));
    return arm64_loader_load(&f->src, &f->guest.plan, f->mem, &f->entry, &f->ec);
}

static void assert_memory(struct fixture *f, uint64_t at, const void *want, size_t len)
{
    uint8_t *got = malloc(len);

    assert_non_null(got);
    assert_int_equal(guest_mem_read(f->mem, (struct gpa){ at }, got, len), 0);
    assert_memory_equal(got, want, len);
    free(got);
}

static void assert_refused(struct fixture *f, int code, const char *words)
{
    const struct arm64_entry untouched = { 0x5a5a5a5a5a5a5a5a, 0x5a5a5a5a5a5a5a5a };

    assert_int_equal(load(f), code);
    if (strstr(f->ec.msg, words) == NULL)
        fail_msg("\"%s\" has no \"%s\"", f->ec.msg, words);
    assert_memory_equal(&f->entry, &untouched, sizeof(untouched));
}

/* The tree in guest memory; free() it. */
static void *tree_of(struct fixture *f)
{
    uint8_t *blob = calloc(1, 64 * KIB);

    assert_non_null(blob);
    assert_int_equal(guest_mem_read(f->mem, (struct gpa){ f->entry.tree }, blob, 64 * KIB), 0);
    assert_int_equal(fdt_check_header(blob), 0);
    return blob;
}

/* A property of 64 bits, which is aligned to 32 only. */
static uint64_t number(const void *tree, int node, const char *name)
{
    int len;
    const void *value = fdt_getprop(tree, node, name, &len);
    fdt64_t v;

    assert_non_null(value);
    assert_int_equal(len, sizeof(v));
    memcpy(&v, value, sizeof(v));
    return fdt64_to_cpu(v);
}

static void an_image_a_tree_and_an_initrd_lie_one_after_another(void **state)
{
    struct fixture *f = *state;
    void *tree;
    int chosen;

    set_kernel(f, f->image, IMAGE_BYTES);
    f->src.initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
    assert_int_equal(write(f->src.initrd_fd, "initrd!", 7), 7);
    assert_int_equal(arm64_loader_check(&f->src, &f->ec), 0);
    assert_int_equal(load(f), 0);
    assert_int_equal(f->entry.pc, ARM64_RAM_BASE);
    assert_int_equal(f->entry.tree, ARM64_RAM_BASE + 4 * MIB);
    assert_memory(f, f->entry.pc, f->image, IMAGE_BYTES);
    assert_memory(f, ARM64_RAM_BASE + 6 * MIB, "initrd!", 7);
    tree = tree_of(f);
    chosen = fdt_path_offset(tree, "/chosen");
    assert_string_equal(fdt_getprop(tree, chosen, "bootargs", NULL), "quiet");
    assert_int_equal(number(tree, chosen, "linux,initrd-start"), ARM64_RAM_BASE + 6 * MIB);
    assert_int_equal(number(tree, chosen, "linux,initrd-end"), ARM64_RAM_BASE + 6 * MIB + 7);
    free(tree);
}

static size_t pack(const uint8_t *bytes, size_t len, uint8_t *ret_packed, size_t room)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)len,
                   .next_out = ret_packed, .avail_out = (uInt)room };

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&z), Z_OK);
    return room - z.avail_out;
}

static void a_packed_image_is_unpacked(void **state)
{
    struct fixture *f = *state;
    uint8_t *packed = malloc(IMAGE_BYTES);
    size_t len;

    assert_non_null(packed);
    put64(f->image, 8, 0x80000); /* and at the offset that it asks for */
    len = pack(f->image, IMAGE_BYTES, packed, IMAGE_BYTES);
    set_kernel(f, packed, len);
    assert_int_equal(arm64_loader_check(&f->src, &f->ec), 0);
    assert_int_equal(load(f), 0);
    assert_int_equal(f->entry.pc, ARM64_RAM_BASE + 0x80000);
    assert_memory(f, f->entry.pc, f->image, IMAGE_BYTES);

    set_kernel(f, packed, len / 2);
    assert_refused(f, -ENOEXEC, "is truncated");
    memset(packed + len / 2, 0xff, 64);
    set_kernel(f, packed, len);
    assert_refused(f, -ENOEXEC, "that is damaged");
    put64(f->image, 16, 4096); /* less memory than bytes */
    set_kernel(f, packed, pack(f->image, IMAGE_BYTES, packed, IMAGE_BYTES));
    assert_refused(f, -ENOEXEC, "longer than the 4096 bytes");
    free(packed);
}

static void other_kernels_are_refused_by_name(void **state)
{
    struct fixture *f = *state;

    memcpy(f->image + 56, "RSC\x05", 4);
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_refused(f, -ENOEXEC, "kernel is a Linux kernel for riscv64, and guests here are arm64");
    assert_int_equal(arm64_loader_check(&f->src, &f->ec), -ENOEXEC);
    memcpy(f->image + 0x202, "HdrS", 4);
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_refused(f, -ENOEXEC, "kernel is a Linux kernel for x86, and guests here are arm64");
    make_image(f);
    put64(f->image, 24, 1);
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_refused(f, -ENOEXEC, "big-endian");
    set_kernel(f, "no", 2);
    assert_refused(f, -ENOEXEC, "neither an arm64 Image nor one packed by gzip");
    set_kernel(f, "\x1f\x8b", 2);
    assert_refused(f, -ENOEXEC, "truncated");
}

static void images_that_contradict_themselves_are_refused(void **state)
{
    struct fixture *f = *state;

    put64(f->image, 8, 2 * MIB);
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_refused(f, -ENOEXEC, "offset of 0x200000");
    put64(f->image, 8, 17);
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_refused(f, -ENOEXEC, "offset of 0x11");
    make_image(f);
    put64(f->image, 16, IMAGE_BYTES - 1);
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_refused(f, -ENOEXEC, "is longer than");
}

static void what_does_not_fit_is_refused_with_its_size(void **state)
{
    static const uint64_t sizes[] = { 127 * MIB, 1ull << 40, UINT64_MAX, UINT64_MAX - 4096 };
    struct fixture *f = *state;
    char line[2100];

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        put64(f->image, 16, sizes[i]);
        set_kernel(f, f->image, IMAGE_BYTES);
        assert_refused(f, -E2BIG, "do not fit the 128 MiB of memory below 4 GiB");
    }
    put64(f->image, 16, 0); /* an old kernel: 64 MiB are taken to be enough */
    set_kernel(f, f->image, IMAGE_BYTES);
    assert_int_equal(load(f), 0);
    assert_int_equal(f->entry.pc, ARM64_RAM_BASE + 0x80000);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\0';
    f->src.cmdline = line;
    assert_refused(f, -E2BIG, "2099 characters");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_image_a_tree_and_an_initrd_lie_one_after_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_packed_image_is_unpacked, setup, teardown),
        cmocka_unit_test_setup_teardown(other_kernels_are_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(images_that_contradict_themselves_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_with_its_size, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
