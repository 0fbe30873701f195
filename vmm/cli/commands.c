/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands in the order of the help text. */
#include "vmm/cli/commands.h"

#include <string.h>

static const struct cli_command *const commands[] = {
    &cmd_run,    &cmd_lab,        &cmd_suite, &cmd_plan,     &cmd_host,
    &cmd_check,  &cmd_ctl,        &cmd_list,  &cmd_topology, &cmd_conformance,
    &cmd_replay, &cmd_golden,     &cmd_completion,           &cmd_help,
    NULL,
};

const struct cli_command *const *cli_commands(void)
{
    return commands;
}

const struct cli_command *cli_command_find(const char *name)
{
    for (const struct cli_command *const *c = commands; *c != NULL; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}
