/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `numavisor run`: one machine from its description to its end.
 *
 *   options, file -> config -> plan for this host -> terminal, control socket -> machine
 *
 * The machine comes last, so that whatever is refused is refused before memory is touched; the
 * terminal becomes raw just before the first guest instruction.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/base/evloop.h"
#include "vmm/base/units.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/guard.h"
#include "vmm/cli/host_source.h"
#include "vmm/cli/print_topology.h"
#include "vmm/cli/run_control.h"
#include "vmm/cli/run_share.h"
#include "vmm/cli/terminal.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/machine_config.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_plan.h"

struct run {
    struct guard guard;
    struct evloop *loop;
    struct terminal *terminal;
    struct control *control;
    struct run_control asked; /* what it is asked about */
    struct machine *machine;
    struct topo_plan *plan;
    struct run_share share;
    struct host_topo host; /* until the machine is built */
    bool errors_on_terminal; /* asked before the sandbox is there */
};

static size_t typed(void *ctx, const void *data, size_t len)
{
    return machine_console_input(((struct run *)ctx)->machine, data, len);
}

static void power_key(void *ctx)
{
    (void)machine_power_button(((struct run *)ctx)->machine, NULL); /* a paused guest ignores it */
}

static void leave(void *ctx, const char *why)
{
    machine_stop(((struct run *)ctx)->machine, why);
}

static const struct terminal_ops run_terminal_ops = {
    .input = typed,
    .power = power_key,
    .leave = leave,
};

/* The host and the machines that run on it; others that start wait for us from here on. */
static int look_around(struct run *run, const struct machine_config *config, struct errctx *ec)
{
    int r = host_source_here(&run->host, ec);

    if (r < 0)
        return r;
    r = run_share_begin(config, &run->share, ec);
    if (r < 0)
        host_topo_fini(&run->host);
    return r;
}

/* Decides everything. */
static int make_plan(struct run *run, const struct machine_config *config, struct errctx *ec)
{
    int r = machine_plan_make(&config->spec, &run->host, &run->share.others, &run->plan, NULL, ec);

    if (r == 0)
        r = machine_config_fits(run->plan, ec);
    if (r == 0)
        machine_config_files(config, run->plan);
    if (r == 0)
        r = machine_config_pageable(config, run->plan, ec);
    if (r == 0)
        r = run_share_admit(&run->share, &run->host, run->plan, ec);
    if (r == 0)
        print_topology_notes(&run->plan->worse);
    if (r < 0) {
        topo_plan_free(run->plan);
        (void)run_share_end(&run->share);
        host_topo_fini(&run->host);
    }
    return r;
}

/* In the guard's process. */
static int share_move(void *ctx, const struct guard_move *move, struct errctx *ec)
{
    struct run *run = ctx;

    return run_share_move(&run->share, &run->host, run->plan, move, ec);
}

/* Who reserves nothing needs no room. */
static int may_move(void *ctx, struct vnode_id vnode, struct hnode_id to, struct errctx *ec)
{
    const struct run *run = ctx;

    return run->share.use.reserve_milli > 0 ? guard_ask(&run->guard, vnode, to, ec) : 0;
}

static void moved(void *ctx, struct vnode_id vnode, struct hnode_id to, bool arrived)
{
    const struct run *run = ctx;

    if (arrived || run->share.use.reserve_milli > 0)
        guard_tell(&run->guard, vnode, to, arrived);
}

/* The terminal may be raw: a new line alone would not go back to its beginning. */
static void balanced(void *ctx, const char *what)
{
    const struct run *run = ctx;

    (void)fprintf(stderr, "numavisor: balance: %s%s\n", what, run->errors_on_terminal ? "\r" : "");
}

/* On the thread of a device. */
static void device_says(void *ctx, const char *what)
{
    const struct run *run = ctx;

    (void)fprintf(stderr, "numavisor: %s%s\n", what, run->errors_on_terminal ? "\r" : "");
}

static void give_way(void *ctx, const char *what)
{
    (void)ctx;
    (void)cli_error(0, "%s", what);
}

/* Shown on a terminal only. The last call takes the line away. */
static bool taken(void *ctx, uint64_t done_bytes, uint64_t all_bytes)
{
    const bool go_on = terminal_signal() == NULL;
    char a[32], b[32];

    (void)ctx;
    if (!isatty(STDERR_FILENO))
        return go_on;
    if (go_on && done_bytes < all_bytes)
        (void)fprintf(stderr, "\rtaking memory: %s of %s\033[K",
                      units_format_human(done_bytes, a, sizeof(a)),
                      units_format_human(all_bytes, b, sizeof(b)));
    else
        (void)fputs("\r\033[K", stderr);
    (void)fflush(stderr);
    return go_on;
}

/* Everything up to the first guest instruction. */
static int build(struct run *run, const struct machine_config *config, struct errctx *ec)
{
    struct control_params params = { .name = config->name, .ops = &run_control_ops,
                                     .ctx = &run->asked };
    const struct machine_hooks hooks = { .progress = taken,
                                         .give_way = give_way,
                                         .host = &run->host,
                                         .may_move = may_move,
                                         .moved = moved,
                                         .balanced = balanced,
                                         .device_says = device_says,
                                         .ctx = run };
    int in_fd = config->console == CONSOLE_NONE ? -1 : STDIN_FILENO;
    const struct guard_duties duties = {
        .tty_fd = in_fd,
        .name = config->name,
        .socket = machine_config_needs(config).socket,
        .cgroup = run->share.group.dir[0] != '\0' ? run->share.group.dir : NULL,
        .move = share_move,
        .ctx = run,
    };
    int r = terminal_block_signals(ec);

    run->errors_on_terminal = isatty(STDERR_FILENO);
    if (r == 0)
        r = guard_start(&duties, &run->guard, ec);
    if (r == 0)
        r = evloop_new(&run->loop, ec);
    if (r == 0)
        r = terminal_new(run->loop, in_fd, &run_terminal_ops, run, &run->terminal, ec);
    if (r == 0)
        r = control_new(&params, run->loop, &run->control, ec);
    if (r == 0)
        r = run_share_enter(&run->share, &run->host, ec);
    if (r == 0)
        r = machine_new(config, run->plan, run->loop, &hooks, &run->machine, ec);
    run->asked = (struct run_control){ .machine = run->machine, .share = &run->share };
    if (r == 0)
        machine_limit_cpu(run->machine, run->share.own_max_milli);
    if (r == 0)
        r = terminal_start(run->terminal, ec);
    return r;
}

/* Backwards. The terminal goes first, so that what is printed afterwards looks as it should. */
static void tear_down(struct run *run)
{
    terminal_free(run->terminal);
    control_free(run->control);
    machine_free(run->machine);
    evloop_free(run->loop);
    topo_plan_free(run->plan);
    host_topo_fini(&run->host);
    if (run_share_end(&run->share))
        guard_dismiss(&run->guard);
    else
        guard_leave(&run->guard);
}

static int report(const struct machine_end *end)
{
    switch (end->kind) {
    case MACHINE_END_POWER_OFF:
        return CLI_OK;
    case MACHINE_END_RESET:
        return cli_error(CLI_GUEST_RESET, "%s", end->reason);
    case MACHINE_END_GUEST_CODE:
        return cli_error(end->code <= CLI_GUEST_CODE_MAX ? CLI_GUEST_CODE + (int)end->code
                                                         : CLI_GUEST_CODE_LARGE,
                         "the guest ended itself with code %u", end->code);
    case MACHINE_END_STOPPED:
        return cli_error(CLI_STOPPED, "stopped: %s", end->reason);
    case MACHINE_END_LOST:
        return cli_error(CLI_LOST, "%s", end->reason);
    case MACHINE_END_FAILURE:
        break;
    }
    return cli_error(CLI_FAILURE, "%s", end->reason);
}

static int run_run(struct cli_args *args)
{
    struct machine_end end = { .kind = MACHINE_END_FAILURE };
    struct run run = { .guard.fd = -1 };
    struct errctx ec = { 0 };
    int r;

    if (config_check(&args->config, true, &ec) < 0 ||
        machine_config_check(&args->config, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (config_complete(&args->config, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = look_around(&run, &args->config, &ec);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = make_plan(&run, &args->config, &ec);
    if (r < 0)
        return cli_fail(r == -ENOMEM || r == -EIO ? CLI_FAILURE : CLI_USAGE, &ec);

    r = build(&run, &args->config, &ec);
    if (r == 0)
        r = machine_run(run.machine, &end, &ec);
    tear_down(&run);
    if (r == -ECANCELED && terminal_signal() != NULL)
        return cli_error(CLI_STOPPED, "stopped before the guest began: %s", terminal_signal());
    return r < 0 ? cli_fail(CLI_FAILURE, &ec) : report(&end);
}

const struct cli_command cmd_run = {
    .name = "run",
    .summary = "Start a machine, its console on this terminal (Ctrl-A x leaves).",
    .takes_config = true,
    .run = run_run,
};
