/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the loader's entry to C: the Image header (the kernel's arm64/booting.rst), tables of the
 * first 4 GiB, MMU on; the path of the other CPUs from CPU_ON; exception vectors.
 */
#include "guest-tests/bare/lib/arm64/asm.h"

    .section .head, "ax"
    b start
    .long 0
    .quad 0                        /* text offset */
    .quad image_bytes               /* memory it takes */
    .quad 0x0a                     /* little-endian, pages of 4 KiB, anywhere in RAM */
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0

    .text
start:
    mov x19, x0
    ldr x1, =bss_start
    ldr x2, =bss_end
1:  cmp x1, x2
    b.hs 2f
    stp xzr, xzr, [x1], #16
    b 1b
2:  bl cpu_setup
    ldr x1, =boot_stack_top
    mov sp, x1
    mov x0, x19
    bl boot_main
1:  wfi
    b 1b

/* X0: the number that smp_start() gave. */
    .globl ap_start
ap_start:
    mov x19, x0
    bl cpu_setup
    ldr x1, =ap_stacks
    add x1, x1, x19, lsl #AP_STACK_SHIFT
    mov sp, x1
    mov x0, x19
    bl ap_entry
1:  wfi
    b 1b

/* Vectors and MMU; uses no stack. TCR_EL1: 48 bits from TTBR0, walks inner shareable and
 * write-back, none from TTBR1, as many physical bits as there are up to 48. */
cpu_setup:
    ldr x0, =vectors
    msr vbar_el1, x0
    ldr x0, =MAIR_VALUE
    msr mair_el1, x0
    mrs x1, id_aa64mmfr0_el1
    and x1, x1, #0xf
    mov x2, #5
    cmp x1, x2
    csel x1, x1, x2, lo
    ldr x0, =0x803510 /* EPD1, SH0 inner, ORGN0, IRGN0 write-back, T0SZ 16 */
    orr x0, x0, x1, lsl #32
    msr tcr_el1, x0
    ldr x0, =boot_l0
    msr ttbr0_el1, x0
    dsb sy
    tlbi vmalle1
    ic iallu
    dsb sy
    isb
    mrs x0, sctlr_el1
    ldr x1, =0x1005 /* I, C, M */
    orr x0, x0, x1
    bic x0, x0, #2 /* no alignment checks */
    msr sctlr_el1, x0
    isb
    ret

    .macro vector kind
    .balign 0x80
    sub sp, sp, #FRAME_BYTES
    stp x0, x1, [sp]
    mov x0, #\kind
    b trap_common
    .endm

    .balign 0x800
vectors:
    .irp kind, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector \kind
    .endr

trap_common:
    .irp n, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    str x\n, [sp, #8 * \n]
    .endr
    .irp n, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29
    str x\n, [sp, #8 * \n]
    .endr
    mrs x1, elr_el1
    stp x30, x1, [sp, #240]
    mrs x1, spsr_el1
    str x1, [sp, #256]
    mov x1, sp
    bl trap_handle
    ldr x1, [sp, #256]
    msr spsr_el1, x1
    ldp x30, x1, [sp, #240]
    msr elr_el1, x1
    .irp n, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29
    ldr x\n, [sp, #8 * \n]
    .endr
    .irp n, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    ldr x\n, [sp, #8 * \n]
    .endr
    ldp x0, x1, [sp]
    add sp, sp, #FRAME_BYTES
    eret

    .globl psci
psci:
    hvc #0
    ret

    .section .data
    .balign 4096
    .globl boot_l0
boot_l0:
    .quad boot_l1 + TABLE
    .fill 511, 8, 0
    .balign 4096
boot_l1:
    .quad BLOCK_DEVICE
    .quad 0x40000000 + BLOCK_NORMAL, 0x80000000 + BLOCK_NORMAL, 0xc0000000 + BLOCK_NORMAL
    .fill 508, 8, 0

    .section .stacks, "aw", @nobits
    .balign 16
    .skip 16384
boot_stack_top:
    .balign 4096
ap_stacks:
    .skip (MAX_CPUS - 1) << AP_STACK_SHIFT

    .section .note.GNU-stack, "", @progbits
