/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as one request line of the control socket: always a reply, never a crash. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *fuzz_query(void *ctx)
{
    (void)ctx;
    return json_object();
}

static int fuzz_action(void *ctx, struct errctx *ec)
{
    (void)ctx;
    return errctx_set(ec, 1, "no");
}

static void fuzz_action_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };

    control_call_done(call, fuzz_action(ctx, &ec), NULL, &ec);
}

static int fuzz_memory(void *ctx, json_t **ret_json, struct errctx *ec)
{
    *ret_json = fuzz_query(ctx);
    return *ret_json != NULL ? 0 : errctx_set(ec, 12, "no");
}

static void fuzz_memory_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fuzz_memory(ctx, &json, &ec);

    control_call_done(call, r, json, &ec);
}

static int fuzz_move(void *ctx, const struct control_move *move, struct errctx *ec)
{
    (void)ctx;
    return move->stay ? errctx_set(ec, 1, "no") : 0;
}

static void fuzz_move_call(void *ctx, const struct control_move *move, struct control_call *call)
{
    struct errctx ec = { 0 };

    control_call_done(call, fuzz_move(ctx, move, &ec), NULL, &ec);
}

static int fuzz_evict(void *ctx, uint32_t vnode, uint64_t bytes, struct errctx *ec)
{
    (void)ctx;
    return vnode > bytes ? errctx_set(ec, 1, "no") : 0;
}

static int fuzz_cancel(void *ctx, bool stay, struct errctx *ec)
{
    (void)ctx;
    return stay ? errctx_set(ec, 1, "no") : 0;
}

static int fuzz_balance(void *ctx, const char *mode, json_t **ret_json, struct errctx *ec)
{
    *ret_json = fuzz_query(ctx);
    return mode == NULL || mode[0] == 'o' ? 0 : errctx_set(ec, 22, "no");
}

static int fuzz_balloon(void *ctx, const struct control_balloon *req, json_t **ret_json,
                        struct errctx *ec)
{
    (void)ctx;
    if (req->has_target && req->target_bytes > 1000)
        return errctx_set(ec, 1, "no");
    *ret_json = json_object();
    return 0;
}

static int fuzz_plug(void *ctx, const struct control_plug *req, json_t **ret_json,
                     struct errctx *ec)
{
    (void)ctx;
    if (req->vnode > 1 || (req->has_size && req->bytes > 1000))
        return errctx_set(ec, 1, "no");
    *ret_json = json_object();
    return 0;
}

static int fuzz_cpus(void *ctx, const struct control_cpus *req, json_t **ret_json,
                     struct errctx *ec)
{
    (void)ctx;
    if (req->wanted && req->cpu > 1000)
        return errctx_set(ec, 1, "no");
    *ret_json = json_object();
    return 0;
}

static void fuzz_cpus_call(void *ctx, const struct control_cpus *req, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fuzz_cpus(ctx, req, &json, &ec);

    control_call_done(call, r, json, &ec);
}

static int fuzz_slow(void *ctx, const bool *on, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    if (on != NULL && !*on)
        return errctx_set(ec, 1, "no");
    *ret_json = json_object();
    return 0;
}

static void fuzz_stop(void *ctx)
{
    (void)ctx;
}

static void check_reply(struct control_call *call, char *text)
{
    assert(text != NULL && strchr(text, '\n') == NULL);
    call->reply = NULL; /* a second one would crash */
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct control_ops ops = {
        .status = fuzz_query,
        .stats = fuzz_query,
        .memory = fuzz_memory_call,
        .ledger = fuzz_memory_call,
        .balloon = fuzz_balloon,
        .plug = fuzz_plug,
        .cpus = fuzz_cpus_call,
        .slow = fuzz_slow,
        .move = fuzz_move_call,
        .move_cancel = fuzz_cancel,
        .move_status = fuzz_query,
        .balance = fuzz_balance,
        .evict = fuzz_evict,
        .evict_status = fuzz_query,
        .target = fuzz_evict,
        .pause = fuzz_action_call,
        .resume = fuzz_action_call,
        .power = fuzz_action,
        .reset = fuzz_action_call,
        .stop = fuzz_stop,
    };
    struct control_call call = { .reply = check_reply };

    if (size > CONTROL_REQUEST_MAX)
        return 0;
    control_answer(&ops, NULL, (const char *)data, size, &call);
    assert(call.reply == NULL);
    return 0;
}
