/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME slow [on|off]`: nodes of --slow. */
#ifndef VMM_CLI_CTL_SLOW_H
#define VMM_CLI_CTL_SLOW_H

#include <jansson.h>
#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/cli/cli.h"

/** ctl_slow() - returns an enum cli_status. */
int ctl_slow(const struct cli_args *args);

/** ctl_slow_ask() - have machine @name's slow nodes be slow, or not. @on: NULL: only ask.
 *  *@ret_answer: as in vmm/machine/control.h, the caller's. Return: 0 or a negative errno. */
int ctl_slow_ask(const char *name, const bool *on, json_t **ret_answer, struct errctx *ec);

#endif
