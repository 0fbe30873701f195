/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to the 16550, in bursts of 16, the size of its FIFO, with one string instruction each: a
 * line costs a few exits, not one per character. And the end, through the debug-exit port.
 */
#include "guest-tests/bare/lib/bare.h"

enum { UART_FIFO = 16, UART_FCR = 2, UART_LSR = 5, UART_LSR_THRE = 0x20 };

void serial_send(const char *s, size_t n)
{
    static bool ready;
    unsigned tries;

    if (!ready) {
        outb(PLATFORM_SERIAL_PORT + UART_FCR, 0x07); /* FIFOs on and empty */
        ready = true;
    }
    while (n > 0) {
        size_t part = n < UART_FIFO ? n : UART_FIFO;

        n -= part;
        for (tries = 0; tries < 100000; tries++) /* a deaf port must not hang the guest */
            if (inb(PLATFORM_SERIAL_PORT + UART_LSR) & UART_LSR_THRE)
                break;
        __asm__ volatile("rep outsb"
                         : "+S"(s), "+c"(part)
                         : "d"((uint16_t)PLATFORM_SERIAL_PORT)
                         : "memory");
    }
}

void exit_with(uint8_t code)
{
    irq_off();
    outb(PLATFORM_DEBUG_EXIT, code);
    for (;;)
        __asm__ volatile("cli; hlt");
}
