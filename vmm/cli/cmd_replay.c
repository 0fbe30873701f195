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
#include "vmm/machine/balance_replay.h"
#include "vmm/machine/balance_say.h"

static void show(const struct balance_replay *r)
{
    uint64_t after_ns;
    const struct balance_decision *d = balance_replay_last(r, &after_ns);
    char text[BALANCE_TEXT];

    (void)printf("%10.1f s  %s\n", (double)after_ns / 1e9,
                 balance_say(d, balance_replay_head(r)->hosts, text, sizeof(text)));
}

static int read_all(struct balance_replay *r, FILE *in, bool quiet, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    unsigned n_lines = 0;
    size_t size = 0, snapshots, decisions;
    ssize_t len;
    int got = 0;

    while (got >= 0 && (len = getline(&text, &size, in)) > 0) {
        if (text[len - 1] != '\n' && n_lines > 0)
            break; /* the machine ended in the middle of it */
        n_lines++;
        got = balance_replay_line(r, text, (size_t)len, ec);
        if (got == 1 && !quiet)
            show(r);
    }
    if (got < 0)
        return errctx_wrap(ec, got, "line %u", n_lines);
    if (ferror(in))
        return errctx_set_os(ec, EIO, "it cannot be read");
    balance_replay_counts(r, &snapshots, &decisions);
    return snapshots > 0 ? 0 : errctx_set(ec, EINVAL, "there is no snapshot in it");
}

static int report(const struct balance_replay *r, bool as_json)
{
    size_t snapshots, decisions;
    json_t *list, *all;
    int got;

    balance_replay_counts(r, &snapshots, &decisions);
    if (!as_json) {
        (void)printf("%zu snapshots, %zu decisions, as recorded\n", snapshots, decisions);
        return 0;
    }
    list = json_array();
    for (size_t i = 0; balance_replay_log(r, i) != NULL; i++)
        (void)json_array_append_new(
            list, balance_decision_json(balance_replay_log(r, i), balance_replay_head(r)->hosts));
    all = json_pack("{s:I, s:I, s:o}", "snapshots", (json_int_t)snapshots, "decided",
                    (json_int_t)decisions, "decisions", list);
    got = all != NULL ? print_json(stdout, all) : -ENOMEM;
    json_decref(all);
    return got;
}

static int run_replay(struct cli_args *args)
{
    const char *path = args->operands[0];
    const bool as_json = cli_args_get(args, "json") != NULL;
    CLEANUP_FCLOSE FILE *in = fopen(path, "re");
    struct balance_replay *r;
    struct errctx ec = { 0 };
    int got;

    if (in == NULL)
        return cli_error(CLI_FAILURE, "replay: %s: %s", path, strerror(errno));
    if (balance_replay_new(&r, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    got = read_all(r, in, as_json, &ec);
    if (got == 0 && report(r, as_json) < 0)
        got = errctx_set(&ec, ENOMEM, "no memory to print decisions");
    balance_replay_free(r);
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
