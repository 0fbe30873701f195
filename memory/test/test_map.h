/* SPDX-License-Identifier: Apache-2.0 */
/* An address map for tests, of no architecture: RAM from 0 to 3 GiB and from 4 GiB on. */
#ifndef MEMORY_TEST_TEST_MAP_H
#define MEMORY_TEST_TEST_MAP_H

#include "memory/layout.h"

static const struct layout_map test_map = {
    .low_base = 0,
    .low_end = 0xc0000000,
    .high_base = 0x100000000,
    .pci32_base = 0xc0000000,
    .pci32_len = 0x20000000,
    .ecam_base = 0xe0000000,
};

#endif
