/* SPDX-License-Identifier: Apache-2.0 */
/* See run_control.h. */
#include "vmm/cli/run_control.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/machine/machine.h"

/* --- what the machine answers when it can ----------------------------------------------------- */

struct asked {
    struct machine_ask ask;
    struct control_call *call;
};

static void answered(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec)
{
    struct asked *asked = container_of(ask, struct asked, ask);
    struct control_call *call = asked->call;

    free(asked);
    control_call_done(call, r, result, ec);
}

/* NULL: answered already. */
static struct asked *ask(struct control_call *call)
{
    struct asked *asked = calloc(1, sizeof(*asked));
    struct errctx ec = { 0 };

    if (asked == NULL) {
        control_call_done(call, errctx_set(&ec, ENOMEM, "no memory for a request"), NULL, &ec);
        return NULL;
    }
    asked->ask.answer = answered;
    asked->call = call;
    return asked;
}

static void later(void *ctx, struct control_call *call,
                  void (*what)(struct machine *m, struct machine_ask *ask))
{
    struct asked *asked = ask(call);

    if (asked != NULL)
        what(((struct run_control *)ctx)->machine, &asked->ask);
}

/* --- one function for each request ------------------------------------------------------------ */

static json_t *run_status(void *ctx)
{
    const struct run_control *run = ctx;
    json_t *status = machine_status(run->machine);
    json_t *share = run_share_status(run->share);

    (void)json_object_set_new(status, "cpu_share", share);
    return status;
}

static json_t *run_stats(void *ctx)
{
    const struct run_control *run = ctx;
    json_t *stats = machine_stats(run->machine);

    if (run->share->group.entered)
        (void)json_object_set_new(stats, "cpu", cpu_group_stat(&run->share->group));
    return stats;
}

static void run_memory(void *ctx, struct control_call *call)
{
    later(ctx, call, machine_memory);
}

static void run_ledger(void *ctx, struct control_call *call)
{
    later(ctx, call, machine_ledger);
}

static int run_balloon(void *ctx, const struct control_balloon *balloon, json_t **ret_json,
                       struct errctx *ec)
{
    const struct machine_balloon_request req = {
        .has_target = balloon->has_target,
        .target_bytes = balloon->target_bytes,
        .refresh = balloon->refresh,
    };

    return machine_balloon(((struct run_control *)ctx)->machine, &req, ret_json, ec);
}

static int run_plug(void *ctx, const struct control_plug *plug, json_t **ret_json,
                    struct errctx *ec)
{
    const struct machine_plug_request req = {
        .vnode = { plug->vnode },
        .has_size = plug->has_size,
        .bytes = plug->bytes,
    };

    return machine_plug(((struct run_control *)ctx)->machine, &req, ret_json, ec);
}

static void run_cpus(void *ctx, const struct control_cpus *cpus, struct control_call *call)
{
    const struct machine_cpus_request req = {
        .wanted = cpus->wanted,
        .cpu = cpus->cpu,
        .there = cpus->there,
    };
    struct asked *asked = ask(call);

    if (asked != NULL)
        machine_cpus(((struct run_control *)ctx)->machine, &req, &asked->ask);
}

static void run_move(void *ctx, const struct control_move *move, struct control_call *call)
{
    const struct machine_move_request req = {
        .vnode = { move->vnode },
        .to = { move->host },
        .bytes_per_s = move->bytes_per_s,
        .stay = move->stay,
        .force = move->force,
    };
    struct asked *asked = ask(call);

    if (asked != NULL)
        machine_move(((struct run_control *)ctx)->machine, &req, &asked->ask);
}

static int run_move_cancel(void *ctx, bool stay, struct errctx *ec)
{
    return machine_move_cancel(((struct run_control *)ctx)->machine, stay, ec);
}

static json_t *run_move_status(void *ctx)
{
    return machine_move_status(((struct run_control *)ctx)->machine);
}

static int run_balance(void *ctx, const char *mode, json_t **ret_json, struct errctx *ec)
{
    return machine_balance(((struct run_control *)ctx)->machine, mode, ret_json, ec);
}

static int run_slow(void *ctx, const bool *on, json_t **ret_json, struct errctx *ec)
{
    const enum machine_slow_wish wish = on == NULL ? MACHINE_SLOW_TELL
                                        : *on      ? MACHINE_SLOW_ON
                                                   : MACHINE_SLOW_OFF;

    return machine_slow(((struct run_control *)ctx)->machine, wish, ret_json, ec);
}

static int run_evict(void *ctx, uint32_t vnode, uint64_t bytes, struct errctx *ec)
{
    return machine_evict(((struct run_control *)ctx)->machine, (struct vnode_id){ vnode }, bytes, ec);
}

static int run_target(void *ctx, uint32_t vnode, uint64_t bytes, struct errctx *ec)
{
    return machine_set_target(((struct run_control *)ctx)->machine, (struct vnode_id){ vnode }, bytes, ec);
}

static json_t *run_evict_status(void *ctx)
{
    return machine_evict_status(((struct run_control *)ctx)->machine);
}

static void run_pause(void *ctx, struct control_call *call)
{
    later(ctx, call, machine_pause);
}

static void run_resume(void *ctx, struct control_call *call)
{
    later(ctx, call, machine_resume);
}

static int run_power(void *ctx, struct errctx *ec)
{
    return machine_power_button(((struct run_control *)ctx)->machine, ec);
}

static void run_reset(void *ctx, struct control_call *call)
{
    later(ctx, call, machine_reset);
}

static void run_stop(void *ctx)
{
    machine_stop(((struct run_control *)ctx)->machine, "ctl stop");
}

const struct control_ops run_control_ops = {
    .status = run_status,
    .stats = run_stats,
    .memory = run_memory,
    .ledger = run_ledger,
    .slow = run_slow,
    .balloon = run_balloon,
    .plug = run_plug,
    .cpus = run_cpus,
    .move = run_move,
    .move_cancel = run_move_cancel,
    .move_status = run_move_status,
    .balance = run_balance,
    .evict = run_evict,
    .evict_status = run_evict_status,
    .target = run_target,
    .pause = run_pause,
    .resume = run_resume,
    .power = run_power,
    .reset = run_reset,
    .stop = run_stop,
};
