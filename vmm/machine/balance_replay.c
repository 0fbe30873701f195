/* SPDX-License-Identifier: Apache-2.0 */
/* See balance_replay.h. */
#include "vmm/machine/balance_replay.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/machine/balance_say.h"

struct balance_replay {
    struct balance_head head;
    bool has_head, has_line;
    bool open; /* a decision that the trace has yet to name */
    struct balance *policy;
    struct balance_line line; /* the last one */
    struct balance_decision decision;
    uint64_t first_ns;
    size_t n_snapshots, n_decisions;
};

int balance_replay_new(struct balance_replay **ret_replay, struct errctx *ec)
{
    struct balance_replay *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a replay");
    *ret_replay = r;
    return 0;
}

void balance_replay_free(struct balance_replay *r)
{
    if (r == NULL)
        return;
    if (r->has_line)
        balance_line_fini(&r->line);
    balance_free(r->policy);
    free(r);
}

static int take_snapshot(struct balance_replay *r, const json_t *json, struct errctx *ec)
{
    struct balance_line line;
    int got = balance_trace_from_json(json, r->has_line ? &r->line : NULL, &line, ec);

    if (got < 0)
        return got;
    if (r->has_line)
        balance_line_fini(&r->line);
    else
        r->first_ns = line.snap.time_ns;
    r->line = line;
    r->has_line = true;
    if (line.snap.n_nodes != r->head.n_hosts)
        return errctx_set(ec, EINVAL, "it is of %u host nodes, and the trace of %u",
                          line.snap.n_nodes, r->head.n_hosts);
    if (r->policy == NULL)
        got = balance_new(&r->head.params, line.snap.n_nodes, line.snap.n_vnodes, &r->policy, ec);
    if (got == 0)
        got = balance_epoch(r->policy, &r->line.snap, &r->decision, ec);
    if (got < 0)
        return got;
    r->n_snapshots++;
    r->n_decisions += got == 1;
    r->open = got == 1;
    return got;
}

/* What was recorded against what was just decided. */
static int compare(struct balance_replay *r, const json_t *recorded, struct errctx *ec)
{
    json_t *ours;
    bool same;

    if (!r->open)
        return errctx_set(ec, EILSEQ, "the machine decided something here, the replay does not");
    ours = balance_decision_json(&r->decision, r->head.hosts);
    same = json_equal(ours, recorded);
    json_decref(ours);
    r->open = false;
    return same ? 0 : errctx_set(ec, EILSEQ, "the machine decided something else here");
}

static int take_line(struct balance_replay *r, const json_t *json, struct errctx *ec)
{
    const json_t *decided = json_object_get(json, "decided");

    if (!r->has_head) {
        r->has_head = true;
        return balance_head_from_json(json, &r->head, ec);
    }
    if (decided != NULL)
        return compare(r, decided, ec);
    if (r->open)
        return errctx_set(ec, EILSEQ, "the machine decided nothing before this, the replay does");
    return take_snapshot(r, json, ec);
}

int balance_replay_line(struct balance_replay *r, const char *text, size_t len, struct errctx *ec)
{
    json_error_t error;
    json_t *json = json_loadb(text, len, 0, &error);
    int got = json != NULL ? take_line(r, json, ec) : errctx_set(ec, EINVAL, "%s", error.text);

    json_decref(json);
    return got;
}

const struct balance_head *balance_replay_head(const struct balance_replay *r)
{
    return &r->head;
}

const struct balance_decision *balance_replay_last(const struct balance_replay *r,
                                                   uint64_t *ret_after_ns)
{
    *ret_after_ns = r->decision.time_ns - r->first_ns;
    return &r->decision;
}

const struct balance_decision *balance_replay_log(const struct balance_replay *r, size_t i)
{
    return r->policy != NULL ? balance_log(r->policy, i) : NULL;
}

void balance_replay_counts(const struct balance_replay *r, size_t *ret_snapshots,
                           size_t *ret_decisions)
{
    *ret_snapshots = r->n_snapshots;
    *ret_decisions = r->n_decisions;
}
