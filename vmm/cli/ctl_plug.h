/* SPDX-License-Identifier: Apache-2.0 */
/* What `ctl NAME grow` and `ctl NAME shrink` share: what is asked for, and plugging it (virtio-mem). */
#ifndef VMM_CLI_CTL_PLUG_H
#define VMM_CLI_CTL_PLUG_H

#include <jansson.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/ctl_wait.h"

struct ctl_wish {
    const char *name, *verb;
    uint64_t vnode, by;
    unsigned patience_s;
};

/** ctl_plug_parse() - "node=N" and "by=SIZE", in any order, and --patience. Return: 0 or a sentence. */
int ctl_plug_parse(const struct cli_args *args, const char *verb, struct ctl_wish *ret_wish,
                   struct errctx *ec);

/** ctl_plug_ask() - how the node stands (control.h), a new object; @size: what is to be plugged in
 *  from now on, UINT64_MAX: as before. Return: as ctl_client_request(). */
int ctl_plug_ask(const struct ctl_wish *wish, uint64_t size, json_t **ret_answer, struct errctx *ec);

/** ctl_plug_follow() - ask for @size and wait until it is there, or there is no use in it any more; no
 *  more is asked for then than has been done. *now, how it stands, is replaced. */
int ctl_plug_follow(const struct ctl_wish *wish, uint64_t size, struct ctl_wait *wait, json_t **now,
                    struct errctx *ec);

/** ctl_grow() - run it. Return: the exit status. */
int ctl_grow(const struct cli_args *args);

#endif
