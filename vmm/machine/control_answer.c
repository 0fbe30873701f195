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

static json_t *answer_action(int (*action)(void *ctx, struct errctx *ec), void *ctx)
{
    struct errctx ec = { 0 };

    if (action(ctx, &ec) < 0)
        return refuse(ec.msg);
    return grant(json_object());
}

static json_t *answer_command(const struct control_ops *ops, void *ctx, const char *command,
                              bool *ret_stop)
{
    const struct {
        const char *name;
        json_t *(*query)(void *ctx);
        int (*action)(void *ctx, struct errctx *ec);
    } rows[] = {
        { "status", ops->status, NULL }, { "stats", ops->stats, NULL },
        { "pause", NULL, ops->pause },   { "resume", NULL, ops->resume },
        { "power", NULL, ops->power },   { "reset", NULL, ops->reset },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strcmp(rows[i].name, command) != 0)
            continue;
        return rows[i].query != NULL ? grant(rows[i].query(ctx))
                                     : answer_action(rows[i].action, ctx);
    }
    if (strcmp(command, "memory") == 0) {
        struct errctx ec = { 0 };
        json_t *result;

        return ops->memory(ctx, &result, &ec) < 0 ? refuse(ec.msg) : grant(result);
    }
    if (strcmp(command, "stop") == 0) {
        *ret_stop = true;
        return grant(json_object());
    }
    return refuse("unknown command");
}

static json_t *answer(const struct control_ops *ops, void *ctx, const json_t *request,
                      bool *ret_stop)
{
    const char *command;

    if (!json_is_object(request))
        return refuse("the request is not a JSON object");
    command = json_string_value(json_object_get(request, "command"));
    if (command == NULL)
        return refuse("the request has no \"command\"");
    if (json_object_size(request) != 1)
        return refuse("the request has members other than \"command\"");
    return answer_command(ops, ctx, command, ret_stop);
}

char *control_answer(const struct control_ops *ops, void *ctx, const char *line, size_t len,
                     bool *ret_stop)
{
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    bool stop = false;
    json_t *reply = answer(ops, ctx, request, &stop);
    char *text = reply != NULL ? json_dumps(reply, JSON_COMPACT) : NULL;

    json_decref(reply);
    json_decref(request);
    *ret_stop = stop;
    return text;
}
