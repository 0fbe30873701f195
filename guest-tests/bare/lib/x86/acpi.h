/* SPDX-License-Identifier: Apache-2.0 */
/* Finding ACPI tables and walking the few that guests need. */
#ifndef GUEST_TESTS_BARE_LIB_X86_ACPI_H
#define GUEST_TESTS_BARE_LIB_X86_ACPI_H

#include <stdbool.h>
#include <stdint.h>

struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct acpi_cpu {
    uint32_t apic_id, uid;
    bool enabled;
    bool x2; /* from an x2APIC entry */
};

/** acpi_rsdp() - address of the RSDP in 0xE0000-0xFFFFF with good checksums, or 0. */
uint64_t acpi_rsdp(void);
/** acpi_table_at() - table @i of the XSDT, mapped, or NULL behind the last. */
const struct acpi_header *acpi_table_at(unsigned i);
/** acpi_table() - first table with this signature, or NULL; "DSDT" and "XSDT" are found, too. */
const struct acpi_header *acpi_table(const char *signature);
/** acpi_sum_ok() - bytes add up to 0. */
bool acpi_sum_ok(const void *p, uint32_t n);
/** acpi_at() - map @addr and return it as a table header. */
const struct acpi_header *acpi_at(uint64_t addr);
/** acpi_each_cpu() - every local APIC and x2APIC entry of the MADT. */
void acpi_each_cpu(void (*fn)(const struct acpi_cpu *cpu, void *arg), void *arg);
/** acpi_each() - @fn for each {type u8, length u8} entry behind @header_bytes of @t. */
void acpi_each(const struct acpi_header *t, uint32_t header_bytes,
               void (*fn)(const uint8_t *entry, unsigned len, void *arg), void *arg);

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    __builtin_memcpy(&v, p, 4);
    return v;
}

static inline uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    __builtin_memcpy(&v, p, 8);
    return v;
}

#endif
