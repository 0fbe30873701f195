/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_move.h. */
#include "vmm/cli/ctl_move.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { LOOK_MS = 200 }; /* how often progress is asked for */

static bool is_state(const json_t *status, const char *word)
{
    return strcmp(answer_text(status, "state"), word) == 0;
}

static bool is_on(const json_t *status)
{
    return is_state(status, "moving") || is_state(status, "returning");
}

/* "vnode=1" and "host=3", in any order, into @request. */
static int parse_what(const struct cli_args *args, json_t *request, struct errctx *ec)
{
    static const char *const keys[] = { "vnode", "host" };

    for (size_t i = 2; i < args->n_operands; i++) {
        const char *word = args->operands[i], *eq = strchr(word, '=');
        const char *key = NULL;
        uint64_t v;
        int r;

        for (size_t k = 0; k < 2; k++)
            if (eq != NULL && strlen(keys[k]) == (size_t)(eq - word) &&
                strncmp(keys[k], word, (size_t)(eq - word)) == 0)
                key = keys[k];
        if (key == NULL || json_object_get(request, key) != NULL)
            return errctx_set(ec, EINVAL, "ctl move: %s is none of vnode=N, host=N, cancel", word);
        r = units_parse_uint(eq + 1, UINT32_MAX, &v, ec);
        if (r < 0)
            return errctx_wrap(ec, r, "ctl move: %s", key);
        (void)json_object_set_new(request, key, json_integer((json_int_t)v));
    }
    if (args->n_operands != 4)
        return errctx_set(ec, EINVAL, "ctl move: both vnode=N and host=N are needed");
    return 0;
}

static int parse_rate(const struct cli_args *args, json_t *request, struct errctx *ec)
{
    const char *word = cli_args_get(args, "rate");
    uint64_t rate;
    int r;

    if (word == NULL)
        return 0;
    r = units_parse_rate(word, &rate, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "--rate");
    if (rate == 0 || rate > INT64_MAX)
        return errctx_set(ec, EINVAL, "--rate: from 1/s to 4194304T/s");
    (void)json_object_set_new(request, "rate", json_integer((json_int_t)rate));
    return 0;
}

/* On a terminal one line that changes, with @is_last gone again. */
static void show(const json_t *status, bool is_last)
{
    char a[32], b[32], c[32];

    if (!isatty(STDERR_FILENO))
        return;
    (void)fputc('\r', stderr);
    if (!is_last)
        (void)fprintf(stderr, "%s virtual node %llu, host node %llu: %s of %s, %s moved%s",
                      answer_text(status, "state"),
                      (unsigned long long)answer_number(status, "vnode"),
                      (unsigned long long)answer_number(status, "host"),
                      units_format_human(answer_number(status, "visited"), a, sizeof(a)),
                      units_format_human(answer_number(status, "memory"), b, sizeof(b)),
                      units_format_human(answer_number(status, "moved"), c, sizeof(c)),
                      json_is_true(json_object_get(status, "held")) ? ", held by a pause" : "");
    (void)fputs("\033[K", stderr);
    (void)fflush(stderr);
}

static void say(const char *name, const json_t *status)
{
    const unsigned long long node = answer_number(status, "vnode");
    const unsigned long long host = answer_number(status, "host");
    char moved[32], part[32];

    (void)units_format_human(answer_number(status, "moved"), moved, sizeof(moved));
    if (is_on(status))
        (void)printf("%s: virtual node %llu is %s, %s are on host node %llu\n", name, node,
                     is_state(status, "moving") ? "on its way" : "on its way back", moved, host);
    else if (is_state(status, "arrived"))
        (void)printf("%s: virtual node %llu is on host node %llu, %s were moved\n", name, node,
                     host, moved);
    else if (is_state(status, "returned"))
        (void)printf("%s: virtual node %llu is back where it was\n", name, node);
    else if (is_state(status, "half-way"))
        (void)printf("%s: virtual node %llu stays half-way, %s of it on host node %llu\n", name,
                     node, moved, host);
    else
        (void)printf("%s: no node was moved\n", name);
    if (answer_number(status, "left") > 0 && !is_on(status))
        (void)printf("%s: %s could not be moved, they are in use\n", name,
                     units_format_human(answer_number(status, "left"), part, sizeof(part)));
    if (answer_number(status, "split") > 0)
        (void)printf("%s: %s of huge pages have become small ones\n", name,
                     units_format_human(answer_number(status, "split"), part, sizeof(part)));
    if (json_is_true(json_object_get(status, "widened")))
        (void)printf("%s: its vCPUs were pinned more narrowly and may run on all CPUs of the node now\n",
                     name);
    if (answer_text(status, "vcpus_error")[0] != '\0') {
        (void)printf("%s: not all vCPUs followed: ", name);
        print_json_text(stdout, answer_text(status, "vcpus_error"));
        (void)fputc('\n', stdout);
    }
}

/* What the machine says, to people or as JSON. A node that was to arrive and did not is a failure.
 */
static int report(const struct cli_args *args, const json_t *status, bool must_arrive)
{
    const char *name = args->operands[0];
    char why[ERRCTX_MSG_MAX];
    int r;

    if (cli_args_get(args, "json") == NULL)
        say(name, status);
    else if (print_json(stdout, status) < 0)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    r = cli_flush(CLI_OK);
    if (!must_arrive || is_state(status, "arrived"))
        return r;
    (void)snprintf(why, sizeof(why), "%.400s", answer_text(status, "why"));
    for (char *p = why; *p != '\0'; p++) /* another process's bytes */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '.';
    return cli_error(CLI_FAILURE, "%s: %s", name, why);
}

static int ask(const struct cli_args *args, const char *command, json_t **ret_status,
               struct errctx *ec)
{
    return ctl_client_ask(NULL, args->operands[0], command, CTL_TIMEOUT_MS, ret_status, ec);
}

/* Ask until it is over. */
static int follow(const struct cli_args *args, json_t **ret_status, struct errctx *ec)
{
    for (;;) {
        json_t *status;
        int r = ask(args, "move-status", &status, ec);

        if (r < 0)
            return r;
        show(status, !is_on(status));
        if (!is_on(status)) {
            *ret_status = status;
            return 0;
        }
        json_decref(status);
        (void)poll(NULL, 0, LOOK_MS);
    }
}

/* Send @request, whose answer has nothing in it; takes it over. */
static int tell(const struct cli_args *args, json_t *request, struct errctx *ec)
{
    json_t *nothing;
    int r = ctl_client_request(NULL, args->operands[0], request, CTL_TIMEOUT_MS, &nothing, ec);

    json_decref(request);
    if (r == 0)
        json_decref(nothing);
    return r;
}

static int follow_and_report(const struct cli_args *args, json_t *request, bool must_arrive)
{
    struct errctx ec = { 0 };
    json_t *status = NULL;
    int r = tell(args, request, &ec);

    if (r == 0)
        r = follow(args, &status, &ec);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = report(args, status, must_arrive);
    json_decref(status);
    return r;
}

static int only_ask(const struct cli_args *args)
{
    struct errctx ec = { 0 };
    json_t *status = NULL;
    int r;

    if (cli_args_get(args, "stay") != NULL)
        return cli_error(CLI_USAGE, "ctl move: --stay needs a move to make or to cancel");
    if (ask(args, "move-status", &status, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = report(args, status, false);
    json_decref(status);
    return r;
}

int ctl_move(const struct cli_args *args)
{
    const bool cancel = args->n_operands == 3 && strcmp(args->operands[2], "cancel") == 0;
    const bool begin = args->n_operands > 2 && !cancel;
    struct errctx ec = { 0 };
    json_t *request;
    int r = 0;

    if (!begin && cli_args_get(args, "rate") != NULL)
        return cli_error(CLI_USAGE, "ctl move: --rate needs a move to make");
    if (!begin && cli_args_get(args, "force") != NULL)
        return cli_error(CLI_USAGE, "ctl move: --force needs a move to make");
    if (!begin && !cancel)
        return only_ask(args);
    request = json_pack("{s:s, s:b}", "command", cancel ? "move-cancel" : "move", "stay",
                        cli_args_get(args, "stay") != NULL);
    if (begin && cli_args_get(args, "force") != NULL)
        (void)json_object_set_new(request, "force", json_true());
    if (begin)
        r = parse_what(args, request, &ec);
    if (r == 0)
        r = parse_rate(args, request, &ec);
    if (r < 0) {
        json_decref(request);
        return cli_fail(CLI_USAGE, &ec);
    }
    return follow_and_report(args, request, begin);
}
