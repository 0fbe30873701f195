/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of the tables against the plan; iasl and the golden files are in test_acpi_golden.c. */
// LDFLAGS: -Wl,--wrap=realloc
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "firmware/acpi.h"
#include "firmware/test/plan_fixture.h"
#include "firmware/x86/x86_map.h"
#include "firmware/x86/x86_platform.h"
#include "vmm/base/macros.h"

#define BASE 0x7f000000ull

/* Allocations of the buffer still allowed; negative: no limit. */
static int reallocs_left = -1;
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
    if (reallocs_left == 0)
        return NULL;
    if (reallocs_left > 0)
        reallocs_left--;
    return __real_realloc(p, size);
}

static uint64_t le(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = n; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static void build(struct plan_fixture *f, struct acpi_tables *t)
{
    struct errctx ec = { 0 };

    if (f->layout == NULL)
        assert_int_equal(plan_fixture_layout(f, &x86_layout_map, &ec), 0);
    if (acpi_build(&f->plan, f->layout, (struct gpa){ BASE }, t, &ec) < 0)
        fail_msg("%s", ec.msg);
}

static const uint8_t *find(const struct acpi_tables *t, const char *signature, size_t *ret_len)
{
    for (size_t i = 0; i < t->n_tables; i++) {
        if (strcmp(t->table[i].signature, signature) != 0)
            continue;
        *ret_len = t->table[i].len;
        return t->blob + t->table[i].off;
    }
    return NULL;
}

/* The @i-th structure of @type in a table whose structures have one-byte types and lengths. */
static const uint8_t *structure(const uint8_t *table, size_t len, size_t first, uint8_t type,
                                size_t i)
{
    for (size_t at = first; at + 2 <= len; at += table[at + 1]) {
        assert_true(table[at + 1] >= 2);
        if (table[at] == type && i-- == 0)
            return table + at;
    }
    return NULL;
}

static void sums_and_addresses_hold(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    const uint8_t *xsdt;
    uint8_t sum = 0;
    size_t len = 0, listed = 0;

    (void)state;
    plan_fixture_init(&f, 4, 2, 1ull * GIB);
    build(&f, &t);
    for (size_t i = 0; i < t.n_tables; i++) {
        const uint8_t *p = t.blob + t.table[i].off;

        sum = 0;
        for (size_t k = 0; k < t.table[i].len; k++)
            sum = (uint8_t)(sum + p[k]);
        assert_int_equal(sum, 0);
        assert_int_equal(le(p + 4, 4), t.table[i].len);
        assert_memory_equal(p, t.table[i].signature, 4);
        assert_int_equal(t.table[i].off % 64, 0);
        assert_true(t.table[i].off + t.table[i].len <= t.len);
    }
    for (size_t k = 0; k < 20; k++)
        sum = (uint8_t)(sum + t.rsdp[k]);
    assert_int_equal(sum, 0);
    for (size_t k = 20; k < ACPI_RSDP_BYTES; k++)
        sum = (uint8_t)(sum + t.rsdp[k]);
    assert_int_equal(sum, 0);
    assert_memory_equal(t.rsdp, "RSD PTR ", 8);
    xsdt = find(&t, "XSDT", &len);
    assert_non_null(xsdt);
    assert_int_equal(le(t.rsdp + 24, 8), BASE + (uint64_t)(xsdt - t.blob));
    for (size_t i = 0; i < t.n_tables; i++)
        for (size_t at = 36; at < len; at += 8)
            listed += le(xsdt + at, 8) == BASE + t.table[i].off;
    assert_int_equal(listed, t.n_tables - 2); /* all but the XSDT itself and the DSDT */
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

static void length_does_not_depend_on_the_base(void **state)
{
    struct plan_fixture f;
    struct acpi_tables low, high;
    struct errctx ec = { 0 };

    (void)state;
    plan_fixture_init(&f, 2, 2, 1ull * GIB);
    build(&f, &low);
    assert_int_equal(acpi_build(&f.plan, f.layout, (struct gpa){ 1ull << 40 }, &high, &ec), 0);
    assert_int_equal(low.len, high.len);
    acpi_tables_fini(&low);
    acpi_tables_fini(&high);
    plan_fixture_fini(&f);
}

static void fadt_tells_reduced_hardware(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0, dsdt_len = 0;
    const uint8_t *p, *dsdt;

    (void)state;
    plan_fixture_init(&f, 1, 1, 1ull * GIB);
    build(&f, &t);
    p = find(&t, "FACP", &len);
    dsdt = find(&t, "DSDT", &dsdt_len);
    assert_int_equal(len, 276);
    assert_int_equal(p[8], 6);
    assert_int_equal(le(p + 40, 4), BASE + (uint64_t)(dsdt - t.blob));
    assert_int_equal(le(p + 140, 8), BASE + (uint64_t)(dsdt - t.blob));
    assert_int_equal(le(p + 109, 2), 0x15); /* legacy devices, no VGA, no ASPM; no 8042 */
    assert_int_equal(le(p + 112, 4), 1u << 20 | 1u << 10 | 0x75);
    assert_int_equal(p[116], 1); /* reset register: I/O */
    assert_int_equal(le(p + 120, 8), PLATFORM_RESET_PORT);
    assert_int_equal(p[128], PLATFORM_RESET_VALUE);
    assert_int_equal(le(p + 248, 8), PLATFORM_SLEEP_CONTROL);
    assert_int_equal(le(p + 260, 8), PLATFORM_SLEEP_STATUS);
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

/* Not enabled in the MADT, but in the SRAT, so that the OS knows its node before it comes. */
static void a_cpu_that_comes_later_has_its_node(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0;
    const uint8_t *p, *e;

    (void)state;
    plan_fixture_init(&f, 2, 2, 64ull * MIB);
    f.plan.vcpus[3].later = true;
    build(&f, &t);
    p = find(&t, "APIC", &len);
    e = structure(p, len, 44, 0, 2);
    assert_int_equal(le(e + 4, 4), 1); /* enabled */
    e = structure(p, len, 44, 0, 3);
    assert_int_equal(e[2], 3);
    assert_int_equal(le(e + 4, 4), 2); /* online capable */
    p = find(&t, "SRAT", &len);
    e = structure(p, len, 48, 0, 3);
    assert_int_equal(e[2], 1); /* domain */
    assert_int_equal(le(e + 4, 4), 1);
    p = find(&t, "DSDT", &len);
    assert_non_null(memmem(p, len, "C003", 4));
    assert_non_null(memmem(p, len, "CSCN", 4));
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

/* The handle's bus is a byte, and so are device and function (5.2.16.6). */
static void a_generic_initiator_is_its_nodes_bridge(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0;
    const uint8_t *p, *e;

    (void)state;
    plan_fixture_init(&f, 3, 2, 64ull * MIB);
    f.plan.nodes[2].generic_initiator = true;
    build(&f, &t);
    p = find(&t, "SRAT", &len);
    e = structure(p, len, 48, 5, 0);
    assert_non_null(e);
    assert_int_equal(e[1], 32);
    assert_int_equal(e[3], 1); /* a PCI handle */
    assert_int_equal(le(e + 4, 4), 2);
    assert_int_equal(le(e + 8, 2), 0); /* segment */
    assert_int_equal(e[10], 2);        /* bus */
    assert_int_equal(e[11], 0);        /* device and function */
    assert_int_equal(le(e + 24, 4), 1);
    assert_null(structure(p, len, 48, 5, 1));
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

/* Sixty-four nodes of four: ids 0 to 255; the last CPU has the first id for x2APIC. */
static void id_255_is_told_as_x2apic(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0;
    const uint8_t *p, *e;

    (void)state;
    plan_fixture_init(&f, 64, 4, 64ull * MIB);
    build(&f, &t);
    p = find(&t, "APIC", &len);
    assert_int_equal(le(p + 36, 4), X86_LAPIC_BASE);
    assert_int_equal(le(p + 40, 4), 0); /* no 8259 */
    e = structure(p, len, 44, 0, 254);
    assert_non_null(e);
    assert_int_equal(e[2], 254);
    assert_int_equal(e[3], 254);
    assert_int_equal(e[4], 1);
    assert_null(structure(p, len, 44, 0, 255));
    e = structure(p, len, 44, 9, 0);
    assert_non_null(e);
    assert_int_equal(le(e + 4, 4), 255);
    assert_int_equal(le(e + 8, 4), 1);
    assert_int_equal(le(e + 12, 4), 255);
    assert_null(structure(p, len, 44, 9, 1));
    e = structure(p, len, 44, 1, 0);
    assert_non_null(e);
    assert_int_equal(le(e + 4, 4), X86_IOAPIC_BASE);

    p = find(&t, "SRAT", &len);
    e = structure(p, len, 48, 0, 254);
    assert_non_null(e);
    assert_int_equal(e[2], 63);
    assert_int_equal(e[3], 254);
    e = structure(p, len, 48, 2, 0);
    assert_non_null(e);
    assert_int_equal(le(e + 4, 4), 63);
    assert_int_equal(le(e + 8, 4), 255);
    assert_null(structure(p, len, 48, 0, 255));
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

static void a_high_uid_with_a_low_id_is_refused(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t = { .len = 7 };
    struct errctx ec = { 0 };

    (void)state;
    plan_fixture_init(&f, 64, 8, 64ull * MIB);
    f.plan.vcpus[300].apic_id = 5;
    assert_int_equal(plan_fixture_layout(&f, &x86_layout_map, &ec), 0);
    assert_int_equal(acpi_build(&f.plan, f.layout, (struct gpa){ BASE }, &t, &ec), -ERANGE);
    assert_string_equal(ec.msg, "vCPU 300 has APIC id 5, which the MADT cannot say");
    assert_int_equal(t.len, 7);
    plan_fixture_fini(&f);
}

static void srat_leaves_the_legacy_hole_and_marks_windows(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0, i = 0;
    uint64_t total = 0;
    const uint8_t *p, *e;

    (void)state;
    plan_fixture_init(&f, 2, 1, 4ull * GIB);
    f.plan.nodes[1].hotplug_bytes = 2ull * GIB;
    build(&f, &t);
    p = find(&t, "SRAT", &len);
    assert_int_equal(le(p + 36, 4), 1);
    e = structure(p, len, 48, 1, 0);
    assert_int_equal(le(e + 8, 8), 0);
    assert_int_equal(le(e + 16, 8), 0xa0000);
    e = structure(p, len, 48, 1, 1);
    assert_int_equal(le(e + 8, 8), 0x100000);
    while ((e = structure(p, len, 48, 1, i++)) != NULL) {
        const struct layout_range *r = mem_layout_find(f.layout, (struct gpa){ le(e + 8, 8) });

        assert_non_null(r);
        assert_int_equal(le(e + 2, 4), r->vnode.v);
        assert_int_equal(le(e + 28, 4), r->kind == LAYOUT_HOTPLUG ? 3 : 1);
        total += le(e + 16, 8);
    }
    assert_int_equal(total, 10ull * GIB - 0x60000);
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

static void slit_has_every_pair_and_refuses_what_a_byte_cannot_hold(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    struct errctx ec = { 0 };
    size_t len = 0;
    const uint8_t *p;

    (void)state;
    plan_fixture_init(&f, 3, 1, 1ull * GIB);
    f.plan.distances[1 * 3 + 2] = 254;
    build(&f, &t);
    p = find(&t, "SLIT", &len);
    assert_int_equal(len, 36 + 8 + 9);
    assert_int_equal(le(p + 36, 8), 3);
    assert_int_equal(p[44 + 0], 10);
    assert_int_equal(p[44 + 1 * 3 + 2], 254);
    assert_int_equal(p[44 + 2 * 3 + 1], 20);
    acpi_tables_fini(&t);
    f.plan.distances[1 * 3 + 2] = 256;
    assert_int_equal(acpi_build(&f.plan, f.layout, (struct gpa){ BASE }, &t, &ec), -ERANGE);
    assert_string_equal(ec.msg, "distance 256 from node 1 to node 2 is above 255");
    plan_fixture_fini(&f);
}

static void hmat_is_there_only_when_it_says_something(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0;

    (void)state;
    plan_fixture_init(&f, 2, 1, 1ull * GIB);
    build(&f, &t);
    assert_null(find(&t, "HMAT", &len));
    acpi_tables_fini(&t);
    plan_fixture_move_cpus(&f, 1, 0);
    build(&f, &t);
    assert_null(find(&t, "HMAT", &len));
    acpi_tables_fini(&t);
    f.plan.nodes[1].has_initiator = true;
    f.plan.nodes[1].initiator.v = 0;
    build(&f, &t);
    assert_non_null(find(&t, "HMAT", &len));
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

/* The first locality structure of @data type. */
static const uint8_t *locality(const uint8_t *p, size_t len, uint8_t data)
{
    for (size_t at = 40; at + 8 <= len; at += le(p + at + 4, 4)) {
        assert_true(le(p + at + 4, 4) >= 32);
        if (le(p + at, 2) == 1 && p[at + 9] == data)
            return p + at;
    }
    return NULL;
}

static void hmat_values_survive_in_their_units(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    size_t len = 0;
    const uint8_t *p, *e;

    (void)state;
    plan_fixture_init(&f, 2, 1, 1ull * GIB);
    f.plan.links = calloc(4, sizeof(f.plan.links[0]));
    f.plan.latency_unit_ns = 2;
    f.plan.bandwidth_unit_mib = 1024;
    f.plan.links[0] = (struct topo_plan_link){ 90, 102400ull * MIB };
    f.plan.links[1] = (struct topo_plan_link){ 2 * 65534, 1024ull * MIB };
    build(&f, &t);
    p = find(&t, "HMAT", &len);
    assert_non_null(p);
    assert_int_equal(p[8], 2);
    e = locality(p, len, 0);
    assert_non_null(e);
    assert_int_equal(le(e + 12, 4), 2);    /* initiators */
    assert_int_equal(le(e + 16, 4), 2);    /* targets */
    assert_int_equal(le(e + 24, 8), 2000); /* the unit, in picoseconds */
    assert_int_equal(le(e + 48, 2), 45);
    assert_int_equal(le(e + 50, 2), 65534);
    assert_int_equal(le(e + 52, 2), 0); /* not said */
    e = locality(p, len, 3);
    assert_non_null(e);
    assert_int_equal(le(e + 24, 8), 1024);
    assert_int_equal(le(e + 48, 2), 100);
    assert_int_equal(le(e + 50, 2), 1);
    acpi_tables_fini(&t);

    f.plan.bandwidth_unit_mib = 0; /* nothing was said of it */
    f.plan.links[0].bandwidth_bytes_per_s = f.plan.links[1].bandwidth_bytes_per_s = 0;
    build(&f, &t);
    p = find(&t, "HMAT", &len);
    assert_non_null(locality(p, len, 0));
    assert_null(locality(p, len, 3));
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

static void memory_side_caches_are_told_by_level(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    struct errctx ec = { 0 };
    const uint8_t *p;
    size_t len = 0;

    (void)state;
    plan_fixture_init(&f, 1, 1, 1ull * GIB);
    f.plan.nodes[0].n_mem_caches = 2;
    for (int i = 0; i < 2; i++)
        f.plan.nodes[0].mem_cache[i] = (struct guest_mem_cache_spec){
            .size_bytes = (uint64_t)(i + 1) * MIB,
            .line_bytes = 128,
            .assoc = MEM_CACHE_ASSOC_COMPLEX,
            .write = MEM_CACHE_WRITE_THROUGH,
        };
    build(&f, &t);
    p = find(&t, "HMAT", &len);
    assert_int_equal(len, 40 + 40 + 2 * 32);
    assert_int_equal(le(p + 80 + 32, 2), 2);
    assert_int_equal(le(p + 80 + 16, 8), 1 * MIB);
    assert_int_equal(le(p + 80 + 24, 4), 128u << 16 | 2 << 12 | 2 << 8 | 1 << 4 | 2);
    assert_int_equal(le(p + 112 + 24, 4), 128u << 16 | 2 << 12 | 2 << 8 | 2 << 4 | 2);
    acpi_tables_fini(&t);
    f.plan.nodes[0].mem_cache[1].line_bytes = 65536;
    assert_int_equal(acpi_build(&f.plan, f.layout, (struct gpa){ BASE }, &t, &ec), -ERANGE);
    assert_string_equal(ec.msg, "node 0: a memory-side cache line of 65536 bytes is above 65535");
    plan_fixture_fini(&f);
}

static void every_failed_allocation_is_reported(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t = { .len = 7 };
    struct errctx ec = { 0 };
    int r;

    (void)state;
    plan_fixture_init(&f, 4, 2, 1ull * GIB);
    assert_int_equal(plan_fixture_layout(&f, &x86_layout_map, &ec), 0);
    for (int allowed = 0;; allowed++) {
        reallocs_left = allowed;
        r = acpi_build(&f.plan, f.layout, (struct gpa){ BASE }, &t, &ec);
        reallocs_left = -1;
        if (r == 0)
            break;
        assert_int_equal(r, -ENOMEM);
        assert_string_equal(ec.msg, "no memory for the ACPI tables");
        assert_int_equal(t.len, 7);
        assert_true(allowed < 1000);
    }
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

static void files_need_a_folder(void **state)
{
    struct plan_fixture f;
    struct acpi_tables t;
    struct errctx ec = { 0 };

    (void)state;
    plan_fixture_init(&f, 1, 1, 1ull * GIB);
    build(&f, &t);
    assert_int_equal(acpi_write_files(&t, "/dev/null/x", &ec), -ENOTDIR);
    assert_string_equal(ec.msg, "make folder /dev/null/x: Not a directory");
    acpi_tables_fini(&t);
    plan_fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_addresses_hold),
        cmocka_unit_test(length_does_not_depend_on_the_base),
        cmocka_unit_test(fadt_tells_reduced_hardware),
        cmocka_unit_test(id_255_is_told_as_x2apic),
        cmocka_unit_test(a_cpu_that_comes_later_has_its_node),
        cmocka_unit_test(a_generic_initiator_is_its_nodes_bridge),
        cmocka_unit_test(a_high_uid_with_a_low_id_is_refused),
        cmocka_unit_test(srat_leaves_the_legacy_hole_and_marks_windows),
        cmocka_unit_test(slit_has_every_pair_and_refuses_what_a_byte_cannot_hold),
        cmocka_unit_test(hmat_is_there_only_when_it_says_something),
        cmocka_unit_test(hmat_values_survive_in_their_units),
        cmocka_unit_test(memory_side_caches_are_told_by_level),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(files_need_a_folder),
    };
    return cmocka_run_group_tests_name("firmware/acpi", tests, NULL, NULL);
}
