/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables as a guest finds them: checksums are checked here, contents are printed as
 * facts for the host to compare with the plan. Numbers are as the tables have them: proximity
 * domains, APIC ids, addresses; HMAT entries with their base unit multiplied in.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"

/* A row of numbers, separated by commas, printed in as many pieces as it takes. */
static void fact_row(const char *name, unsigned index, const uint8_t *p, unsigned n, unsigned width,
                     uint64_t unit)
{
    unsigned i;

    out("fact %s.%u=", name, index);
    for (i = 0; i < n; i++) {
        uint64_t v = width == 1 ? p[i] : get16(p + (size_t)i * 2);

        out("%lu%s", v * unit, i + 1 < n ? "," : "");
    }
    out("\n");
}

static void madt_cpu(const struct acpi_cpu *cpu, void *arg)
{
    (void)arg;
    fact("madt.cpu.%u=uid:%u,enabled:%u,x2:%u", cpu->apic_id, cpu->uid, cpu->enabled, cpu->x2);
}

static void madt_other(const uint8_t *e, unsigned len, void *arg)
{
    (void)arg;
    if (e[0] == 1 && len >= 12)
        fact("madt.ioapic.%u=addr:%x,gsi:%u", e[2], get32(e + 4), get32(e + 8));
}

static void srat_entry(const uint8_t *e, unsigned len, void *arg)
{
    unsigned *n_mem = arg;

    if (e[0] == 0 && len >= 16) { /* ACPI 6.5, 5.2.16.1 */
        fact("srat.cpu.%u=%u,enabled:%u", e[3],
             e[2] | (unsigned)e[9] << 8 | (unsigned)e[10] << 16 | (unsigned)e[11] << 24,
             get32(e + 4) & 1);
    } else if (e[0] == 1 && len >= 40) { /* 5.2.16.2 */
        fact("srat.mem.%u=base:%lx,len:%lx,pxm:%u,enabled:%u,hotplug:%u", (*n_mem)++, get64(e + 8),
             get64(e + 16), get32(e + 2), get32(e + 28) & 1, get32(e + 28) >> 1 & 1);
    } else if (e[0] == 2 && len >= 24) { /* 5.2.16.3 */
        fact("srat.cpu.%u=%u,enabled:%u", get32(e + 8), get32(e + 4), get32(e + 12) & 1);
    } else if (e[0] == 5 && len >= 32) { /* 5.2.16.6 */
        fact("srat.initiator=pxm:%u,kind:%u,segment:%u,bdf:%x", get32(e + 4), e[3], get16(e + 8),
             get16(e + 10));
    }
}

static void slit(const struct acpi_header *t)
{
    const uint8_t *p = (const uint8_t *)(t + 1);
    unsigned i, n = (unsigned)get64(p);

    fact("slit.nodes=%u", n);
    ok(t->length == sizeof(*t) + 8 + (uint64_t)n * n, "SLIT is as long as its matrix");
    for (i = 0; i < n && (i + 1) * n <= t->length; i++)
        fact_row("slit", i, p + 8 + (size_t)i * n, n, 1, 1);
}

/* ACPI 6.5, 5.2.28.4: initiators and targets lists, then the matrix, row = initiator. */
static void hmat_matrix(const uint8_t *s)
{
    static const char *const names[] = { "access-latency",   "read-latency",   "write-latency",
                                         "access-bandwidth", "read-bandwidth", "write-bandwidth" };
    unsigned n_from = get32(s + 12), n_to = get32(s + 16), i;
    const uint8_t *from = s + 32, *to = from + (size_t)n_from * 4, *m = to + (size_t)n_to * 4;
    const char *name = s[9] < COUNT_OF(names) ? names[s[9]] : "unknown";

    out("fact hmat.%s.targets=", name);
    for (i = 0; i < n_to; i++)
        out("%u%s", get32(to + (size_t)i * 4), i + 1 < n_to ? "," : "");
    out("\n");
    fact("hmat.%s.level=%u", name, s[8] & 15);
    out("fact hmat.%s.unit=%lu\n", name, get64(s + 24));
    for (i = 0; i < n_from; i++) {
        char path[40] = "hmat.";

        memcpy(path + 5, name, strlen(name) + 1);
        fact_row(path, get32(from + (size_t)i * 4), m + (size_t)i * n_to * 2, n_to, 2,
                 get64(s + 24));
    }
}

static void hmat(const struct acpi_header *t)
{
    const uint8_t *p = (const uint8_t *)t;
    uint32_t at = 40, len;

    for (; at + 8 <= t->length; at += len) {
        const uint8_t *s = p + at;

        len = get32(s + 4);
        if (!ok(len >= 8 && at + len <= t->length, "HMAT structure at %u lies in the table", at))
            return;
        if (get16(s) == 0) /* 5.2.28.3 */
            fact("hmat.memory.%u=initiator:%u,valid:%u", get32(s + 16), get32(s + 12),
                 get16(s + 8) & 1);
        else if (get16(s) == 1)
            hmat_matrix(s);
        else if (get16(s) == 2) /* 5.2.28.5 */
            fact("hmat.cache.%u.%u=size:%lu,attributes:%x", get32(s + 8), get32(s + 24) >> 4 & 15,
                 get64(s + 16), get32(s + 24));
    }
}

static void mcfg(const struct acpi_header *t)
{
    const uint8_t *p = (const uint8_t *)t + 44;

    for (; p + 16 <= (const uint8_t *)t + t->length; p += 16)
        fact("mcfg.%u=base:%lx,first:%u,last:%u", get16(p + 8), get64(p), p[10], p[11]);
}

static void sums(void)
{
    const struct acpi_header *t;
    unsigned i, bad = 0;

    for (i = 0; (t = acpi_table_at(i)) != NULL; i++) {
        char name[5] = { 0 };

        memcpy(name, t->signature, 4);
        fact("table.%s=len:%u,revision:%u", name, t->length, t->revision);
        if (!acpi_sum_ok(t, t->length)) {
            note("%s has a wrong checksum", name);
            bad++;
        }
    }
    ok(bad == 0, "all %u tables have good checksums", i);
}

void guest_main(void)
{
    const struct acpi_header *t;
    unsigned n_mem = 0;

    if (!ok(acpi_rsdp() != 0, "a scan of 0xE0000-0xFFFFF finds an RSDP"))
        tap_done();
    fact("rsdp.revision=%u", *(const uint8_t *)(uintptr_t)(acpi_rsdp() + 15));
    t = acpi_table("XSDT");
    ok(t != NULL && acpi_sum_ok(t, t->length), "the XSDT has a good checksum");
    sums();
    t = acpi_table("DSDT");
    ok(t != NULL && acpi_sum_ok(t, t->length), "the DSDT has a good checksum");
    acpi_each_cpu(madt_cpu, NULL);
    acpi_each(acpi_table("APIC"), 44, madt_other, NULL);
    acpi_each(acpi_table("SRAT"), 48, srat_entry, &n_mem);
    if ((t = acpi_table("SLIT")) != NULL)
        slit(t);
    if ((t = acpi_table("HMAT")) != NULL)
        hmat(t);
    if ((t = acpi_table("MCFG")) != NULL)
        mcfg(t);
    tap_done();
}
