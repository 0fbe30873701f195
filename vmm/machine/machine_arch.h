/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an architecture brings to a machine: a folder of this one (x86/, arm64/) defines all of it,
 * and the Makefile takes the folder of the compiler's target. Stage "irqchip", the first half of
 * stage "devices", interrupt routes and plan_acpi.h are theirs, too: machine_private.h,
 * machine_irq_private.h.
 *
 * Main thread, unless a function says otherwise.
 */
#ifndef VMM_MACHINE_MACHINE_ARCH_H
#define VMM_MACHINE_MACHINE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/layout.h"
#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/machine/host_check.h"
#include "vmm/machine/machine_limits.h"
#include "vmm/topology/topo_plan.h"

struct boot_source;
struct fdt_arch;
struct machine;

/* --- what a description may say, and what a host can do --- */

/** machine_arch_feature_known() - can a CPU feature of that name be taken away, on any host?
 *  Pure. */
bool machine_arch_feature_known(const char *name);

/** machine_arch_serial_is_told() - do guests learn of their serial console without a command line?
 *  Pure. */
bool machine_arch_serial_is_told(void);

/** machine_arch_layout() - the address map that a run on this processor would have: its address
 *  width decides. Return: as mem_layout_make(). */
int machine_arch_layout(const struct topo_plan *plan, struct mem_layout **ret_layout,
                        struct errctx *ec);

/** machine_arch_tree() - what guests' device trees have of their own; NULL: they learn of their
 *  machine by ACPI. */
const struct fdt_arch *machine_arch_tree(void);

/** machine_arch_limits() - fill in what KVM's kind decides: ids of vCPUs, maps of shadow pages. */
void machine_arch_limits(const struct kvm_sys *sys, const char *root,
                         struct machine_limits *limits);

/** machine_arch_advise_kvm() - what to do where there is no KVM. */
const char *machine_arch_advise_kvm(void);

/* A capability of KVM that a run cannot do without. */
struct machine_arch_capability {
    unsigned cap;
    const char *name;
};

/** machine_arch_capabilities() - the list of those that only this architecture has. */
const struct machine_arch_capability *machine_arch_capabilities(size_t *ret_n);

/** machine_arch_check_irqchip() - has this KVM the interrupt controller that guests get, where no
 *  capability tells? Return: 0, -ENOTSUP with a sentence, the errno of KVM_CREATE_VM. */
int machine_arch_check_irqchip(const struct kvm_sys *sys, struct errctx *ec);

/** machine_arch_has_steal_time() - does this KVM tell guests for how long they had to wait? */
bool machine_arch_has_steal_time(const struct kvm_sys *sys);

/** machine_arch_image_kind() - what an image of `numavisor suite` is called: "ELF file". */
const char *machine_arch_image_kind(void);

/** machine_arch_is_image() - is a file one that begins with the @len bytes at @head? 64 are enough
 *  to tell. Pure; any bytes. */
bool machine_arch_is_image(const void *head, size_t len);

/* --- a machine --- */

/** machine_arch_make_vm() - m->vm, and what is asked of KVM before it; m->arch, which is
 *  NULL before. On failure nothing is left. */
int machine_arch_make_vm(struct machine *m, struct errctx *ec);
/** machine_arch_free() - m->arch, after the VM. */
void machine_arch_free(struct machine *m);

/** machine_arch_make_layout() - m->layout, within the VM's addresses. */
int machine_arch_make_layout(struct machine *m, struct errctx *ec);

/** machine_arch_check_images() - as loader_check(). */
int machine_arch_check_images(const struct boot_source *src, struct errctx *ec);

/** machine_arch_make_vcpu() - m->vcpus[i]. */
int machine_arch_make_vcpu(struct machine *m, size_t i, struct errctx *ec);

/** machine_arch_vcpus_made() - once all are there, before machine_set_power_on(). Undone by
 *  machine_arch_vcpus_gone(), which may also come without it. */
int machine_arch_vcpus_made(struct machine *m, struct errctx *ec);
void machine_arch_vcpus_gone(struct machine *m);

/* The guest's clock over a pause (vCPUs stand still), and at a reset. */
int machine_arch_clock_stop(struct machine *m, struct errctx *ec);
int machine_arch_clock_go(struct machine *m, struct errctx *ec);
int machine_arch_clock_reset(struct machine *m, struct errctx *ec);

/** machine_arch_power_button() - press it. Return: 0, or -ENOTSUP with a sentence. */
int machine_arch_power_button(struct machine *m, struct errctx *ec);

/** machine_arch_can_plug_cpus() - pure. */
bool machine_arch_can_plug_cpus(void);

/** machine_arch_tell_cpus() - have the guest look which CPUs come and go; where there is
 *  m->cpu_block. */
void machine_arch_tell_cpus(struct machine *m);

/** machine_arch_receive() - as serial_receive(), of the serial port. Any thread. */
size_t machine_arch_receive(struct machine *m, const void *data, size_t len);

#endif
