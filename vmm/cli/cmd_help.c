/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cli/commands.h"

static int run_help(struct cli_args *args)
{
    const struct cli_command *about = NULL;

    if (args->n_operands == 1) {
        about = cli_command_find(args->operands[0]);
        if (about == NULL)
            return cli_error(CLI_USAGE, "help: there is no command %s", args->operands[0]);
    }
    cli_print_help(about);
    return cli_flush(CLI_OK);
}

const struct cli_command cmd_help = {
    .name = "help",
    .summary = "Explain a command, or list them all.",
    .operands = "[COMMAND]",
    .offers_commands = true,
    .max_operands = 1,
    .run = run_help,
};
