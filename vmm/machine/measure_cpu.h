/* SPDX-License-Identifier: Apache-2.0 */
/* What measuring needs of the processor itself; a file per architecture, in its folder. Pure. */
#ifndef VMM_MACHINE_MEASURE_CPU_H
#define VMM_MACHINE_MEASURE_CPU_H

#include <stddef.h>
#include <stdint.h>

enum { MEASURE_CPU_LINE = 64 }; /* bytes of a cache line, or of half one */

/** measure_cpu_flush() - out of all caches with [@from, @from+@len), to memory. */
void measure_cpu_flush(const uint8_t *from, size_t len);

/** measure_cpu_read() - every line once, @len a multiple of four of them; the sum keeps the loads. */
uint64_t measure_cpu_read(const uint8_t *from, size_t len);

/** measure_cpu_relax() - in a loop that waits for another CPU. */
void measure_cpu_relax(void);

#endif
