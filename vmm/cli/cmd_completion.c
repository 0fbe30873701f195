/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor completion bash`: a completion script made from the rows. */
#include <stdio.h>
#include <string.h>

#include "vmm/cli/commands.h"

static void print_commands(void)
{
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        (void)printf(" %s", (*c)->name);
}

static void print_words(const struct cli_command *c)
{
    size_t n = c->takes_config ? config_options_count() : 0;

    (void)printf("--help");
    for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
        (void)printf(" --%s", o->name);
    for (size_t i = 0; i < n; i++)
        (void)printf(" --%s", config_options_get(i).name);
}

/* Which options take a file, and which take one of a few words. */
static void print_values(void)
{
    size_t n = config_options_count();

    (void)printf("    case $prev in\n");
    for (size_t i = 0; i < n; i++) {
        struct config_option o = config_options_get(i);

        if (o.offers_presets)
            /* a preset's line begins with its name in small letters, unlike heading and words */
            (void)printf("    --%s) COMPREPLY=($(compgen -f -- \"$cur\") $(compgen -W \\\n"
                         "        \"host $(\"$1\" topology list 2>/dev/null | "
                         "grep -o '^[a-z0-9][^ ]*')\" -- \"$cur\")); return ;;\n", o.name);
        else if (o.is_file)
            (void)printf("    --%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", o.name);
        else if (o.values != NULL)
            (void)printf("    --%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n",
                         o.name, o.values);
        else if (o.arg != NULL)
            (void)printf("    --%s) return ;;\n", o.name);
    }
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        for (const struct cli_option *o = (*c)->options; o != NULL && o->name != NULL; o++)
            if (o->arg != NULL)
                (void)printf("    --%s) COMPREPLY=(%s); return ;;\n", o->name,
                             o->is_file ? "$(compgen -f -- \"$cur\")" : "");
    (void)printf("    esac\n");
}

/* Options of commands with operands whose value is a word of its own, which is no operand. */
static void print_skipped(void)
{
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        for (const struct cli_option *o = (*c)->options; o != NULL && o->name != NULL; o++)
            if (o->arg != NULL && (*c)->operands != NULL)
                (void)printf("        --%s) i=$((i + 1)); [ \"${COMP_WORDS[i]}\" != = ] || "
                             "i=$((i + 1)) ;;\n", o->name);
}

/* What may follow one command: its options, and what suits the operand that is being typed. */
static void print_case(const struct cli_command *c)
{
    (void)printf("    %s)\n        local words='", c->name);
    print_words(c);
    if (c->offers_commands)
        print_commands();
    (void)printf("'\n");
    if (c->offers_machines)
        (void)printf("        if [ \"$operands\" = 0 ]; then\n"
                     "            words+=\" $(\"$1\" list 2>/dev/null | while read -r name _; do\n"
                     "                echo \"$name\"; done | tail -n +2)\"\n" /* below the heading */
                     "        fi\n");
    if (c->words != NULL)
        (void)printf("        [ \"$operands\" != %zu ] || words+=' %s'\n", c->min_operands - 1,
                     c->words);
    for (const struct cli_more *m = c->more; m != NULL && m->after != NULL; m++)
        (void)printf("        [ \"$second\" != %s ] || words+=' %s'\n", m->after, m->words);
    (void)printf("        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n");
}

static void print_bash(void)
{
    (void)printf("# bash completion for numavisor, printed by: numavisor completion bash\n"
                 "_numavisor() {\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                 /* bash makes three words of --option=value */
                 "    if [ \"$cur\" = = ]; then cur=\n"
                 "    elif [ \"$prev\" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
                 "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
                 "        COMPREPLY=($(compgen -W '--help --version");
    print_commands();
    (void)printf("' -- \"$cur\"))\n        return\n    fi\n");
    print_values();
    (void)printf("    local i operands=0 second=\n"
                 "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
                 "        case ${COMP_WORDS[i]} in\n");
    print_skipped();
    (void)printf("        -*) ;;\n"
                 "        *) operands=$((operands + 1)) ;;\n"
                 "        esac\n"
                 "        [ \"$operands\" != 2 ] || second=${second:-${COMP_WORDS[i]}}\n"
                 "    done\n"
                 /* behind a key's equals sign, a word of its own, stands a number */
                 "    [[ ${COMP_WORDS[COMP_CWORD]} != = ]] || return\n"
                 "    [[ ${COMP_WORDS[COMP_CWORD-1]} != = ]] || return\n"
                 "    case ${COMP_WORDS[1]} in\n");
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        print_case(*c);
    (void)printf("    esac\n}\ncomplete -o filenames -F _numavisor numavisor\n");
}

static int run_completion(struct cli_args *args)
{
    if (strcmp(args->operands[0], "bash") != 0)
        return cli_error(CLI_USAGE, "completion: only bash is known");
    print_bash();
    return cli_flush(CLI_OK);
}

const struct cli_command cmd_completion = {
    .name = "completion",
    .summary = "Print a shell's completion script.",
    .operands = "bash",
    .words = "bash",
    .min_operands = 1,
    .max_operands = 1,
    .run = run_completion,
};
