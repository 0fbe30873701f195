/* SPDX-License-Identifier: Apache-2.0 */
/* PCI configuration space both ways, BARs, capabilities, MSI-X. Boot CPU only. */
#ifndef GUEST_TESTS_BARE_LIB_PCI_H
#define GUEST_TESTS_BARE_LIB_PCI_H

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdint.h>

/* A function, by its place in configuration space. */
struct pci_dev {
    uint64_t cfg; /* address in ECAM */
    uint8_t bus, dev;
};

/** pci_ecam() - where configuration space is; ends the guest as failed when it is nowhere. One per
 *  architecture. */
void pci_ecam(uint64_t *ret_base, unsigned *ret_first, unsigned *ret_last);
/** pci_first_bus() / pci_last_bus() - what ECAM covers. */
unsigned pci_first_bus(void);
unsigned pci_last_bus(void);

/** pci_at() - function 0 of a device; true when something answers. */
bool pci_at(unsigned bus, unsigned dev, struct pci_dev *ret_dev);
/** pci_find() - the @nth (from 0) function with these ids. */
bool pci_find(uint16_t vendor, uint16_t device, unsigned nth, struct pci_dev *ret_dev);

/** pci_port_read() / pci_port_write() - a register through 0xcf8 and 0xcfc; x86 alone. */
uint32_t pci_port_read(const struct pci_dev *d, unsigned off);
void pci_port_write(const struct pci_dev *d, unsigned off, uint32_t v);

/** pci_bar_base() - address in BAR register @i (a 64-bit one takes @i and @i + 1). */
uint64_t pci_bar_base(const struct pci_dev *d, unsigned i);
void pci_bar_set(const struct pci_dev *d, unsigned i, uint64_t base);
/** pci_bar_size() - by writing ones; restores the address. Decoding must be off. 0: none. */
uint64_t pci_bar_size(const struct pci_dev *d, unsigned i);
bool pci_bar_is_64(const struct pci_dev *d, unsigned i);

/** pci_decode() - memory decoding and bus mastering on or off. */
void pci_decode(const struct pci_dev *d, bool on);

/** pci_cap() - offset of the next capability @id behind offset @after (0: from the start), or
 *  0 when there is none. */
unsigned pci_cap(const struct pci_dev *d, uint8_t id, unsigned after);

/** pci_msix_table() - address of the vector table and number of vectors, or 0. */
uint64_t pci_msix_table(const struct pci_dev *d, unsigned *ret_vectors);
/** pci_msix_set() - let @entry deliver @vector to the CPU with this APIC id; unmasked;
 *  x86 alone. Ids above 255 go into the extended destination bits of KVM (address bits 5 to 11). */
void pci_msix_set(const struct pci_dev *d, unsigned entry, uint32_t apic_id, uint8_t vector);
void pci_msix_enable(const struct pci_dev *d, bool on);

#endif
