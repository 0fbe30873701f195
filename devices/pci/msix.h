/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X of one function (PCI 3.0, 6.8.2): vector table, pending bits, masks, and one line of
 * the interrupt controller per vector.
 *
 * A line learns a vector's message when the vector can fire (enabled, not masked) and the
 * message changed since; while it cannot, its pending bit remembers. All functions may be called
 * from any thread; one mutex covers the state. It is taken after the bus's mutex, and the
 * callbacks of struct msi_ops are called under it, so they must not call back.
 */
#ifndef DEVICES_PCI_MSIX_H
#define DEVICES_PCI_MSIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/irq.h"
#include "devices/snapshot.h"
#include "vmm/base/errctx.h"

enum {
    MSIX_MAX_VECTORS = 256, /* what one page of the table holds */
    MSIX_TABLE_OFF = 0,     /* places inside the BAR */
    MSIX_PBA_OFF = 4096,
    MSIX_BAR_BYTES = 8192,
};

struct msix;

/** msix_new() - @n vectors, all masked, a line each. @irq is borrowed.
 *  Return: 0, -EINVAL (too many vectors), -ENOMEM, or what line_new() said. */
int msix_new(unsigned n, const struct irq_services *irq, struct msix **ret_msix, struct errctx *ec);
void msix_free(struct msix *m);

/** msix_set_requester() - where on PCI the function sits; before a guest runs. Interrupt controllers
 *  of some architectures deliver by it. */
void msix_set_requester(struct msix *m, uint32_t requester);

/** msix_control() - the function's enable and mask bits changed. */
void msix_control(struct msix *m, bool enable, bool mask_all);

/** msix_notify() - raise @vector; out of range or with MSI-X off, nothing happens. Returns whether
 *  MSI-X is on, for devices that signal otherwise without it (virtio's ISR). */
bool msix_notify(struct msix *m, unsigned vector);

/** msix_read() / msix_write() - accesses to the BAR. Aligned 4 and 8 byte accesses are served
 *  (6.8.2), others read as zero and are dropped. */
void msix_read(struct msix *m, uint64_t off, void *data, size_t size);
void msix_write(struct msix *m, uint64_t off, const void *data, size_t size);

/** msix_reset() - disabled, every vector masked, nothing pending. */
void msix_reset(struct msix *m);

void msix_save(struct msix *m, struct snapshot_writer *w);
int msix_load(struct msix *m, struct snapshot_reader *r, struct errctx *ec);

#endif
