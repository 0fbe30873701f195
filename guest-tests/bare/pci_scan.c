/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every bus shows the same functions through ECAM and through ports 0xcf8 and 0xcfc; BARs can be
 * sized, moved and misused. After every misuse memory is still memory, the local APIC is still
 * there, and the BAR at its old place answers as before.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/pci.h"

enum { PORT_BYTES = 256, MAX_FUNCTIONS = 64 };

static struct pci_dev found[MAX_FUNCTIONS];
static unsigned n_found;

static void scan_bus(unsigned bus, unsigned *ret_differ)
{
    struct pci_dev d;
    unsigned dev, off;
    uint32_t id;

    for (dev = 0; dev < 32; dev++) {
        bool there = pci_at(bus, dev, &d);

        id = pci_port_read(&d, 0);
        *ret_differ += id != read32(d.cfg);
        if (!there)
            continue;
        for (off = 0; off < PORT_BYTES; off += 4)
            *ret_differ += pci_port_read(&d, off) != read32(d.cfg + off);
        fact("pci.%u.%u=vendor:%x,device:%x,class:%x", bus, dev, id & 0xffff, id >> 16,
             read32(d.cfg + PCI_CLASS_REVISION) >> 8);
        if (n_found < MAX_FUNCTIONS)
            found[n_found++] = d;
    }
}

static void scan(void)
{
    unsigned bus, differ = 0;

    for (bus = pci_first_bus(); bus <= pci_last_bus(); bus++)
        scan_bus(bus, &differ);
    fact("pci.buses=first:%u,last:%u", pci_first_bus(), pci_last_bus());
    ok(n_found > 0, "there are functions (%u)", n_found);
    ok(differ == 0, "ECAM and ports show the same (%u registers differ)", differ);
}

static unsigned bar_step(const struct pci_dev *d, unsigned i)
{
    return pci_bar_is_64(d, i) ? 2 : 1;
}

static bool is_memory_bar(const struct pci_dev *d, unsigned i)
{
    return (read32(d->cfg + PCI_BASE_ADDRESS_0 + i * 4) & PCI_BASE_ADDRESS_SPACE) ==
           PCI_BASE_ADDRESS_SPACE_MEMORY;
}

static void bars(const struct pci_dev *d)
{
    unsigned i, bad = 0, n = 0;
    uint64_t base, size;

    if (read8(d->cfg + PCI_HEADER_TYPE) & 0x7f)
        return;
    pci_decode(d, false);
    for (i = 0; i < 6; i += bar_step(d, i)) {
        if (!is_memory_bar(d, i))
            continue;
        base = pci_bar_base(d, i);
        size = pci_bar_size(d, i);
        if (size == 0)
            continue;
        n++;
        bad += (size & (size - 1)) != 0 || (base & (size - 1)) != 0 || pci_bar_base(d, i) != base;
        fact("pci.%u.%u.bar.%u=base:%lx,size:%lx", d->bus, d->dev, i, base, size);
    }
    if (n > 0)
        ok(bad == 0, "%u:%u: the %u BARs have a power of two as size and are aligned to it", d->bus,
           d->dev, n);
}

static void msix(const struct pci_dev *d)
{
    unsigned n, i, bad = 0;
    uint64_t t, e;

    pci_decode(d, true);
    t = pci_msix_table(d, &n);
    if (t == 0)
        return;
    for (i = 0; i < n; i++) {
        e = t + (uint64_t)i * PCI_MSIX_ENTRY_SIZE;
        bad += (read32(e + PCI_MSIX_ENTRY_VECTOR_CTRL) & 1) == 0;
        write32(e + PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee00000u + i * 4096);
        write32(e + PCI_MSIX_ENTRY_DATA, 0x40 + i);
    }
    for (i = 0; i < n; i++) {
        e = t + (uint64_t)i * PCI_MSIX_ENTRY_SIZE;
        bad += read32(e + PCI_MSIX_ENTRY_LOWER_ADDR) != 0xfee00000u + i * 4096;
        bad += read32(e + PCI_MSIX_ENTRY_DATA) != 0x40 + i;
    }
    (void)read8(t + 1);
    write16(t + 2, 0xffff);
    (void)read64(t + (uint64_t)n * PCI_MSIX_ENTRY_SIZE - 4);
    fact("pci.%u.%u.msix=%u", d->bus, d->dev, n);
    ok(bad == 0, "%u:%u: the %u MSI-X vectors start masked and hold what is written", d->bus,
       d->dev, n);
    pci_decode(d, false);
}

/* What must be where it is, whatever a BAR is told. */
static bool world_stands(uint64_t ram)
{
    uint64_t mark = ram ^ 0xc0ffee;

    write64(ram, mark);
    return read64(ram) == mark && apic_id() == apic_id() && acpi_rsdp() != 0 &&
           (msr_read(MSR_APIC_BASE) & 0xfffff000) == LAPIC_BASE;
}

/* One past the highest address that this CPU can reach. */
static uint64_t reach(void)
{
    return 1ull << (cpuid(0x80000008, 0).eax & 0xff);
}

/* Let BAR @i decode at @at, touch it there, and take it away again. */
static void misuse(const struct pci_dev *d, unsigned i, uint64_t at)
{
    uint64_t got;

    pci_bar_set(d, i, at);
    pci_decode(d, true);
    got = pci_bar_base(d, i) & (reach() - 1);
    if (got != 0 && got < phys(image_start)) {
        (void)read32(got);
    } else if (got >= phys(image_end) && got < 1ull << 47) {
        map_range(got, PAGE_BYTES);
        (void)read32(got);
    }
    pci_bar_set(d, i, ~0ull); /* while decoding, too */
    pci_bar_set(d, i, at + 0x1234);
    pci_decode(d, false);
}

static void abuse(const struct pci_dev *d, uint64_t ram)
{
    const uint64_t at[] = { ram,         LAPIC_BASE, 0xfec00000,     d->cfg & ~0xfffffull,
                            ram + 16,    0,          0xe0000,        reach() / 2,
                            ~0ull << 12, FREE_MMIO,  4 * GIB - 8192, phys(image_start) };
    unsigned i, k, bad = 0, n = 0;
    uint64_t base;
    uint32_t before, after;

    for (i = 0; i < 6; i += bar_step(d, i)) {
        if (!is_memory_bar(d, i) || pci_bar_size(d, i) == 0)
            continue;
        n++;
        base = pci_bar_base(d, i);
        pci_decode(d, true);
        map_range(base, PAGE_BYTES);
        before = read32(base);
        pci_decode(d, false);
        for (k = 0; k < COUNT_OF(at); k++) {
            misuse(d, i, at[k]);
            bad += !world_stands(ram);
        }
        pci_bar_set(d, i, base);
        pci_decode(d, true);
        after = read32(base);
        bad += before != after || pci_bar_base(d, i) != base;
        pci_decode(d, false);
        bad += read32(base) != ~0u; /* nobody there any more */
    }
    if (n > 0)
        ok(bad == 0, "%u:%u: misplaced BARs harm nothing, and their old places work again", d->bus,
           d->dev);
}

void guest_main(void)
{
    void *ram = page_alloc(1);
    unsigned i;

    scan();
    for (i = 0; i < n_found; i++) {
        bars(&found[i]);
        msix(&found[i]);
    }
    for (i = 0; i < n_found; i++)
        if (!text_has(boot.cmdline, "tame"))
            abuse(&found[i], phys(ram));
    tap_done();
}
