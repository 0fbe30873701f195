/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of attributes of KVM's devices, in the order in which a reset writes them: Arm IHI 0069,
 * chapter 12, for the registers; Documentation/virt/kvm/devices/arm-vgic-v3.rst for what KVM makes
 * of them. A register that sets bits is written behind the one that clears all of them. Pending
 * interrupts are the exception: there KVM takes the word as it is.
 */
#include "vmm/kvm/arm64/kvm_gic_state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "vmm/base/macros.h"

enum {
    /* the distributor's; in a redistributor's second frame the same for its private ones */
    CTLR = 0x0000,
    IGROUPR = 0x0080,
    ISENABLER = 0x0100,
    ICENABLER = 0x0180,
    ISPENDR = 0x0200,
    ISACTIVER = 0x0300,
    ICACTIVER = 0x0380,
    IPRIORITYR = 0x0400,
    ICFGR = 0x0c00,
    IROUTER = 0x6000,
    /* a redistributor's first frame */
    PROPBASER = 0x0070,
    PENDBASER = 0x0078,
    SECOND_FRAME = 0x10000,
    /* the ITS's */
    ITS_BASER = 0x0100,
    N_ITS_BASER = 8,

    PRIVATE = 32, /* interrupts of a CPU's own: the first ones */
    N_APR = 4,
};

/* A system register's number as KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS has it; all of these are op0 3,
 * op1 0. */
#define SYSREG(crn, crm, op2) (3u << 14 | (crn) << 7 | (crm) << 3 | (op2))
#define ICC_AP0R0 SYSREG(12u, 8u, 4u)
#define ICC_AP1R0 SYSREG(12u, 9u, 0u)

static const uint32_t interface[] = {
    SYSREG(12u, 12u, 5u), /* ICC_SRE_EL1 */
    SYSREG(12u, 12u, 4u), /* ICC_CTLR_EL1, which says what the next ones mean */
    SYSREG(4u, 6u, 0u),   /* ICC_PMR_EL1 */
    SYSREG(12u, 8u, 3u),  /* ICC_BPR0_EL1 */
    SYSREG(12u, 12u, 3u), /* ICC_BPR1_EL1 */
    SYSREG(12u, 12u, 6u), /* ICC_IGRPEN0_EL1 */
    SYSREG(12u, 12u, 7u), /* ICC_IGRPEN1_EL1 */
    ICC_AP0R0,
    ICC_AP1R0,
};

struct entry {
    uint32_t group;
    uint32_t attr; /* without a CPU's place */
    uint64_t value;
};

struct kvm_gic_state {
    uint32_t mpidr; /* of the CPU that is read */
    size_t n, most;
    struct entry entry[];
};

static bool is_word(uint32_t group)
{
    return group == KVM_DEV_ARM_VGIC_GRP_DIST_REGS || group == KVM_DEV_ARM_VGIC_GRP_REDIST_REGS;
}

static bool is_cpus(uint32_t group)
{
    return group == KVM_DEV_ARM_VGIC_GRP_REDIST_REGS || group == KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
}

/* KVM reads and writes 32 bits of the registers that it numbers by word. */
static int access(const struct kvm_gic *gic, unsigned long how, struct entry *e, uint32_t mpidr,
                  struct errctx *ec)
{
    uint32_t word = (uint32_t)e->value;
    struct kvm_device_attr a = {
        .group = e->group,
        .attr = e->attr,
        .addr = is_word(e->group) ? (uintptr_t)&word : (uintptr_t)&e->value,
    };
    const int fd = e->group == KVM_DEV_ARM_VGIC_GRP_ITS_REGS ? gic->its_fd : gic->fd;

    if (is_cpus(e->group))
        a.attr |= (uint64_t)mpidr << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT;
    if (ioctl(fd, how, &a) < 0)
        return errctx_set_os(ec, errno, "%s the GIC's register %x of group %u",
                             how == KVM_GET_DEVICE_ATTR ? "read" : "reset", e->attr, e->group);
    if (how == KVM_GET_DEVICE_ATTR && is_word(e->group))
        e->value = word;
    return 0;
}

/* --- what there is --- */

static int keep(struct kvm_gic_state *s, const struct kvm_gic *gic, uint32_t group, uint32_t attr,
                struct errctx *ec)
{
    struct entry *e = &s->entry[s->n];
    int r;

    if (s->n == s->most)
        return errctx_set(ec, EOVERFLOW, "the GIC has more registers than counted");
    *e = (struct entry){ .group = group, .attr = attr };
    r = access(gic, KVM_GET_DEVICE_ATTR, e, s->mpidr, ec);
    s->n += r == 0;
    return r;
}

static int keep_run(struct kvm_gic_state *s, const struct kvm_gic *gic, uint32_t group,
                    uint32_t first, uint32_t bytes, struct errctx *ec)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < bytes; i += 4)
        r = keep(s, gic, group, first + i, ec);
    return r;
}

/* @clear has a bit for each that @set has; what is set at power-on follows. */
static int keep_bits(struct kvm_gic_state *s, const struct kvm_gic *gic, uint32_t group,
                     uint32_t clear, uint32_t set, uint32_t bytes, struct errctx *ec)
{
    const size_t from = s->n;
    int r = keep_run(s, gic, group, clear, bytes, ec);

    for (size_t i = from; i < s->n; i++)
        s->entry[i].value = UINT32_MAX;
    return r < 0 ? r : keep_run(s, gic, group, set, bytes, ec);
}

/* Interrupts @first to @first + @n of a frame at @frame, with all that is said of each. */
static int keep_frame(struct kvm_gic_state *s, const struct kvm_gic *gic, uint32_t group,
                      uint32_t frame, uint32_t first, uint32_t n, struct errctx *ec)
{
    const uint32_t bits = frame + first / 8, len = n / 8;
    int r = keep_bits(s, gic, group, bits + ICENABLER, bits + ISENABLER, len, ec);

    if (r == 0)
        r = keep_run(s, gic, group, bits + ISPENDR, len, ec);
    if (r == 0)
        r = keep_bits(s, gic, group, bits + ICACTIVER, bits + ISACTIVER, len, ec);
    if (r == 0)
        r = keep_run(s, gic, group, bits + IGROUPR, len, ec);
    if (r == 0)
        r = keep_run(s, gic, group, frame + IPRIORITYR + first, n, ec);
    if (r == 0)
        r = keep_run(s, gic, group, frame + ICFGR + first / 4, n / 4, ec);
    return r;
}

static int keep_distributor(struct kvm_gic_state *s, const struct kvm_gic *gic, uint32_t n_irqs,
                            struct errctx *ec)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS, n = n_irqs - PRIVATE;
    int r = keep(s, gic, group, CTLR, ec);

    if (r == 0)
        r = keep_frame(s, gic, group, 0, PRIVATE, n, ec);
    return r < 0 ? r : keep_run(s, gic, group, IROUTER + 8 * PRIVATE, 8 * n, ec);
}

/* LPIs go off first: only then the tables' places can be written. */
static int keep_redistributor(struct kvm_gic_state *s, const struct kvm_gic *gic, struct errctx *ec)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_REDIST_REGS;
    int r = keep(s, gic, group, CTLR, ec);

    if (r == 0)
        r = keep_run(s, gic, group, PROPBASER, 8, ec);
    if (r == 0)
        r = keep_run(s, gic, group, PENDBASER, 8, ec);
    return r < 0 ? r : keep_frame(s, gic, group, SECOND_FRAME, 0, PRIVATE, ec);
}

/* Of active priorities a CPU has one register of each kind, or some more. */
static int keep_interface(struct kvm_gic_state *s, const struct kvm_gic *gic, struct errctx *ec)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(interface); i++)
        r = keep(s, gic, group, interface[i], ec);
    for (uint32_t i = 1; r == 0 && i < N_APR; i++)
        if (keep(s, gic, group, ICC_AP0R0 + i, NULL) < 0 ||
            keep(s, gic, group, ICC_AP1R0 + i, NULL) < 0)
            break;
    return r;
}

static int keep_its(struct kvm_gic_state *s, const struct kvm_gic *gic, struct errctx *ec)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < N_ITS_BASER; i++)
        r = keep(s, gic, KVM_DEV_ARM_VGIC_GRP_ITS_REGS, ITS_BASER + 8 * i, ec);
    return r;
}

static size_t count(uint32_t n_irqs)
{
    const size_t per_word = 6 + 8 + 2, words = n_irqs / PRIVATE; /* of 32 interrupts: keep_frame() */

    return words * per_word + 2 * (size_t)(n_irqs - PRIVATE) + 2 + 4 + N_ITS_BASER +
           ARRAY_SIZE(interface) + 2 * (N_APR - 1);
}

int kvm_gic_save(const struct kvm_gic *gic, uint32_t mpidr, uint32_t n_irqs,
                 struct kvm_gic_state **ret_state, struct errctx *ec)
{
    const size_t most = count(n_irqs);
    struct kvm_gic_state *s = calloc(1, sizeof(*s) + most * sizeof(s->entry[0]));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the GIC's registers");
    s->mpidr = mpidr;
    s->most = most;
    r = keep_its(s, gic, ec);
    if (r == 0)
        r = keep_redistributor(s, gic, ec);
    if (r == 0)
        r = keep_interface(s, gic, ec);
    if (r == 0)
        r = keep_distributor(s, gic, n_irqs, ec);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret_state = s;
    return 0;
}

void kvm_gic_state_free(struct kvm_gic_state *state)
{
    free(state);
}

/* --- a reset --- */

int kvm_gic_reset(const struct kvm_gic *gic, const struct kvm_gic_state *state,
                  const uint32_t *mpidr, size_t n, struct errctx *ec)
{
    const struct kvm_device_attr its = {
        .group = KVM_DEV_ARM_VGIC_GRP_CTRL,
        .attr = KVM_DEV_ARM_ITS_CTRL_RESET,
    };
    int r = 0;

    if (ioctl(gic->its_fd, KVM_SET_DEVICE_ATTR, &its) < 0)
        return errctx_set_os(ec, errno, "reset of the ITS");
    for (size_t i = 0; r == 0 && i < state->n; i++) {
        struct entry e = state->entry[i];
        const size_t times = is_cpus(e.group) ? n : 1;

        for (size_t k = 0; r == 0 && k < times; k++)
            r = access(gic, KVM_SET_DEVICE_ATTR, &e, mpidr[k], ec);
    }
    return r;
}
