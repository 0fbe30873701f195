/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ctl_plug.h. The guest does the work, when it can and as far as it can. It is followed as long as
 * it gets on; then it is asked for no more than it has done, so that nothing goes on behind the
 * user's back, and what was delivered is told.
 */
#include "vmm/cli/ctl_plug.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { LOOK_MS = 100, STILL_LOOKS = 200 /* that long without progress is enough */ };

static uint64_t number(const json_t *object, const char *name)
{
    const json_int_t v = json_integer_value(json_object_get(object, name));

    return v > 0 ? (uint64_t)v : 0;
}

static const char *verb(bool grow)
{
    return grow ? "grow" : "shrink";
}

struct wish {
    uint64_t vnode, by;
};

/* "node=N" and "by=SIZE", in any order. */
static int parse_wish(const struct cli_args *args, bool grow, struct wish *wish, struct errctx *ec)
{
    bool has_node = false, has_by = false;

    for (size_t i = 2; i < args->n_operands; i++) {
        const char *word = args->operands[i];
        int r;

        if (strncmp(word, "node=", 5) == 0 && !has_node) {
            r = units_parse_uint(word + 5, UINT32_MAX, &wish->vnode, ec);
            has_node = true;
        } else if (strncmp(word, "by=", 3) == 0 && !has_by) {
            r = units_parse_size(word + 3, &wish->by, ec);
            has_by = true;
        } else {
            return errctx_set(ec, EINVAL, "ctl %s: %s is none of node=N, by=SIZE", verb(grow), word);
        }
        if (r < 0)
            return errctx_wrap(ec, r, "ctl %s: %.*s", verb(grow), word[0] == 'n' ? 4 : 2, word);
    }
    if (!has_node || !has_by)
        return errctx_set(ec, EINVAL, "ctl %s: both node=N and by=SIZE are needed", verb(grow));
    if (wish->by == 0 || wish->by > INT64_MAX)
        return errctx_set(ec, ERANGE, "ctl %s: by: from 1 byte to 8191P", verb(grow));
    return 0;
}

/* @size UINT64_MAX: only ask. */
static int ask(const char *name, const struct wish *wish, uint64_t size, json_t **ret_answer,
               struct errctx *ec)
{
    json_t *request = json_pack("{s:s, s:I}", "command", "plug", "vnode", (json_int_t)wish->vnode);
    int r;

    if (request == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the request");
    if (size != UINT64_MAX)
        (void)json_object_set_new(request, "size", json_integer((json_int_t)size));
    r = ctl_client_request(NULL, name, request, CTL_TIMEOUT_MS, ret_answer, ec);
    json_decref(request);
    return r;
}

/* What is to be plugged in, or a sentence why that cannot be. */
static int judge(const struct wish *wish, bool grow, const json_t *now, uint64_t *ret_size,
                 struct errctx *ec)
{
    const uint64_t plugged = number(now, "plugged"), block = number(now, "block");
    char a[32], b[32];

    if (block == 0 || wish->by % block != 0)
        return errctx_set(ec, EINVAL, "by=%s is not a multiple of %s, the blocks of virtual node %llu",
                          units_format_size(wish->by, a, sizeof(a)),
                          units_format_human(block, b, sizeof(b)), (unsigned long long)wish->vnode);
    if (!json_is_true(json_object_get(now, "driver")))
        return errctx_set(ec, ENODEV, "the guest has no driver for it (virtio_mem)");
    if (!grow && wish->by > plugged)
        return errctx_set(ec, ERANGE,
                          "only %s are plugged into virtual node %llu; the memory that it started "
                          "with can leave by a balloon, which takes it from any node",
                          units_format_human(plugged, a, sizeof(a)),
                          (unsigned long long)wish->vnode);
    if (grow && wish->by > number(now, "window") - plugged)
        return errctx_set(ec, ERANGE, "virtual node %llu has room for %s more",
                          (unsigned long long)wish->vnode,
                          units_format_human(number(now, "window") - plugged, a, sizeof(a)));
    *ret_size = grow ? plugged + wish->by : plugged - wish->by;
    return 0;
}

/* Ask for @size, and look until it is there or nothing changes any more. *now is replaced. */
static int follow(const char *name, const struct wish *wish, uint64_t size, json_t **now,
                  struct errctx *ec)
{
    uint64_t before = number(*now, "plugged");
    int still = 0, r;
    json_t *later;

    r = ask(name, wish, size, &later, ec);
    while (r == 0) {
        json_decref(*now);
        *now = later;
        still = number(later, "plugged") == before ? still + 1 : 0;
        before = number(later, "plugged");
        if (before == size)
            return 0;
        if (still > STILL_LOOKS)
            break;
        (void)poll(NULL, 0, LOOK_MS);
        r = ask(name, wish, UINT64_MAX, &later, ec);
    }
    if (r == 0)
        r = ask(name, wish, before, &later, ec);
    if (r < 0)
        return r;
    json_decref(*now);
    *now = later;
    return 0;
}

static int report(const struct cli_args *args, const struct wish *wish, bool grow, uint64_t delivered,
                  json_t *now)
{
    const char *name = args->operands[0];
    char a[32], b[32], c[32];
    int r = 0;

    (void)json_object_set_new(now, "delivered", json_integer((json_int_t)delivered));
    (void)json_object_set_new(now, "by", json_string("virtio-mem"));
    (void)units_format_human(delivered, a, sizeof(a));
    (void)units_format_human(wish->by, b, sizeof(b));
    if (cli_args_get(args, "json") != NULL)
        r = print_json(stdout, now);
    else
        (void)printf("%s: virtual node %llu %s %s by virtio-mem, %s are plugged in now\n", name,
                     (unsigned long long)wish->vnode, grow ? "took" : "gave back", a,
                     units_format_human(number(now, "plugged"), c, sizeof(c)));
    if (r < 0)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    r = cli_flush(CLI_OK);
    if (delivered == wish->by)
        return r;
    return cli_error(CLI_FAILURE, "%s: the guest %s only %s of %s%s", name,
                     grow ? "took" : "could free", a, b,
                     grow ? ": does it put new memory online (memhp_default_state=online_movable)?"
                          : "");
}

int ctl_plug(const struct cli_args *args, bool grow)
{
    const char *name = args->operands[0];
    uint64_t size = 0, before, after;
    struct errctx ec = { 0 };
    json_t *now = NULL;
    struct wish wish;
    int r;

    if (parse_wish(args, grow, &wish, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (ask(name, &wish, UINT64_MAX, &now, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    before = number(now, "plugged");
    r = judge(&wish, grow, now, &size, &ec);
    if (r == 0)
        r = follow(name, &wish, size, &now, &ec);
    if (r < 0) {
        json_decref(now);
        errctx_wrap(&ec, r, "%s", name);
        return cli_fail(CLI_FAILURE, &ec);
    }
    after = number(now, "plugged");
    r = report(args, &wish, grow,
               grow ? (after > before ? after - before : 0) : (before > after ? before - after : 0),
               now);
    json_decref(now);
    return r;
}
