/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions and interrupts. Whatever nobody expects is printed and ends the guest. */
#include "guest-tests/bare/lib/bare.h"

enum { KIND_IRQ = 5 /* from EL1 with its own stack */, NONE_PENDING = 1020 };

struct trap_frame {
    uint64_t x[31], elr, spsr, unused;
};
_Static_assert(sizeof(struct trap_frame) == FRAME_BYTES, "as start.S has it");

static void (*handlers[IRQ_MAX])(unsigned id);

void trap_handle(unsigned kind, struct trap_frame *f);

void irq_handler(unsigned id, void (*fn)(unsigned id))
{
    handlers[id % IRQ_MAX] = fn;
    barrier();
}

static void unexpected(unsigned kind, uint64_t id, const struct trap_frame *f)
{
    out_unlock();
    out("\nnot ok - trap %u (interrupt %lu) syndrome %lx at pc %lx address %lx on MPIDR %lx\n",
        kind, id, sys_read("esr_el1"), f->elr, sys_read("far_el1"), cpu_mpidr());
    exit_with(1);
}

void trap_handle(unsigned kind, struct trap_frame *f)
{
    uint64_t id;

    if (kind != KIND_IRQ) {
        unexpected(kind, 0, f);
        return;
    }
    id = sys_read("s3_0_c12_c12_0"); /* ICC_IAR1_EL1 */
    if (id >= NONE_PENDING && id < NONE_PENDING + 4)
        return;
    if (id >= IRQ_MAX || handlers[id] == NULL)
        unexpected(kind, id, f);
    handlers[id]((unsigned)id);
    sys_write("s3_0_c12_c12_1", id); /* ICC_EOIR1_EL1 */
}
