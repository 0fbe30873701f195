/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_ledger.h. The answer comes from another process: whatever is not what it should be there
 * is an error, and the judgement is made anew from its numbers. */
#include "vmm/cli/ctl_ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"
#include "vmm/topology/ledger.h"

enum { MAX_BROKEN_LINES = 16 };

static bool read_matrix(const json_t *rows, size_t n, uint32_t *values)
{
    if (json_array_size(rows) != n)
        return false;
    for (size_t i = 0; i < n * n; i++) {
        const json_t *row = json_array_get(rows, i / n), *v = json_array_get(row, i % n);

        if (json_array_size(row) != n || !json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) > UINT16_MAX)
            return false;
        values[i] = (uint32_t)json_integer_value(v);
    }
    return true;
}

static bool read_node(const json_t *object, struct ledger_node *n)
{
    const char *home = json_string_value(json_object_get(object, "home"));
    const json_int_t resident = json_integer_value(json_object_get(object, "resident"));
    const json_int_t at_home = json_integer_value(json_object_get(object, "at_home"));

    if (home == NULL || idset_parse(home, &n->homes, NULL) < 0 || at_home < 0 || resident < at_home)
        return false;
    n->resident_bytes = (uint64_t)resident;
    n->home_bytes = (uint64_t)at_home;
    n->forced = json_is_true(json_object_get(object, "forced"));
    return true;
}

static int read_ledger(const json_t *answer, struct ledger **ret_ledger, struct errctx *ec)
{
    const json_t *list = json_object_get(answer, "nodes");
    const size_t n = json_array_size(list);
    CLEANUP_FREE struct ledger_node *nodes = NULL;
    CLEANUP_FREE uint32_t *told = NULL, *real = NULL;
    bool good = n > 0 && n <= GUEST_MAX_VNODES;

    if (good) {
        nodes = calloc(n, sizeof(*nodes));
        told = calloc(n * n, sizeof(*told));
        real = calloc(n * n, sizeof(*real));
        if (nodes == NULL || told == NULL || real == NULL)
            return errctx_set(ec, ENOMEM, "no memory for the ledger");
    }
    for (size_t i = 0; good && i < n; i++)
        good = read_node(json_array_get(list, i), &nodes[i]);
    good = good && read_matrix(json_object_get(answer, "told"), n, told) &&
           read_matrix(json_object_get(answer, "real"), n, real);
    if (!good)
        return errctx_set(ec, EPROTO, "the machine's ledger makes no sense");
    return ledger_make(n, told, real, nodes, ret_ledger, ec);
}

/* The pair from node @i that is worst against what was told; real 0 when none is known. */
static struct ledger_pair worst_of(const struct ledger *l, size_t i)
{
    struct ledger_pair worst = { 0 };

    for (size_t k = 0; k < l->n_nodes; k++) {
        const struct ledger_pair p = { (uint32_t)i, (uint32_t)k, l->told[i * l->n_nodes + k],
                                       l->real[i * l->n_nodes + k] };

        if (k != i && p.real > 0 &&
            (worst.real == 0 || (uint64_t)p.real * worst.told > (uint64_t)worst.real * p.told))
            worst = p;
    }
    return worst;
}

static void print_node(const struct ledger *l, size_t i)
{
    const struct ledger_node *n = &l->nodes[i];
    const struct ledger_pair worst = worst_of(l, i);
    char homes[128], resident[32], share[16] = "-";

    if (n->resident_bytes > 0 && !idset_empty(&n->homes))
        (void)snprintf(share, sizeof(share), "%.2f %%",
                       100 * (double)n->home_bytes / (double)n->resident_bytes);
    (void)printf("%4zu  %-8s  %10s  %9s", i,
                 idset_empty(&n->homes) ? "any" : idset_format(&n->homes, homes, sizeof(homes)),
                 n->resident_bytes > 0
                     ? units_format_human(n->resident_bytes, resident, sizeof(resident))
                     : "-",
                 share);
    if (worst.real > 0)
        (void)printf("  %7" PRIu32 "  %4" PRIu32 "  %4" PRIu32, worst.to, worst.told, worst.real);
    else
        (void)printf("  %7s  %4s  %4s", "-", "-", "-");
    (void)printf("%s%s\n", worst.real > worst.told ? "  broken" : "", n->forced ? "  forced" : "");
}

static void print_ledger(const struct ledger *l)
{
    const size_t n = l->n_nodes;
    size_t lines = 0;

    (void)printf("%4s  %-8s  %10s  %9s  %7s  %4s  %4s\n", "node", "home", "resident", "at home",
                 "to node", "told", "real");
    for (size_t i = 0; i < n; i++)
        print_node(l, i);
    (void)putchar('\n');
    if (l->worst.real == 0)
        (void)printf("no distance is known: fewer than two nodes have a home\n");
    else if (l->n_broken == 0)
        (void)printf("every known distance is at most what the guest was told\n");
    for (size_t i = 0; i < n * n && lines < MAX_BROKEN_LINES; i++)
        if (ledger_is_broken(l, i / n, i % n)) {
            (void)printf("broken: from node %zu to node %zu, told %" PRIu32 ", real %" PRIu32 "\n",
                         i / n, i % n, l->told[i], l->real[i]);
            lines++;
        }
    if (l->n_broken > lines)
        (void)printf("and %zu more\n", l->n_broken - lines);
    (void)printf("rank inversions: %" PRIu64 "\n", l->n_inversions);
}

static int draw(const struct ledger *l, const char *name, const char *path)
{
    FILE *out = fopen(path, "we");
    char title[128];
    bool bad;

    if (out == NULL)
        return cli_error(CLI_FAILURE, "--svg: %s: %s", path, strerror(errno));
    (void)snprintf(title, sizeof(title), "Ledger of %s", name);
    ledger_write_svg(l, title, out);
    bad = ferror(out) != 0;
    if (fclose(out) != 0 || bad)
        return cli_error(CLI_FAILURE, "--svg: %s could not be written", path);
    return CLI_OK;
}

int ctl_ledger(const struct cli_args *args)
{
    const char *name = args->operands[0], *svg = cli_args_get(args, "svg");
    struct errctx ec = { 0 };
    struct ledger *l = NULL;
    json_t *answer;
    int r, status = CLI_OK;

    if (ctl_client_ask(NULL, name, "ledger", CTL_TIMEOUT_MS, &answer, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = read_ledger(answer, &l, &ec);
    if (r < 0)
        status = cli_fail(CLI_FAILURE, &ec);
    else if (cli_args_get(args, "json") == NULL)
        print_ledger(l);
    else if (print_json(stdout, answer) < 0)
        status = cli_error(CLI_FAILURE, "no memory to print the answer");
    if (status == CLI_OK && svg != NULL)
        status = draw(l, name, svg);
    ledger_free(l);
    json_decref(answer);
    return cli_flush(status);
}
