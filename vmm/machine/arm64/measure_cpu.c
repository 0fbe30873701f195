/* SPDX-License-Identifier: Apache-2.0 */
/* Cleaning a line by address is allowed to programs by Linux (SCTLR_EL1.UCI). */
#include "vmm/machine/measure_cpu.h"

#include <string.h>

enum { LINE_BYTES = MEASURE_CPU_LINE };

void measure_cpu_flush(const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i += LINE_BYTES)
        __asm__ volatile("dc civac, %0" : : "r"(from + i) : "memory");
    __asm__ volatile("dsb sy" : : : "memory");
}

uint64_t measure_cpu_read(const uint8_t *from, size_t len)
{
    uint64_t sum[4] = { 0 }, word[LINE_BYTES / 8];

    for (size_t i = 0; i + LINE_BYTES <= len; i += LINE_BYTES) {
        memcpy(word, from + i, sizeof(word));
        for (size_t k = 0; k < 8; k++)
            sum[k % 4] += word[k];
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

void measure_cpu_relax(void)
{
    __asm__ volatile("yield");
}
