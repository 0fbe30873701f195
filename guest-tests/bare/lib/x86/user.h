/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User mode (ring 3), which runs on the processor below any KVM. It has no ports and no devices:
 * what wants those is done for it by calls into the kernel, which is the guest's code as before.
 */
#ifndef GUEST_TESTS_BARE_LIB_X86_USER_H
#define GUEST_TESTS_BARE_LIB_X86_USER_H

#include <stdint.h>

/**
 * user_run() - on the boot CPU run @body in user mode, with all memory that is mapped by now as its
 * own; @body must not return. @call answers its calls, in kernel mode with interrupts off.
 */
_Noreturn void user_run(void (*body)(void), uint64_t (*call)(uint64_t number, uint64_t arg));

/** user_call() - in user mode: what the kernel's @call says. */
uint64_t user_call(uint64_t number, uint64_t arg);

/** user_is() - whether the call that is being answered came from user mode. */
int user_is(void);

#endif
