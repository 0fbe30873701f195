/* SPDX-License-Identifier: Apache-2.0 */
/* What an x86 guest finds at power-on, in memory and in registers, and the making of its vCPUs. */
#include <string.h>

#include "vcpu/x86/machine_check.h"
#include "vmm/machine/x86/machine_x86.h"

enum { XAPIC_MAX_ID = 254 };

int machine_arch_check_images(const struct boot_source *src, struct errctx *ec)
{
    return loader_check(src, ec);
}

const char *machine_arch_image_kind(void)
{
    return "ELF file"; /* PVH, multiboot */
}

bool machine_arch_is_image(const void *head, size_t len)
{
    return len >= 4 && memcmp(head, "\177ELF", 4) == 0;
}

int machine_load_firmware(struct machine *m, struct errctx *ec)
{
    const struct boot_source src = machine_boot_source(m);

    return loader_load(&src, m->plan, m->mem, &m->arch->entry, ec);
}

int machine_power_on_vcpu(struct machine *m, size_t i, struct errctx *ec)
{
    const bool x2apic = m->plan->max_apic_id > XAPIC_MAX_ID;
    int r = power_on_state_apply(m->arch->power_on, vcpu_kvm(m->vcpus[i]),
                                 m->plan->vcpus[i].apic_id, x2apic, i == 0, ec);

    return r < 0 ? errctx_wrap(ec, r, "vCPU %zu", i) : 0;
}

int machine_set_power_on(struct machine *m, struct errctx *ec)
{
    const struct boot_regs regs = {
        .long_mode = m->arch->entry.mode == BOOT_LONG64,
        .rip = m->arch->entry.rip,
        .rsp = m->arch->entry.rsp,
        .rax = m->arch->entry.rax,
        .rbx = m->arch->entry.rbx,
        .rsi = m->arch->entry.rsi,
        .cr3 = m->arch->entry.cr3,
        .gdt_base = m->arch->entry.gdt_base,
        .gdt_limit = m->arch->entry.gdt_limit,
    };

    for (size_t i = 0; i < m->n_vcpus; i++) {
        int r = machine_power_on_vcpu(m, i, ec);

        if (r < 0)
            return r;
    }
    return boot_regs_apply(&regs, vcpu_kvm(m->vcpus[0]), ec);
}

int machine_arch_make_vcpu(struct machine *m, size_t i, struct errctx *ec)
{
    const struct topo_plan_vcpu *v = &m->plan->vcpus[i];
    const struct vcpu_params params = {
        .id = v->id,
        .kvm_id = v->apic_id,
        .host_cpus = &v->host_cpus,
        .ops = &machine_exit_ops,
        .ops_ctx = m,
        .gate = &m->gate,
    };
    int r = vcpu_new(&m->sys, &m->vm, &params, &m->vcpus[i], ec);

    if (r < 0)
        return r;
    cpuid_patch(m->arch->cpuid, m->plan, v->id);
    r = machine_check_setup(&m->sys, vcpu_kvm(m->vcpus[i]), ec);
    if (r == 0)
        r = kvm_vcpu_set_cpuid(vcpu_kvm(m->vcpus[i]), m->arch->cpuid, ec);
    if (r == 0)
        return 0;
    vcpu_free(m->vcpus[i]);
    return errctx_wrap(ec, r, "vCPU %u", v->id.v);
}

int machine_arch_vcpus_made(struct machine *m, struct errctx *ec)
{
    return power_on_state_capture(&m->sys, vcpu_kvm(m->vcpus[0]), &m->arch->power_on, ec);
}

void machine_arch_vcpus_gone(struct machine *m)
{
    power_on_state_free(m->arch->power_on);
    m->arch->power_on = NULL;
}
