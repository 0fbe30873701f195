/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor ctl NAME ACTION`: ask a running machine. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/ctl_balance.h"
#include "vmm/cli/ctl_balloon.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/ctl_cpu.h"
#include "vmm/cli/ctl_evict.h"
#include "vmm/cli/ctl_ledger.h"
#include "vmm/cli/ctl_move.h"
#include "vmm/cli/ctl_plug.h"
#include "vmm/cli/ctl_shrink.h"
#include "vmm/cli/ctl_slow.h"
#include "vmm/cli/print_json.h"
#include "vmm/cli/print_memory.h"
#include "vmm/config/suggest.h"

static const struct {
    const char *name;
    const char *done; /* what to say to people; NULL: a table of the result */
} actions[] = {
    { "status", NULL },      { "pause", "paused" },
    { "resume", "running" }, { "power", "power button pressed" },
    { "reset", "reset" },    { "stop", "stopped" },
    { "stats", NULL },       { "memory", NULL },
    { "ledger", NULL },      { "move", NULL },
    { "balance", NULL },     { "evict", NULL },
    { "balloon", NULL },     { "grow", NULL },
    { "shrink", NULL },      { "target", NULL },
    { "cpu", NULL },         { "slow", NULL },
};

static int find_action(const char *name, struct errctx *ec)
{
    struct suggest s = { .word = name };
    char hint[96];

    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (strcmp(actions[i].name, name) == 0)
            return (int)i;
        suggest_offer(&s, actions[i].name);
    }
    return errctx_set(ec, EINVAL,
                      "ctl: %s is none of status, pause, resume, power, reset, stop, stats, "
                      "memory, ledger, move, balance, evict, balloon, grow, shrink, "
                      "target, cpu, slow%s",
                      name, suggest_format(&s, "", hint, sizeof(hint)));
}

static const struct {
    const char *option, *action;
} option_actions[] = {
    { "rate", "move" },  { "stay", "move" },     { "force", "move" },
    { "svg", "ledger" }, { "patience", "grow" }, { "patience", "shrink" },
    { "patience", "cpu" },
};

static bool belongs(const char *option, const char *action)
{
    for (size_t i = 0; i < ARRAY_SIZE(option_actions); i++)
        if (strcmp(option_actions[i].option, option) == 0 &&
            strcmp(option_actions[i].action, action) == 0)
            return true;
    return false;
}

/* An option that was given and belongs to another action, or NULL. */
static const char *foreign_option(const struct cli_args *args, const char *action)
{
    for (size_t i = 0; i < ARRAY_SIZE(option_actions); i++) {
        const char *option = option_actions[i].option;

        if (cli_args_get(args, option) != NULL && !belongs(option, action))
            return option;
    }
    return NULL;
}

static int run_ctl(struct cli_args *args)
{
    const char *name = args->operands[0];
    struct errctx ec = { 0 };
    json_t *result;
    const char *given;
    int action, r = 0;

    if (!config_name_ok(name))
        return cli_error(CLI_USAGE, "ctl: \"%s\" cannot be the name of a machine", name);
    action = find_action(args->operands[1], &ec);
    if (action < 0)
        return cli_fail(CLI_USAGE, &ec);
    given = foreign_option(args, actions[action].name);
    if (given != NULL)
        return cli_error(CLI_USAGE, "ctl: --%s has no meaning for %s", given, actions[action].name);
    if (strcmp(actions[action].name, "move") == 0)
        return ctl_move(args);
    if (strcmp(actions[action].name, "balance") == 0)
        return ctl_balance(args);
    if (strcmp(actions[action].name, "evict") == 0)
        return ctl_evict(args);
    if (strcmp(actions[action].name, "target") == 0)
        return ctl_target(args);
    if (strcmp(actions[action].name, "balloon") == 0)
        return ctl_balloon(args);
    if (strcmp(actions[action].name, "grow") == 0)
        return ctl_grow(args);
    if (strcmp(actions[action].name, "shrink") == 0)
        return ctl_shrink(args);
    if (strcmp(actions[action].name, "cpu") == 0)
        return ctl_cpu(args);
    if (strcmp(actions[action].name, "slow") == 0)
        return ctl_slow(args);
    if (args->n_operands > 2)
        return cli_error(CLI_USAGE, "ctl: unexpected argument \"%s\"", args->operands[2]);
    if (strcmp(actions[action].name, "ledger") == 0)
        return ctl_ledger(args);
    if (ctl_client_ask(NULL, name, actions[action].name, CTL_TIMEOUT_MS, &result, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    if (cli_args_get(args, "json") != NULL)
        r = print_json(stdout, result);
    else if (actions[action].done != NULL)
        (void)printf("%s: %s\n", name, actions[action].done);
    else if (strcmp(actions[action].name, "memory") == 0)
        print_memory(stdout, result);
    else
        print_json_table(stdout, result);
    json_decref(result);
    return r < 0 ? cli_error(CLI_FAILURE, "no memory to print the answer") : cli_flush(CLI_OK);
}

static const struct cli_option ctl_options[] = {
    { .name = "json", .help = "print the answer as JSON" },
    { .name = "rate", .arg = "SIZE/s", .help = "move: at most so much memory in a second" },
    { .name = "stay", .help = "move: if it cannot or shall not arrive, stay half-way" },
    { .name = "force", .help = "move: although it breaks a promise (distances, CPUs), or pages stay" },
    { .name = "patience", .arg = "SECONDS",
      .help = "grow, shrink, cpu: wait so long for the guest's next step (30)" },
    { .name = "svg", .arg = "FILE", .help = "ledger: draw it into FILE, too", .is_file = true },
    { 0 },
};

static const struct cli_more ctl_more[] = {
    { "move", "vnode= host= cancel" },
    { "balance", "off advise on" },
    { "evict", "node= by=" },
    { "target", "node= size=" },
    { "balloon", "target=" },
    { "grow", "node= by=" },
    { "shrink", "node= by=" },
    { "cpu", "add remove cpu= node=" },
    { "slow", "on off" },
    { 0 },
};

const struct cli_command cmd_ctl = {
    .name = "ctl",
    .summary = "Ask a running machine: status, stats, pause, resume, reset, stop, memory, move and "
               "others.",
    .operands = "NAME ACTION [KEY=VALUE...|cancel|off|advise|on|add|remove]",
    .offers_machines = true,
    .words = "status pause resume power reset stop stats memory ledger move balance evict balloon "
             "grow shrink target cpu slow",
    .more = ctl_more,
    .min_operands = 2,
    .max_operands = 4,
    .options = ctl_options,
    .run = run_ctl,
};
