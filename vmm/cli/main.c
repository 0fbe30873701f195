/* SPDX-License-Identifier: Apache-2.0 */
/* Where it starts. The command table is in commands.c, each command in cmd_NAME.c. */
#include <malloc.h>

#include "vmm/cli/cli.h"

int main(int argc, char **argv)
{
    /* One arena for all threads. Otherwise glibc makes more as vCPU threads first allocate, which
     * costs memory, and opens a file to count the CPUs, which the sandbox answers by killing. */
    (void)mallopt(M_ARENA_MAX, 1);
    return cli_main(argc, argv);
}
