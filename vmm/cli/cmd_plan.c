/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `numavisor plan`: what `run` with the same options would show the guest, and where it would
 * live. Allocates no guest memory and needs no /dev/kvm.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/host_source.h"
#include "vmm/cli/print_json.h"
#include "vmm/cli/print_placement.h"
#include "vmm/cli/print_share.h"
#include "vmm/cli/print_threads.h"
#include "vmm/cli/print_topology.h"
#include "vmm/config/config_json.h"
#include "vmm/machine/machine_config.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/machine/machine_threads.h"
#include "vmm/machine/plan_acpi.h"
#include "vmm/machine/plan_fdt.h"
#include "vmm/topology/show.h"
#include "vmm/topology/topo_plan.h"

/* The description in --config's form, and the plan beside it. */
static int print_plan_json(const struct machine_config *config, const struct topo_plan *plan,
                           const struct machine_placement *placement,
                           const struct machine_threads *threads, struct errctx *ec)
{
    json_t *root, *shown;
    int r = config_json_write(config, &root, ec);

    if (r < 0)
        return r;
    r = topo_plan_to_json(plan, &shown);
    if (r == 0 && json_object_set_new(shown, "threads", machine_threads_json(config, threads)) < 0) {
        json_decref(shown);
        r = -ENOMEM;
    }
    if (r == 0 && placement != NULL &&
        json_object_set_new(shown, "placement", print_placement_json(placement)) < 0) {
        json_decref(shown);
        r = -ENOMEM;
    }
    if (r == 0 && json_object_set_new(root, "plan", shown) < 0)
        r = -ENOMEM;
    if (r == 0)
        r = print_json(stdout, root);
    json_decref(root);
    return r < 0 ? errctx_set(ec, -r, "no memory for the plan's JSON form") : 0;
}

/* Of the guest, or where reasons are asked for of its places. */
static int write_picture(const struct topo_plan *plan, const struct machine_placement *placement,
                         const struct host_topo *host, const char *path, struct errctx *ec)
{
    CLEANUP_FCLOSE FILE *out = fopen(path, "we");
    int r = 0;

    if (out == NULL)
        return errctx_set_os(ec, errno, "--svg: %s", path);
    if (placement != NULL)
        print_placement_svg(placement, plan, host, out);
    else
        r = topo_plan_write_svg(plan, out, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "--svg");
    if (fflush(out) != 0 || ferror(out))
        return errctx_set_os(ec, errno, "--svg: write %s", path);
    return 0;
}

/* Not what `run` does here, which is why it is said. */
static int write_tree(const struct cli_args *args, const struct topo_plan *plan, const char *path,
                      struct errctx *ec)
{
    const struct fdt_arch *arch;
    struct topo_notes notes = { 0 };
    int r = plan_fdt_choose(cli_args_get(args, "fdt-arch"), &arch, ec);

    if (r == 0)
        r = plan_fdt_write(arch, plan, args->config.cmdline, path, &notes, ec);

    if (r < 0)
        return errctx_wrap(ec, r, "--fdt");
    print_topology_notes(&notes);
    return 0;
}

static int show(const struct cli_args *args, const struct topo_plan *plan,
                const struct machine_placement *placement, const struct machine_threads *threads,
                const struct host_topo *host, struct errctx *ec)
{
    const char *svg = cli_args_get(args, "svg"), *acpi = cli_args_get(args, "acpi");
    const char *fdt = cli_args_get(args, "fdt");
    int r = 0;

    if (svg != NULL)
        r = write_picture(plan, placement, host, svg, ec);
    if (r == 0 && acpi != NULL) {
        r = plan_acpi_write(plan, acpi, ec);
        if (r < 0)
            r = errctx_wrap(ec, r, "--acpi");
    }
    if (r == 0 && fdt != NULL)
        r = write_tree(args, plan, fdt, ec);
    if (r < 0)
        return r;
    if (cli_args_get(args, "json") != NULL)
        return print_plan_json(&args->config, plan, placement, threads, ec);
    topo_plan_print_table(plan, host, stdout, cli_colour(STDOUT_FILENO));
    print_threads(&args->config, threads, cli_colour(STDOUT_FILENO));
    print_share(&args->config, !host_source_is_other(args), cli_colour(STDOUT_FILENO));
    if (placement != NULL)
        print_placement(placement, cli_colour(STDOUT_FILENO));
    return 0;
}

/* Would `run` be allowed what it is to reserve? */
static int admit(const struct machine_config *config, const struct host_topo *host,
                 const struct neighbours *others, const struct topo_plan *plan,
                 struct errctx *ec)
{
    struct machine_use use;
    int r = machine_use_make(config, plan, &use, ec);

    if (r == 0) {
        r = machine_use_admit(host, others->uses, others->n, &use, ec);
        machine_use_fini(&use);
    }
    return r;
}

/* What `run` would do here, beside the machines that run already; as for another host alone. */
static int make(const struct cli_args *args, const struct host_topo *host,
                struct machine_placement *why, struct topo_plan **ret_plan, struct errctx *ec)
{
    struct neighbours others = { .dir_fd = -1, .lock_fd = -1 };
    const bool here = !host_source_is_other(args);
    struct topo_plan *plan = NULL;
    int r;

    if (here && neighbours_read(NULL, 0, &others, ec) < 0)
        (void)cli_error(0, "other machines are not counted: %s", ec->msg);
    r = machine_plan_make(&args->config.spec, host, &others, &plan, why, ec);
    if (r == 0)
        r = admit(&args->config, host, &others, plan, ec);
    neighbours_fini(&others);
    if (r == 0 && here) /* another host's addresses are not known */
        r = machine_config_fits(plan, ec);
    if (r == 0)
        r = machine_config_pageable(&args->config, plan, ec);
    if (r < 0)
        topo_plan_free(plan);
    else
        *ret_plan = plan;
    return r;
}

static int run_plan(struct cli_args *args)
{
    struct errctx ec = { 0 };
    struct machine_placement placement = { 0 }, *why = NULL;
    struct machine_threads *threads = NULL;
    struct host_topo host;
    struct topo_plan *plan;
    int r = config_check(&args->config, false, &ec);

    if (r == 0 && cli_args_get(args, "fdt-arch") != NULL && cli_args_get(args, "fdt") == NULL)
        r = errctx_set(&ec, EINVAL, "--fdt-arch has no effect without --fdt");
    if (r == 0)
        r = machine_config_check(&args->config, &ec);
    if (r == 0)
        r = host_source_read(args, &host, &ec);
    if (r < 0)
        return cli_fail(r == -ENOMEM || r == -EIO ? CLI_FAILURE : CLI_USAGE, &ec);
    if (cli_args_get(args, "explain") != NULL)
        why = &placement;
    r = make(args, &host, why, &plan, &ec);
    if (r < 0) {
        machine_placement_fini(&placement);
        host_topo_fini(&host);
        return cli_fail(r == -ENOMEM ? CLI_FAILURE : CLI_USAGE, &ec);
    }
    topo_plan_describe_caches(plan, &args->config.spec); /* for who runs it on another host */
    r = topo_plan_describe_nodes(plan, &args->config.spec, &ec);
    if (r == 0)
        r = machine_threads_plan(&args->config, plan, &threads, &ec);
    if (r == 0)
        r = show(args, plan, why, threads, &host, &ec);
    machine_threads_free(threads);
    machine_placement_fini(&placement);
    topo_plan_free(plan);
    host_topo_fini(&host);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    print_topology_notes(&args->input.notes);
    return cli_flush(CLI_OK);
}

static const struct cli_option plan_options[] = {
    { .name = "json", .help = "print description and plan in the form that --config reads" },
    { .name = "explain", .help = "say what the places cost, and whether there are better ones" },
    { .name = "svg", .arg = "FILE", .is_file = true, .help = "draw a picture, too; with --explain of the places" },
    { .name = "acpi",
      .arg = "DIR",
      .is_file = true,
      .help = "write the ACPI tables as files, too" },
    { .name = "fdt",
      .arg = "FILE",
      .is_file = true,
      .help = "write the device tree that a guest of this plan would get, too" },
    { .name = "fdt-arch",
      .arg = "NAME",
      .help = "of that architecture (default: this host's, or the only one that has trees)" },
    HOST_SOURCE_OPTIONS,
    { 0 },
};

const struct cli_command cmd_plan = {
    .name = "plan",
    .summary = "Show what run would show the guest and where it would live, without running it.",
    .takes_config = true,
    .options = plan_options,
    .run = run_plan,
};
