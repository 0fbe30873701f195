/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GIC as KVM's device, with a KVM of our own: what a host lacks is said, and a reset brings each
 * register of each CPU back to what it held first.
 */
// LDFLAGS: -Wl,--wrap=ioctl
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/macros.h"
#include "vmm/kvm/arm64/kvm_gic_state.h"

enum {
    VM = 100,
    GIC,
    ITS,
    N_CPUS = 3,
    N_IRQS = 64,
    WORDS = 0x20000,
    ISENABLER = 0x100,
    ICENABLER = 0x180,
    ISACTIVER = 0x300,
    ICACTIVER = 0x380,
    WINDOW = 0x80, /* of each of these */
    AP0R0 = 0xc644,
    AP1R0 = 0xc648,
};

static const uint32_t mpidr[N_CPUS] = { 0x000, 0x001, 0x100 };

static struct {
    uint32_t lacks; /* type of a device that there is not */
    uint64_t fails_at; /* attribute of the distributor that cannot be reached; 0: none */
    uint32_t dist[WORDS], redist[N_CPUS][WORDS];
    uint64_t interface[N_CPUS][0x10000], its[WORDS];
    unsigned its_resets, written_before_its;
} kvm;

static size_t cpu_of(uint64_t attr)
{
    for (size_t i = 0; i < N_CPUS; i++)
        if (attr >> 32 == mpidr[i])
            return i;
    fail_msg("no CPU has the MPIDR %llx", (unsigned long long)(attr >> 32));
    return 0;
}

/* Registers of a pair: one sets bits, one clears them, both read what is set. */
static uint32_t *set_of(uint32_t *words, uint32_t at, bool *ret_clears)
{
    const bool enable = at >= ICENABLER && at < ICENABLER + WINDOW;
    const bool active = at >= ICACTIVER && at < ICACTIVER + WINDOW;

    *ret_clears = enable || active;
    return &words[*ret_clears ? at - WINDOW : at];
}

static bool is_set_register(uint32_t at)
{
    return (at >= ISENABLER && at < ISENABLER + WINDOW) ||
           (at >= ISACTIVER && at < ISACTIVER + WINDOW);
}

static void word(uint32_t *words, uint32_t at, bool write, uint32_t *v)
{
    const uint32_t frame = at & 0x10000, off = at & 0xffff;
    bool clears;
    uint32_t *w = set_of(words + frame, off, &clears);

    if (!write)
        *v = *w;
    else if (clears)
        *w &= ~*v;
    else if (is_set_register(off))
        *w |= *v;
    else
        *w = *v;
}

static void wide(uint64_t *at, bool write, uint64_t *v)
{
    if (write)
        *at = *v;
    else
        *v = *at;
}

static int attribute(int fd, bool write, const struct kvm_device_attr *a)
{
    void *v = (void *)(uintptr_t)a->addr; /* NOLINT */
    const uint32_t low = (uint32_t)a->attr;

    if (a->group == KVM_DEV_ARM_VGIC_GRP_CTRL) {
        assert_int_equal(fd, ITS);
        assert_int_equal(a->attr, KVM_DEV_ARM_ITS_CTRL_RESET);
        kvm.its_resets++;
        return 0;
    }
    kvm.written_before_its += write && kvm.its_resets == 0;
    assert_int_equal(fd, a->group == KVM_DEV_ARM_VGIC_GRP_ITS_REGS ? ITS : GIC);
    switch (a->group) {
    case KVM_DEV_ARM_VGIC_GRP_DIST_REGS:
        if (kvm.fails_at != 0 && low == kvm.fails_at)
            return EBUSY;
        word(kvm.dist, low, write, v);
        return 0;
    case KVM_DEV_ARM_VGIC_GRP_REDIST_REGS:
        word(kvm.redist[cpu_of(a->attr)], low, write, v);
        return 0;
    case KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS:
        if ((low > AP0R0 && low <= AP0R0 + 3) || (low > AP1R0 && low <= AP1R0 + 3))
            break; /* these CPUs have five bits of priority */
        wide(&kvm.interface[cpu_of(a->attr)][low & 0xffff], write, v);
        return 0;
    case KVM_DEV_ARM_VGIC_GRP_ITS_REGS:
        wide(&kvm.its[low], write, v);
        return 0;
    }
    return ENXIO;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    struct kvm_create_device *dev;
    va_list ap;
    void *arg;
    int code;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (request == KVM_CREATE_DEVICE) {
        dev = arg;
        assert_int_equal(fd, VM);
        assert_int_equal(dev->flags, KVM_CREATE_DEVICE_TEST);
        errno = ENODEV;
        return dev->type == kvm.lacks ? -1 : 0;
    }
    code = attribute(fd, request == KVM_SET_DEVICE_ATTR, arg);
    errno = code;
    return code == 0 ? 0 : -1;
}

static void what_a_host_lacks_is_said(void **state)
{
    const struct kvm_vm vm = { .fd = VM };
    static const struct {
        uint32_t lacks;
        const char *says;
    } rows[] = {
        { KVM_DEV_TYPE_ARM_VGIC_V3, "cannot give guests a GICv3" },
        { KVM_DEV_TYPE_ARM_VGIC_ITS, "no interrupt translation service (ITS)" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };

        kvm.lacks = rows[i].lacks;
        assert_int_equal(kvm_gic_check(&vm, &ec), -ENOTSUP);
        if (strstr(ec.msg, rows[i].says) == NULL)
            fail_msg("\"%s\", not \"%s\"", ec.msg, rows[i].says);
    }
    kvm.lacks = 0;
    assert_int_equal(kvm_gic_check(&vm, NULL), 0);
}

/* All CPUs alike, no two registers the same. */
static void power_on(void)
{
    memset(&kvm, 0, sizeof(kvm));
    for (uint32_t i = 0; i < WORDS; i++) {
        kvm.dist[i] = i * 3 + 1;
        kvm.its[i] = i * 5ull + 1;
        for (size_t c = 0; c < N_CPUS; c++)
            kvm.redist[c][i] = i * 7 + 1;
    }
    for (uint32_t i = 0; i < 0x10000; i++)
        for (size_t c = 0; c < N_CPUS; c++)
            kvm.interface[c][i] = i * 11ull + 1;
}

static void spoil(uint32_t *words, uint32_t first, uint32_t bytes)
{
    for (uint32_t i = first; i < first + bytes; i += 4)
        words[i] = ~words[i];
}

static void spoil_frame(uint32_t *w, uint32_t first, uint32_t n)
{
    static const uint16_t bits[] = { 0x080, 0x100, 0x200, 0x300 };

    for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
        spoil(w, bits[i] + first / 8, n / 8);
    spoil(w, 0x400 + first, n);
    spoil(w, 0xc00 + first / 4, n / 4);
}

static void a_reset_brings_each_register_back(void **state)
{
    static const uint32_t interface[] = { 0xc665, 0xc664, 0xc230, 0xc643, 0xc663,
                                          0xc666, 0xc667, AP0R0,  AP1R0 };
    const struct kvm_gic gic = { .fd = GIC, .its_fd = ITS };
    static typeof(kvm) fresh;
    struct kvm_gic_state *s = NULL;
    struct errctx ec = { 0 };

    (void)state;
    power_on();
    assert_int_equal(kvm_gic_save(&gic, mpidr[0], N_IRQS, &s, &ec), 0);
    fresh = kvm;
    spoil(kvm.dist, 0, 4);
    spoil_frame(kvm.dist, 32, N_IRQS - 32);
    spoil(kvm.dist, 0x6100, 8 * (N_IRQS - 32));
    for (size_t c = 0; c < N_CPUS; c++) {
        spoil(kvm.redist[c], 0, 4);
        spoil(kvm.redist[c], 0x70, 16);
        spoil_frame(kvm.redist[c] + 0x10000, 0, 32);
        for (size_t i = 0; i < ARRAY_SIZE(interface); i++)
            kvm.interface[c][interface[i]] ^= ~0ull;
    }
    for (uint32_t i = 0; i < 8; i++)
        kvm.its[0x100 + 8 * i] ^= ~0ull;
    assert_memory_not_equal(&kvm, &fresh, sizeof(kvm));
    assert_int_equal(kvm_gic_reset(&gic, s, mpidr, N_CPUS, &ec), 0);
    assert_int_equal(kvm.its_resets, 1);
    assert_int_equal(kvm.written_before_its, 0);
    kvm.its_resets = 0;
    assert_memory_equal(&kvm, &fresh, sizeof(kvm));
    kvm_gic_state_free(s);
}

static void a_register_out_of_reach_is_named(void **state)
{
    const struct kvm_gic gic = { .fd = GIC, .its_fd = ITS };
    struct kvm_gic_state *s = NULL, *none = NULL;
    struct errctx ec = { 0 };

    (void)state;
    power_on();
    assert_int_equal(kvm_gic_save(&gic, mpidr[0], N_IRQS, &s, &ec), 0);
    kvm.fails_at = 0x424; /* a priority */
    assert_int_equal(kvm_gic_save(&gic, mpidr[0], N_IRQS, &none, &ec), -EBUSY);
    assert_null(none);
    assert_non_null(strstr(ec.msg, "read the GIC's register 424"));
    assert_int_equal(kvm_gic_reset(&gic, s, mpidr, N_CPUS, &ec), -EBUSY);
    assert_non_null(strstr(ec.msg, "reset the GIC's register 424"));
    kvm_gic_state_free(s);
    kvm_gic_state_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_host_lacks_is_said),
        cmocka_unit_test(a_reset_brings_each_register_back),
        cmocka_unit_test(a_register_out_of_reach_is_named),
    };
    return cmocka_run_group_tests_name("vmm/kvm/arm64/kvm_gic", tests, NULL, NULL);
}
