/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic on numbers that a guest, a file or a peer sent. Each returns false and leaves
 * the result untouched when the true value does not fit.
 */
#ifndef VMM_BASE_CHECKED_H
#define VMM_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
    uint64_t v;

    if (__builtin_add_overflow(a, b, &v))
        return false;
    *ret_sum = v;
    return true;
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret_product)
{
    uint64_t v;

    if (__builtin_mul_overflow(a, b, &v))
        return false;
    *ret_product = v;
    return true;
}

/* True when [off, off+len) lies inside [0, limit). A zero @len at @off == @limit is inside. */
static inline bool checked_range(uint64_t off, uint64_t len, uint64_t limit)
{
    return off <= limit && len <= limit - off;
}

static inline bool is_pow2(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

/* Round up to a multiple of @align, a power of two. */
static inline bool checked_align_up(uint64_t v, uint64_t align, uint64_t *ret_aligned)
{
    uint64_t sum;

    if (!checked_add(v, align - 1, &sum))
        return false;
    *ret_aligned = sum & ~(align - 1);
    return true;
}

static inline uint64_t align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

/* For values that are known to be far from the end of the 64-bit space. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

/* Bits needed to number @n things: 0 for 1, 1 for 2, 2 for 3 and 4. */
static inline unsigned ceil_log2(uint64_t n)
{
    return n <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(n - 1);
}

#endif
