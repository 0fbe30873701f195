/* SPDX-License-Identifier: Apache-2.0 */
/* What the device trees of arm64 machines have of their own; see firmware/fdt.h. */
#ifndef FIRMWARE_ARM64_ARM64_FDT_H
#define FIRMWARE_ARM64_ARM64_FDT_H

#include "firmware/fdt.h"

extern const struct fdt_arch fdt_arch_arm64;

#endif
