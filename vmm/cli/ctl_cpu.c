/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ctl_cpu.h. A CPU that is plugged in is there at once, and it is the guest that notes it; one
 * that is to go is given up by the guest, which may take its time or not do it at all.
 */
#include "vmm/cli/ctl_cpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/ctl_wait.h"
#include "vmm/cli/print_json.h"

enum { PATIENCE_S = 30 };

struct wish {
    const char *name;
    bool there, has_node;
    uint64_t cpu, node;
    unsigned patience_s;
};

int ctl_cpu_ask(const char *name, uint32_t cpu, bool there, json_t **ret_answer, struct errctx *ec)
{
    json_t *request = json_pack("{s:s}", "command", "cpus");
    int r;

    if (request != NULL && cpu != UINT32_MAX) {
        (void)json_object_set_new(request, "cpu", json_integer(cpu));
        (void)json_object_set_new(request, "there", json_boolean(there));
    }
    r = ctl_client_request(NULL, name, request, CTL_TIMEOUT_MS, ret_answer, ec);
    json_decref(request);
    return r;
}

static bool flag(const json_t *cpu, const char *name)
{
    return json_is_true(json_object_get(cpu, name));
}

const json_t *ctl_cpu_of(const json_t *answer, uint32_t cpu)
{
    const json_t *list = json_object_get(answer, "cpus");

    for (size_t i = 0; i < json_array_size(list); i++)
        if (answer_number(json_array_get(list, i), "id") == cpu)
            return json_array_get(list, i);
    return NULL;
}

bool ctl_cpu_is_done(const json_t *answer, uint32_t cpu, bool there)
{
    const json_t *c = ctl_cpu_of(answer, cpu);

    return there ? flag(c, "there") && flag(c, "told") : !flag(c, "there");
}

static int parse(const struct cli_args *args, struct wish *ret_wish, struct errctx *ec)
{
    const char *verb = args->operands[2], *word;
    const char *patience = cli_args_get(args, "patience");
    struct wish w = { .name = args->operands[0], .there = strcmp(verb, "add") == 0 };
    uint64_t s = PATIENCE_S;
    int r;

    if (!w.there && strcmp(verb, "remove") != 0)
        return errctx_set(ec, EINVAL, "ctl cpu: %s is none of add, remove", verb);
    if (args->n_operands < 4)
        return errctx_set(ec, EINVAL, "ctl cpu %s: cpu=N or node=N is needed", verb);
    word = args->operands[3];
    w.has_node = strncmp(word, "node=", 5) == 0;
    if (!w.has_node && strncmp(word, "cpu=", 4) != 0)
        return errctx_set(ec, EINVAL, "ctl cpu %s: %s is none of cpu=N, node=N", verb, word);
    r = units_parse_uint(strchr(word, '=') + 1, UINT16_MAX, w.has_node ? &w.node : &w.cpu, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "ctl cpu %s: %.*s", verb, w.has_node ? 4 : 3, word);
    r = patience != NULL ? units_parse_uint(patience, CTL_PATIENCE_MAX_S, &s, ec) : 0;
    if (r == 0 && s == 0)
        r = errctx_set(ec, ERANGE, "from 1 to %d seconds", CTL_PATIENCE_MAX_S);
    if (r < 0)
        return errctx_wrap(ec, r, "--patience");
    w.patience_s = (unsigned)s;
    *ret_wish = w;
    return 0;
}

/* Of a node the lowest that is not there, or the highest that is. */
static int choose(struct wish *w, struct errctx *ec)
{
    const json_t *list;
    json_t *now;
    bool any = false;
    int r = w->has_node ? ctl_cpu_ask(w->name, UINT32_MAX, false, &now, ec) : 0;

    if (r < 0 || !w->has_node)
        return r;
    list = json_object_get(now, "cpus");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);

        if (answer_number(c, "node") != w->node || flag(c, "there") == w->there ||
            (any && w->there))
            continue;
        w->cpu = answer_number(c, "id");
        any = true;
    }
    json_decref(now);
    return any ? 0 : errctx_set(ec, ENOENT, "%s: virtual node %llu has no CPU to %s", w->name,
                                (unsigned long long)w->node, w->there ? "add" : "remove");
}

static int follow(const struct wish *w, struct ctl_wait *wait, json_t **now, struct errctx *ec)
{
    const uint32_t cpu = (uint32_t)w->cpu;
    int r = ctl_cpu_ask(w->name, cpu, w->there, now, ec);

    while (r == 0 && !ctl_cpu_is_done(*now, cpu, w->there)) {
        if (w->there && !flag(ctl_cpu_of(*now, cpu), "there"))
            return errctx_set(ec, ECANCELED, "%s: CPU %u was taken away again, by the guest or by "
                              "a reset, before the guest took note of it", w->name, cpu);
        ctl_wait_show("waiting for the guest to %s CPU %u", w->there ? "note" : "give up", cpu);
        if (!ctl_wait_more(wait, flag(ctl_cpu_of(*now, cpu), "told")))
            return errctx_set(ec, ETIMEDOUT, "%s: %sthe guest has not %s CPU %u%s", w->name,
                              wait->cancelled ? "cancelled, " : "",
                              w->there ? "taken note of" : "given up", cpu,
                              w->there ? "" : " and may yet");
        json_decref(*now);
        *now = NULL;
        r = ctl_cpu_ask(w->name, UINT32_MAX, false, now, ec);
    }
    return r;
}

static void say(const char *name, const json_t *now)
{
    const json_t *list = json_object_get(now, "cpus");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);

        (void)printf("%s: CPU %llu of virtual node %llu is %s%s\n", name,
                     (unsigned long long)answer_number(c, "id"),
                     (unsigned long long)answer_number(c, "node"),
                     flag(c, "there") ? "plugged in" : "not plugged in",
                     flag(c, "asked")  ? ", and asked to go"
                     : flag(c, "told") ? "" : ", which the guest has not noted");
    }
}

static int show(const struct cli_args *args, const json_t *now)
{
    if (cli_args_get(args, "json") == NULL)
        say(args->operands[0], now);
    else if (print_json(stdout, now) < 0)
        return cli_error(CLI_FAILURE, "no memory to print the answer");
    return cli_flush(CLI_OK);
}

int ctl_cpu(const struct cli_args *args)
{
    struct errctx ec = { 0 };
    struct ctl_wait wait;
    json_t *now = NULL;
    struct wish w = { .name = args->operands[0] };
    int r;

    if (args->n_operands == 2) {
        r = ctl_cpu_ask(args->operands[0], UINT32_MAX, false, &now, &ec);
    } else {
        if (parse(args, &w, &ec) < 0)
            return cli_fail(CLI_USAGE, &ec);
        if (ctl_wait_begin(&wait, w.patience_s, &ec) < 0)
            return cli_fail(CLI_FAILURE, &ec);
        r = choose(&w, &ec);
        if (r == 0)
            r = follow(&w, &wait, &now, &ec);
        ctl_wait_show(NULL);
        ctl_wait_end(&wait);
    }
    r = r < 0 ? cli_fail(CLI_FAILURE, &ec) : show(args, now);
    json_decref(now);
    return r;
}
