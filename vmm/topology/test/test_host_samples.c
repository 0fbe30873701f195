/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a kept measurement: what is written is read; what is not one is refused. And the
 * fingerprint that says whose it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/host_samples.h"
#include "vmm/topology/test/archive.h"

#define HEAD "{\"format\":\"numavisor host measurement\",\"version\":1,"
#define NAME "\"fingerprint\":\"0123456789abcdef\",\"measured_at\":5,"
#define PAIR "{\"from\":0,\"to\":1,\"latency_ps\":9,\"bandwidth\":0,\"check\":true}"

static void what_is_written_is_read(void **state)
{
    struct host_sample v[] = {
        { { 0 }, { 0 }, 80123, 12ull << 30, false },
        { { 127 }, { 8191 }, 1000000000, 1ull << 50, true },
    };
    struct host_samples s = { "00fedcba98765432", 1767323040, v, 2 }, t = { .n = 0 };
    struct errctx ec = { 0 };
    char *text = host_samples_format(&s);

    (void)state;
    assert_non_null(text);
    if (host_samples_parse(text, strlen(text), &t, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_string_equal(t.fingerprint, s.fingerprint);
    assert_true(t.measured_at == s.measured_at);
    assert_int_equal(t.n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(t.v[i].from.v, v[i].from.v);
        assert_int_equal(t.v[i].to.v, v[i].to.v);
        assert_int_equal(t.v[i].latency_ps, v[i].latency_ps);
        assert_true(t.v[i].bytes_per_s == v[i].bytes_per_s);
        assert_int_equal(t.v[i].check, v[i].check);
    }
    host_samples_fini(&t);
    free(text);
}

static void what_is_no_measurement_is_refused_untouched(void **state)
{
    static const struct {
        const char *text, *sentence;
    } row[] = {
        { "", "not a measurement: no JSON in line 1" },
        { "[1]", "not a measurement of a host" },
        { "{\"format\":\"something\",\"version\":1}", "not a measurement of a host" },
        { "{\"format\":\"numavisor host measurement\",\"version\":2}",
          "a measurement of version 2, this program knows 1" },
        { HEAD NAME "\"pairs\":[" PAIR "],\"more\":1}",
          "not a measurement: members are missing, unknown or wrong" },
        { HEAD NAME "\"pairs\":{}}", "not a measurement: members are missing, unknown or wrong" },
        { HEAD "\"fingerprint\":\"../../../etc/pass\",\"measured_at\":5,\"pairs\":[" PAIR "]}",
          "not a measurement: members are missing, unknown or wrong" },
        { HEAD "\"fingerprint\":\"0123456789abcdef\",\"measured_at\":-1,\"pairs\":[" PAIR "]}",
          "not a measurement: members are missing, unknown or wrong" },
        { HEAD NAME "\"pairs\":[]}", "not a measurement: 0 pairs, where 1 to 4096 can be" },
        { HEAD NAME "\"pairs\":[" PAIR ",7]}", "not a measurement: pair 1 is not one" },
        { HEAD NAME "\"pairs\":[{\"from\":8192,\"to\":1,\"latency_ps\":9,\"bandwidth\":0,"
                    "\"check\":true}]}",
          "not a measurement: pair 0 is not one" },
        { HEAD NAME "\"pairs\":[{\"from\":0,\"to\":1,\"latency_ps\":0,\"bandwidth\":0,"
                    "\"check\":true}]}",
          "not a measurement: pair 0 is not one" },
        { HEAD NAME "\"pairs\":[{\"from\":0,\"to\":1,\"latency_ps\":1000000001,\"bandwidth\":0,"
                    "\"check\":true}]}",
          "not a measurement: pair 0 is not one" },
        { HEAD NAME "\"pairs\":[{\"from\":0,\"to\":1,\"latency_ps\":9,\"bandwidth\":-1,"
                    "\"check\":true}]}",
          "not a measurement: pair 0 is not one" },
        { HEAD NAME "\"pairs\":[{\"from\":0,\"from\":0,\"to\":1,\"latency_ps\":9,"
                    "\"bandwidth\":0,\"check\":true}]}",
          "not a measurement: no JSON in line 1" },
    };
    char *big = malloc(HOST_SAMPLES_FILE_MAX + 1);
    struct host_samples s = { .n = 77 };
    struct errctx ec = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        assert_int_equal(host_samples_parse(row[i].text, strlen(row[i].text), &s, &ec), -EINVAL);
        assert_string_equal(ec.msg, row[i].sentence);
        assert_int_equal(s.n, 77);
    }
    memset(big, ' ', HOST_SAMPLES_FILE_MAX + 1);
    assert_int_equal(host_samples_parse(big, HOST_SAMPLES_FILE_MAX + 1, &s, &ec), -EINVAL);
    assert_string_equal(ec.msg, "not a measurement: longer than 1048576 bytes");
    free(big);
}

static void a_fingerprint_is_the_hardwares(void **state)
{
    char dir[] = "/tmp/test_host_samples.XXXXXX";
    char first[HOST_FINGERPRINT_BYTES], now[HOST_FINGERPRINT_BYTES];

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_unpack("vmm/topology/test/hosts/smt-offline-memory-only.sysfs", dir);
    host_fingerprint(dir, first);
    assert_int_equal(strspn(first, "0123456789abcdef"), 16);
    /* What comes and goes leaves it: CPUs, free memory, limits. */
    archive_put(dir, "sys/devices/system/cpu/online", "0-3");
    archive_put(dir, "sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 1 kB");
    archive_unpack("vmm/topology/test/hosts/confined-hmat.sysfs", dir);
    host_fingerprint(dir, now);
    assert_string_equal(now, first);
    archive_put(dir, "sys/devices/system/node/node1/distance", "21 10 25");
    host_fingerprint(dir, now);
    assert_string_not_equal(now, first);
    memcpy(first, now, sizeof(first));
    archive_put(dir, "sys/class/dmi/id/bios_version", "1.2");
    host_fingerprint(dir, now);
    assert_string_not_equal(now, first);
    archive_remove(dir);
    host_fingerprint("/nowhere", now); /* nothing to read is no failure */
    assert_int_equal(strspn(now, "0123456789abcdef"), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_no_measurement_is_refused_untouched),
        cmocka_unit_test(a_fingerprint_is_the_hardwares),
    };
    return cmocka_run_group_tests_name("topology/host_samples", tests, NULL, NULL);
}
