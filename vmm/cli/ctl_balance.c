/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_balance.h. The answer comes from another process: what is missing in it is shown as 0. */
#include "vmm/cli/ctl_balance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { LAST_DECISIONS = 8 };

static double real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static long long whole(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

static const char *size(const json_t *object, const char *name, char buf[static 32])
{
    const long long v = whole(object, name);

    return units_format_human(v > 0 ? (uint64_t)v : 0, buf, 32);
}

static void print_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    print_json_text(stdout, text != NULL ? text : "");
}

static void print_pressure(const char *of, const json_t *p)
{
    if (json_is_object(p))
        (void)printf(", waiting for %s %.1f %%", of, real(p, "some"));
}

static void print_hosts(const json_t *list)
{
    const json_t *h;
    size_t i;

    (void)printf("Host\n  %4s %8s %8s %12s %12s\n", "node", "CPUs", "others", "free", "memory");
    json_array_foreach(list, i, h)
    {
        char a[32], b[32];

        (void)printf("  %4lld %8.2f %8.2f %12s %12s\n", whole(h, "node"), real(h, "cpus"),
                     real(h, "others"), size(h, "free", a), size(h, "memory", b));
    }
}

static void print_nodes(const json_t *list)
{
    const json_t *n;
    size_t i;

    (void)printf("Virtual nodes\n  %4s %6s %8s %12s %12s\n", "node", "host", "wants", "resident",
                 "at home");
    json_array_foreach(list, i, n)
    {
        char a[32], b[32];

        (void)printf("  %4lld %6lld %8.2f %12s %12s", whole(n, "id"), whole(n, "home"),
                     real(n, "wants"), size(n, "resident", a), size(n, "at_home", b));
        if (json_is_true(json_object_get(n, "fixed"))) {
            (void)fputs("  stays: ", stdout);
            print_text(n, "stays");
        }
        if (json_object_get(n, "away") != NULL) {
            (void)fputs("  its CPUs are offline, it runs on ", stdout);
            print_text(n, "away");
        }
        (void)fputc('\n', stdout);
    }
}

static void print_decision(const json_t *d)
{
    const json_t *move, *moves = json_object_get(d, "moves"), *why = json_object_get(d, "why");
    const char *outcome = json_string_value(json_object_get(d, "outcome"));
    const bool given_up = json_string_length(why) > 0;
    char bytes[32];
    size_t i;

    (void)printf("  %s", json_is_true(json_object_get(d, "advised")) ? "advised:"
                         : given_up                                  ? "stays:  "
                                                                     : "moved:  ");
    json_array_foreach(moves, i, move)
        (void)printf("%s node %lld from %lld to %lld", i > 0 ? "," : "", whole(move, "vnode"),
                     whole(move, "from"), whole(move, "to"));
    (void)printf(" (%s): gains %.2f CPUs, %.2f needed; ", size(d, "bytes", bytes),
                 real(d, "predicted"), real(d, "threshold"));
    if (outcome != NULL && strcmp(outcome, "done") == 0)
        (void)printf("gained %.2f", real(d, "achieved"));
    else
        print_text(d, "outcome");
    if (given_up) {
        (void)fputs(": ", stdout);
        print_text(d, "why");
    }
    (void)fputc('\n', stdout);
}

static void print_answer(const json_t *answer)
{
    const json_t *decisions = json_object_get(answer, "decisions");
    const size_t n = json_array_size(decisions);

    print_text(answer, "name");
    (void)fputs(": rebalancing is ", stdout);
    if (strcmp(json_string_value(json_object_get(answer, "mode")), "advise") == 0)
        (void)fputs("advising", stdout);
    else
        print_text(answer, "mode");
    (void)printf(", %lld epochs of %g s, %lld skipped; %lld decisions, %lld nodes moved, %lld steps "
                 "given up%s\n",
                 whole(answer, "epochs"), real(answer, "epoch"), whole(answer, "skipped"),
                 whole(answer, "decided"), whole(answer, "moved"), whole(answer, "failed"),
                 json_is_true(json_object_get(answer, "moving")) ? ", one is on" : "");
    if (json_string_length(json_object_get(answer, "complaint")) > 0) {
        (void)fputs("the last epoch failed: ", stdout);
        print_text(answer, "complaint");
        (void)fputc('\n', stdout);
    }
    if (json_object_get(answer, "hosts") == NULL)
        return;
    (void)printf("cost %.2f CPUs", real(answer, "cost"));
    print_pressure("CPUs", json_object_get(answer, "cpu_pressure"));
    print_pressure("memory", json_object_get(answer, "memory_pressure"));
    (void)fputc('\n', stdout);
    print_hosts(json_object_get(answer, "hosts"));
    print_nodes(json_object_get(answer, "nodes"));
    if (n > 0)
        (void)puts("Decisions");
    for (size_t i = n > LAST_DECISIONS ? n - LAST_DECISIONS : 0; i < n; i++)
        print_decision(json_array_get(decisions, i));
}

int ctl_balance(const struct cli_args *args)
{
    const char *mode = args->n_operands > 2 ? args->operands[2] : NULL;
    struct errctx ec = { 0 };
    json_t *request, *answer;
    int r;

    if (args->n_operands > 3)
        return cli_error(CLI_USAGE, "ctl: unexpected argument \"%s\"", args->operands[3]);
    if (mode != NULL && strcmp(mode, "off") != 0 && strcmp(mode, "advise") != 0 &&
        strcmp(mode, "on") != 0)
        return cli_error(CLI_USAGE, "ctl balance: %s is none of off, advise, on", mode);
    request = mode != NULL ? json_pack("{s:s, s:s}", "command", "balance", "mode", mode)
                           : json_pack("{s:s}", "command", "balance");
    r = ctl_client_request(NULL, args->operands[0], request, CTL_TIMEOUT_MS, &answer, &ec);
    json_decref(request);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    return answer_tell(args, answer, json_is_string(json_object_get(answer, "mode")), print_answer);
}
