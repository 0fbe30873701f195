/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to the PL011, and the end through PSCI: the verdict is in what was said. */
#include "guest-tests/bare/lib/bare.h"

enum { UART_DATA = 0, UART_FLAGS = 0x18, UART_FULL = 0x20, UART_CONTROL = 0x30, UART_ON = 0x301 };

void serial_send(const char *s, size_t n)
{
    static bool ready;
    unsigned tries;

    if (!ready) {
        write32(ARM64_SERIAL_BASE + UART_CONTROL, UART_ON); /* on, transmitter and receiver */
        ready = true;
    }
    for (; n > 0; n--) {
        for (tries = 0; tries < 100000; tries++) /* a deaf port must not hang the guest */
            if ((read32(ARM64_SERIAL_BASE + UART_FLAGS) & UART_FULL) == 0)
                break;
        write32(ARM64_SERIAL_BASE + UART_DATA, (uint8_t)*s++);
    }
}

void exit_with(uint8_t code)
{
    irq_off();
    if (code != 0)
        out("# the guest ends with %u\n", code);
    (void)psci(PSCI_SYSTEM_OFF, 0, 0, 0);
    for (;;)
        __asm__ volatile("wfi");
}
