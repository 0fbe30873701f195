/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages "images", "firmware" and "vcpus", and the two functions that a reset runs again: what is
 * in memory at power-on, and what is in the registers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vcpu/cpuid.h"
#include "vmm/machine/machine_private.h"

enum { XAPIC_MAX_ID = 254 };

static struct boot_source boot_source(const struct machine *m)
{
    return (struct boot_source){
        .kernel_fd = m->kernel_fd,
        .kernel_name = m->config->kernel,
        .initrd_fd = m->initrd_fd,
        .initrd_name = m->config->initrd,
        .cmdline = m->config->cmdline,
        .linux_cmdline = config_linux_cmdline(m->config),
    };
}

int machine_load_firmware(struct machine *m, struct errctx *ec)
{
    const struct boot_source src = boot_source(m);

    return loader_load(&src, m->plan, m->mem, &m->entry, ec);
}

/* O_NONBLOCK: a FIFO without a writer is to be refused, not waited for. Plain files ignore it. */
static int open_image(const char *option, const char *path, int *ret_fd, struct errctx *ec)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return errctx_set_os(ec, errno, "--%s %s", option, path);
    *ret_fd = fd;
    return 0;
}

int stage_images_build(struct machine *m, struct errctx *ec)
{
    struct boot_source src;
    int r;

    if (m->config->kernel == NULL)
        return errctx_set(ec, EINVAL, "--kernel is missing: there is nothing to boot");
    r = open_image("kernel", m->config->kernel, &m->kernel_fd, ec);
    if (r == 0 && m->config->initrd != NULL)
        r = open_image("initrd", m->config->initrd, &m->initrd_fd, ec);
    if (r == 0) {
        src = boot_source(m);
        r = loader_check(&src, ec);
    }
    if (r < 0)
        stage_images_undo(m);
    return r;
}

void stage_images_undo(struct machine *m)
{
    if (m->kernel_fd >= 0)
        (void)close(m->kernel_fd);
    if (m->initrd_fd >= 0)
        (void)close(m->initrd_fd);
    m->kernel_fd = m->initrd_fd = -1;
}

int stage_firmware_build(struct machine *m, struct errctx *ec)
{
    return machine_load_firmware(m, ec);
}

void stage_firmware_undo(struct machine *m)
{
    (void)m; /* it is all in the guest's memory */
}

int machine_set_power_on(struct machine *m, struct errctx *ec)
{
    const struct boot_regs regs = {
        .long_mode = m->entry.mode == BOOT_LONG64,
        .rip = m->entry.rip,
        .rsp = m->entry.rsp,
        .rax = m->entry.rax,
        .rbx = m->entry.rbx,
        .rsi = m->entry.rsi,
        .cr3 = m->entry.cr3,
        .gdt_base = m->entry.gdt_base,
        .gdt_limit = m->entry.gdt_limit,
    };
    const bool x2apic = m->plan->max_apic_id > XAPIC_MAX_ID;

    for (size_t i = 0; i < m->n_vcpus; i++) {
        int r = power_on_state_apply(m->power_on, vcpu_kvm(m->vcpus[i]),
                                     m->plan->vcpus[i].apic_id, x2apic, i == 0, ec);

        if (r < 0)
            return errctx_wrap(ec, r, "vCPU %zu", i);
    }
    return boot_regs_apply(&regs, vcpu_kvm(m->vcpus[0]), ec);
}

static int make_vcpu(struct machine *m, size_t i, struct kvm_cpuid2 *table, struct errctx *ec)
{
    const struct topo_plan_vcpu *v = &m->plan->vcpus[i];
    const struct vcpu_params params = {
        .id = v->id,
        .apic_id = v->apic_id,
        .host_cpus = &v->host_cpus,
        .cpuid = table,
        .ops = &machine_exit_ops,
        .ops_ctx = m,
        .gate = &m->gate,
    };

    cpuid_patch(table, m->plan, v->id);
    return vcpu_new(&m->sys, &m->vm, &params, &m->vcpus[i], ec);
}

int stage_vcpus_build(struct machine *m, struct errctx *ec)
{
    int r = vcpu_install_kick_handler(ec);

    if (r < 0)
        return r;
    m->vcpus = calloc(m->plan->n_vcpus, sizeof(struct vcpu *));
    if (m->vcpus == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu vCPUs", m->plan->n_vcpus);
    for (; m->n_vcpus < m->plan->n_vcpus; m->n_vcpus++) {
        r = make_vcpu(m, m->n_vcpus, m->cpuid, ec);
        if (r < 0)
            goto err;
    }
    r = power_on_state_capture(&m->sys, vcpu_kvm(m->vcpus[0]), &m->power_on, ec);
    if (r < 0)
        goto err;
    r = machine_set_power_on(m, ec);
    if (r < 0)
        goto err;
    r = machine_stats_open(m, ec);
    if (r < 0)
        goto err;
    return 0;

err:
    stage_vcpus_undo(m);
    return r;
}

void stage_vcpus_undo(struct machine *m)
{
    machine_stats_close(m);
    power_on_state_free(m->power_on);
    m->power_on = NULL;
    while (m->n_vcpus > 0)
        vcpu_free(m->vcpus[--m->n_vcpus]);
    free(m->vcpus);
    m->vcpus = NULL;
}
