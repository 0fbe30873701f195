/* SPDX-License-Identifier: Apache-2.0 */
/* The escape key in what is typed: Ctrl-A and one more key. A pure state machine. */
#ifndef VMM_CLI_TERMINAL_ESCAPE_H
#define VMM_CLI_TERMINAL_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

enum { TERMINAL_ESCAPE_KEY = 1 /* Ctrl-A */ };

enum terminal_action {
    TERMINAL_SEND,  /* the byte goes to the guest */
    TERMINAL_DROP,  /* it was part of an escape, or of none that we know */
    TERMINAL_LEAVE, /* Ctrl-A x */
    TERMINAL_POWER, /* Ctrl-A p */
    TERMINAL_HELP,  /* Ctrl-A h */
};

struct terminal_escape {
    bool armed; /* Ctrl-A came, its second key has not */
};

/** terminal_escape_feed() - what to do with the next byte typed. */
enum terminal_action terminal_escape_feed(struct terminal_escape *e, uint8_t byte);

#endif
