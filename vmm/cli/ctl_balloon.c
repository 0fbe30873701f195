/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ctl_balloon.h. Statistics are the guest's to tell and come when it gets to it: asked for, they
 * are waited for a moment, and older ones are shown with their age.
 */
#include "vmm/cli/ctl_balloon.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { LOOK_MS = 50, LOOKS = 40 };

/* Bytes in ten columns. */
static void size(uint64_t bytes)
{
    char buf[32];

    (void)printf("  %10s", bytes > 0 ? units_format_human(bytes, buf, sizeof(buf)) : "-");
}

static void print_stats(const json_t *stats)
{
    static const char *const in_bytes[] = { "swapped-in", "swapped-out", "free", "total", "available",
                                            "caches" };
    const json_t *values = json_object_get(stats, "values"), *value;
    const char *name;

    if (answer_number(stats, "count") == 0)
        return;
    (void)printf("the guest's own count, %.1f s old\n",
                 (double)answer_number(stats, "age_ms") / 1000);
    json_object_foreach((json_t *)(uintptr_t)values, name, value) {
        bool is_size = false;

        for (size_t i = 0; i < sizeof(in_bytes) / sizeof(in_bytes[0]); i++)
            is_size = is_size || strcmp(in_bytes[i], name) == 0;
        (void)fputs("  ", stdout);
        print_json_text(stdout, name);
        (void)printf("%*s", (int)(20 - (strlen(name) < 20 ? strlen(name) : 20)), "");
        if (is_size)
            size(answer_number(values, name));
        else
            (void)printf("  %10llu", (unsigned long long)answer_number(values, name));
        (void)fputc('\n', stdout);
    }
}

static void print_balloon(const char *name, const json_t *answer)
{
    const json_t *nodes = json_object_get(answer, "nodes");
    char target[32], told[32];

    (void)units_format_human(answer_number(answer, "target"), target, sizeof(target));
    (void)units_format_human(answer_number(answer, "told"), told, sizeof(told));
    (void)printf("%s: the balloon is to hold %s; ", name, target);
    if (json_is_true(json_object_get(answer, "driver")))
        (void)printf("the guest says it holds %s\n", told);
    else
        (void)printf("the guest has no driver for it\n");
    if (answer_number(answer, "rejected") > 0)
        (void)printf("%s: the guest named %llu pages that are no memory\n", name,
                     (unsigned long long)answer_number(answer, "rejected"));
    (void)printf("%4s  %10s  %10s  %10s\n", "node", "ballooned", "reported", "kept");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i);

        (void)printf("%4llu", (unsigned long long)answer_number(n, "id"));
        size(answer_number(n, "ballooned"));
        size(answer_number(n, "reported"));
        size(answer_number(n, "kept"));
        (void)fputc('\n', stdout);
    }
    print_stats(json_object_get(answer, "stats"));
}

/* "target=SIZE" into @request. */
static int parse_target(const struct cli_args *args, json_t *request, struct errctx *ec)
{
    const char *word = args->operands[2];
    uint64_t bytes;
    int r;

    if (strncmp(word, "target=", 7) != 0 || args->n_operands > 3)
        return errctx_set(ec, EINVAL, "ctl balloon: %s is not target=SIZE",
                          args->n_operands > 3 ? args->operands[3] : word);
    r = units_parse_size(word + 7, &bytes, ec);
    if (r == 0 && bytes > INT64_MAX)
        r = errctx_set(ec, ERANGE, "%s is too large", word + 7);
    if (r < 0)
        return errctx_wrap(ec, r, "ctl balloon: target");
    (void)json_object_set_new(request, "target", json_integer((json_int_t)bytes));
    return 0;
}

/* Ask once; then, where a driver tells statistics, until new ones are there. */
static int ask(const char *name, json_t *request, bool wait, json_t **ret_answer, struct errctx *ec)
{
    uint64_t before;
    int r;

    (void)json_object_set_new(request, "refresh", json_boolean(wait));
    r = ctl_client_request(NULL, name, request, CTL_TIMEOUT_MS, ret_answer, ec);
    if (r < 0 || !wait)
        return r;
    before = answer_number(json_object_get(*ret_answer, "stats"), "count");
    (void)json_object_del(request, "refresh");
    for (int i = 0; i < LOOKS && before > 0; i++) {
        json_t *later;

        (void)poll(NULL, 0, LOOK_MS);
        if (ctl_client_request(NULL, name, request, CTL_TIMEOUT_MS, &later, NULL) < 0)
            break; /* it ended meanwhile; what it said before stands */
        json_decref(*ret_answer);
        *ret_answer = later;
        if (answer_number(json_object_get(later, "stats"), "count") != before)
            break;
    }
    return 0;
}

int ctl_balloon(const struct cli_args *args)
{
    json_t *request = json_pack("{s:s}", "command", "balloon"), *answer = NULL;
    const bool sets = args->n_operands > 2;
    struct errctx ec = { 0 };
    int r;

    if (request == NULL)
        return cli_error(CLI_FAILURE, "no memory for the request");
    if (sets && parse_target(args, request, &ec) < 0) {
        json_decref(request);
        return cli_fail(CLI_USAGE, &ec);
    }
    r = ask(args->operands[0], request, !sets, &answer, &ec);
    json_decref(request);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    if (cli_args_get(args, "json") == NULL)
        print_balloon(args->operands[0], answer);
    else
        r = print_json(stdout, answer);
    json_decref(answer);
    return r < 0 ? cli_error(CLI_FAILURE, "no memory to print the answer") : cli_flush(CLI_OK);
}
