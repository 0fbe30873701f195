/* SPDX-License-Identifier: Apache-2.0 */
/* What Arm's PrimeCell parts share: registers of 32 bits, and a number at the end of their page. */
#ifndef DEVICES_PRIME_CELL_H
#define DEVICES_PRIME_CELL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PRIME_CELL_ID = 0xfe0 }; /* eight registers with a byte each */

/** prime_cell_id() - the register at @off, which is PRIME_CELL_ID or above, of part @part with
 *  revision @revision (DDI 0183, 3.3.19). */
static inline uint32_t prime_cell_id(uint64_t off, unsigned part, unsigned revision)
{
    const uint8_t bytes[8] = { (uint8_t)part, (uint8_t)(0x10 | (part >> 8 & 0xf)),
                               (uint8_t)(revision << 4 | 0x4), 0, 0x0d, 0xf0, 0x05, 0xb1 };

    return bytes[off >> 2 & 7];
}

/** prime_cell_answer() - the part of register @value that an access of @size at @off wants. */
static inline void prime_cell_answer(uint32_t value, uint64_t off, void *data, size_t size)
{
    const uint64_t shifted = (uint64_t)value >> 8 * (off & 3);

    memset(data, 0, size);
    memcpy(data, &shifted, size < sizeof(shifted) ? size : sizeof(shifted));
}

/** prime_cell_value() - what is written to a whole register; narrower writes end in zeroes. */
static inline uint32_t prime_cell_value(const void *data, size_t size)
{
    uint32_t value = 0;

    memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
    return value;
}

#endif
