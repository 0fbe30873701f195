/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor host`: the host as the planner sees it. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/host_measure.h"
#include "vmm/cli/host_source.h"
#include "vmm/cli/print_json.h"
#include "vmm/topology/host_export.h"
#include "vmm/topology/show.h"

static int print_host_json(const struct host_topo *host)
{
    json_t *shown;
    int r = host_topo_to_json(host, &shown);

    if (r < 0)
        return r;
    r = print_json(stdout, shown);
    json_decref(shown);
    return r;
}

static int print_xml(const struct cli_args *args)
{
    struct errctx ec = { 0 };

    if (cli_args_get(args, "json") != NULL)
        return cli_error(CLI_USAGE, "--json and --xml are two forms, say one");
    if (host_source_is_other(args))
        return cli_error(CLI_USAGE, "--xml describes this machine and no other");
    if (cli_args_get(args, "measure") != NULL)
        return cli_error(CLI_USAGE, "hwloc's XML has no place for what --measure finds");
    return host_export_xml(stdout, &ec) < 0 ? cli_fail(CLI_FAILURE, &ec) : cli_flush(CLI_OK);
}

static int measure(struct host_topo *host)
{
    struct errctx ec = { 0 };

    if (!host->this_machine)
        return cli_error(CLI_USAGE, "--measure measures this machine, not %s", host->source);
    return host_measure(host, &ec) < 0 ? cli_fail(CLI_FAILURE, &ec) : CLI_OK;
}

static int run_host(struct cli_args *args)
{
    struct errctx ec = { 0 };
    struct host_topo host;
    int r;

    if (cli_args_get(args, "xml") != NULL)
        return print_xml(args);
    r = host_source_read(args, &host, &ec);
    if (r < 0)
        return cli_fail(r == -EINVAL ? CLI_USAGE : CLI_FAILURE, &ec);
    if (cli_args_get(args, "measure") != NULL) {
        r = measure(&host);
        if (r != CLI_OK) {
            host_topo_fini(&host);
            return r;
        }
    }
    if (cli_args_get(args, "json") != NULL)
        r = print_host_json(&host);
    else
        host_topo_print_table(&host, stdout, cli_colour(STDOUT_FILENO));
    host_topo_fini(&host);
    return r < 0 ? cli_error(CLI_FAILURE, "no memory to print the host") : cli_flush(CLI_OK);
}

static const struct cli_option host_options[] = {
    { .name = "json", .help = "print the host as JSON" },
    { .name = "xml", .help = "print this machine in hwloc's XML, for plan --host-xml elsewhere" },
    { .name = "measure", .help = "first measure distances between nodes, up to 5 s, and keep them" },
    HOST_SOURCE_OPTIONS,
    { 0 },
};

const struct cli_command cmd_host = {
    .name = "host",
    .summary = "Show a host as the planner sees it.",
    .options = host_options,
    .run = run_host,
};
