/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people write them: sizes, counts, times. */
#ifndef VMM_BASE_UNITS_H
#define VMM_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

/**
 * units_parse_size() - "512M", "2G", "4096": bytes; K, M, G, T, P are powers of 1024, either case,
 * an "iB" or "B" after them is accepted. Untouched on failure.
 * Return: 0, or -EINVAL (not a size), -ERANGE (does not fit 64 bits), with a sentence.
 */
int units_parse_size(const char *text, uint64_t *ret_bytes, struct errctx *ec);

/** units_parse_rate() - "20G/s": bytes per second, the size followed by "/s". */
int units_parse_rate(const char *text, uint64_t *ret_bytes_per_s, struct errctx *ec);

/** units_parse_uint() - decimal, or hexadecimal after 0x, no sign, at most @max. -EINVAL/-ERANGE. */
int units_parse_uint(const char *text, uint64_t max, uint64_t *ret_v, struct errctx *ec);

/** units_parse_ns() - "90", "90ns", "2us", "5ms", "1s": nanoseconds. */
int units_parse_ns(const char *text, uint64_t *ret_ns, struct errctx *ec);

/** units_parse_cpus() - "2", "1.5", "150%": thousandths of a CPU, exactly. -EINVAL/-ERANGE. */
int units_parse_cpus(const char *text, uint32_t *ret_milli, struct errctx *ec);

/** units_parse_factor() - "4", "2.5": thousandths, exactly. -EINVAL/-ERANGE. */
int units_parse_factor(const char *text, uint32_t *ret_milli, struct errctx *ec);

/** units_format_cpus() - "1.5", which units_parse_cpus() and
 *  units_parse_factor() read back. */
const char *units_format_cpus(uint32_t milli, char *buf, size_t size);

/** units_format_size() - the shortest exact form that units_parse_size() reads back: "2G". */
const char *units_format_size(uint64_t bytes, char *buf, size_t size);

/** units_format_human() - for people, at most one decimal: "1.5 GiB". Not for reading back. */
const char *units_format_human(uint64_t bytes, char *buf, size_t size);

#endif
