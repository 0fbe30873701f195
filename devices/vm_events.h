/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device may ask of the machine on the guest's behalf. Filled in by vmm/machine; called
 * on vCPU threads, never blocks. After one of these the calling vCPU does not run on.
 */
#ifndef DEVICES_VM_EVENTS_H
#define DEVICES_VM_EVENTS_H

#include <stdint.h>

struct vm_events_ops {
    void (*request_reset)(void *ctx, const char *why);
    void (*power_off)(void *ctx);
    void (*guest_code)(void *ctx, uint32_t code); /* debug-exit port */
};

#endif
