/* SPDX-License-Identifier: Apache-2.0 */
/* PCI on x86: where ECAM is, configuration mechanism #1, MSI to a local APIC. */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/pci.h"
#include "guest-tests/bare/lib/x86/acpi.h"

enum { CFG_ENABLE = 1u << 31, CFG_DATA = PLATFORM_PCI_CF8 + 4 };
#define MSI_ADDRESS 0xfee00000u

void pci_ecam(uint64_t *ret_base, unsigned *ret_first, unsigned *ret_last)
{
    const uint8_t *t = (const uint8_t *)acpi_table("MCFG");

    if (t == NULL) {
        ok(false, "there is an MCFG");
        tap_done();
    }
    *ret_base = get64(t + 44);
    *ret_first = t[54];
    *ret_last = t[55];
}

static void port_select(const struct pci_dev *d, unsigned off)
{
    outl(PLATFORM_PCI_CF8,
         CFG_ENABLE | (uint32_t)d->bus << 16 | (uint32_t)d->dev << 11 | (off & 0xfc));
}

uint32_t pci_port_read(const struct pci_dev *d, unsigned off)
{
    port_select(d, off);
    return inl(CFG_DATA);
}

void pci_port_write(const struct pci_dev *d, unsigned off, uint32_t v)
{
    port_select(d, off);
    outl(CFG_DATA, v);
}

void pci_msix_set(const struct pci_dev *d, unsigned entry, uint32_t id, uint8_t vector)
{
    unsigned n;
    uint64_t e = pci_msix_table(d, &n) + entry * PCI_MSIX_ENTRY_SIZE;

    write32(e + PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
    write32(e + PCI_MSIX_ENTRY_LOWER_ADDR, MSI_ADDRESS | (id & 0xff) << 12 | (id >> 8 & 0x7f) << 5);
    write32(e + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    write32(e + PCI_MSIX_ENTRY_DATA, vector);
    write32(e + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}
