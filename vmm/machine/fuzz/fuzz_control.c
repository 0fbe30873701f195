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

static int fuzz_memory(void *ctx, json_t **ret_json, struct errctx *ec)
{
    *ret_json = fuzz_query(ctx);
    return *ret_json != NULL ? 0 : errctx_set(ec, 12, "no");
}

static int fuzz_move(void *ctx, const struct control_move *move, struct errctx *ec)
{
    (void)ctx;
    return move->stay ? errctx_set(ec, 1, "no") : 0;
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct control_ops ops = {
        .status = fuzz_query,
        .stats = fuzz_query,
        .memory = fuzz_memory,
        .ledger = fuzz_memory,
        .balloon = fuzz_balloon,
        .plug = fuzz_plug,
        .cpus = fuzz_cpus,
        .slow = fuzz_slow,
        .move = fuzz_move,
        .move_cancel = fuzz_cancel,
        .move_status = fuzz_query,
        .balance = fuzz_balance,
        .evict = fuzz_evict,
        .evict_status = fuzz_query,
        .target = fuzz_evict,
        .pause = fuzz_action,
        .resume = fuzz_action,
        .power = fuzz_action,
        .reset = fuzz_action,
        .stop = fuzz_stop,
    };
    bool stop;
    char *reply;

    if (size > CONTROL_REQUEST_MAX)
        return 0;
    reply = control_answer(&ops, NULL, (const char *)data, size, &stop);
    assert(reply != NULL && strchr(reply, '\n') == NULL);
    free(reply);
    return 0;
}
