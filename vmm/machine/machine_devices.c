/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "devices": I/O threads, the legacy parts, PCI, and what the user asked for.
 *
 * Devices are kept in one array in build order. Whatever fails half-way, devices_undo() takes
 * down what is there; every pointer it looks at is NULL or zero until its object exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/debug_exit.h"
#include "devices/ioapic.h"
#include "devices/platform.h"
#include "devices/power_block.h"
#include "devices/registry.h"
#include "devices/reset_port.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/virtio/virtio_pci.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

/* Hand @dev to the machine; on failure it is destroyed. */
static int keep(struct machine *m, struct device *dev, struct errctx *ec)
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

/* --- I/O threads ------------------------------------------------------------------------------ */

static void say_ready(void *ctx)
{
    struct io_thread *io = ctx;

    (void)sem_post(&io->ready);
}

static int io_thread_setup(struct io_thread *io)
{
    const struct sandbox *sandbox = io->machine->sandbox;
    char name[16];
    int r;

    (void)snprintf(name, sizeof(name), "io%u", io->index);
    place_name_thread(name);
    r = sandbox != NULL ? sandbox_enter(sandbox, SANDBOX_IO, &io->ec) : 0;
    if (r == 0 && evloop_post(io->loop, say_ready, io) < 0) /* the first thing that is served */
        r = errctx_set(&io->ec, ENOMEM, "no memory");
    return r;
}

static void *io_thread_main(void *arg)
{
    struct io_thread *io = arg;
    struct errctx ec = { 0 };

    io->result = io_thread_setup(io);
    if (io->result < 0)
        say_ready(io);
    else if (evloop_run(io->loop, &ec) < 0)
        machine_request_end(io->machine, MACHINE_END_FAILURE, 0, ec.msg);
    return NULL;
}

static int make_io_loops(struct machine *m, struct errctx *ec)
{
    m->io = calloc(m->config->io_threads, sizeof(m->io[0]));
    if (m->io == NULL)
        return errctx_set(ec, ENOMEM, "no memory for I/O threads");
    for (; m->n_io < m->config->io_threads; m->n_io++) {
        struct io_thread *io = &m->io[m->n_io];
        int r = evloop_new(&io->loop, ec);

        if (r < 0)
            return r;
        io->index = (unsigned)m->n_io;
        io->machine = m;
    }
    return 0;
}

/* Returns when the loop is served: until then evloop_call() would run beside it. */
static int start_io_thread(struct io_thread *io, struct errctx *ec)
{
    int r;

    (void)sem_init(&io->ready, 0, 0);
    r = pthread_create(&io->thread, NULL, io_thread_main, io);
    if (r != 0) {
        (void)sem_destroy(&io->ready);
        return errctx_set_os(ec, r, "I/O thread %u", io->index);
    }
    io->started = true;
    while (sem_wait(&io->ready) < 0)
        ; /* interrupted */
    return io->result < 0 ? errctx_set(ec, -io->result, "I/O thread %u: %s", io->index, io->ec.msg)
                          : 0;
}

int machine_start_io(struct machine *m, struct errctx *ec)
{
    for (size_t i = 0; i < m->n_io; i++) {
        int r = start_io_thread(&m->io[i], ec);

        if (r < 0)
            return r;
    }
    return 0;
}

void machine_stop_io(struct machine *m)
{
    for (size_t i = 0; i < m->n_io; i++) {
        if (!m->io[i].started)
            continue;
        evloop_stop(m->io[i].loop);
        (void)pthread_join(m->io[i].thread, NULL);
        (void)sem_destroy(&m->io[i].ready);
        m->io[i].started = false;
    }
}

/* --- legacy parts ----------------------------------------------------------------------------- */

static size_t wire_send(void *ctx, const void *data, size_t len)
{
    const struct machine *m = ctx;

    return machine_console_send(m->console, data, len);
}

static void console_room(void *ctx)
{
    const struct machine *m = ctx;

    if (m->serial != NULL)
        serial_output_ready(m->serial);
}

static const struct serial_wire_ops wire_ops = { .send = wire_send };

static int add_port_device(struct machine *m, struct device *dev, uint64_t base, uint64_t len,
                           struct errctx *ec)
{
    int r = keep(m, dev, ec);

    return r < 0 ? r : bus_add(m->port_bus, base, len, dev, 0, ec);
}

static int make_ioapic(struct machine *m, struct errctx *ec)
{
    struct device *dev;
    int r = ioapic_new(machine_irq_ioapic_ops(), m->irq, &dev, ec);

    if (r < 0)
        return r;
    r = keep(m, dev, ec);
    if (r < 0)
        return r;
    m->ioapic = dev;
    machine_irq_attach_ioapic(m->irq, dev);
    return bus_add(m->mem_bus, LAYOUT_IOAPIC_BASE, 4 * KIB, dev, 0, ec);
}

static int make_serial(struct machine *m, struct errctx *ec)
{
    const struct irq_services *irq = machine_irq_services(m->irq);
    const int out = m->config->console == CONSOLE_SERIAL ? STDOUT_FILENO : -1;
    struct device *dev;
    int r = machine_console_new(m->main_loop, out, console_room, m, &m->console, ec);

    if (r < 0)
        return r;
    r = serial_new(PLATFORM_SERIAL_IRQ, irq->line, irq->ctx, &wire_ops, m, &dev, ec);
    if (r < 0)
        return r;
    r = add_port_device(m, dev, PLATFORM_SERIAL_PORT, 8, ec);
    if (r == 0)
        m->serial = dev;
    return r;
}

static int make_legacy(struct machine *m, struct errctx *ec)
{
    const struct irq_services *irq = machine_irq_services(m->irq);
    struct device *dev;
    int r = make_ioapic(m, ec);

    if (r < 0 || (r = make_serial(m, ec)) < 0)
        return r;
    r = rtc_new(m->main_loop, irq->line, irq->ctx, &dev, ec);
    if (r < 0 || (r = add_port_device(m, dev, PLATFORM_RTC_PORT, 2, ec)) < 0)
        return r;
    r = debug_exit_new(&machine_events_ops, m, &dev, ec);
    if (r < 0 || (r = add_port_device(m, dev, PLATFORM_DEBUG_EXIT, 4, ec)) < 0)
        return r;
    r = power_block_new(&machine_events_ops, m, irq->line, irq->ctx, &dev, ec);
    if (r < 0 || (r = add_port_device(m, dev, PLATFORM_SLEEP_CONTROL,
                                      PLATFORM_GED_PORT + 1 - PLATFORM_SLEEP_CONTROL, ec)) < 0)
        return r;
    m->power = dev;
    /* Port 0xcf9 lies inside PCI's configuration ports, so the PCI host passes it on. */
    r = reset_port_new(&machine_events_ops, m, &m->reset_port, ec);
    return r < 0 ? r : keep(m, m->reset_port, ec);
}

/* --- PCI and the user's devices --------------------------------------------------------------- */

static int make_pci(struct machine *m, struct errctx *ec)
{
    const struct pci_host_params params = {
        .layout = m->layout,
        .mem_bus = m->mem_bus,
        .port_bus = m->port_bus,
        .port_cf9 = m->reset_port,
    };
    int r = pci_host_new(&params, &m->pci, ec);

    return r < 0 ? r : keep(m, pci_host_device(m->pci), ec);
}

/* @n is the number of the device among all, for spreading them over I/O threads. */
static int make_device(struct machine *m, const struct device_args *args, size_t n,
                       unsigned number, struct errctx *ec)
{
    char name[32];
    struct device_env env = {
        .mem = m->mem,
        .loop = m->io[n % m->n_io].loop,
        .name = name,
        .vm_name = m->config->name,
        .io_uring_ok = true,
        .console_in_fd = m->console_pipe[0],
        .console_out_fd = m->console_pipe[0] >= 0 ? STDOUT_FILENO : -1,
    };
    struct virtio_dev *vdev;
    struct device *dev;
    int r;

    (void)snprintf(name, sizeof(name), "%.16s%u", args->type->name, number);
    if (args->vnode >= m->plan->n_nodes)
        return errctx_set(ec, EINVAL, "--%s node=%u: there is no such virtual node (0 to %zu)",
                          args->type->name, args->vnode, m->plan->n_nodes - 1);
    r = args->type->create(args, &env, &vdev, ec);
    if (r < 0)
        return r;
    r = virtio_pci_new(vdev, m->pci, (uint8_t)args->vnode, machine_irq_services(m->irq), &dev,
                       ec);
    if (r < 0) {
        vdev->ops->destroy(vdev);
        return errctx_wrap(ec, r, "%s", name);
    }
    return keep(m, dev, ec);
}

/* The console that `--console virtio` asks for, unless the user described it as a device. */
static int make_terminal_console(struct machine *m, struct errctx *ec)
{
    struct device_args args = { .type = registry_find("console") };

    for (size_t i = 0; i < m->config->n_devices; i++)
        if (m->config->devices[i].type == args.type)
            return 0;
    return make_device(m, &args, 0, 0, ec);
}

static int make_user_devices(struct machine *m, struct errctx *ec)
{
    if (m->config->console == CONSOLE_VIRTIO) {
        int r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, m->console_pipe) < 0)
            return errctx_set_os(ec, errno, "socketpair");
        r = make_terminal_console(m, ec);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < m->config->n_devices; i++) {
        const struct device_args *args = &m->config->devices[i];
        unsigned number = 0;
        int r;

        for (size_t k = 0; k < i; k++)
            number += m->config->devices[k].type == args->type;
        r = make_device(m, args, i, number, ec);
        if (r < 0)
            return r;
    }
    return 0;
}

int stage_devices_build(struct machine *m, struct errctx *ec)
{
    int r = make_io_loops(m, ec);

    if (r == 0)
        r = make_legacy(m, ec);
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
    for (size_t i = 0; i < m->n_io; i++)
        evloop_free(m->io[i].loop);
    free(m->io);
    m->io = NULL;
    m->n_io = 0;
    machine_console_free(m->console);
    m->console = NULL;
    for (int i = 0; i < 2; i++) {
        if (m->console_pipe[i] >= 0)
            (void)close(m->console_pipe[i]);
        m->console_pipe[i] = -1;
    }
}
