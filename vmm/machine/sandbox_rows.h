/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words in which the lists of sandbox_rules.h are written; for the files that have lists. A call
 * that an architecture has not gets a number that libseccomp knows and no call has.
 */
#ifndef VMM_MACHINE_SANDBOX_ROWS_H
#define VMM_MACHINE_SANDBOX_ROWS_H

#include <seccomp.h>

#include "vmm/base/macros.h"
#include "vmm/machine/sandbox_rules.h"

#define ANY(name)                   { SCMP_SYS(name), -1, 0, 0 }
#define MASKED(name, arg, m, value) { SCMP_SYS(name), (arg), (m), (value) }
#define IOCTL(request)              { SCMP_SYS(ioctl), 1, 0xffffffffu, (uint32_t)(request) }
#define RULES(array)                { (array), ARRAY_SIZE(array) }

#endif
