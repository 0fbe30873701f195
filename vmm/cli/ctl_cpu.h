/* SPDX-License-Identifier: Apache-2.0 */
/* `ctl NAME cpu`: CPUs that are plugged in and out while the guest runs. Main thread. */
#ifndef VMM_CLI_CTL_CPU_H
#define VMM_CLI_CTL_CPU_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/cli/commands.h"

enum { CTL_PATIENCE_MAX_S = 86400 };

/** ctl_cpu_ask() - how all stand that can be plugged (control.h), a new object. @cpu: that one is to be
 *  there or, unless @there, asked to go; UINT32_MAX: none. Return: as ctl_client_request(). */
int ctl_cpu_ask(const char *name, uint32_t cpu, bool there, json_t **ret_answer, struct errctx *ec);

/** ctl_cpu_of() - @cpu in such an answer, borrowed, or NULL. */
const json_t *ctl_cpu_of(const json_t *answer, uint32_t cpu);

/** ctl_cpu_is_done() - the guest knows that @cpu came, or, unless @there, it is gone. */
bool ctl_cpu_is_done(const json_t *answer, uint32_t cpu, bool there);

/** ctl_cpu() - run it. Return: the exit status. */
int ctl_cpu(const struct cli_args *args);

#endif
