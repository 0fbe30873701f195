/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor topology`: the presets, and one form of a topology from another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/topology_convert.h"
#include "vmm/config/config_presets.h"
#include "vmm/config/config_topology.h"
#include "vmm/topology/guest_shape.h"

enum { LIST_COLUMNS = 100, LIST_INDENT = 4 };

static void print_wrapped(const char *text)
{
    size_t at = 0;

    while (*text != '\0') {
        const size_t word = strcspn(text, " ");

        if (at > 0 && at + 1 + word <= LIST_COLUMNS)
            at += (size_t)printf(" %.*s", (int)word, text);
        else
            at = (size_t)printf("%s%*s%.*s", at > 0 ? "\n" : "", LIST_INDENT, "", (int)word, text) -
                 (at > 0);
        text += word + strspn(text + word, " ");
    }
    (void)putchar('\n');
}

static int print_preset(const char *name, struct errctx *ec)
{
    CLEANUP_FREE struct guest_shape *shape = calloc(1, sizeof(*shape));
    CLEANUP_FREE char *about = NULL;
    struct guest_spec spec = { 0 };
    struct topo_notes notes = { 0 };
    uint64_t memory = 0;
    char size[32];
    int r;

    if (shape == NULL)
        return errctx_set(ec, ENOMEM, "no memory to list presets");
    r = config_topology_read(name, &spec, &about, NULL, &notes, ec);
    if (r == 0)
        r = guest_shape_resolve(&spec, shape, ec);
    guest_spec_fini(&spec);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < shape->n_nodes; i++)
        memory += shape->ram_bytes[i];
    (void)printf("%-20s %5u %5u  %8s\n", name, shape->n_nodes, shape->n_cpus,
                 units_format_human(memory, size, sizeof(size)));
    if (about != NULL)
        print_wrapped(about);
    return 0;
}

static int list(void)
{
    CLEANUP_FREE struct config_presets *all = calloc(1, sizeof(*all));
    struct errctx ec = { 0 };
    int r;

    if (all == NULL)
        return cli_error(CLI_FAILURE, "no memory to list presets");
    r = config_presets_list(all, &ec);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    (void)printf("%-20s %5s %5s  %8s\n", "NAME", "NODES", "CPUS", "MEMORY");
    for (size_t i = 0; i < all->n; i++)
        if (print_preset(all->name[i], &ec) < 0)
            r = cli_error(CLI_FAILURE, "%s", ec.msg);
    return cli_flush(r);
}

static int run_topology(struct cli_args *args)
{
    const char *to = cli_args_get(args, "to"), *action = args->operands[0];

    if (strcmp(action, "convert") == 0) {
        if (args->n_operands < 2)
            return cli_error(CLI_USAGE, "topology convert: say what is to be converted");
        return topology_convert(args->operands[1], args->n_operands > 2 ? args->operands[2] : NULL,
                                to);
    }
    if (strcmp(action, "list") != 0)
        return cli_error(CLI_USAGE, "topology: \"%.40s\" is neither list nor convert", action);
    if (args->n_operands > 1)
        return cli_error(CLI_USAGE, "topology list: unexpected argument \"%.40s\"",
                         args->operands[1]);
    return to != NULL ? cli_error(CLI_USAGE, "--to has no effect on topology list") : list();
}

static const struct cli_option topology_options[] = {
    { .name = "to",
      .arg = "json|xml|synthetic|numactl|qemu",
      .help = "convert: the form to write (default: what the end of the file's name says)" },
    { 0 },
};

const struct cli_command cmd_topology = {
    .name = "topology",
    .summary = "List the topologies that --topology knows, or convert one from form to form.",
    .operands = "list | convert TOPOLOGY [FILE]",
    .words = "list convert",
    .min_operands = 1,
    .max_operands = 3,
    .options = topology_options,
    .run = run_topology,
};
