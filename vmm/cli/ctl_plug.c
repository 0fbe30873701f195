/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ctl_plug.h. The guest does the work, when it can and as far as it can. It is followed as long as
 * it gets on; then it is asked for no more than it has done, so that nothing goes on behind the
 * user's back, and what was delivered is told.
 */
#include "vmm/cli/ctl_plug.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { PATIENCE_S = 30, PATIENCE_MAX_S = 86400 };

static int parse_patience(const struct cli_args *args, unsigned *ret_s, struct errctx *ec)
{
    const char *word = cli_args_get(args, "patience");
    uint64_t s = PATIENCE_S;
    int r = word != NULL ? units_parse_uint(word, PATIENCE_MAX_S, &s, ec) : 0;

    if (r == 0 && s == 0)
        r = errctx_set(ec, ERANGE, "from 1 to %d seconds", PATIENCE_MAX_S);
    if (r < 0)
        return errctx_wrap(ec, r, "--patience");
    *ret_s = (unsigned)s;
    return 0;
}

int ctl_plug_parse(const struct cli_args *args, const char *verb, struct ctl_wish *ret_wish,
                   struct errctx *ec)
{
    struct ctl_wish wish = { .name = args->operands[0], .verb = verb };
    bool has_node = false, has_by = false;
    int r;

    for (size_t i = 2; i < args->n_operands; i++) {
        const char *word = args->operands[i];

        if (strncmp(word, "node=", 5) == 0 && !has_node) {
            r = units_parse_uint(word + 5, UINT32_MAX, &wish.vnode, ec);
            has_node = true;
        } else if (strncmp(word, "by=", 3) == 0 && !has_by) {
            r = units_parse_size(word + 3, &wish.by, ec);
            has_by = true;
        } else {
            return errctx_set(ec, EINVAL, "ctl %s: %s is none of node=N, by=SIZE", verb, word);
        }
        if (r < 0)
            return errctx_wrap(ec, r, "ctl %s: %.*s", verb, word[0] == 'n' ? 4 : 2, word);
    }
    if (!has_node || !has_by)
        return errctx_set(ec, EINVAL, "ctl %s: both node=N and by=SIZE are needed", verb);
    if (wish.by == 0 || wish.by > INT64_MAX)
        return errctx_set(ec, ERANGE, "ctl %s: by: from 1 byte to 8191P", verb);
    r = parse_patience(args, &wish.patience_s, ec);
    if (r < 0)
        return r;
    *ret_wish = wish;
    return 0;
}

int ctl_plug_ask(const struct ctl_wish *wish, uint64_t size, json_t **ret_answer, struct errctx *ec)
{
    json_t *request = json_pack("{s:s, s:I}", "command", "plug", "vnode", (json_int_t)wish->vnode);
    int r;

    if (request == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the request");
    if (size != UINT64_MAX)
        (void)json_object_set_new(request, "size", json_integer((json_int_t)size));
    r = ctl_client_request(NULL, wish->name, request, CTL_TIMEOUT_MS, ret_answer, ec);
    json_decref(request);
    return r;
}

static void show(const struct ctl_wish *wish, uint64_t size, uint64_t plugged)
{
    char a[32], b[32];

    ctl_wait_show("%sing virtual node %llu: %s are plugged in, %s are to be", wish->verb,
                  (unsigned long long)wish->vnode, units_format_human(plugged, a, sizeof(a)),
                  units_format_human(size, b, sizeof(b)));
}

int ctl_plug_follow(const struct ctl_wish *wish, uint64_t size, struct ctl_wait *wait, json_t **now,
                    struct errctx *ec)
{
    bool more = true;
    json_t *later;
    int r = ctl_plug_ask(wish, size, &later, ec);

    while (r == 0) {
        const uint64_t plugged = answer_number(later, "plugged");

        json_decref(*now);
        *now = later;
        if (plugged == size || !more)
            return 0;
        show(wish, size, plugged);
        more = ctl_wait_more(wait, plugged);
        r = ctl_plug_ask(wish, more ? UINT64_MAX : plugged, &later, ec);
    }
    return r;
}

/* --- growing -------------------------------------------------------------------------------------- */

/* What is to be plugged in, or a sentence why that cannot be. */
static int judge(const struct ctl_wish *wish, const json_t *now, uint64_t *ret_size,
                 struct errctx *ec)
{
    const uint64_t plugged = answer_number(now, "plugged"), block = answer_number(now, "block");
    const uint64_t window = answer_number(now, "window");
    char a[32], b[32];

    if (window == 0 || block == 0)
        return errctx_set(ec, ENODEV,
                          "virtual node %llu has no room for memory to be plugged in (hotplug=)",
                          (unsigned long long)wish->vnode);
    if (wish->by % block != 0)
        return errctx_set(ec, EINVAL, "by=%s is not a multiple of %s, the blocks of virtual node %llu",
                          units_format_size(wish->by, a, sizeof(a)),
                          units_format_human(block, b, sizeof(b)), (unsigned long long)wish->vnode);
    if (!json_is_true(json_object_get(now, "driver")))
        return errctx_set(ec, ENODEV, "the guest has no driver for it (virtio_mem)");
    if (plugged > window || wish->by > window - plugged)
        return errctx_set(ec, ERANGE, "virtual node %llu has room for %s more",
                          (unsigned long long)wish->vnode,
                          units_format_human(plugged > window ? 0 : window - plugged, a, sizeof(a)));
    *ret_size = plugged + wish->by;
    return 0;
}

static void say(const struct ctl_wish *wish, uint64_t delivered, const json_t *now)
{
    char a[32], b[32];

    (void)printf("%s: virtual node %llu took %s by virtio-mem, %s are plugged in now\n", wish->name,
                 (unsigned long long)wish->vnode, units_format_human(delivered, a, sizeof(a)),
                 units_format_human(answer_number(now, "plugged"), b, sizeof(b)));
    if (!json_is_true(json_object_get(now, "movable")))
        (void)printf("%s: its command line lacks memhp_default_state=online_movable, without which "
                     "Debian's cloud kernels leave new memory offline, and others cannot free it "
                     "again\n",
                     wish->name);
}

static int report(const struct cli_args *args, const struct ctl_wish *wish, uint64_t delivered,
                  bool cancelled, json_t *now)
{
    char a[32], b[32];
    int r = 0;

    (void)json_object_set_new(now, "delivered", json_integer((json_int_t)delivered));
    (void)json_object_set_new(now, "cancelled", json_boolean(cancelled));
    if (cli_args_get(args, "json") != NULL)
        r = print_json(stdout, now);
    else
        say(wish, delivered, now);
    if (r < 0)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    r = cli_flush(CLI_OK);
    if (delivered >= wish->by)
        return r;
    return cli_error(CLI_FAILURE, "%s: %sthe guest took only %s of %s", wish->name,
                     cancelled ? "cancelled, " : "", units_format_human(delivered, a, sizeof(a)),
                     units_format_human(wish->by, b, sizeof(b)));
}

static int grow(const struct ctl_wish *wish, struct ctl_wait *wait, json_t **now,
                uint64_t *ret_delivered, struct errctx *ec)
{
    uint64_t size = 0, before, after;
    int r = ctl_plug_ask(wish, UINT64_MAX, now, ec);

    if (r < 0)
        return r;
    before = answer_number(*now, "plugged");
    r = judge(wish, *now, &size, ec);
    if (r == 0)
        r = ctl_plug_follow(wish, size, wait, now, ec);
    after = answer_number(*now, "plugged");
    *ret_delivered = after > before ? after - before : 0;
    return r < 0 ? errctx_wrap(ec, r, "%s", wish->name) : 0;
}

int ctl_grow(const struct cli_args *args)
{
    uint64_t delivered = 0;
    struct errctx ec = { 0 };
    struct ctl_wish wish;
    struct ctl_wait wait;
    json_t *now = NULL;
    int r;

    if (ctl_plug_parse(args, "grow", &wish, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (ctl_wait_begin(&wait, wish.patience_s, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = grow(&wish, &wait, &now, &delivered, &ec);
    ctl_wait_show(NULL);
    ctl_wait_end(&wait);
    r = r < 0 ? cli_fail(CLI_FAILURE, &ec)
              : report(args, &wish, delivered, wait.cancelled, now);
    json_decref(now);
    return r;
}
