/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/machine_irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/machine/machine_irq_private.h"

static void commit_locked(struct machine_irq *irq)
{
    struct kvm_irq_routing *t = irq->table;

    t->nr = 0;
    for (uint32_t gsi = 0; gsi < irq->n_routes; gsi++) {
        const struct machine_irq_route *r = &irq->routes[gsi];

        if (!r->used || !r->set)
            continue;
        t->entries[t->nr++] = (struct kvm_irq_routing_entry){
            .gsi = gsi,
            .type = KVM_IRQ_ROUTING_MSI,
            .flags = r->flags,
            .u.msi = { .address_lo = r->address_lo, .address_hi = r->address_hi, .data = r->data,
                       .devid = r->devid },
        };
    }
    /* KVM refuses a table only for reasons that are fixed at build time (its size, its types). */
    (void)kvm_vm_set_routes(&irq->vm, t, NULL);
}

void machine_irq_set_route_locked(struct machine_irq *irq, uint32_t gsi,
                                  const struct machine_irq_route *to)
{
    struct machine_irq_route *r = &irq->routes[gsi];

    if (r->set == to->set && (!r->set || (r->address_lo == to->address_lo &&
                                          r->address_hi == to->address_hi &&
                                          r->data == to->data && r->devid == to->devid)))
        return;
    r->set = to->set;
    r->address_lo = to->address_lo;
    r->address_hi = to->address_hi;
    r->data = to->data;
    r->flags = to->flags;
    r->devid = to->devid;
    commit_locked(irq);
}

static int line_new(void *ctx, struct msi_line *ret_line, struct errctx *ec)
{
    struct machine_irq *irq = ctx;
    CLEANUP_CLOSE int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint32_t gsi = machine_irq_pins;
    int r;
    LOCK_SCOPE(&irq->lock);

    if (fd < 0)
        return errctx_set_os(ec, errno, "eventfd");
    while (gsi < irq->max_routes && irq->routes[gsi].used)
        gsi++;
    if (gsi == irq->max_routes)
        return errctx_set(ec, ENOSPC, "KVM routes no more than %u interrupts", irq->max_routes);
    r = irq->held ? 0 : kvm_vm_irqfd(&irq->vm, fd, gsi, true, ec);
    if (r < 0)
        return r;
    irq->routes[gsi] = (struct machine_irq_route){ .used = true, .fd = fd };
    if (irq->n_routes <= gsi)
        irq->n_routes = gsi + 1;
    *ret_line = (struct msi_line){ .fd = take_fd(&fd), .gsi = gsi };
    return 0;
}

static void line_free(void *ctx, struct msi_line *line)
{
    struct machine_irq *irq = ctx;
    LOCK_SCOPE(&irq->lock);

    (void)kvm_vm_irqfd(&irq->vm, line->fd, line->gsi, false, NULL);
    (void)close(line->fd);
    if (irq->routes[line->gsi].set)
        machine_irq_set_route_locked(irq, line->gsi, &(struct machine_irq_route){ 0 });
    irq->routes[line->gsi].used = false;
    line->fd = -1;
}

static void line_set(void *ctx, const struct msi_line *line, uint64_t addr, uint32_t data)
{
    struct machine_irq *irq = ctx;
    struct machine_irq_route to = { 0 };
    LOCK_SCOPE(&irq->lock);

    to.set = machine_irq_translate(addr, data, line->requester, &to);
    machine_irq_set_route_locked(irq, line->gsi, &to);
}

static int doorbell_add(void *ctx, struct gpa addr, uint32_t size, int eventfd)
{
    const struct machine_irq *irq = ctx;

    return kvm_vm_ioeventfd(&irq->vm, addr, size, eventfd, true, NULL);
}

static void doorbell_remove(void *ctx, struct gpa addr, uint32_t size, int eventfd)
{
    const struct machine_irq *irq = ctx;

    (void)kvm_vm_ioeventfd(&irq->vm, addr, size, eventfd, false, NULL);
}

static const struct msi_ops msi_ops = {
    .line_new = line_new,
    .line_free = line_free,
    .line_set = line_set,
};

static const struct irq_line_ops line_ops = { .set = machine_irq_level };

static const struct doorbell_ops doorbell_ops = {
    .add = doorbell_add,
    .remove = doorbell_remove,
};

int machine_irq_new(const struct kvm_vm *vm, struct machine_irq **ret_irq, struct errctx *ec)
{
    struct machine_irq *irq = calloc(1, sizeof(*irq));
    int max = kvm_vm_check(vm, KVM_CAP_IRQ_ROUTING);

    if (irq == NULL)
        return errctx_set(ec, ENOMEM, "no memory for interrupt routes");
    if (max <= (int)machine_irq_pins) {
        free(irq);
        return errctx_set(ec, ENOSYS, "this KVM routes no interrupts (KVM_CAP_IRQ_ROUTING)");
    }
    irq->vm = *vm;
    irq->max_routes = (uint32_t)max;
    irq->routes = calloc(irq->max_routes, sizeof(irq->routes[0]));
    irq->table =
        calloc(1, sizeof(*irq->table) + irq->max_routes * sizeof(irq->table->entries[0]));
    if (irq->routes == NULL || irq->table == NULL) {
        free(irq->routes);
        free(irq->table);
        free(irq);
        return errctx_set(ec, ENOMEM, "no memory for interrupt routes");
    }
    for (uint32_t pin = 0; pin < machine_irq_pins; pin++)
        irq->routes[pin].used = true;
    irq->n_routes = machine_irq_pins;
    irq->services = (struct irq_services){
        .msi = &msi_ops, .line = &line_ops, .doorbell = &doorbell_ops, .ctx = irq
    };
    (void)pthread_mutex_init(&irq->lock, NULL);
    *ret_irq = irq;
    return 0;
}

void machine_irq_free(struct machine_irq *irq)
{
    if (irq == NULL)
        return;
    (void)pthread_mutex_destroy(&irq->lock);
    free(irq->table);
    free(irq->routes);
    free(irq);
}

void machine_irq_hold(struct machine_irq *irq)
{
    irq->held = true;
}

int machine_irq_release(struct machine_irq *irq, struct errctx *ec)
{
    LOCK_SCOPE(&irq->lock);

    irq->held = false;
    for (uint32_t gsi = machine_irq_pins; gsi < irq->n_routes; gsi++) {
        int r = irq->routes[gsi].used
                    ? kvm_vm_irqfd(&irq->vm, irq->routes[gsi].fd, gsi, true, ec)
                    : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

const struct irq_services *machine_irq_services(const struct machine_irq *irq)
{
    return &irq->services;
}
