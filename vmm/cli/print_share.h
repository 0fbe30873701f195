/* SPDX-License-Identifier: Apache-2.0 */
/* The share of CPU time that was asked for, and who would keep it, for people. */
#ifndef VMM_CLI_PRINT_SHARE_H
#define VMM_CLI_PRINT_SHARE_H

#include <stdbool.h>

#include "vmm/config/config.h"

/** print_share() - on standard output; nothing when nothing was asked for. @here: it is about this
 *  host, whose cgroups are looked at. @colour: terminal escapes for the heading. */
void print_share(const struct machine_config *config, bool here, bool colour);

#endif
