/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor check`: can this machine run guests, and what is missing? */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/print_json.h"
#include "vmm/machine/host_check.h"
#include "vmm/topology/host_topo.h"

static const char *const verdict_words[] = {
    [HOST_OK] = "ok",
    [HOST_LIMITED] = "limited",
    [HOST_MISSING] = "missing",
};

static const char *const verdict_colours[] = {
    [HOST_OK] = "\033[32m",
    [HOST_LIMITED] = "\033[33m",
    [HOST_MISSING] = "\033[31m",
};

static void print_table(const struct host_check *check)
{
    const bool colour = cli_colour(STDOUT_FILENO);

    for (size_t i = 0; i < check->n; i++) {
        const struct host_finding *f = &check->findings[i];

        (void)printf("%s%-8s%s %-13s %s\n", colour ? verdict_colours[f->verdict] : "",
                     verdict_words[f->verdict], colour ? "\033[0m" : "", f->name, f->what);
        if (f->advice[0] != '\0')
            (void)printf("%22s %s\n", "->", f->advice);
    }
    (void)printf("\n%s\n", check->can_run ? "this machine can run guests"
                                          : "this machine cannot run an operating system as a guest");
}

static int print_check_json(const struct host_check *check)
{
    json_t *findings = json_array();
    json_t *all;
    int r;

    for (size_t i = 0; i < check->n; i++) {
        const struct host_finding *f = &check->findings[i];

        (void)json_array_append_new(findings,
                                    json_pack("{s:s, s:s, s:s, s:s}", "name", f->name, "verdict",
                                              verdict_words[f->verdict], "what", f->what, "advice",
                                              f->advice));
    }
    all = json_pack("{s:b, s:o}", "can_run", check->can_run, "findings", findings);
    if (all == NULL)
        return cli_error(CLI_FAILURE, "no memory to print the findings");
    r = print_json(stdout, all);
    json_decref(all);
    return r < 0 ? cli_error(CLI_FAILURE, "no memory to print the findings") : CLI_OK;
}

static int run_check(struct cli_args *args)
{
    struct errctx ec = { 0 };
    struct host_check check;
    struct host_topo host;

    if (host_topo_discover("", &host, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    host_check_run("/dev/kvm", &host, &check);
    host_topo_fini(&host);
    if (cli_args_get(args, "json") == NULL)
        print_table(&check);
    else if (print_check_json(&check) != CLI_OK)
        return CLI_FAILURE;
    return cli_flush(check.can_run ? CLI_OK : CLI_FAILURE);
}

static const struct cli_option check_options[] = {
    { .name = "json", .help = "print the findings as JSON" },
    { 0 },
};

const struct cli_command cmd_check = {
    .name = "check",
    .summary = "Say whether this machine can run guests, and what is missing.",
    .options = check_options,
    .run = run_check,
};
