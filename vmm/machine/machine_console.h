/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port's wire to our standard output.
 *
 * vCPU threads put bytes into a bounded ring; the main loop writes them out in batches, a
 * millisecond after the first, so that a boot log costs a wake-up per millisecond instead of
 * one per character. When the reader does not keep up the ring fills, send() takes nothing, and
 * the guest sees a busy transmitter: nothing is lost and nobody blocks.
 */
#ifndef VMM_MACHINE_MACHINE_CONSOLE_H
#define VMM_MACHINE_MACHINE_CONSOLE_H

#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

struct machine_console;

/**
 * machine_console_new() - @out_fd is borrowed; written through a non-blocking description of
 * its own where the kind of file allows it. -1: output goes nowhere.
 * @room: called on the main loop when a send() that fell short would do better now.
 */
int machine_console_new(struct evloop *main_loop, int out_fd, void (*room)(void *ctx), void *ctx,
                        struct machine_console **ret_console, struct errctx *ec);

/** machine_console_free() - writes out what is left, for at most a second. NULL is allowed. */
void machine_console_free(struct machine_console *console);

/** machine_console_send() - take up to @len bytes. Any thread; never blocks. */
size_t machine_console_send(struct machine_console *console, const void *data, size_t len);

#endif
