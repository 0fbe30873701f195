/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/x86/x86_map.h"

const struct layout_map x86_layout_map = {
    .low_base = 0,
    .low_end = X86_LOW_MAX,
    .high_base = X86_HIGH_BASE,
    .pci32_base = X86_PCI32_BASE,
    .pci32_len = X86_PCI32_LEN,
    .ecam_base = X86_ECAM_BASE,
};
