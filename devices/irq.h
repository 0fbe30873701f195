/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What devices need from the interrupt controller and the doorbell mechanism. The machine fills
 * these tables in with KVM's irqfd, GSI routes and ioeventfd; tests fill them with counters.
 *
 * All callbacks may be called from any thread and may be called often by a hostile guest: they
 * are bounded and report no errors to it.
 */
#ifndef DEVICES_IRQ_H
#define DEVICES_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

/* One message-signalled interrupt: a write to @fd delivers the message last set. */
struct msi_line {
    int fd;       /* eventfd, owned by the machine */
    uint32_t gsi; /* the machine's own handle */
    uint32_t requester; /* who sends: bus, slot and function as PCI numbers them; set by the owner */
};

struct msi_ops {
    /* Reserve a line; before the machine runs. -ENOSPC when the routing table is full. */
    int (*line_new)(void *ctx, struct msi_line *ret_line, struct errctx *ec);
    void (*line_free)(void *ctx, struct msi_line *line);
    /* Set what the line delivers. The message is untrusted: a bad one is delivered nowhere. */
    void (*line_set)(void *ctx, const struct msi_line *line, uint64_t addr, uint32_t data);
};

/* A legacy interrupt line into the I/O APIC. */
struct irq_line_ops {
    void (*set)(void *ctx, uint32_t gsi, bool level);
};

/* Doorbells: a guest's write to an address becomes a write to an eventfd, without an exit to us. */
struct doorbell_ops {
    /* Any value, @size 0 (any width), 2 or 4. Return: 0 or an errno: the device then serves the
     * write in its own write handler. */
    int (*add)(void *ctx, struct gpa addr, uint32_t size, int eventfd);
    void (*remove)(void *ctx, struct gpa addr, uint32_t size, int eventfd);
};

/* The three together, handed to whoever builds PCI devices. */
struct irq_services {
    const struct msi_ops *msi;
    const struct irq_line_ops *line;
    const struct doorbell_ops *doorbell;
    void *ctx; /* for all three */
};

#endif
