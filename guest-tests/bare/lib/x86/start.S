/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the loader's entry to C: multiboot header, 32-bit entry, page tables, long mode; the path
 * of the other CPUs from their start-up IPI; interrupt stubs.
 *
 * Page tables for the first 4 GiB are data of the image, so that no instruction is spent on them
 * where kernel code is emulated; lib/map.c adds more of them on demand. Nothing here uses SSE,
 * cmpxchg16b or XSAVE: some KVMs emulate kernel code and know none of these.
 */
#include "guest-tests/bare/lib/x86/asm.h"

.set MB_MAGIC, 0x1badb002
.set MB_FLAGS, 0x00000002 /* memory map wanted (Multiboot 0.6.96, 3.1.2) */

    .section .multiboot, "a"
    .balign 4
    .long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

    .section .text.start, "ax"
    .code32
    .globl start
start:
    movl %eax, boot_magic
    movl %ebx, boot_info_ptr
    movl $boot_stack_top, %esp
    pushfl
    popl boot_eflags
    cli
    cld
    movl %cr0, %eax
    movl %eax, boot_cr0
    movl $start64, %edi
    /* fall through: EDI is where to go in long mode */

enter_long:
    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl $(CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE), %eax
    movl %eax, %cr0
    lgdt gdt_ptr
    ljmp $SEL_CODE64, $1f
    .code64
1:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl %edi, %edi
    jmp *%rdi

start64:
    movq $boot_stack_top, %rsp
    xorl %ebp, %ebp
    call bsp_main
1:  hlt
    jmp 1b

/* A CPU takes the next index, its stack with it, and never comes back. */
ap_start64:
    movl $1, %eax
    lock xaddl %eax, ap_next
    cmpl $(MAX_CPUS - 1), %eax
    jae 1f
    movl %eax, %edi
    incl %eax
    shll $AP_STACK_SHIFT, %eax
    leaq ap_stacks(%rax), %rsp
    xorl %ebp, %ebp
    incl %edi /* the boot CPU is number 0 */
    call ap_entry
1:  cli
    hlt
    jmp 1b

/* Copied to AP_TRAMPOLINE; a start-up IPI begins here in real mode with CS = page << 8. */
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl tramp_gdt_ptr - trampoline
    movl $(CR0_PE | CR0_ET), %eax
    movl %eax, %cr0
    ljmpl $SEL_CODE32, $ap_start32
    .balign 4
tramp_gdt_ptr:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .code32
ap_start32:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $ap_start64, %edi
    jmp enter_long

/* One stub per vector: error code (or 0), vector, then the common part. */
    .code64
    .balign 16
    .globl isr_stubs
isr_stubs:
    .set vec, 0
    .rept 256
    .balign 16
    .if (vec == 8) || (vec >= 10 && vec <= 14) || (vec == 17) || (vec == 21) || (vec == 29) || (vec == 30)
    .else
    pushq $0
    .endif
    pushq $vec
    jmp isr_common
    .set vec, vec + 1
    .endr

    .balign 16
isr_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call trap_handle
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

    .section .data
    .balign 8
    .globl gdt, gdt_end
gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* SEL_CODE64 */
    .quad 0x00cf93000000ffff /* SEL_DATA */
    .quad 0x00cf9b000000ffff /* SEL_CODE32 */
gdt_end:
gdt_ptr:
    .word gdt_end - gdt - 1
    .quad gdt

    .globl ap_next
ap_next:
    .long 0
    .globl boot_magic, boot_info_ptr, boot_eflags, boot_cr0
boot_magic:
    .long 0
boot_info_ptr:
    .long 0
boot_eflags:
    .long 0
boot_cr0:
    .long 0

    .balign 4096
    .globl boot_pml4
boot_pml4:
    .quad boot_pdpt + PTE_TABLE
    .fill 511, 8, 0
    .globl boot_pdpt
boot_pdpt:
    .quad boot_pd + PTE_TABLE, boot_pd + 0x1000 + PTE_TABLE
    .quad boot_pd + 0x2000 + PTE_TABLE, boot_pd + 0x3000 + PTE_TABLE
    .fill 508, 8, 0
boot_pd:
    .set addr, 0
    .rept 2048
    .quad addr + PTE_LARGE
    .set addr, addr + 0x200000
    .endr

    .section .bss
    .balign 16
    .skip 16384
boot_stack_top:
    .balign 4096
ap_stacks:
    .skip (MAX_CPUS - 1) << AP_STACK_SHIFT

    .section .note.GNU-stack, "", @progbits
