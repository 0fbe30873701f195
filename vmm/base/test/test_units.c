/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, rates, counts and times as people write them, and the checked arithmetic below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

enum { UNTOUCHED = 4711 };

static void sizes_with_every_suffix(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        { "0", 0 }, { "4096", 4096 }, { "010", 10 }, { "1K", 1ull << 10 }, { "1k", 1ull << 10 },
        { "3M", 3ull << 20 }, { "3m", 3ull << 20 }, { "2G", 2ull << 30 }, { "2g", 2ull << 30 },
        { "1T", 1ull << 40 }, { "1P", 1ull << 50 }, { "512MiB", 512ull << 20 },
        { "512MB", 512ull << 20 }, { "7KiB", 7ull << 10 },
        { "18446744073709551615", UINT64_MAX }, { "16383P", 16383ull << 50 },
        { "0T", 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint64_t v = UNTOUCHED;

        assert_int_equal(units_parse_size(good[i].text, &v, NULL), 0);
        assert_true(v == good[i].bytes);
    }
}

static void what_is_no_size_is_refused(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *sentence;
    } bad[] = {
        { "", EINVAL, "\"\" is not a size such as 512M or 2G" },
        { "G", EINVAL, "\"G\" is not a size such as 512M or 2G" },
        { "-1", EINVAL, "\"-1\" is not a size such as 512M or 2G" },
        { "+1", EINVAL, "\"+1\" is not a size such as 512M or 2G" },
        { " 1", EINVAL, "\" 1\" is not a size such as 512M or 2G" },
        { "1 ", EINVAL, "\"1 \" is not a size such as 512M or 2G" },
        { "1.5G", EINVAL, "\"1.5G\" is not a size such as 512M or 2G" },
        { "1GG", EINVAL, "\"1GG\" is not a size such as 512M or 2G" },
        { "1Gi", EINVAL, "\"1Gi\" is not a size such as 512M or 2G" },
        { "1B", EINVAL, "\"1B\" is not a size such as 512M or 2G" },
        { "1X", EINVAL, "\"1X\" is not a size such as 512M or 2G" },
        { "0x10", EINVAL, "\"0x10\" is not a size such as 512M or 2G" },
        { "18446744073709551616", ERANGE, "\"18446744073709551616\" does not fit in 64 bits" },
        { "16384P", ERANGE, "\"16384P\" does not fit in 64 bits" },
        { "18446744073709551615K", ERANGE, "\"18446744073709551615K\" does not fit in 64 bits" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct errctx ec = { 0 };
        uint64_t v = UNTOUCHED;

        assert_int_equal(units_parse_size(bad[i].text, &v, &ec), -bad[i].code);
        assert_int_equal(ec.code, bad[i].code);
        assert_string_equal(ec.msg, bad[i].sentence);
        assert_int_equal(v, UNTOUCHED);
    }
}

static void rates_end_in_per_second(void **state)
{
    struct errctx ec = { 0 };
    uint64_t v = UNTOUCHED;

    (void)state;
    assert_int_equal(units_parse_rate("20G", &v, &ec), -EINVAL);
    assert_string_equal(ec.msg, "\"20G\" is not a rate such as 20G/s");
    assert_int_equal(units_parse_rate("20G/sec", &v, &ec), -EINVAL);
    assert_int_equal(units_parse_rate("16384P/s", &v, &ec), -ERANGE);
    assert_int_equal(v, UNTOUCHED);
    assert_int_equal(units_parse_rate("20G/s", &v, &ec), 0);
    assert_true(v == 20ull << 30);
    assert_int_equal(units_parse_rate("5GiB/s", &v, &ec), 0);
    assert_true(v == 5ull << 30);
}

static void whole_numbers_up_to_a_limit(void **state)
{
    static const struct {
        const char *text;
        uint64_t max, v;
        int r;
    } rows[] = {
        { "0", 10, 0, 0 }, { "10", 10, 10, 0 }, { "0x1f", 100, 31, 0 }, { "0XaB", 255, 171, 0 },
        { "18446744073709551615", UINT64_MAX, UINT64_MAX, 0 },
        { "0xffffffffffffffff", UINT64_MAX, UINT64_MAX, 0 },
        { "11", 10, UNTOUCHED, -ERANGE }, { "18446744073709551616", UINT64_MAX, UNTOUCHED, -ERANGE },
        { "0x10000000000000000", UINT64_MAX, UNTOUCHED, -ERANGE },
        { "", 10, UNTOUCHED, -EINVAL }, { "-1", 10, UNTOUCHED, -EINVAL },
        { "0x", 10, UNTOUCHED, -EINVAL }, { "0x-1", 10, UNTOUCHED, -EINVAL },
        { "0x 1", 10, UNTOUCHED, -EINVAL }, { "0x0x5", 10, UNTOUCHED, -EINVAL },
        { "5x", 10, UNTOUCHED, -EINVAL }, { "1e3", 10000, UNTOUCHED, -EINVAL },
        { " 5", 10, UNTOUCHED, -EINVAL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };
        uint64_t v = UNTOUCHED;

        if (units_parse_uint(rows[i].text, rows[i].max, &v, &ec) != rows[i].r)
            fail_msg("\"%s\" gave something else: %s", rows[i].text, ec.msg);
        assert_true(v == rows[i].v);
        assert_int_equal(ec.code, -rows[i].r);
    }
}

static void times_in_every_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
        int r;
    } rows[] = {
        { "90", 90, 0 }, { "90ns", 90, 0 }, { "2us", 2000, 0 }, { "5ms", 5000000, 0 },
        { "1s", 1000000000, 0 }, { "0s", 0, 0 }, { "18446744073s", 18446744073000000000u, 0 },
        { "18446744074s", UNTOUCHED, -ERANGE },
        { "18446744073709551616", UNTOUCHED, -ERANGE },
        { "5m", UNTOUCHED, -EINVAL }, { "s", UNTOUCHED, -EINVAL }, { "", UNTOUCHED, -EINVAL },
        { "5 ms", UNTOUCHED, -EINVAL }, { "-5ms", UNTOUCHED, -EINVAL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };
        uint64_t v = UNTOUCHED;

        assert_int_equal(units_parse_ns(rows[i].text, &v, &ec), rows[i].r);
        assert_true(v == rows[i].ns);
        assert_int_equal(ec.code, -rows[i].r);
    }
}

static void cpus_are_exact_to_a_thousandth(void **state)
{
    static const struct {
        const char *text;
        uint32_t milli;
        int r;
        const char *back;
    } rows[] = {
        { "2", 2000, 0, "2" }, { "1.5", 1500, 0, "1.5" }, { "150%", 1500, 0, "1.5" },
        { "0.01", 10, 0, "0.01" }, { "12.5%", 125, 0, "0.125" }, { "0.1%", 1, 0, "0.001" },
        { "10", 10000, 0, "10" }, { "0", 0, 0, "0" }, { "100%", 1000, 0, "1" },
        { "4294967.295", 4294967295u, 0, "4294967.295" },
        { "4294967.296", 77, -ERANGE, "" }, { "99999999999999999999", 77, -ERANGE, "" },
        { "1.2345", 77, -EINVAL, "" }, { "1.25%%", 77, -EINVAL, "" }, { "1.", 77, -EINVAL, "" },
        { "1.55%", 77, -EINVAL, "" }, { "", 77, -EINVAL, "" }, { "%", 77, -EINVAL, "" },
        { "-1", 77, -EINVAL, "" }, { ".5", 77, -EINVAL, "" }, { "1,5", 77, -EINVAL, "" },
    };
    char buf[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };
        uint32_t milli = 77;

        if (units_parse_cpus(rows[i].text, &milli, &ec) != rows[i].r)
            print_error("%s\n", rows[i].text);
        assert_int_equal(ec.code, -rows[i].r);
        assert_int_equal(milli, rows[i].milli);
        if (rows[i].r == 0)
            assert_string_equal(units_format_cpus(milli, buf, sizeof(buf)), rows[i].back);
    }
}

static void a_formatted_size_reads_back(void **state)
{
    static const uint64_t sizes[] = { 0, 1, 1023, 1024, 1025, 3ull << 20, 2ull << 30,
                                      (2ull << 30) + 1024, 5ull << 40, 7ull << 50, 1ull << 63,
                                      UINT64_MAX };
    char buf[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t v = UNTOUCHED;

        assert_int_equal(units_parse_size(units_format_size(sizes[i], buf, sizeof(buf)), &v, NULL),
                         0);
        assert_true(v == sizes[i]);
    }
    assert_string_equal(units_format_size(2ull << 30, buf, sizeof(buf)), "2G");
    assert_string_equal(units_format_size(1536ull << 20, buf, sizeof(buf)), "1536M");
    assert_string_equal(units_format_size(0, buf, sizeof(buf)), "0");
}

static void people_get_one_decimal(void **state)
{
    char buf[32];

    (void)state;
    assert_string_equal(units_format_human(0, buf, sizeof(buf)), "0 B");
    assert_string_equal(units_format_human(1023, buf, sizeof(buf)), "1023 B");
    assert_string_equal(units_format_human(1024, buf, sizeof(buf)), "1 KiB");
    assert_string_equal(units_format_human(1536ull << 20, buf, sizeof(buf)), "1.5 GiB");
    assert_string_equal(units_format_human(1ull << 60, buf, sizeof(buf)), "1024 PiB");
}

static void checked_arithmetic_refuses_what_does_not_fit(void **state)
{
    uint64_t v = UNTOUCHED;

    (void)state;
    assert_false(checked_add(UINT64_MAX, 1, &v));
    assert_false(checked_mul(1ull << 32, 1ull << 32, &v));
    assert_false(checked_align_up(UINT64_MAX, 4096, &v));
    assert_int_equal(v, UNTOUCHED);
    assert_true(checked_add(UINT64_MAX, 0, &v));
    assert_true(v == UINT64_MAX);
    assert_true(checked_mul(UINT64_MAX, 1, &v));
    assert_true(v == UINT64_MAX);
    assert_true(checked_align_up(4097, 4096, &v));
    assert_int_equal(v, 8192);
    assert_true(checked_align_up(0, 4096, &v));
    assert_int_equal(v, 0);
    assert_true(checked_align_up(UINT64_MAX - 4095, 4096, &v)); /* aligned already */
    assert_true(v == UINT64_MAX - 4095);
}

static void ranges_lie_inside_or_not(void **state)
{
    (void)state;
    assert_true(checked_range(0, 0, 0));
    assert_true(checked_range(10, 0, 10));
    assert_true(checked_range(0, 10, 10));
    assert_true(checked_range(9, 1, 10));
    assert_false(checked_range(9, 2, 10));
    assert_false(checked_range(11, 0, 10));
    assert_false(checked_range(UINT64_MAX, 2, 10));
    assert_false(checked_range(2, UINT64_MAX, 10));
    assert_true(checked_range(0, UINT64_MAX, UINT64_MAX));
}

static void powers_and_logarithms(void **state)
{
    static const unsigned logs[][2] = { { 0, 0 }, { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 },
                                        { 5, 3 }, { 1024, 10 }, { 1025, 11 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++)
        assert_int_equal(ceil_log2(logs[i][0]), logs[i][1]);
    assert_int_equal(ceil_log2(UINT64_MAX), 64);
    assert_int_equal(ceil_log2(1ull << 63), 63);
    assert_false(is_pow2(0));
    assert_true(is_pow2(1));
    assert_true(is_pow2(1ull << 63));
    assert_false(is_pow2(12));
    assert_int_equal(align_down(4097, 4096), 4096);
    assert_int_equal(align_up(4097, 4096), 8192);
    assert_int_equal(align_up(4096, 4096), 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_with_every_suffix),
        cmocka_unit_test(what_is_no_size_is_refused),
        cmocka_unit_test(rates_end_in_per_second),
        cmocka_unit_test(whole_numbers_up_to_a_limit),
        cmocka_unit_test(times_in_every_unit),
        cmocka_unit_test(cpus_are_exact_to_a_thousandth),
        cmocka_unit_test(a_formatted_size_reads_back),
        cmocka_unit_test(people_get_one_decimal),
        cmocka_unit_test(checked_arithmetic_refuses_what_does_not_fit),
        cmocka_unit_test(ranges_lie_inside_or_not),
        cmocka_unit_test(powers_and_logarithms),
    };

    return cmocka_run_group_tests_name("base/units", tests, NULL, NULL);
}
