/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a command line against a command's own rows and, where it describes a machine, the
 * rows of vmm/config. "--name VALUE" and "--name=VALUE" are the same; "--" ends the options.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/cli/cli.h"
#include "vmm/config/suggest.h"

enum { ARGS_NAME_MAX = 64 };

/* What is left of the command line. */
struct args_cursor {
    int argc, next;
    char **argv;
};

static int own_index(const struct cli_command *command, const char *name)
{
    for (int i = 0; command->options != NULL && command->options[i].name != NULL; i++)
        if (strcmp(command->options[i].name, name) == 0)
            return i;
    return -1;
}

const char *cli_args_get(const struct cli_args *args, const char *name)
{
    int i = own_index(args->command, name);

    return i < 0 ? NULL : args->own[i];
}

static int unknown_option(const struct cli_command *command, const char *name, struct errctx *ec)
{
    struct suggest s = { .word = name };
    char hint[96];
    size_t n = command->takes_config ? config_options_count() : 0;

    for (int i = 0; command->options != NULL && command->options[i].name != NULL; i++)
        suggest_offer(&s, command->options[i].name);
    for (size_t i = 0; i < n; i++)
        suggest_offer(&s, config_options_get(i).name);
    if (n == 0 && config_input_find(name) >= 0)
        return errctx_set(ec, EINVAL, "--%s has no meaning for %s", name, command->name);
    return errctx_set(ec, EINVAL, "unknown option --%s%s", name,
                      suggest_format(&s, "--", hint, sizeof(hint)));
}

enum args_want { ARGS_NO_VALUE, ARGS_VALUE, ARGS_MAY_HAVE_VALUE };

/* The option's value: after "=", or the next word; where it may be left out, only a word that
 * is no option. NULL: there is none. */
static int take_value(struct args_cursor *c, const char *name, enum args_want want,
                      const char *inlined, const char **ret_value, struct errctx *ec)
{
    const char *next = c->next < c->argc ? c->argv[c->next] : NULL;

    if (want == ARGS_NO_VALUE && inlined != NULL)
        return errctx_set(ec, EINVAL, "--%s takes no value", name);
    if (want == ARGS_VALUE && inlined == NULL && next == NULL)
        return errctx_set(ec, EINVAL, "--%s needs a value", name);
    if (inlined != NULL || want == ARGS_NO_VALUE ||
        (want == ARGS_MAY_HAVE_VALUE && (next == NULL || next[0] == '-'))) {
        *ret_value = inlined;
        return 0;
    }
    *ret_value = next;
    c->next++;
    return 0;
}

static int parse_own(struct cli_args *args, struct args_cursor *c, int i, const char *inlined,
                     struct errctx *ec)
{
    const struct cli_option *o = &args->command->options[i];
    const char *value;
    int r;

    if (args->own[i] != NULL && !o->repeats)
        return errctx_set(ec, EINVAL, "--%s is given twice", o->name);
    if (o->repeats && args->n_many == CLI_MAX_MANY)
        return errctx_set(ec, E2BIG, "--%s is given too often", o->name);
    r = take_value(c, o->name, o->arg != NULL ? ARGS_VALUE : ARGS_NO_VALUE, inlined, &value, ec);
    if (r == 0)
        args->own[i] = value != NULL ? value : "";
    if (r == 0 && o->repeats)
        args->many[args->n_many++] = (struct cli_many){ o->name, args->own[i] };
    return r;
}

static int parse_option(struct cli_args *args, struct args_cursor *c, const char *word,
                        struct errctx *ec)
{
    const char *eq = strchr(word, '=');
    const char *inlined = eq != NULL ? eq + 1 : NULL, *value;
    size_t len = eq != NULL ? (size_t)(eq - word) : strlen(word);
    struct config_option o;
    char name[ARGS_NAME_MAX];
    int own, row, r;

    if (len >= sizeof(name))
        return errctx_set(ec, EINVAL, "unknown option --%.40s...", word);
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, word);
    own = own_index(args->command, name);
    if (own >= 0)
        return parse_own(args, c, own, inlined, ec);
    row = args->command->takes_config ? config_input_find(name) : -1;
    if (row < 0)
        return unknown_option(args->command, name, ec);
    o = config_options_get((size_t)row);
    r = take_value(c, name,
                   o.arg == NULL    ? ARGS_NO_VALUE
                   : o.arg_optional ? ARGS_MAY_HAVE_VALUE
                                    : ARGS_VALUE,
                   inlined, &value, ec);
    return r < 0 ? r : config_input_option(&args->input, row, value, ec);
}

static int parse_operand(struct cli_args *args, const char *word, struct errctx *ec)
{
    if (args->n_operands == args->command->max_operands)
        return errctx_set(ec, EINVAL, "%s: unexpected argument \"%s\"", args->command->name, word);
    args->operands[args->n_operands++] = word;
    return 0;
}

int cli_args_parse(const struct cli_command *command, int argc, char **argv,
                   struct cli_args *ret_args, struct errctx *ec)
{
    struct args_cursor c = { .argc = argc, .argv = argv };
    struct cli_args *args = ret_args;
    bool options = true;
    int r = 0;

    *args = (struct cli_args){ .command = command, .words = argv, .n_words = (size_t)argc };
    config_init(&args->config);
    args->input.config = &args->config;
    while (r == 0 && c.next < argc) {
        const char *word = argv[c.next++];

        if (options && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            args->help = true;
            return 0;
        }
        if (command->takes_rest && (!options || word[0] != '-' || word[1] == '\0')) {
            args->rest = &argv[c.next - 1];
            args->n_rest = (size_t)(argc - (c.next - 1));
            break;
        }
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && strncmp(word, "--", 2) == 0)
            r = parse_option(args, &c, word + 2, ec);
        else if (options && word[0] == '-' && word[1] != '\0')
            r = errctx_set(ec, EINVAL, "unknown option %.40s", word);
        else
            r = parse_operand(args, word, ec);
    }
    if (r == 0 && (args->n_operands < command->min_operands ||
                   (command->takes_rest && args->n_rest == 0)))
        r = errctx_set(ec, EINVAL, "usage: numavisor %s %s", command->name, command->operands);
    return r == 0 && command->takes_config ? config_input_finish(&args->input, ec) : r;
}

void cli_args_fini(struct cli_args *args)
{
    config_input_fini(&args->input);
    config_fini(&args->config);
}
