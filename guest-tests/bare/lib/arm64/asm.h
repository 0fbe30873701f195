/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that start.S and C share. */
#ifndef GUEST_TESTS_BARE_LIB_ARM64_ASM_H
#define GUEST_TESTS_BARE_LIB_ARM64_ASM_H

#define MAX_CPUS       1024
#define AP_STACK_SHIFT 12
#define IMAGE_BASE     0x40000000 /* where the loader puts an Image with text offset 0 */

#define FRAME_BYTES 272

/* Descriptors of blocks of 1 GiB (Arm ARM, D8.3): accessed, inner shareable, MAIR's entry. */
#define BLOCK_DEVICE 0x701
#define BLOCK_NORMAL 0x705
#define TABLE        0x003
#define MAIR_VALUE   0xff00 /* 0: device, nGnRnE; 1: normal, write-back */

#endif
