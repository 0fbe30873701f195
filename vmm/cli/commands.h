/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the subcommands, each in a file of its own, cmd_NAME.c. */
#ifndef VMM_CLI_COMMANDS_H
#define VMM_CLI_COMMANDS_H

#include "vmm/cli/cli.h"

extern const struct cli_command cmd_lab;
extern const struct cli_command cmd_suite;
extern const struct cli_command cmd_run;
extern const struct cli_command cmd_plan;
extern const struct cli_command cmd_host;
extern const struct cli_command cmd_check;
extern const struct cli_command cmd_ctl;
extern const struct cli_command cmd_list;
extern const struct cli_command cmd_topology;
extern const struct cli_command cmd_conformance;
extern const struct cli_command cmd_replay;
extern const struct cli_command cmd_golden;
extern const struct cli_command cmd_completion;
extern const struct cli_command cmd_help;

#endif
