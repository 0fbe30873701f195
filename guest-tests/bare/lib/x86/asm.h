/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that start.S and C share. */
#ifndef GUEST_TESTS_BARE_LIB_X86_ASM_H
#define GUEST_TESTS_BARE_LIB_X86_ASM_H

#define MAX_CPUS       1024
#define AP_STACK_SHIFT 12
#define AP_TRAMPOLINE  0x8000 /* RAM below 640 KiB; boot data there was copied before */

#define SEL_CODE64 0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18

#define CR0_PE   0x00000001
#define CR0_MP   0x00000002
#define CR0_ET   0x00000010
#define CR0_NE   0x00000020
#define CR0_PG   0x80000000
#define CR4_PAE  0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

#define PTE_TABLE 0x03 /* present, writable */
#define PTE_LARGE 0xe3 /* present, writable, accessed, dirty, large page */

#endif
