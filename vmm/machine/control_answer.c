/* SPDX-License-Identifier: Apache-2.0 */
/* One request line in, one reply line out. Everything a peer sends is judged here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/machine/control.h"

static json_t *refuse(const char *sentence)
{
    return json_pack("{sbss}", "ok", 0, "error", sentence);
}

static json_t *grant(json_t *result) /* takes @result over; NULL: out of memory */
{
    return result != NULL ? json_pack("{sbso}", "ok", 1, "result", result) : NULL;
}

static void reply(struct control_call *call, json_t *json) /* takes @json over */
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    call->reply(call, text);
}

void control_call_done(struct control_call *call, int r, json_t *result, const struct errctx *ec)
{
    reply(call, r < 0              ? refuse(ec->msg)
                : result != NULL ? grant(result)
                                 : grant(json_object()));
}

static json_t *answer_action(int (*action)(void *ctx, struct errctx *ec), void *ctx)
{
    struct errctx ec = { 0 };

    if (action(ctx, &ec) < 0)
        return refuse(ec.msg);
    return grant(json_object());
}

/* A member that is a number of at most @max. Return: false when it is something else. */
static bool take_number(const json_t *request, const char *name, uint64_t max, uint64_t *ret_v,
                        size_t *n_known)
{
    const json_t *v = json_object_get(request, name);

    if (v == NULL)
        return true;
    ++*n_known;
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        (uint64_t)json_integer_value(v) > max)
        return false;
    *ret_v = (uint64_t)json_integer_value(v);
    return true;
}

static bool take_flag(const json_t *request, const char *name, bool *ret_v, size_t *n_known)
{
    const json_t *v = json_object_get(request, name);

    if (v == NULL)
        return true;
    ++*n_known;
    *ret_v = json_is_true(v);
    return json_is_boolean(v);
}

/* @ret_later: somebody answers the call. */
static json_t *answer_move(const struct control_ops *ops, void *ctx, const json_t *request,
                           struct control_call *call, bool *ret_later)
{
    uint64_t vnode = UINT64_MAX, host = UINT64_MAX, rate = 0;
    struct control_move move = { 0 };
    size_t known = 1;

    if (!take_number(request, "vnode", UINT32_MAX, &vnode, &known) ||
        !take_number(request, "host", UINT32_MAX, &host, &known) ||
        !take_number(request, "rate", INT64_MAX, &rate, &known) ||
        !take_flag(request, "stay", &move.stay, &known) ||
        !take_flag(request, "force", &move.force, &known))
        return refuse("a member of \"move\" has the wrong type or value");
    if (vnode == UINT64_MAX || host == UINT64_MAX)
        return refuse("\"move\" needs \"vnode\" and \"host\"");
    if (json_object_size(request) != known)
        return refuse("\"move\" has an unknown member");
    move.vnode = (uint32_t)vnode;
    move.host = (uint32_t)host;
    move.bytes_per_s = rate;
    *ret_later = true;
    ops->move(ctx, &move, call);
    return NULL;
}

static json_t *answer_cancel(const struct control_ops *ops, void *ctx, const json_t *request)
{
    struct errctx ec = { 0 };
    bool stay = false;
    size_t known = 1;

    if (!take_flag(request, "stay", &stay, &known) || json_object_size(request) != known)
        return refuse("\"move-cancel\" may have \"stay\", true or false, and nothing else");
    return ops->move_cancel(ctx, stay, &ec) < 0 ? refuse(ec.msg) : grant(json_object());
}

static json_t *answer_balance(const struct control_ops *ops, void *ctx, const json_t *request)
{
    const json_t *mode = json_object_get(request, "mode");
    struct errctx ec = { 0 };
    json_t *result;

    if ((mode != NULL && !json_is_string(mode)) || json_object_size(request) != 1u + (mode != NULL))
        return refuse("\"balance\" may have \"mode\", a word, and nothing else");
    return ops->balance(ctx, json_string_value(mode), &result, &ec) < 0 ? refuse(ec.msg)
                                                                        : grant(result);
}

static json_t *answer_evict(const struct control_ops *ops, void *ctx, const json_t *request)
{
    uint64_t vnode = UINT64_MAX, bytes = 0;
    struct errctx ec = { 0 };
    size_t known = 1;

    if (!take_number(request, "vnode", UINT32_MAX, &vnode, &known) ||
        !take_number(request, "bytes", INT64_MAX, &bytes, &known))
        return refuse("a member of \"evict\" has the wrong type or value");
    if (vnode == UINT64_MAX || bytes == 0 || json_object_size(request) != known)
        return refuse("\"evict\" needs \"vnode\" and \"bytes\", and nothing else");
    return ops->evict(ctx, (uint32_t)vnode, bytes, &ec) < 0 ? refuse(ec.msg)
                                                             : grant(json_object());
}

static json_t *answer_target(const struct control_ops *ops, void *ctx, const json_t *request)
{
    uint64_t vnode = UINT64_MAX, bytes = UINT64_MAX;
    struct errctx ec = { 0 };
    size_t known = 1;

    if (!take_number(request, "vnode", UINT32_MAX, &vnode, &known) ||
        !take_number(request, "bytes", INT64_MAX, &bytes, &known))
        return refuse("a member of \"target\" has the wrong type or value");
    if (vnode == UINT64_MAX || json_object_size(request) != known)
        return refuse("\"target\" needs \"vnode\", may have \"bytes\", and nothing else");
    return ops->target(ctx, (uint32_t)vnode, bytes, &ec) < 0 ? refuse(ec.msg)
                                                              : grant(json_object());
}

static json_t *answer_balloon(const struct control_ops *ops, void *ctx, const json_t *request)
{
    struct control_balloon req = { .has_target = json_object_get(request, "target") != NULL };
    struct errctx ec = { 0 };
    json_t *result;
    size_t known = 1;

    if (!take_number(request, "target", INT64_MAX, &req.target_bytes, &known) ||
        !take_flag(request, "refresh", &req.refresh, &known))
        return refuse("a member of \"balloon\" has the wrong type or value");
    if (json_object_size(request) != known)
        return refuse("\"balloon\" has an unknown member");
    return ops->balloon(ctx, &req, &result, &ec) < 0 ? refuse(ec.msg) : grant(result);
}

static json_t *answer_plug(const struct control_ops *ops, void *ctx, const json_t *request)
{
    struct control_plug req = { .has_size = json_object_get(request, "size") != NULL };
    uint64_t vnode = UINT64_MAX;
    struct errctx ec = { 0 };
    json_t *result;
    size_t known = 1;

    if (!take_number(request, "vnode", UINT32_MAX, &vnode, &known) ||
        !take_number(request, "size", INT64_MAX, &req.bytes, &known))
        return refuse("a member of \"plug\" has the wrong type or value");
    if (vnode == UINT64_MAX || json_object_size(request) != known)
        return refuse("\"plug\" needs \"vnode\", may have \"size\", and nothing else");
    req.vnode = (uint32_t)vnode;
    return ops->plug(ctx, &req, &result, &ec) < 0 ? refuse(ec.msg) : grant(result);
}

static json_t *answer_slow(const struct control_ops *ops, void *ctx, const json_t *request)
{
    struct errctx ec = { 0 };
    json_t *result;
    size_t known = 1;
    bool on = false;

    if (!take_flag(request, "on", &on, &known) || json_object_size(request) != known)
        return refuse("\"slow\" may have \"on\", true or false, and nothing else");
    return ops->slow(ctx, known > 1 ? &on : NULL, &result, &ec) < 0 ? refuse(ec.msg)
                                                                    : grant(result);
}

static json_t *answer_cpus(const struct control_ops *ops, void *ctx, const json_t *request,
                           struct control_call *call, bool *ret_later)
{
    struct control_cpus req = { .wanted = json_object_size(request) > 1 };
    uint64_t cpu = 0;
    size_t known = 1;

    if (!take_number(request, "cpu", UINT32_MAX, &cpu, &known) ||
        !take_flag(request, "there", &req.there, &known))
        return refuse("a member of \"cpus\" has the wrong type or value");
    if (json_object_size(request) != known || known == 2)
        return refuse("\"cpus\" may have \"cpu\" with \"there\", and nothing else");
    req.cpu = (uint32_t)cpu;
    *ret_later = true;
    ops->cpus(ctx, &req, call);
    return NULL;
}

/* A command without members. */
static json_t *answer_command(const struct control_ops *ops, void *ctx, const char *command,
                              struct control_call *call, bool *ret_later)
{
    const struct {
        const char *name;
        json_t *(*query)(void *ctx);
        int (*action)(void *ctx, struct errctx *ec);
        void (*later)(void *ctx, struct control_call *call);
    } rows[] = {
        { .name = "status", .query = ops->status },
        { .name = "stats", .query = ops->stats },
        { .name = "memory", .later = ops->memory },
        { .name = "ledger", .later = ops->ledger },
        { .name = "pause", .later = ops->pause },
        { .name = "resume", .later = ops->resume },
        { .name = "power", .action = ops->power },
        { .name = "reset", .later = ops->reset },
        { .name = "move-status", .query = ops->move_status },
        { .name = "evict-status", .query = ops->evict_status },
    };

    if (strcmp(command, "stop") == 0) {
        call->stop = true;
        return grant(json_object());
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strcmp(rows[i].name, command) != 0)
            continue;
        if (rows[i].later == NULL)
            return rows[i].query != NULL ? grant(rows[i].query(ctx))
                                         : answer_action(rows[i].action, ctx);
        *ret_later = true;
        rows[i].later(ctx, call);
        return NULL;
    }
    return refuse("unknown command");
}

static json_t *answer(const struct control_ops *ops, void *ctx, const json_t *request,
                      struct control_call *call, bool *ret_later)
{
    static const struct {
        const char *name;
        json_t *(*answer)(const struct control_ops *ops, void *ctx, const json_t *request);
    } rows[] = {
        { "move-cancel", answer_cancel }, { "balance", answer_balance },
        { "evict", answer_evict },        { "target", answer_target },
        { "balloon", answer_balloon },    { "plug", answer_plug },
        { "slow", answer_slow },
    };
    const char *command;

    if (!json_is_object(request))
        return refuse("the request is not a JSON object");
    command = json_string_value(json_object_get(request, "command"));
    if (command == NULL)
        return refuse("the request has no \"command\"");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(command, rows[i].name) == 0)
            return rows[i].answer(ops, ctx, request);
    if (strcmp(command, "move") == 0)
        return answer_move(ops, ctx, request, call, ret_later);
    if (strcmp(command, "cpus") == 0)
        return answer_cpus(ops, ctx, request, call, ret_later);
    if (json_object_size(request) != 1)
        return refuse("the request has members other than \"command\"");
    return answer_command(ops, ctx, command, call, ret_later);
}

void control_answer(const struct control_ops *ops, void *ctx, const char *line, size_t len,
                    struct control_call *call)
{
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    bool later = false;
    json_t *json = answer(ops, ctx, request, call, &later);

    json_decref(request);
    if (!later)
        reply(call, json);
}
