/* SPDX-License-Identifier: Apache-2.0 */
/* Where it starts. The command table is in commands.c, each command in cmd_NAME.c. */
#include "vmm/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
