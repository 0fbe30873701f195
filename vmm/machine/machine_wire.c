/* SPDX-License-Identifier: Apache-2.0 */
/* The wire between the serial port, whichever the architecture has, and our terminal. */
#include <unistd.h>

#include "vmm/machine/machine_private.h"

size_t machine_wire_send(void *ctx, const void *data, size_t len)
{
    const struct machine *m = ctx;

    return machine_console_send(m->console, data, len);
}

int machine_make_wire(struct machine *m, void (*room)(void *ctx), struct errctx *ec)
{
    const int out = m->config->console == CONSOLE_SERIAL ? STDOUT_FILENO : -1;

    return machine_console_new(m->main_loop, out, room, m, &m->console, ec);
}
