/* SPDX-License-Identifier: Apache-2.0 */
/* PCI (PCI 3.0, chapter 6) as guests need it. */
#include "guest-tests/bare/lib/pci.h"

#include "guest-tests/bare/lib/bare.h"

enum { MAX_CAPS = 48 };

static struct {
    uint64_t base;
    unsigned first, last;
} ecam;

static void ecam_init(void)
{
    if (ecam.base != 0)
        return;
    pci_ecam(&ecam.base, &ecam.first, &ecam.last);
    map_range(ecam.base, (uint64_t)(ecam.last - ecam.first + 1) << 20);
}

unsigned pci_first_bus(void)
{
    ecam_init();
    return ecam.first;
}

unsigned pci_last_bus(void)
{
    ecam_init();
    return ecam.last;
}

bool pci_at(unsigned bus, unsigned dev, struct pci_dev *ret_dev)
{
    ecam_init();
    ret_dev->bus = (uint8_t)bus;
    ret_dev->dev = (uint8_t)dev;
    ret_dev->cfg = ecam.base + ((uint64_t)(bus - ecam.first) << 20 | dev << 15);
    return read32(ret_dev->cfg) != ~0u;
}

bool pci_find(uint16_t vendor, uint16_t device, unsigned nth, struct pci_dev *ret_dev)
{
    unsigned bus, dev;
    struct pci_dev d;

    for (bus = pci_first_bus(); bus <= pci_last_bus(); bus++) {
        for (dev = 0; dev < 32; dev++) {
            if (!pci_at(bus, dev, &d)) {
                if (dev == 0)
                    break; /* every bus has its host bridge there */
                continue;
            }
            if (read32(d.cfg) != ((uint32_t)device << 16 | vendor) || nth-- > 0)
                continue;
            *ret_dev = d;
            return true;
        }
    }
    return false;
}

bool pci_bar_is_64(const struct pci_dev *d, unsigned i)
{
    uint32_t lo = read32(d->cfg + PCI_BASE_ADDRESS_0 + i * 4);

    return (lo & PCI_BASE_ADDRESS_SPACE) == PCI_BASE_ADDRESS_SPACE_MEMORY &&
           (lo & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

uint64_t pci_bar_base(const struct pci_dev *d, unsigned i)
{
    uint64_t v = read32(d->cfg + PCI_BASE_ADDRESS_0 + i * 4);

    if (pci_bar_is_64(d, i))
        v |= (uint64_t)read32(d->cfg + PCI_BASE_ADDRESS_1 + i * 4) << 32;
    return v & ~0xfull;
}

void pci_bar_set(const struct pci_dev *d, unsigned i, uint64_t base)
{
    write32(d->cfg + PCI_BASE_ADDRESS_0 + i * 4, (uint32_t)base);
    if (pci_bar_is_64(d, i))
        write32(d->cfg + PCI_BASE_ADDRESS_1 + i * 4, (uint32_t)(base >> 32));
}

uint64_t pci_bar_size(const struct pci_dev *d, unsigned i)
{
    uint64_t base = pci_bar_base(d, i), mask;

    pci_bar_set(d, i, ~0ull);
    mask = pci_bar_base(d, i);
    pci_bar_set(d, i, base);
    if (mask == 0)
        return 0;
    return pci_bar_is_64(d, i) ? ~mask + 1 : (uint32_t)(~mask + 1);
}

void pci_decode(const struct pci_dev *d, bool on)
{
    uint16_t c = read16(d->cfg + PCI_COMMAND);
    uint16_t bits = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

    write16(d->cfg + PCI_COMMAND, on ? c | bits : c & (uint16_t)~bits);
}

unsigned pci_cap(const struct pci_dev *d, uint8_t id, unsigned after)
{
    unsigned at, n;

    if ((read16(d->cfg + PCI_STATUS) & PCI_STATUS_CAP_LIST) == 0)
        return 0;
    at = read8(d->cfg + (after ? after + 1 : PCI_CAPABILITY_LIST)) & 0xfc;
    for (n = 0; at >= 0x40 && n < MAX_CAPS; n++) {
        if (read8(d->cfg + at) == id)
            return at;
        at = read8(d->cfg + at + 1) & 0xfc;
    }
    return 0;
}

uint64_t pci_msix_table(const struct pci_dev *d, unsigned *ret_vectors)
{
    unsigned cap = pci_cap(d, PCI_CAP_ID_MSIX, 0);
    uint32_t at;
    uint64_t base;

    if (cap == 0)
        return 0;
    *ret_vectors = (read16(d->cfg + cap + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1;
    at = read32(d->cfg + cap + PCI_MSIX_TABLE);
    base = pci_bar_base(d, at & PCI_MSIX_TABLE_BIR) + (at & PCI_MSIX_TABLE_OFFSET);
    map_range(base, (uint64_t)*ret_vectors * PCI_MSIX_ENTRY_SIZE);
    return base;
}

void pci_msix_enable(const struct pci_dev *d, bool on)
{
    unsigned cap = pci_cap(d, PCI_CAP_ID_MSIX, 0);

    if (cap != 0)
        write16(d->cfg + cap + PCI_MSIX_FLAGS, on ? PCI_MSIX_FLAGS_ENABLE : 0);
}
