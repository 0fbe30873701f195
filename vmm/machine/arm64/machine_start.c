/* SPDX-License-Identifier: Apache-2.0 */
/* What an arm64 guest finds at power-on, in memory and in registers, and the making of its vCPUs.
 * A vCPU's number is its number in KVM, which makes the affinity fields of it. */
#include <errno.h>
#include <stdlib.h>

#include "firmware/arm64/arm64_fdt.h"
#include "firmware/arm64/arm64_image.h"
#include "vmm/base/cleanup.h"
#include "vmm/kvm/arm64/kvm_vcpu_arm64.h"
#include "vmm/machine/arm64/machine_arm64.h"

int machine_arch_check_images(const struct boot_source *src, struct errctx *ec)
{
    return arm64_loader_check(src, ec);
}

const char *machine_arch_image_kind(void)
{
    return "arm64 Image";
}

bool machine_arch_is_image(const void *head, size_t len)
{
    struct arm64_image image;

    return len >= ARM64_IMAGE_HEADER && arm64_image_parse(head, "", &image, NULL) == 0;
}

int machine_load_firmware(struct machine *m, struct errctx *ec)
{
    const struct boot_source src = machine_boot_source(m);

    return arm64_loader_load(&src, m->plan, m->mem, &m->arch->entry, ec);
}

int machine_arch_make_vcpu(struct machine *m, size_t i, struct errctx *ec)
{
    const struct topo_plan_vcpu *v = &m->plan->vcpus[i];
    const struct vcpu_params params = {
        .id = v->id,
        .kvm_id = v->id.v,
        .host_cpus = &v->host_cpus,
        .ops = &machine_exit_ops,
        .ops_ctx = m,
        .gate = &m->gate,
    };

    return vcpu_new(&m->sys, &m->vm, &params, &m->vcpus[i], ec);
}

int machine_arch_vcpus_made(struct machine *m, struct errctx *ec)
{
    int r = kvm_gic_start(&m->arch->gic, ec);

    return r < 0 ? r : machine_irq_release(m->irq, ec);
}

void machine_arch_vcpus_gone(struct machine *m)
{
    kvm_gic_state_free(m->arch->gic_state); /* the GIC itself goes with its stage */
    m->arch->gic_state = NULL;
}

/* Once vCPUs are as at power-on: the first time the GIC is, too, and is remembered. */
static int power_on_gic(struct machine *m, struct errctx *ec)
{
    CLEANUP_FREE uint32_t *mpidr = calloc(m->n_vcpus, sizeof(*mpidr));

    if (mpidr == NULL)
        return errctx_set(ec, ENOMEM, "no memory to reset the GIC");
    for (size_t i = 0; i < m->n_vcpus; i++)
        mpidr[i] = fdt_arch_arm64.cpu_reg(m->plan->vcpus[i].id);
    if (m->arch->gic_state == NULL)
        return kvm_gic_save(&m->arch->gic, mpidr[0], MACHINE_ARM64_IRQS, &m->arch->gic_state, ec);
    return kvm_gic_reset(&m->arch->gic, m->arch->gic_state, mpidr, m->n_vcpus, ec);
}

int machine_power_on_vcpu(struct machine *m, size_t i, struct errctx *ec)
{
    const int r = kvm_vcpu_arm64_init(&m->vm, vcpu_kvm(m->vcpus[i]), i > 0, ec);

    return r < 0 ? errctx_wrap(ec, r, "vCPU %zu", i) : 0;
}

int machine_set_power_on(struct machine *m, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < m->n_vcpus; i++)
        r = machine_power_on_vcpu(m, i, ec);
    if (r == 0)
        r = power_on_gic(m, ec);
    if (r < 0)
        return r;
    return kvm_vcpu_arm64_start_at(vcpu_kvm(m->vcpus[0]), m->arch->entry.pc, m->arch->entry.tree,
                                   ec);
}
