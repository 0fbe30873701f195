/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_evict.h. */
#include "vmm/cli/ctl_evict.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"

enum { LOOK_MS = 100 }; /* how often the machine is asked */

static int parse_node(const char *number, const char *action, json_t *request, struct errctx *ec)
{
    uint64_t v = 0;
    int r = units_parse_uint(number, UINT32_MAX, &v, ec);

    if (r < 0)
        return errctx_wrap(ec, r, "ctl %s: node", action);
    (void)json_object_set_new(request, "vnode", json_integer((json_int_t)v));
    return 0;
}

/* "node=1" or "by=512M" into @request. */
static int parse_word(const char *word, json_t *request, struct errctx *ec)
{
    uint64_t v = 0;
    int r;

    if (strncmp(word, "node=", 5) == 0)
        return parse_node(word + 5, "evict", request, ec);
    if (strncmp(word, "by=", 3) == 0) {
        r = units_parse_size(word + 3, &v, ec);
        if (r == 0 && (v == 0 || v > INT64_MAX))
            r = errctx_set(ec, EINVAL, "not a size from 1 to 8191P");
        (void)json_object_set_new(request, "bytes", json_integer((json_int_t)v));
        return r < 0 ? errctx_wrap(ec, r, "ctl evict: by") : 0;
    }
    return errctx_set(ec, EINVAL, "ctl evict: %s is none of node=N, by=SIZE", word);
}

static int make_request(const struct cli_args *args, json_t **ret_request, struct errctx *ec)
{
    json_t *request = json_pack("{s:s}", "command", "evict");
    int r = 0;

    for (size_t i = 2; r == 0 && i < args->n_operands; i++)
        r = parse_word(args->operands[i], request, ec);
    if (r == 0 && json_object_size(request) != 3)
        r = errctx_set(ec, EINVAL, "ctl evict: node=N and by=SIZE are needed, once each");
    if (r < 0)
        json_decref(request);
    else
        *ret_request = request;
    return r;
}

static void say(const char *name, const json_t *status)
{
    const json_t *pager = json_object_get(status, "pager");
    char a[32], b[32], c[32];

    if (pager == NULL) {
        (void)printf("%s: no memory was evicted\n", name);
        return;
    }
    (void)printf("%s: %s of virtual node %llu %s, %s of it are away; what was evicted takes %s of "
                 "the host's memory\n",
                 name, units_format_human(answer_number(status, "evicted"), a, sizeof(a)),
                 (unsigned long long)answer_number(status, "vnode"),
                 strcmp(answer_text(status, "state"), "over") == 0 ? "were evicted"
                                                                   : "are evicted so far",
                 units_format_human(answer_number(pager, "away"), b, sizeof(b)),
                 units_format_human(answer_number(pager, "store"), c, sizeof(c)));
}

static int report(const struct cli_args *args, const json_t *status)
{
    const char *name = args->operands[0];
    char why[ERRCTX_MSG_MAX];

    if (cli_args_get(args, "json") == NULL)
        say(name, status);
    else if (print_json(stdout, status) < 0)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    (void)snprintf(why, sizeof(why), "%.400s", answer_text(status, "why"));
    if (why[0] == '\0')
        return cli_flush(CLI_OK);
    for (char *p = why; *p != '\0'; p++) /* another process's bytes */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '.';
    (void)cli_flush(CLI_OK);
    return cli_error(CLI_FAILURE, "%s: %s", name, why);
}

static int ask(const struct cli_args *args, json_t **ret_status, struct errctx *ec)
{
    return ctl_client_ask(NULL, args->operands[0], "evict-status", CTL_TIMEOUT_MS, ret_status, ec);
}

/* Tell the machine, and ask it until it is over. */
static int evict(const struct cli_args *args, const json_t *request, json_t **ret_status,
                 struct errctx *ec)
{
    json_t *answer;
    int r = ctl_client_request(NULL, args->operands[0], request, CTL_TIMEOUT_MS, &answer, ec);

    while (r == 0) {
        json_decref(answer);
        r = ask(args, &answer, ec);
        if (r == 0 && strcmp(answer_text(answer, "state"), "evicting") != 0) {
            *ret_status = answer;
            return 0;
        }
        (void)poll(NULL, 0, LOOK_MS);
    }
    return r;
}

int ctl_evict(const struct cli_args *args)
{
    struct errctx ec = { 0 };
    json_t *request = NULL, *status = NULL;
    int r;

    if (args->n_operands == 2) {
        r = ask(args, &status, &ec);
    } else {
        if (make_request(args, &request, &ec) < 0)
            return cli_fail(CLI_USAGE, &ec);
        r = evict(args, request, &status, &ec);
        json_decref(request);
    }
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    r = report(args, status);
    json_decref(status);
    return r;
}

/* --- a target --------------------------------------------------------------------------------- */

/* "node=1", "size=512M" or "size=all" into @request; @has_size says whether the second was there. */
static int parse_target(const char *word, json_t *request, bool *has_size, struct errctx *ec)
{
    uint64_t v = 0;
    int r;

    if (strncmp(word, "node=", 5) == 0)
        return parse_node(word + 5, "target", request, ec);
    if (strncmp(word, "size=", 5) != 0)
        return errctx_set(ec, EINVAL, "ctl target: %s is none of node=N, size=SIZE, size=all", word);
    *has_size = true;
    if (strcmp(word + 5, "all") == 0)
        return 0;
    r = units_parse_size(word + 5, &v, ec);
    if (r == 0 && v > INT64_MAX)
        r = errctx_set(ec, EINVAL, "not a size from 0 to 8191P");
    if (r < 0)
        return errctx_wrap(ec, r, "ctl target: size");
    (void)json_object_set_new(request, "bytes", json_integer((json_int_t)v));
    return 0;
}

int ctl_target(const struct cli_args *args)
{
    json_t *request = json_pack("{s:s}", "command", "target"), *answer = NULL;
    struct errctx ec = { 0 };
    bool has_size = false;
    int r = 0;

    for (size_t i = 2; r == 0 && i < args->n_operands; i++)
        r = parse_target(args->operands[i], request, &has_size, &ec);
    if (r == 0 && (args->n_operands != 4 || !has_size || json_object_get(request, "vnode") == NULL))
        r = errctx_set(&ec, EINVAL, "ctl target: node=N and size=SIZE are needed, once each");
    if (r < 0) {
        json_decref(request);
        return cli_fail(CLI_USAGE, &ec);
    }
    r = ctl_client_request(NULL, args->operands[0], request, CTL_TIMEOUT_MS, &answer, &ec);
    json_decref(request);
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    json_decref(answer);
    return cli_flush(CLI_OK);
}
