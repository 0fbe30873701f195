/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_slow.h. The answer comes from another process: what is missing in it is shown as 0. */
#include "vmm/cli/ctl_slow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { PAGE_BYTES = 4096 };

static double real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static long long whole(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

static void print_node(const json_t *n)
{
    const json_t *why = json_object_get(n, "why");
    const long long pages = whole(n, "in_use");
    char in_use[32];

    (void)printf("%4lld %8.2f %10.2f %12s %7lld %12lld %12lld %12.1f\n", whole(n, "id"),
                 real(n, "factor"), real(n, "measured"),
                 units_format_human(pages > 0 ? (uint64_t)pages * PAGE_BYTES : 0, in_use,
                                    sizeof(in_use)),
                 whole(n, "users"), whole(n, "charged"), whole(n, "spared"),
                 real(n, "waited") / 1e6);
    if (json_string_length(why) == 0)
        return;
    (void)printf("  node %lld is not slow: ", whole(n, "id"));
    print_json_text(stdout, json_string_value(why));
    (void)fputc('\n', stdout);
}

static void print_answer(const json_t *answer)
{
    const json_t *n, *name = json_object_get(answer, "name");
    size_t i;

    print_json_text(stdout, json_is_string(name) ? json_string_value(name) : "");
    (void)printf(": nodes are %s\n", json_is_true(json_object_get(answer, "on")) ? "slow"
                                                                                : "not slow now");
    (void)printf("%4s %8s %10s %12s %7s %12s %12s %12s\n", "node", "factor", "measured", "in use",
                 "users", "waited", "spared", "ms waited");
    json_array_foreach(json_object_get(answer, "nodes"), i, n)
        print_node(n);
}

int ctl_slow_ask(const char *name, const bool *on, json_t **ret_answer, struct errctx *ec)
{
    json_t *request = on != NULL ? json_pack("{s:s, s:b}", "command", "slow", "on", *on)
                                 : json_pack("{s:s}", "command", "slow");
    int r = ctl_client_request(NULL, name, request, CTL_TIMEOUT_MS, ret_answer, ec);

    json_decref(request);
    return r;
}

int ctl_slow(const struct cli_args *args)
{
    const char *word = args->n_operands > 2 ? args->operands[2] : NULL;
    const bool on = word != NULL && strcmp(word, "on") == 0;
    struct errctx ec = { 0 };
    json_t *answer;
    int r;

    if (args->n_operands > 3)
        return cli_error(CLI_USAGE, "ctl: unexpected argument \"%s\"", args->operands[3]);
    if (word != NULL && !on && strcmp(word, "off") != 0)
        return cli_error(CLI_USAGE, "ctl slow: %s is neither on nor off", word);
    r = ctl_slow_ask(args->operands[0], word != NULL ? &on : NULL, &answer, &ec);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    return answer_tell(args, answer, json_is_array(json_object_get(answer, "nodes")), print_answer);
}
