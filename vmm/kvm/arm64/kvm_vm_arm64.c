/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/arm64/kvm_vm_arm64.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SPI_FIRST = 32 };

unsigned kvm_sys_arm64_bits(const struct kvm_sys *sys)
{
    const int bits = kvm_sys_check(sys, KVM_CAP_ARM_VM_IPA_SIZE);

    return bits > 0 ? (unsigned)bits : KVM_VM_ARM64_BITS;
}

unsigned long kvm_vm_arm64_type(unsigned bits)
{
    return bits == KVM_VM_ARM64_BITS ? 0 : KVM_VM_TYPE_ARM_IPA_SIZE(bits);
}

static int create(const struct kvm_vm *vm, uint32_t type, uint32_t flags, struct errctx *ec)
{
    struct kvm_create_device dev = { .type = type, .flags = flags };

    if (ioctl(vm->fd, KVM_CREATE_DEVICE, &dev) < 0)
        return errctx_set_os(ec, errno, "KVM_CREATE_DEVICE of type %u", type);
    return flags & KVM_CREATE_DEVICE_TEST ? 0 : (int)dev.fd;
}

static int set_attr(int fd, uint32_t group, uint64_t attr, const void *value, const char *what,
                    struct errctx *ec)
{
    const struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };

    if (ioctl(fd, KVM_SET_DEVICE_ATTR, &a) < 0)
        return errctx_set_os(ec, errno, "%s", what);
    return 0;
}

int kvm_gic_check(const struct kvm_vm *vm, struct errctx *ec)
{
    if (create(vm, KVM_DEV_TYPE_ARM_VGIC_V3, KVM_CREATE_DEVICE_TEST, NULL) < 0)
        return errctx_set(ec, ENOTSUP,
                          "this host's interrupt controller cannot give guests a GICv3");
    if (create(vm, KVM_DEV_TYPE_ARM_VGIC_ITS, KVM_CREATE_DEVICE_TEST, NULL) < 0)
        return errctx_set(ec, ENOTSUP, "this KVM has no interrupt translation service (ITS) for "
                                       "guests, which PCI devices need");
    return 0;
}

static int place_parts(const struct kvm_gic *gic, const struct kvm_gic_map *map, struct errctx *ec)
{
    /* count in bits 63:52, base, flags none, number of the region in 11:0 */
    const uint64_t redist = (uint64_t)map->n_vcpus << 52 | map->redist;
    int r = set_attr(gic->fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &map->dist,
                     "place of the GIC's distributor", ec);

    if (r == 0)
        r = set_attr(gic->fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION,
                     &redist, "place of the GIC's redistributors", ec);
    if (r == 0)
        r = set_attr(gic->fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &map->n_irqs,
                     "number of the GIC's interrupts", ec);
    if (r == 0)
        r = set_attr(gic->its_fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, &map->its,
                     "place of the ITS", ec);
    return r;
}

int kvm_gic_make(const struct kvm_vm *vm, const struct kvm_gic_map *map, struct kvm_gic *ret_gic,
                 struct errctx *ec)
{
    struct kvm_gic gic = { .fd = -1, .its_fd = -1 };
    int r = gic.fd = create(vm, KVM_DEV_TYPE_ARM_VGIC_V3, 0, ec);

    if (r >= 0)
        r = gic.its_fd = create(vm, KVM_DEV_TYPE_ARM_VGIC_ITS, 0, ec);
    if (r >= 0)
        r = place_parts(&gic, map, ec);
    if (r < 0) {
        kvm_gic_close(&gic);
        return r;
    }
    *ret_gic = gic;
    return 0;
}

void kvm_gic_close(struct kvm_gic *gic)
{
    if (gic->its_fd >= 0)
        (void)close(gic->its_fd);
    if (gic->fd >= 0)
        (void)close(gic->fd);
    gic->fd = gic->its_fd = -1;
}

int kvm_gic_start(const struct kvm_gic *gic, struct errctx *ec)
{
    int r = set_attr(gic->fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL,
                     "start of the GIC", ec);

    if (r == 0)
        r = set_attr(gic->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL,
                     "start of the ITS", ec);
    return r;
}

void kvm_vm_irq_line(const struct kvm_vm *vm, uint32_t spi, bool level)
{
    struct kvm_irq_level line = {
        .irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (SPI_FIRST + spi),
        .level = level,
    };

    (void)ioctl(vm->fd, KVM_IRQ_LINE, &line); /* fails for numbers that the GIC has not */
}
