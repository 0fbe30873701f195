/* SPDX-License-Identifier: Apache-2.0 */
/* What an x86 host can do, and what its VMs have of their own; see machine_arch.h. */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/platform.h"
#include "devices/power_block.h"
#include "devices/serial.h"
#include "firmware/x86/x86_map.h"
#include "vcpu/x86/cpuid_features.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/x86/kvm_state.h"
#include "vmm/kvm/x86/kvm_sys_x86.h"
#include "vmm/kvm/x86/kvm_vm_x86.h"
#include "vmm/machine/x86/machine_x86.h"

enum { PHYS_BITS_MIN = 36 };

/* CPUID 0x80000008 EAX[7:0]; KVM passes it on to guests. */
static unsigned physical_bits(void)
{
    unsigned eax = 0, ebx, ecx, edx;

    if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) == 0 || (eax & 0xff) < PHYS_BITS_MIN)
        return PHYS_BITS_MIN;
    return eax & 0xff;
}

bool machine_arch_feature_known(const char *name)
{
    return cpuid_feature_known(name);
}

bool machine_arch_serial_is_told(void)
{
    return false;
}

int machine_arch_layout(const struct topo_plan *plan, struct mem_layout **ret_layout,
                        struct errctx *ec)
{
    return mem_layout_make(&x86_layout_map, plan, physical_bits(), ret_layout, ec);
}

static bool is_yes(const char *root, const char *parameter)
{
    char text[8];

    return kernel_file_text(text, sizeof(text), root, "/sys/module/%s", parameter) &&
           (strcmp(text, "Y") == 0 || strcmp(text, "1") == 0);
}

/* The TDP MMU needs no reverse maps until a guest runs guests of its own. */
static bool has_shadow_maps(const char *root)
{
    return !is_yes(root, "kvm/parameters/tdp_mmu") ||
           (!is_yes(root, "kvm_intel/parameters/ept") && !is_yes(root, "kvm_amd/parameters/npt"));
}

const struct fdt_arch *machine_arch_tree(void)
{
    return NULL;
}

void machine_arch_limits(const struct kvm_sys *sys, const char *root,
                         struct machine_limits *limits)
{
    limits->max_vcpu_id = (uint32_t)kvm_sys_check(sys, KVM_CAP_MAX_VCPU_ID);
    limits->shadow_maps = has_shadow_maps(root);
}

const char *machine_arch_advise_kvm(void)
{
    return "switch virtualization (SVM or VT-x) on in the firmware and load kvm_amd or kvm_intel; "
           "inside a VM, ask for nested virtualization";
}

const struct machine_arch_capability *machine_arch_capabilities(size_t *ret_n)
{
    static const struct machine_arch_capability needed[] = {
        { KVM_CAP_SPLIT_IRQCHIP, "split interrupt controller" },
        { KVM_CAP_X2APIC_API, "32-bit APIC ids" },
    };

    *ret_n = ARRAY_SIZE(needed);
    return needed;
}

int machine_arch_check_irqchip(const struct kvm_sys *sys, struct errctx *ec)
{
    (void)sys;
    (void)ec;
    return 0; /* KVM_CAP_SPLIT_IRQCHIP tells */
}

/* KVM's leaf 0x40000001, EAX bit 5 (Documentation/virt/kvm/x86/cpuid.rst). */
bool machine_arch_has_steal_time(const struct kvm_sys *sys)
{
    struct kvm_cpuid2 *cpuid = NULL;
    bool found = false;

    if (kvm_sys_supported_cpuid(sys, &cpuid, NULL) < 0)
        return false;
    for (uint32_t i = 0; i < cpuid->nent; i++)
        found = found || (cpuid->entries[i].function == 0x40000001 &&
                          (cpuid->entries[i].eax & (1u << 5)) != 0);
    free(cpuid);
    return found;
}

static int make_cpuid(struct machine *m, struct errctx *ec)
{
    struct kvm_cpuid2 *supported = NULL;
    struct cpuid_request req;
    int r = kvm_sys_supported_cpuid(&m->sys, &supported, ec);

    if (r < 0)
        return r;
    req = (struct cpuid_request){
        .supported = supported,
        .plan = m->plan,
        .features_off = (const char *const *)m->config->cpu_features_off,
        .n_features_off = m->config->n_cpu_features_off,
        .tsc_deadline = kvm_sys_check(&m->sys, KVM_CAP_TSC_DEADLINE_TIMER) != 0,
    };
    r = cpuid_template_make(&req, &m->arch->cpuid, ec);
    free(supported);
    if (r == 0)
        m->arch->phys_bits = cpuid_phys_bits(m->arch->cpuid);
    return r;
}

int machine_arch_make_vm(struct machine *m, struct errctx *ec)
{
    int r;

    m->arch = calloc(1, sizeof(*m->arch));
    if (m->arch == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the machine");
    r = make_cpuid(m, ec);
    if (r == 0)
        r = kvm_vm_create(&m->sys, 0, &m->vm, ec);
    if (r < 0)
        machine_arch_free(m);
    return r;
}

void machine_arch_free(struct machine *m)
{
    free(m->arch->cpuid);
    free(m->arch);
    m->arch = NULL;
}

int machine_arch_make_layout(struct machine *m, struct errctx *ec)
{
    return mem_layout_make(&x86_layout_map, m->plan, m->arch->phys_bits, &m->layout, ec);
}

/* --- while it runs --- */

int machine_arch_clock_stop(struct machine *m, struct errctx *ec)
{
    return kvm_vm_get_clock_ns(&m->vm, &m->arch->clock_ns, ec);
}

int machine_arch_clock_go(struct machine *m, struct errctx *ec)
{
    int r = kvm_vm_set_clock_ns(&m->vm, m->arch->clock_ns, ec); /* it stood still, too */

    if (r < 0)
        return r;
    for (size_t i = 0; i < m->n_vcpus; i++)
        kvm_vcpu_kvmclock_ctrl(vcpu_kvm(m->vcpus[i]));
    return 0;
}

int machine_arch_clock_reset(struct machine *m, struct errctx *ec)
{
    int r = kvm_vm_set_clock_ns(&m->vm, 0, ec);

    if (r == 0)
        m->arch->clock_ns = 0;
    return r;
}

int machine_arch_power_button(struct machine *m, struct errctx *ec)
{
    (void)ec;
    power_block_press(m->power);
    return 0;
}

bool machine_arch_can_plug_cpus(void)
{
    return true;
}

void machine_arch_tell_cpus(struct machine *m)
{
    power_block_raise(m->power, PLATFORM_GED_CPU);
}

size_t machine_arch_receive(struct machine *m, const void *data, size_t len)
{
    return serial_receive(m->serial, data, len);
}
