/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages "images", "firmware" and "vcpus". What is in memory at power-on and what is in the
 * registers, which a reset does again, is in machine_start.c of each architecture.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firmware/loader.h"
#include "vmm/machine/machine_private.h"

struct boot_source machine_boot_source(const struct machine *m)
{
    return (struct boot_source){
        .kernel_fd = m->kernel_fd,
        .kernel_name = m->config->kernel,
        .initrd_fd = m->initrd_fd,
        .initrd_name = m->config->initrd,
        .cmdline = m->config->cmdline,
        .linux_cmdline = config_linux_cmdline(m->config, machine_arch_serial_is_told()),
    };
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
        src = machine_boot_source(m);
        r = machine_arch_check_images(&src, ec);
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

int stage_vcpus_build(struct machine *m, struct errctx *ec)
{
    int r = vcpu_install_handlers(ec);

    if (r < 0)
        return r;
    m->vcpus = calloc(m->plan->n_vcpus, sizeof(struct vcpu *));
    if (m->vcpus == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu vCPUs", m->plan->n_vcpus);
    for (; m->n_vcpus < m->plan->n_vcpus; m->n_vcpus++) {
        r = machine_arch_make_vcpu(m, m->n_vcpus, ec);
        if (r < 0)
            goto err;
        if (m->plan->vcpus[m->n_vcpus].later)
            vcpu_set_away(m->vcpus[m->n_vcpus], true);
    }
    r = machine_arch_vcpus_made(m, ec);
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
    machine_arch_vcpus_gone(m);
    while (m->n_vcpus > 0)
        vcpu_free(m->vcpus[--m->n_vcpus]);
    free(m->vcpus);
    m->vcpus = NULL;
}
