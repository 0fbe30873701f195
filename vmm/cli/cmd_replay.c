/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `numavisor replay FILE`: decide again on what a running machine saw (--balance-trace), and say
 * whether the same came of it. Needs neither the machine nor its host.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/print_json.h"
#include "vmm/machine/balance_say.h"
#include "vmm/machine/balance_trace.h"

struct replay {
    struct balance_head head;
    bool has_head, has_line, has_decision, as_json;
    struct balance *policy;
    struct balance_line line; /* the last one */
    struct balance_decision decision; /* on it, if has_decision */
    uint64_t first_ns;
    unsigned n_lines, n_snapshots, n_decisions;
};

static void show(const struct replay *r)
{
    char text[BALANCE_TEXT];

    if (!r->as_json)
        (void)printf("%10.1f s  %s\n", (double)(r->decision.time_ns - r->first_ns) / 1e9,
                     balance_say(&r->decision, r->head.hosts, text, sizeof(text)));
}

static int take_snapshot(struct replay *r, const json_t *json, struct errctx *ec)
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
    r->has_decision = got == 1;
    r->n_decisions += r->has_decision;
    if (r->has_decision)
        show(r);
    return 0;
}

/* What was recorded against what was just decided. */
static int compare(struct replay *r, const json_t *recorded, struct errctx *ec)
{
    json_t *ours;
    bool same;

    if (!r->has_decision)
        return errctx_set(ec, EILSEQ, "the machine decided something here, the replay does not");
    ours = balance_decision_json(&r->decision, r->head.hosts);
    same = json_equal(ours, recorded);
    json_decref(ours);
    r->has_decision = false;
    return same ? 0 : errctx_set(ec, EILSEQ, "the machine decided something else here");
}

static int take_line(struct replay *r, const json_t *json, struct errctx *ec)
{
    const json_t *decided = json_object_get(json, "decided");

    if (!r->has_head) {
        r->has_head = true;
        return balance_head_from_json(json, &r->head, ec);
    }
    if (decided != NULL)
        return compare(r, decided, ec);
    if (r->has_decision)
        return errctx_set(ec, EILSEQ, "the machine decided nothing before this, the replay does");
    return take_snapshot(r, json, ec);
}

static int read_all(struct replay *r, FILE *in, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    size_t size = 0;
    ssize_t len;
    int got = 0;

    while (got == 0 && (len = getline(&text, &size, in)) > 0) {
        json_error_t error;
        json_t *json;

        r->n_lines++;
        if (text[len - 1] != '\n' && r->n_lines > 1)
            break; /* the machine ended in the middle of it */
        json = json_loadb(text, (size_t)len, 0, &error);
        got = json != NULL ? take_line(r, json, ec) : errctx_set(ec, EINVAL, "%s", error.text);
        json_decref(json);
    }
    if (got < 0)
        return errctx_wrap(ec, got, "line %u", r->n_lines);
    if (ferror(in))
        return errctx_set_os(ec, EIO, "it cannot be read");
    return r->n_snapshots > 0 ? 0 : errctx_set(ec, EINVAL, "there is no snapshot in it");
}

static int report(const struct replay *r)
{
    json_t *list = json_array(), *all;
    int got = 0;

    for (size_t i = 0; r->policy != NULL && balance_log(r->policy, i) != NULL; i++)
        (void)json_array_append_new(list,
                                    balance_decision_json(balance_log(r->policy, i), r->head.hosts));
    all = json_pack("{s:i, s:i, s:o}", "snapshots", (int)r->n_snapshots, "decided",
                    (int)r->n_decisions, "decisions", list);
    if (r->as_json)
        got = all != NULL ? print_json(stdout, all) : -ENOMEM;
    else
        (void)printf("%u snapshots, %u decisions, as recorded\n", r->n_snapshots, r->n_decisions);
    json_decref(all);
    return got;
}

static int run_replay(struct cli_args *args)
{
    const char *path = args->operands[0];
    CLEANUP_FCLOSE FILE *in = fopen(path, "re");
    struct replay *r;
    struct errctx ec = { 0 };
    int got;

    if (in == NULL)
        return cli_error(CLI_FAILURE, "replay: %s: %s", path, strerror(errno));
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return cli_error(CLI_FAILURE, "replay: no memory");
    r->as_json = cli_args_get(args, "json") != NULL;
    got = read_all(r, in, &ec);
    if (got == 0)
        got = report(r) < 0 ? errctx_set(&ec, ENOMEM, "no memory to print decisions") : 0;
    if (r->has_line)
        balance_line_fini(&r->line);
    balance_free(r->policy);
    free(r);
    return got < 0 ? cli_error(CLI_FAILURE, "replay: %s: %s", path, ec.msg) : cli_flush(CLI_OK);
}

static const struct cli_option replay_options[] = {
    { .name = "json", .help = "print the last decisions and what became of them as JSON" },
    { 0 },
};

const struct cli_command cmd_replay = {
    .name = "replay",
    .summary = "Decide again on what --balance-trace recorded, and compare.",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .options = replay_options,
    .run = run_replay,
};
