/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small guest and an image file made of bytes, to push through loader_load(). Nothing of the
 * guest is checked unless a load succeeded; a load that fails must leave the entry untouched,
 * which loader_expect() sees to.
 */
#ifndef FIRMWARE_X86_TEST_LOADER_FIXTURE_H
#define FIRMWARE_X86_TEST_LOADER_FIXTURE_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "firmware/loader.h"
#include "firmware/test/plan_fixture.h"
#include "firmware/x86/x86_map.h"
#include "vmm/base/macros.h"

struct loader_fixture {
    struct plan_fixture guest;
    struct guest_mem *mem;
    struct boot_source src;
    struct boot_entry entry;
    struct errctx ec;
};

/* One node with @ram_bytes. */
static inline void loader_fixture_init(struct loader_fixture *f, uint64_t ram_bytes)
{
    *f = (struct loader_fixture){ .src = { .kernel_fd = -1,
                                           .initrd_fd = -1,
                                           .linux_cmdline = "console=ttyS0",
                                           .kernel_name = "kernel",
                                           .initrd_name = "initrd" } };
    plan_fixture_init(&f->guest, 1, 1, ram_bytes);
    assert_int_equal(plan_fixture_layout(&f->guest, &x86_layout_map, &f->ec), 0);
    assert_int_equal(guest_mem_new(&f->guest.plan, f->guest.layout, &f->mem, &f->ec), 0);
}

static inline int bytes_to_fd(const void *bytes, size_t len)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    return fd;
}

static inline void loader_fixture_kernel(struct loader_fixture *f, const void *bytes, size_t len)
{
    if (f->src.kernel_fd >= 0)
        (void)close(f->src.kernel_fd);
    f->src.kernel_fd = bytes_to_fd(bytes, len);
}

/* An initrd of @len times 0xa5. */
static inline void loader_fixture_initrd(struct loader_fixture *f, size_t len)
{
    uint8_t *bytes = malloc(len);

    assert_non_null(bytes);
    memset(bytes, 0xa5, len);
    if (f->src.initrd_fd >= 0)
        (void)close(f->src.initrd_fd);
    f->src.initrd_fd = bytes_to_fd(bytes, len);
    free(bytes);
}

/* Load; the result must be @want and, when that is a failure, the sentence @msg. */
static inline void loader_expect(struct loader_fixture *f, int want, const char *msg)
{
    int r;

    memset(&f->entry, 0x5a, sizeof(f->entry));
    f->ec = (struct errctx){ 0 };
    r = loader_load(&f->src, &f->guest.plan, f->mem, &f->entry, &f->ec);
    if (r != want)
        fail_msg("result %d instead of %d: %s", r, want, f->ec.msg);
    assert_string_equal(f->ec.msg, msg);
    if (want < 0)
        for (size_t i = 0; i < sizeof(f->entry); i++)
            assert_int_equal(((uint8_t *)&f->entry)[i], 0x5a);
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

static inline void loader_peek(struct loader_fixture *f, uint64_t addr, void *buf, size_t len)
{
    assert_int_equal(guest_mem_read(f->mem, (struct gpa){ addr }, buf, len), 0);
}

/* @len bytes at @addr all equal @byte. */
static inline void loader_expect_bytes(struct loader_fixture *f, uint64_t addr, uint8_t byte,
                                       size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t got;

        loader_peek(f, addr + i, &got, 1);
        assert_int_equal(got, byte);
    }
}

static inline void loader_fixture_fini(struct loader_fixture *f)
{
    if (f->src.kernel_fd >= 0)
        (void)close(f->src.kernel_fd);
    if (f->src.initrd_fd >= 0)
        (void)close(f->src.initrd_fd);
    guest_mem_free(f->mem);
    plan_fixture_fini(&f->guest);
}

#endif
