/* SPDX-License-Identifier: Apache-2.0 */
/* What an arm64 host can do, and what its VMs have of their own; see machine_arch.h. */
#include <errno.h>
#include <stdlib.h>

#include "devices/pl011.h"
#include "firmware/arm64/arm64_fdt.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/arm64/machine_arm64.h"

enum { BITS_UNKNOWN_HOST = 48 };

/* As many bits as KVM gives unasked, since a guest's page tables grow by them; more where its
 * memory needs them. */
static int choose_layout(const struct topo_plan *plan, unsigned most, struct mem_layout **ret_layout,
                         unsigned *ret_bits, struct errctx *ec)
{
    const unsigned few = MIN(most, KVM_VM_ARM64_BITS);
    int r = mem_layout_make(fdt_arch_arm64.map, plan, few, ret_layout, ec);

    *ret_bits = few;
    if (r != -ERANGE || most == few)
        return r;
    *ret_bits = most;
    return mem_layout_make(fdt_arch_arm64.map, plan, most, ret_layout, ec);
}

/* The tree would be refused at the start of the guest: better before memory is taken. */
static int try_tree(const struct topo_plan *plan, const struct mem_layout *layout,
                    struct errctx *ec)
{
    const struct fdt_input in = { .plan = plan, .layout = layout };
    void *blob;
    size_t len;
    int r = fdt_build(&fdt_arch_arm64, &in, &blob, &len, ec);

    if (r == 0)
        free(blob);
    return r;
}

static int layout_within(const struct topo_plan *plan, unsigned most,
                         struct mem_layout **ret_layout, unsigned *ret_bits, struct errctx *ec)
{
    struct mem_layout *layout;
    int r = choose_layout(plan, most, &layout, ret_bits, ec);

    if (r < 0)
        return r;
    r = try_tree(plan, layout, ec);
    if (r < 0)
        mem_layout_free(layout);
    else
        *ret_layout = layout;
    return r;
}

bool machine_arch_serial_is_told(void)
{
    return true;
}

int machine_arch_layout(const struct topo_plan *plan, struct mem_layout **ret_layout,
                        struct errctx *ec)
{
    unsigned most = BITS_UNKNOWN_HOST, bits;
    struct kvm_sys sys;

    if (kvm_sys_open("/dev/kvm", &sys, NULL) == 0) {
        most = kvm_sys_arm64_bits(&sys);
        kvm_sys_close(&sys);
    }
    return layout_within(plan, most, ret_layout, &bits, ec);
}

const struct fdt_arch *machine_arch_tree(void)
{
    return &fdt_arch_arm64;
}

bool machine_arch_feature_known(const char *name)
{
    (void)name; /* none can be taken away */
    return false;
}

void machine_arch_limits(const struct kvm_sys *sys, const char *root,
                         struct machine_limits *limits)
{
    (void)sys;
    (void)root;
    limits->max_vcpu_id = 0;     /* vCPUs are numbered without gaps */
    limits->shadow_maps = false; /* second-level tables are the processor's */
}

const char *machine_arch_advise_kvm(void)
{
    return "boot a kernel with KVM at EL2; inside a VM, ask for nested virtualization";
}

const struct machine_arch_capability *machine_arch_capabilities(size_t *ret_n)
{
    static const struct machine_arch_capability needed[] = {
        { KVM_CAP_ARM_PSCI_0_2, "PSCI 0.2" },
        { KVM_CAP_DEVICE_CTRL, "an interrupt controller as a device" },
    };

    *ret_n = ARRAY_SIZE(needed);
    return needed;
}

int machine_arch_check_irqchip(const struct kvm_sys *sys, struct errctx *ec)
{
    struct kvm_vm vm;
    int r = kvm_vm_create(sys, 0, &vm, ec);

    if (r < 0)
        return r;
    r = kvm_gic_check(&vm, ec);
    kvm_vm_close(&vm);
    return r;
}

bool machine_arch_has_steal_time(const struct kvm_sys *sys)
{
    (void)sys; /* a run does not offer it (KVM_ARM_VCPU_PVTIME_CTRL) */
    return false;
}

/* --- a machine --- */

int machine_arch_make_vm(struct machine *m, struct errctx *ec)
{
    struct mem_layout *layout;
    unsigned bits;
    int r = layout_within(m->plan, kvm_sys_arm64_bits(&m->sys), &layout, &bits, ec);

    if (r < 0)
        return r;
    mem_layout_free(layout);
    m->arch = calloc(1, sizeof(*m->arch));
    if (m->arch == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the machine");
    *m->arch = (struct machine_arch){ .phys_bits = bits, .gic = { .fd = -1, .its_fd = -1 } };
    r = kvm_vm_create(&m->sys, kvm_vm_arm64_type(bits), &m->vm, ec);
    if (r < 0)
        goto err_arch;
    r = kvm_gic_check(&m->vm, ec);
    if (r < 0)
        goto err_vm;
    return 0;

err_vm:
    kvm_vm_close(&m->vm);
err_arch:
    machine_arch_free(m);
    return r;
}

void machine_arch_free(struct machine *m)
{
    free(m->arch);
    m->arch = NULL;
}

int machine_arch_make_layout(struct machine *m, struct errctx *ec)
{
    return mem_layout_make(fdt_arch_arm64.map, m->plan, m->arch->phys_bits, &m->layout, ec);
}

/* --- while it runs; the counter that guests have for a clock is the host's own and goes on --- */

int machine_arch_clock_stop(struct machine *m, struct errctx *ec)
{
    (void)m;
    (void)ec;
    return 0;
}

int machine_arch_clock_go(struct machine *m, struct errctx *ec)
{
    (void)m;
    (void)ec;
    return 0;
}

int machine_arch_clock_reset(struct machine *m, struct errctx *ec)
{
    (void)m;
    (void)ec;
    return 0;
}

int machine_arch_power_button(struct machine *m, struct errctx *ec)
{
    (void)m;
    return errctx_set(ec, ENOTSUP, "an arm64 machine has no power button: shut the guest down from "
                                   "inside, or stop it");
}

bool machine_arch_can_plug_cpus(void)
{
    return false;
}

void machine_arch_tell_cpus(struct machine *m)
{
    (void)m; /* has none of which to tell */
}

size_t machine_arch_receive(struct machine *m, const void *data, size_t len)
{
    return pl011_receive(m->serial, data, len);
}
