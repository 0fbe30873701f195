/* SPDX-License-Identifier: Apache-2.0 */
/* Finding ACPI tables (ACPI 6.5, chapter 5.2). Not thread-safe: boot CPU only. */
#include "guest-tests/bare/lib/x86/acpi.h"

#include "guest-tests/bare/lib/bare.h"

enum { SCAN_START = 0xe0000, SCAN_END = 0x100000, RSDP_V1_BYTES = 20, RSDP_BYTES = 36 };
enum { MADT_HEADER = 44, MADT_APIC = 0, MADT_X2APIC = 9 };

bool acpi_sum_ok(const void *p, uint32_t n)
{
    const uint8_t *b = p;
    uint8_t sum = 0;
    uint32_t i;

    for (i = 0; i < n; i++)
        sum = (uint8_t)(sum + b[i]);
    return sum == 0;
}

uint64_t acpi_rsdp(void)
{
    static uint64_t found;
    uint64_t at;

    for (at = SCAN_START; found == 0 && at < SCAN_END; at += 16) {
        const uint8_t *p = (const uint8_t *)(uintptr_t)at;

        if (read64(at) != 0x2052545020445352ull) /* "RSD PTR " */
            continue;
        if (acpi_sum_ok(p, RSDP_V1_BYTES) && (p[15] < 2 || acpi_sum_ok(p, RSDP_BYTES)))
            found = at;
    }
    return found;
}

const struct acpi_header *acpi_at(uint64_t addr)
{
    const struct acpi_header *t = (const struct acpi_header *)(uintptr_t)addr;

    map_range(addr, sizeof(*t));
    map_range(addr, t->length);
    return t;
}

/* The XSDT, or the RSDT of a machine that has only that, and the width of its entries. */
static const struct acpi_header *root_table(unsigned *ret_width)
{
    uint64_t at = acpi_rsdp();
    const uint8_t *p = (const uint8_t *)(uintptr_t)at;
    uint64_t xsdt;

    if (at == 0)
        return NULL;
    xsdt = p[15] >= 2 ? get64(p + 24) : 0;
    *ret_width = xsdt ? 8 : 4;
    return acpi_at(xsdt ? xsdt : get32(p + 16));
}

const struct acpi_header *acpi_table_at(unsigned i)
{
    unsigned width;
    const struct acpi_header *root = root_table(&width);
    const uint8_t *entry;

    if (root == NULL || sizeof(*root) + (uint64_t)(i + 1) * width > root->length)
        return NULL;
    entry = (const uint8_t *)(root + 1) + (uint64_t)i * width;
    return acpi_at(width == 8 ? get64(entry) : get32(entry));
}

const struct acpi_header *acpi_table(const char *signature)
{
    const struct acpi_header *t;
    const uint8_t *fadt;
    unsigned i, width;

    if (memcmp(signature, "XSDT", 4) == 0)
        return root_table(&width);
    if (memcmp(signature, "DSDT", 4) == 0) {
        fadt = (const uint8_t *)acpi_table("FACP");
        if (fadt == NULL)
            return NULL;
        if (get32(fadt + 4) >= 148 && get64(fadt + 140) != 0)
            return acpi_at(get64(fadt + 140));
        return get32(fadt + 40) ? acpi_at(get32(fadt + 40)) : NULL;
    }
    for (i = 0; (t = acpi_table_at(i)) != NULL; i++)
        if (memcmp(t->signature, signature, 4) == 0)
            return t;
    return NULL;
}

void acpi_each(const struct acpi_header *t, uint32_t header_bytes,
               void (*fn)(const uint8_t *entry, unsigned len, void *arg), void *arg)
{
    const uint8_t *p = (const uint8_t *)t;
    uint32_t at = header_bytes;

    while (t != NULL && at + 2 <= t->length && p[at + 1] >= 2 && at + p[at + 1] <= t->length) {
        fn(p + at, p[at + 1], arg);
        at += p[at + 1];
    }
}

struct each_cpu {
    void (*fn)(const struct acpi_cpu *cpu, void *arg);
    void *arg;
};

static void madt_entry(const uint8_t *e, unsigned len, void *arg)
{
    const struct each_cpu *c = arg;
    struct acpi_cpu cpu;

    if (e[0] == MADT_APIC && len >= 8)
        cpu = (struct acpi_cpu){ e[3], e[2], get32(e + 4) & 1, false };
    else if (e[0] == MADT_X2APIC && len >= 16)
        cpu = (struct acpi_cpu){ get32(e + 4), get32(e + 12), get32(e + 8) & 1, true };
    else
        return;
    c->fn(&cpu, c->arg);
}

void acpi_each_cpu(void (*fn)(const struct acpi_cpu *cpu, void *arg), void *arg)
{
    struct each_cpu c = { fn, arg };

    acpi_each(acpi_table("APIC"), MADT_HEADER, madt_entry, &c);
}

bool describer_at(unsigned i, struct describer *ret_d)
{
    const struct acpi_header *root = acpi_table("XSDT");

    if (i == 0)
        *ret_d = (struct describer){ "the RSDP", acpi_rsdp(), 36, false, acpi_rsdp() != 0 };
    else if (i == 1)
        *ret_d = (struct describer){ "its root table", phys(root), root ? root->length : 0, false,
                                     root != NULL && acpi_sum_ok(root, root->length) };
    return i < 2;
}
