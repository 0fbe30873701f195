/* SPDX-License-Identifier: Apache-2.0 */
/* By SSE2, which every x86-64 has. */
#include "vmm/machine/measure_cpu.h"

#include <emmintrin.h>

enum { LINE_BYTES = MEASURE_CPU_LINE };

void measure_cpu_flush(const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i += LINE_BYTES)
        _mm_clflush(from + i);
    _mm_mfence();
}

uint64_t measure_cpu_read(const uint8_t *from, size_t len)
{
    uint64_t sum[4] = { 0 };

    for (size_t i = 0; i + 4 * LINE_BYTES <= len; i += 4 * LINE_BYTES)
        for (size_t k = 0; k < 4; k++) {
            const __m128i *line = (const __m128i *)(const void *)(from + i + k * LINE_BYTES);
            __m128i v = _mm_add_epi64(_mm_add_epi64(line[0], line[1]),
                                      _mm_add_epi64(line[2], line[3]));

            sum[k] += (uint64_t)_mm_cvtsi128_si64(v);
        }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

void measure_cpu_relax(void)
{
    _mm_pause();
}
