/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

/* Digits at the start of @text. Return: 1 read, 0 no digit there, -ERANGE too large. */
static int read_digits(const char *text, int base, uint64_t *ret_v, const char **ret_rest)
{
    char *end;

    if (!(base == 16 ? isxdigit((unsigned char)*text) : isdigit((unsigned char)*text)))
        return 0;
    if (base == 16 && strncasecmp(text, "0x", 2) == 0)
        return 0; /* strtoull() would take a prefix of its own */
    errno = 0;
    *ret_v = strtoull(text, &end, base);
    *ret_rest = end;
    return errno == ERANGE ? -ERANGE : 1;
}

/* Reads digits and a size suffix; *ret_rest is what follows. */
static int parse_size_prefix(const char *text, uint64_t *ret_bytes, const char **ret_rest,
                             struct errctx *ec)
{
    static const char suffixes[] = "KMGTP";
    const char *rest, *hit;
    uint64_t v = 0;
    int r = read_digits(text, 10, &v, &rest);

    if (r == 0)
        return errctx_set(ec, EINVAL, "\"%s\" is not a size such as 512M or 2G", text);
    if (r < 0)
        return errctx_set(ec, ERANGE, "\"%s\" does not fit in 64 bits", text);
    hit = *rest != '\0' ? strchr(suffixes, toupper((unsigned char)*rest)) : NULL;
    if (hit != NULL) {
        unsigned shift = 10 * (unsigned)(hit - suffixes + 1);

        if (!checked_mul(v, 1ull << shift, &v))
            return errctx_set(ec, ERANGE, "\"%s\" does not fit in 64 bits", text);
        rest++;
        if (strncmp(rest, "iB", 2) == 0)
            rest += 2;
        else if (*rest == 'B')
            rest++;
    }
    *ret_bytes = v;
    *ret_rest = rest;
    return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes, struct errctx *ec)
{
    const char *rest;
    uint64_t v;
    int r = parse_size_prefix(text, &v, &rest, ec);

    if (r < 0)
        return r;
    if (*rest != '\0')
        return errctx_set(ec, EINVAL, "\"%s\" is not a size such as 512M or 2G", text);
    *ret_bytes = v;
    return 0;
}

int units_parse_rate(const char *text, uint64_t *ret_bytes_per_s, struct errctx *ec)
{
    const char *rest;
    uint64_t v;
    int r = parse_size_prefix(text, &v, &rest, ec);

    if (r < 0)
        return r;
    if (strcmp(rest, "/s") != 0)
        return errctx_set(ec, EINVAL, "\"%s\" is not a rate such as 20G/s", text);
    *ret_bytes_per_s = v;
    return 0;
}

int units_parse_uint(const char *text, uint64_t max, uint64_t *ret_v, struct errctx *ec)
{
    bool hex = strncasecmp(text, "0x", 2) == 0;
    const char *rest = NULL;
    uint64_t v = 0;
    int r = read_digits(hex ? text + 2 : text, hex ? 16 : 10, &v, &rest);

    if (r == 0 || *rest != '\0')
        return errctx_set(ec, EINVAL, "\"%s\" is not a whole number", text);
    if (r < 0 || v > max)
        return errctx_set(ec, ERANGE, "%s is above the largest allowed value %" PRIu64, text, max);
    *ret_v = v;
    return 0;
}

int units_parse_ns(const char *text, uint64_t *ret_ns, struct errctx *ec)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = { { "", 1 }, { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 } };
    const char *rest = NULL;
    uint64_t v = 0;
    int r = read_digits(text, 10, &v, &rest);

    if (r < 0)
        return errctx_set(ec, ERANGE, "\"%s\" does not fit in 64 bits", text);
    for (size_t i = 0; r > 0 && i < ARRAY_SIZE(units); i++) {
        if (strcmp(rest, units[i].unit) != 0)
            continue;
        if (!checked_mul(v, units[i].ns, &v))
            return errctx_set(ec, ERANGE, "\"%s\" does not fit in 64 bits", text);
        *ret_ns = v;
        return 0;
    }
    return errctx_set(ec, EINVAL, "\"%s\" is not a time such as 90ns or 5ms", text);
}

const char *units_format_size(uint64_t bytes, char *buf, size_t size)
{
    static const char suffixes[] = "\0KMGTP";
    unsigned i = 0;

    while (bytes != 0 && bytes % KIB == 0 && i < 5) {
        bytes /= KIB;
        i++;
    }
    (void)snprintf(buf, size, "%" PRIu64 "%.1s", bytes, suffixes + i);
    return buf;
}

const char *units_format_human(uint64_t bytes, char *buf, size_t size)
{
    static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double v = (double)bytes;
    unsigned i = 0;

    while (v >= 1024 && i < ARRAY_SIZE(names) - 1) {
        v /= 1024;
        i++;
    }
    (void)snprintf(buf, size, v == (double)(uint64_t)v ? "%.0f %s" : "%.1f %s", v, names[i]);
    return buf;
}

/* Digits after the point: at most @most of them, padded to that many. 0, or -EINVAL. */
static int read_fraction(const char *text, unsigned most, uint64_t *ret_v, const char **ret_rest)
{
    unsigned n = 0;

    *ret_v = 0;
    for (; n < most && *text >= '0' && *text <= '9'; n++, text++)
        *ret_v = *ret_v * 10 + (uint64_t)(*text - '0');
    if (n == 0)
        return -EINVAL;
    for (; n < most; n++)
        *ret_v *= 10;
    *ret_rest = text;
    return 0;
}

int units_parse_cpus(const char *text, uint32_t *ret_milli, struct errctx *ec)
{
    const bool percent = text[0] != '\0' && text[strlen(text) - 1] == '%';
    const unsigned digits = percent ? 1 : 3; /* a thousandth of a CPU is a tenth of a per cent */
    uint64_t v = 0, fraction = 0;
    const char *rest = text;
    int r = read_digits(text, 10, &v, &rest);

    if (r > 0 && *rest == '.' && read_fraction(rest + 1, digits, &fraction, &rest) < 0)
        r = 0;
    if (r == 0 || (r > 0 && strcmp(rest, percent ? "%" : "") != 0))
        return errctx_set(ec, EINVAL, "\"%s\" is not a number of CPUs such as 1.5 or 150%%", text);
    if (r < 0 || !checked_mul(v, percent ? 10u : 1000u, &v) || v > UINT32_MAX - fraction)
        return errctx_set(ec, ERANGE, "\"%s\" is more CPUs than there can be", text);
    *ret_milli = (uint32_t)(v + fraction);
    return 0;
}

int units_parse_factor(const char *text, uint32_t *ret_milli, struct errctx *ec)
{
    uint64_t v = 0, fraction = 0;
    const char *rest = text;
    int r = read_digits(text, 10, &v, &rest);

    if (r > 0 && *rest == '.' && read_fraction(rest + 1, 3, &fraction, &rest) < 0)
        r = 0;
    if (r == 0 || (r > 0 && *rest != '\0'))
        return errctx_set(ec, EINVAL, "\"%s\" is not a factor such as 4 or 2.5", text);
    if (r < 0 || !checked_mul(v, 1000u, &v) || v > UINT32_MAX - fraction)
        return errctx_set(ec, ERANGE, "\"%s\" is more than a factor can be", text);
    *ret_milli = (uint32_t)(v + fraction);
    return 0;
}

const char *units_format_cpus(uint32_t milli, char *buf, size_t size)
{
    int len = snprintf(buf, size, "%" PRIu32 ".%03" PRIu32, milli / 1000, milli % 1000);

    while (len > 0 && (size_t)len < size && (buf[len - 1] == '0' || buf[len - 1] == '.')) {
        const bool point = buf[len - 1] == '.';

        buf[--len] = '\0';
        if (point)
            break;
    }
    return buf;
}
