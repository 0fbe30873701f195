/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ctl_shrink.h. Two ways, one after the other: memory that was plugged in is taken out, which is
 * the node's own; what is missing then comes from the balloon, if there is one. The guest's kernel
 * chooses what it puts there, so that the balloon is asked for no more than is missing, and what comes
 * from other nodes is told.
 *
 * What the host got back is counted by who gave it back, as memory leaves (control.h, "returned").
 */
#include "vmm/cli/ctl_shrink.h"

#include <errno.h>
#include <stdio.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/ctl_plug.h"
#include "vmm/cli/print_json.h"

/* What one of the two did. */
struct part {
    bool there;         /* there is such a device */
    uint64_t given;     /* what the guest has no more */
    uint64_t delivered; /* of it, what the host had memory for, and has back */
    uint64_t others;    /* of other nodes; not in the other two */
    uint64_t kept;      /* given by any node, but the host has no memory of it back */
};

struct shrink {
    struct ctl_wish wish;
    struct ctl_wait wait;
    struct part plug, balloon;
    uint64_t resident_before, resident_after; /* the host's memory behind the node */
    uint64_t dropped_before, dropped_after;   /* of the node, that was away when it was given up */
    char why[ERRCTX_MSG_MAX];                 /* it stopped before the end; "": it did not */
};

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t given(const struct shrink *s)
{
    return s->plug.given + s->balloon.given;
}

/* --- what was plugged in -------------------------------------------------------------------------- */

static int check_plug(const struct shrink *s, const json_t *now, struct errctx *ec)
{
    const uint64_t plugged = answer_number(now, "plugged"), block = answer_number(now, "block");
    const unsigned long long vnode = s->wish.vnode;
    char a[32], b[32];

    if (block == 0)
        return errctx_set(ec, ENODEV,
                          "virtual node %llu has no memory that can be plugged out (hotplug=), and the "
                          "machine has no balloon (--balloon)",
                          vnode);
    if (s->wish.by > plugged)
        return errctx_set(ec, ERANGE,
                          "only %s are plugged into virtual node %llu, and there is no balloon "
                          "(--balloon) for the memory that it started with",
                          units_format_human(plugged, a, sizeof(a)), vnode);
    if (s->wish.by % block != 0)
        return errctx_set(ec, EINVAL,
                          "by=%s is not a multiple of %s, the blocks of virtual node %llu",
                          units_format_size(s->wish.by, a, sizeof(a)),
                          units_format_human(block, b, sizeof(b)), vnode);
    if (!json_is_true(json_object_get(now, "driver")))
        return errctx_set(ec, ENODEV, "the guest has no driver for it (virtio_mem)");
    return 0;
}

/* Whole blocks, as many as there are. */
static int unplug(struct shrink *s, json_t **now, struct errctx *ec)
{
    const uint64_t plugged = answer_number(*now, "plugged"), block = answer_number(*now, "block");
    const uint64_t returned = answer_number(*now, "returned");
    uint64_t want = s->wish.by < plugged ? s->wish.by : plugged;
    int r;

    s->plug.there = block > 0 && json_is_true(json_object_get(*now, "driver"));
    if (!s->plug.there || want < block)
        return 0;
    r = ctl_plug_follow(&s->wish, plugged - want / block * block, &s->wait, now, ec);
    s->plug.given = less(plugged, answer_number(*now, "plugged"));
    s->plug.delivered = less(answer_number(*now, "returned"), returned);
    return r;
}

/* --- the balloon ---------------------------------------------------------------------------------- */

/* @target UINT64_MAX: only ask. -ECANCELED: there is none, or it refuses. */
static int ask_balloon(const struct shrink *s, uint64_t target, json_t **ret_answer,
                       struct errctx *ec)
{
    json_t *request = json_pack("{s:s}", "command", "balloon");
    int r;

    if (request == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the request");
    if (target != UINT64_MAX)
        (void)json_object_set_new(request, "target", json_integer((json_int_t)target));
    r = ctl_client_request(NULL, s->wish.name, request, CTL_TIMEOUT_MS, ret_answer, ec);
    json_decref(request);
    return r;
}

/* A member of the node's entry, or of all the others' together. */
static uint64_t of_node(const struct shrink *s, const json_t *answer, const char *member)
{
    const json_t *nodes = json_object_get(answer, "nodes");

    for (size_t i = 0; i < json_array_size(nodes); i++)
        if (answer_number(json_array_get(nodes, i), "id") == s->wish.vnode)
            return answer_number(json_array_get(nodes, i), member);
    return 0;
}

static uint64_t of_all(const json_t *answer, const char *member)
{
    const json_t *nodes = json_object_get(answer, "nodes");
    uint64_t sum = 0;

    for (size_t i = 0; i < json_array_size(nodes); i++)
        sum += answer_number(json_array_get(nodes, i), member);
    return sum;
}

static uint64_t of_others(const struct shrink *s, const json_t *answer)
{
    return of_all(answer, "ballooned") - of_node(s, answer, "ballooned");
}

static void count(struct shrink *s, const json_t *before, const json_t *now)
{
    s->balloon.given = less(of_node(s, now, "ballooned"), of_node(s, before, "ballooned"));
    s->balloon.delivered = less(of_node(s, now, "returned"), of_node(s, before, "returned"));
    s->balloon.others = less(of_others(s, now), of_others(s, before));
    s->balloon.kept = less(of_all(now, "kept"), of_all(before, "kept"));
}

static void show(const struct shrink *s, uint64_t missing)
{
    char a[32], b[32], c[32];

    ctl_wait_show("the balloon took %s of virtual node %llu, %s of others; %s are to come",
                  units_format_human(s->balloon.given, a, sizeof(a)),
                  (unsigned long long)s->wish.vnode,
                  units_format_human(s->balloon.others, b, sizeof(b)),
                  units_format_human(missing, c, sizeof(c)));
}

/* Make the balloon larger by what is missing, and wait until it is, or there is no use in it. */
static int inflate(struct shrink *s, const json_t *before, struct errctx *ec)
{
    const uint64_t missing = s->wish.by - given(s), base = answer_number(before, "target");
    const uint64_t target = base + missing;
    unsigned settled = 0;
    bool more = true;
    json_t *now;
    int r;

    ctl_wait_fresh(&s->wait);
    r = ask_balloon(s, target, &now, ec);
    while (r == 0) {
        const uint64_t told = answer_number(now, "told");

        count(s, before, now);
        json_decref(now);
        settled = told == target ? settled + 1 : 0; /* pages are counted before it is looked at */
        if (!more || settled > 1 || s->balloon.given >= missing)
            return 0;
        show(s, missing);
        more = ctl_wait_more(&s->wait, told + s->balloon.given);
        r = ask_balloon(s, more ? UINT64_MAX : told < target ? told : target, &now, ec);
    }
    return r;
}

static int use_balloon(struct shrink *s, struct errctx *ec)
{
    json_t *before;
    int r;

    if (given(s) >= s->wish.by || s->wait.cancelled)
        return 0;
    r = ask_balloon(s, UINT64_MAX, &before, ec);
    if (r < 0)
        return r;
    if (json_is_true(json_object_get(before, "driver")))
        r = inflate(s, before, ec);
    else
        r = errctx_set(ec, ENODEV, "the guest has no driver for the balloon (virtio_balloon)");
    json_decref(before);
    return r;
}

/* --- both ----------------------------------------------------------------------------------------- */

static int look_for_balloon(struct shrink *s, struct errctx *ec)
{
    json_t *answer;
    int r = ask_balloon(s, UINT64_MAX, &answer, ec);

    if (r == -ECANCELED)
        return 0;
    if (r < 0)
        return r;
    s->balloon.there = true;
    json_decref(answer);
    return 0;
}

/* Return: 0, also when the guest could not give all, with @s->why then. */
static int shrink(struct shrink *s, struct errctx *ec)
{
    struct errctx why = { 0 };
    json_t *now = NULL;
    int r = ctl_plug_ask(&s->wish, UINT64_MAX, &now, ec);

    if (r < 0)
        return r;
    s->resident_before = answer_number(now, "resident");
    s->dropped_before = answer_number(now, "dropped");
    r = look_for_balloon(s, ec);
    if (r == 0 && !s->balloon.there) {
        r = check_plug(s, now, ec);
        if (r < 0)
            (void)errctx_wrap(ec, r, "%s", s->wish.name);
    }
    if (r < 0) {
        json_decref(now);
        return r;
    }
    r = unplug(s, &now, &why);
    json_decref(now);
    if (r == 0 && s->balloon.there)
        r = use_balloon(s, &why);
    if (r < 0)
        (void)snprintf(s->why, sizeof(s->why), "%s", why.msg);
    if (ctl_plug_ask(&s->wish, UINT64_MAX, &now, NULL) == 0) {
        s->resident_after = answer_number(now, "resident");
        s->dropped_after = answer_number(now, "dropped");
        json_decref(now);
    }
    return 0;
}

static json_t *part_json(const struct part *p)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "given", (json_int_t)p->given, "delivered",
                     (json_int_t)p->delivered, "others", (json_int_t)p->others, "kept",
                     (json_int_t)p->kept);
}

static int print(const struct shrink *s)
{
    json_t *answer = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:{s:I, s:I}}", "name", s->wish.name,
        "vnode", (json_int_t)s->wish.vnode, "asked", (json_int_t)s->wish.by, "given",
        (json_int_t)given(s), "delivered",
        (json_int_t)(s->plug.delivered + s->balloon.delivered), "away",
        (json_int_t)less(s->dropped_after, s->dropped_before), "cancelled", s->wait.cancelled,
        "virtio-mem", part_json(&s->plug), "balloon", part_json(&s->balloon), "resident", "before",
        (json_int_t)s->resident_before, "after", (json_int_t)s->resident_after);
    int r = answer != NULL ? print_json(stdout, answer) : -ENOMEM;

    json_decref(answer);
    return r;
}

static void say(const struct shrink *s)
{
    const uint64_t delivered = s->plug.delivered + s->balloon.delivered;
    const uint64_t away = less(s->dropped_after, s->dropped_before);
    const char *name = s->wish.name;
    char a[32], b[32], c[32], d[64] = "";

    if (away > 0)
        (void)snprintf(d, sizeof(d), ", %s were away", units_format_human(away, a, sizeof(a)));
    (void)printf("%s: virtual node %llu gave up %s by virtio-mem, %s by balloon; the host has %s of "
                 "it back%s%s\n",
                 name, (unsigned long long)s->wish.vnode,
                 units_format_human(s->plug.given, a, sizeof(a)),
                 units_format_human(s->balloon.given, b, sizeof(b)),
                 units_format_human(delivered, c, sizeof(c)), d,
                 delivered + away < given(s) ? ", the rest held none of its memory" : "");
    (void)printf("%s: %s of the host's memory are behind the node now, %s were before\n", name,
                 units_format_human(s->resident_after, a, sizeof(a)),
                 units_format_human(s->resident_before, b, sizeof(b)));
    if (s->balloon.others > 0)
        (void)printf("%s: the balloon took %s from other nodes, too: the guest chooses\n", name,
                     units_format_human(s->balloon.others, a, sizeof(a)));
    if (s->balloon.kept > 0)
        (void)printf("%s: %s more are in the balloon, but not away: parts of huge pages in use\n", name,
                     units_format_human(s->balloon.kept, a, sizeof(a)));
}

static int report(const struct cli_args *args, const struct shrink *s)
{
    char a[32], b[32];
    int r = 0;

    if (cli_args_get(args, "json") != NULL)
        r = print(s);
    else
        say(s);
    if (r < 0)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    r = cli_flush(CLI_OK);
    if (given(s) >= s->wish.by)
        return r;
    return cli_error(CLI_FAILURE, "%s: %svirtual node %llu gave up only %s of %s%s%s", s->wish.name,
                     s->wait.cancelled ? "cancelled, " : "", (unsigned long long)s->wish.vnode,
                     units_format_human(given(s), a, sizeof(a)),
                     units_format_human(s->wish.by, b, sizeof(b)), s->why[0] != '\0' ? ": " : "",
                     s->why);
}

int ctl_shrink(const struct cli_args *args)
{
    struct shrink s = { .why = "" };
    struct errctx ec = { 0 };
    int r;

    if (ctl_plug_parse(args, "shrink", &s.wish, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (ctl_wait_begin(&s.wait, s.wish.patience_s, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = shrink(&s, &ec);
    ctl_wait_show(NULL);
    ctl_wait_end(&s.wait);
    return r < 0 ? cli_fail(CLI_FAILURE, &ec) : report(args, &s);
}
