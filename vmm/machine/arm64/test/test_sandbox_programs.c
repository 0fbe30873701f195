/* SPDX-License-Identifier: Apache-2.0 */
/* The programs and the lists that this architecture has. */
#include <linux/audit.h>

#define NATIVE AUDIT_ARCH_AARCH64
#include "vmm/machine/test/sandbox_meaning.h"

int main(void)
{
    return sandbox_meaning_run();
}
