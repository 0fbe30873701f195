/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cli/terminal_escape.h"

enum terminal_action terminal_escape_feed(struct terminal_escape *e, uint8_t byte)
{
    if (!e->armed) {
        e->armed = byte == TERMINAL_ESCAPE_KEY;
        return e->armed ? TERMINAL_DROP : TERMINAL_SEND;
    }
    e->armed = false;
    switch (byte) {
    case TERMINAL_ESCAPE_KEY:
        return TERMINAL_SEND;
    case 'x':
    case 'X':
        return TERMINAL_LEAVE;
    case 'p':
        return TERMINAL_POWER;
    case 'h':
    case '?':
        return TERMINAL_HELP;
    default:
        return TERMINAL_DROP;
    }
}
