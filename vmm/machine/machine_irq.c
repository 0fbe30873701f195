/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/machine_irq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/platform.h"
#include "vmm/base/cleanup.h"

struct route {
    bool used, set; /* reserved; has a message */
    uint32_t address_lo, address_hi, data;
};

struct machine_irq {
    struct kvm_vm vm; /* borrowed descriptor */
    struct device *ioapic;
    struct irq_services services;
    uint32_t max_routes;

    pthread_mutex_t lock; /* covers everything below and the order of KVM's updates */
    struct route *routes; /* by GSI */
    uint32_t n_routes;
    struct kvm_irq_routing *table; /* room for max_routes, so that a guest's change allocates nothing */
};

/*
 * A message in the form that KVM takes with 32-bit APIC ids: bits 11:5 of the address are bits
 * 14:8 of the destination (KVM_FEATURE_MSI_EXT_DEST_ID) and move to the high word. Returns
 * false for an address outside the interrupt range.
 */
static bool translate(uint64_t addr, uint32_t data, struct route *ret)
{
    if (addr >> 32 != 0 || (addr & 0xfff00000u) != 0xfee00000u)
        return false;
    ret->address_lo = (uint32_t)addr & ~0xfe0u;
    ret->address_hi = ((uint32_t)addr >> 5 & 0x7f) << 8;
    ret->data = data;
    return true;
}

static void commit_locked(struct machine_irq *irq)
{
    struct kvm_irq_routing *t = irq->table;

    t->nr = 0;
    for (uint32_t gsi = 0; gsi < irq->n_routes; gsi++) {
        const struct route *r = &irq->routes[gsi];

        if (!r->used || !r->set)
            continue;
        t->entries[t->nr++] = (struct kvm_irq_routing_entry){
            .gsi = gsi,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = { .address_lo = r->address_lo, .address_hi = r->address_hi, .data = r->data },
        };
    }
    /* KVM refuses a table only for reasons that are fixed at build time (its size, its types). */
    (void)kvm_vm_set_routes(&irq->vm, t, NULL);
}

static void set_route_locked(struct machine_irq *irq, uint32_t gsi, const struct route *to)
{
    struct route *r = &irq->routes[gsi];

    if (r->set == to->set && (!r->set || (r->address_lo == to->address_lo &&
                                          r->address_hi == to->address_hi && r->data == to->data)))
        return;
    r->set = to->set;
    r->address_lo = to->address_lo;
    r->address_hi = to->address_hi;
    r->data = to->data;
    commit_locked(irq);
}

static int line_new(void *ctx, struct msi_line *ret_line, struct errctx *ec)
{
    struct machine_irq *irq = ctx;
    CLEANUP_CLOSE int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint32_t gsi = PLATFORM_IOAPIC_PINS;
    int r;
    LOCK_SCOPE(&irq->lock);

    if (fd < 0)
        return errctx_set_os(ec, errno, "eventfd");
    while (gsi < irq->max_routes && irq->routes[gsi].used)
        gsi++;
    if (gsi == irq->max_routes)
        return errctx_set(ec, ENOSPC, "KVM routes no more than %u interrupts", irq->max_routes);
    r = kvm_vm_irqfd(&irq->vm, fd, gsi, true, ec);
    if (r < 0)
        return r;
    irq->routes[gsi] = (struct route){ .used = true };
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
        set_route_locked(irq, line->gsi, &(struct route){ 0 });
    irq->routes[line->gsi].used = false;
    line->fd = -1;
}

static void line_set(void *ctx, const struct msi_line *line, uint64_t addr, uint32_t data)
{
    struct machine_irq *irq = ctx;
    struct route to = { 0 };
    LOCK_SCOPE(&irq->lock);

    to.set = translate(addr, data, &to);
    set_route_locked(irq, line->gsi, &to);
}

static void send(void *ctx, uint64_t addr, uint32_t data)
{
    struct machine_irq *irq = ctx;
    struct route r = { 0 };

    if (translate(addr, data, &r))
        (void)kvm_vm_signal_msi(&irq->vm, &(struct kvm_msi){ .address_lo = r.address_lo,
                                                             .address_hi = r.address_hi,
                                                             .data = r.data });
}

static void pin_route(void *ctx, uint32_t pin, uint64_t addr, uint32_t data, bool masked)
{
    struct machine_irq *irq = ctx;
    struct route to = { 0 };
    LOCK_SCOPE(&irq->lock);

    /* A masked pin keeps its last route: KVM reports ends of interrupt for vectors in the table
     * only, and drivers end level-triggered ones while the pin is masked. A reset, which has no
     * message, takes it out. */
    if (masked && addr != 0)
        return;
    to.set = !masked && translate(addr, data, &to);
    set_route_locked(irq, pin, &to);
}

static void line_level(void *ctx, uint32_t gsi, bool level)
{
    struct machine_irq *irq = ctx;

    if (irq->ioapic != NULL)
        ioapic_set_pin(irq->ioapic, gsi, level);
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
    .send = send,
};

static const struct irq_line_ops line_ops = { .set = line_level };

static const struct doorbell_ops doorbell_ops = {
    .add = doorbell_add,
    .remove = doorbell_remove,
};

static const struct ioapic_ops ioapic_ops = { .send = send, .route = pin_route };

int machine_irq_new(const struct kvm_vm *vm, struct machine_irq **ret_irq, struct errctx *ec)
{
    struct machine_irq *irq = calloc(1, sizeof(*irq));
    int max = kvm_vm_check(vm, KVM_CAP_IRQ_ROUTING);

    if (irq == NULL)
        return errctx_set(ec, ENOMEM, "no memory for interrupt routes");
    if (max <= PLATFORM_IOAPIC_PINS) {
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
    for (uint32_t pin = 0; pin < PLATFORM_IOAPIC_PINS; pin++)
        irq->routes[pin].used = true;
    irq->n_routes = PLATFORM_IOAPIC_PINS;
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

void machine_irq_attach_ioapic(struct machine_irq *irq, struct device *ioapic)
{
    irq->ioapic = ioapic;
}

const struct irq_services *machine_irq_services(const struct machine_irq *irq)
{
    return &irq->services;
}

const struct ioapic_ops *machine_irq_ioapic_ops(void)
{
    return &ioapic_ops;
}
