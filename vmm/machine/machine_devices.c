/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "devices": I/O loops, the legacy parts, PCI, and what the user asked for.
 *
 * Devices are kept in one array in build order. Whatever fails half-way, devices_undo() takes
 * down what is there; every pointer it looks at is NULL or zero until its object exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/registry.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/mem.h"
#include "devices/virtio/virtio_pci.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

int machine_keep(struct machine *m, struct device *dev, struct errctx *ec)
{
    if (m->n_devices == m->cap_devices) {
        size_t cap = m->cap_devices ? m->cap_devices * 2 : 16;
        struct device **grown = realloc(m->devices, cap * sizeof(struct device *));

        if (grown == NULL) {
            dev->ops->destroy(dev);
            return errctx_set(ec, ENOMEM, "no memory for %s", dev->name);
        }
        m->devices = grown;
        m->cap_devices = cap;
    }
    m->devices[m->n_devices++] = dev;
    return 0;
}

static int make_pci(struct machine *m, struct errctx *ec)
{
    const struct pci_host_params params = {
        .layout = m->layout,
        .mem_bus = m->mem_bus,
        .port_bus = m->port_bus,
        .port_cf9 = m->reset_port,
    };
    int r = pci_host_new(&params, &m->pci, ec);

    return r < 0 ? r : machine_keep(m, pci_host_device(m->pci), ec);
}

/* Threads that a device makes for itself run where this one does meanwhile. */
static int create_near(const struct device_args *args, const struct device_env *env,
                       const struct idset *cpus, struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct idset before;
    bool moved = !idset_empty(cpus) && place_get_thread(&before) == 0 &&
                 place_pin_thread(cpus, NULL) == 0; /* the thread's own start says what is wrong */
    int r = args->type->create(args, env, ret_dev, ec);

    if (moved)
        (void)place_pin_thread(&before, NULL);
    return r;
}

static void device_says(void *ctx, const char *what)
{
    const struct machine *m = ctx;

    if (m->hooks.device_says != NULL)
        m->hooks.device_says(m->hooks.ctx, what);
}

/* @n is the number of the device among all, see machine_threads.h. */
static int make_device(struct machine *m, const struct device_args *args, size_t n,
                       struct errctx *ec)
{
    const uint32_t thread = m->threads->device[n];
    struct io_thread *io = &m->io[thread];
    char name[MACHINE_DEVICE_NAME];
    struct device_env env = {
        .mem = m->mem,
        .loop = io->loop,
        .name = machine_device_name(m->config, n, name),
        .vm_name = m->config->name,
        .console_in_fd = m->console_pipe[0],
        .console_out_fd = m->console_pipe[0] >= 0 ? STDOUT_FILENO : -1,
        .vnode = args->vnode,
        .plug = &machine_plug_ops,
        .plug_ctx = m,
        .say = device_says,
        .say_ctx = m,
    };
    struct virtio_dev *vdev;
    struct device *dev;
    int r;

    if (args->vnode >= m->plan->n_nodes)
        return errctx_set(ec, EINVAL, "--%s node=%u: there is no such virtual node (0 to %zu)",
                          args->type->name, args->vnode, m->plan->n_nodes - 1);
    r = create_near(args, &env, &m->threads->io[thread].host_cpus, &vdev, ec);
    if (r < 0)
        return r;
    io->wanted = true;
    r = virtio_pci_new(vdev, m->pci, (uint8_t)args->vnode, machine_irq_services(m->irq), &dev,
                       ec);
    if (r < 0) {
        vdev->ops->destroy(vdev);
        return errctx_wrap(ec, r, "%s", name);
    }
    r = machine_keep(m, dev, ec);
    if (r == 0 && args->type == &balloon_device_type)
        m->balloon = vdev;
    if (r == 0 && args->type == &virtio_mem_device_type)
        m->mem_devices[m->n_mem_devices++] = vdev;
    return r;
}

/* One for each node that has a window; nobody describes them. */
static int make_mem_devices(struct machine *m, size_t first, struct errctx *ec)
{
    int r = 0;

    m->mem_devices = calloc(m->plan->n_nodes, sizeof(*m->mem_devices));
    if (m->mem_devices == NULL)
        return errctx_set(ec, ENOMEM, "no memory for devices");
    for (uint32_t i = 0; r == 0 && i < m->plan->n_nodes; i++) {
        const struct device_args args = { .type = &virtio_mem_device_type, .vnode = i };

        if (m->plan->nodes[i].hotplug_bytes > 0)
            r = make_device(m, &args, first++, ec);
    }
    return r;
}

static int make_user_devices(struct machine *m, struct errctx *ec)
{
    if (m->config->console == CONSOLE_VIRTIO) { /* which is no device that a user describes */
        const struct device_args args = { .type = registry_find("console") };
        int r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, m->console_pipe) < 0)
            return errctx_set_os(ec, errno, "socketpair");
        r = make_device(m, &args, 0, ec);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < m->config->n_devices; i++) {
        int r = make_device(m, &m->config->devices[i],
                            i + (m->config->console == CONSOLE_VIRTIO), ec);

        if (r < 0)
            return r;
    }
    return make_mem_devices(m, m->config->n_devices + (m->config->console == CONSOLE_VIRTIO), ec);
}

int stage_devices_build(struct machine *m, struct errctx *ec)
{
    int r = machine_make_io(m, ec);

    if (r == 0)
        r = machine_make_legacy(m, ec);
    if (r == 0)
        r = make_pci(m, ec);
    if (r == 0)
        r = make_user_devices(m, ec);
    if (r < 0)
        stage_devices_undo(m);
    return r;
}

void stage_devices_undo(struct machine *m)
{
    while (m->n_devices > 0) {
        struct device *dev = m->devices[--m->n_devices];

        if (dev->ops->quiesce != NULL)
            dev->ops->quiesce(dev);
        dev->ops->destroy(dev);
    }
    free(m->devices);
    m->devices = NULL;
    m->ioapic = m->serial = m->power = m->reset_port = NULL;
    m->balloon = NULL;
    free(m->mem_devices);
    m->mem_devices = NULL;
    m->n_mem_devices = 0;
    machine_free_io(m);
    machine_console_free(m->console);
    m->console = NULL;
    for (int i = 0; i < 2; i++) {
        if (m->console_pipe[i] >= 0)
            (void)close(m->console_pipe[i]);
        m->console_pipe[i] = -1;
    }
}
