/* SPDX-License-Identifier: Apache-2.0 */
/* Root System Description Pointer (ACPI 6.5, 5.2.5.3): where the XSDT is; there is no RSDT. */
#include <string.h>

#include "firmware/acpi_parts.h"

void rsdp_make(struct gpa xsdt, uint8_t ret_rsdp[ACPI_RSDP_BYTES])
{
    uint8_t r[ACPI_RSDP_BYTES] = { 0 };

    memcpy(r, "RSD PTR ", 8);
    memcpy(r + 9, "NUMAVI", 6);
    r[15] = 2; /* revision */
    r[20] = ACPI_RSDP_BYTES;
    for (size_t i = 0; i < 8; i++)
        r[24 + i] = (uint8_t)(xsdt.v >> (8 * i));
    r[8] = acpi_checksum(r, 20);
    r[32] = acpi_checksum(r, sizeof(r));
    memcpy(ret_rsdp, r, sizeof(r));
}
