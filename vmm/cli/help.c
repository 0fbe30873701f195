/* SPDX-License-Identifier: Apache-2.0 */
/* Help texts, made from the rows. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/cli.h"

enum { HELP_COLUMNS = 100, HELP_TEXT = 32, HELP_KEY_TEXT = 19, HELP_GO_ON = 8 };

static void print_heading(const char *title)
{
    bool colour = cli_colour(STDOUT_FILENO);

    (void)printf("\n%s%s:%s\n", colour ? "\033[1m" : "", title, colour ? "\033[0m" : "");
}

/* @text behind @column columns of the line, continued below itself. */
static void print_text(const char *text, size_t column)
{
    size_t at = column;

    while (*text != '\0') {
        const size_t word = strcspn(text, " ");

        if (at > column && at + 1 + word > HELP_COLUMNS) {
            (void)printf("\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            (void)putchar(' ');
            at++;
        }
        (void)printf("%.*s", (int)word, text);
        at += word;
        text += word + strspn(text + word, " ");
    }
    (void)putchar('\n');
}

/* An option wider than its column has lines of its own, broken where something may be left out. */
static void print_wide(const char *text)
{
    size_t at = 2;

    (void)printf("  ");
    while (*text != '\0') {
        const size_t piece = 1 + strcspn(text + 1, "[");

        if (at + piece > HELP_COLUMNS) {
            (void)printf("\n%*s", HELP_GO_ON, "");
            at = HELP_GO_ON;
        }
        (void)printf("%.*s", (int)piece, text);
        at += piece;
        text += piece;
    }
    (void)printf("\n%*s", HELP_TEXT, "");
}

/* The option in a column, or on a line of its own when it is wider than that. */
static void print_row(const char *name, const char *arg, const char *help)
{
    char left[256];

    (void)snprintf(left, sizeof(left), "--%s%s%s", name, arg != NULL ? " " : "",
                   arg != NULL ? arg : "");
    if (strlen(left) > 28)
        print_wide(left);
    else
        (void)printf("  %-28s  ", left);
    print_text(help, HELP_TEXT);
}

static void print_device(const struct config_option *o)
{
    char usage[256], form[64], help[256];

    print_row(o->name, config_device_usage(o->device, usage, sizeof(usage)), o->help);
    for (const struct device_key *k = o->device->keys; k->name != NULL; k++) {
        (void)snprintf(form, sizeof(form), "%s%s", k->name, k->kind == DEVICE_KEY_FLAG ? "" : "=");
        (void)snprintf(help, sizeof(help), "%s%s", k->help, k->repeats ? " (may be repeated)" : "");
        (void)printf("      %-12s ", form);
        print_text(help, HELP_KEY_TEXT);
    }
    (void)printf("      %-12s %s\n", "node=", "virtual node that it sits on");
}

static void print_config_group(enum config_group group)
{
    size_t n = config_options_count();

    print_heading(config_group_title(group));
    for (size_t i = 0; i < n; i++) {
        struct config_option o = config_options_get(i);

        if (o.group != group)
            continue;
        if (o.device != NULL)
            print_device(&o);
        else
            print_row(o.name, o.arg, o.help);
    }
}

static void print_command(const struct cli_command *c)
{
    (void)printf("usage: numavisor %s%s%s%s\n\n%s\n", c->name,
                 c->options != NULL || c->takes_config ? " [OPTION]..." : "",
                 c->operands != NULL ? " " : "", c->operands != NULL ? c->operands : "",
                 c->summary);
    if (c->options != NULL) {
        print_heading("Options");
        for (const struct cli_option *o = c->options; o->name != NULL; o++)
            print_row(o->name, o->arg, o->help);
    }
    for (unsigned g = 0; c->takes_config && g < CONFIG_GROUP_COUNT; g++)
        print_config_group(g);
}

static void print_program(void)
{
    (void)printf("usage: numavisor COMMAND [OPTION]...\n\n"
                 "Runs virtual machines whose NUMA topology is the one that was asked for.\n");
    print_heading("Commands");
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        (void)printf("  %-12s  %s\n", (*c)->name, (*c)->summary);
    (void)printf("\nnumavisor COMMAND --help says more; numavisor(1) says everything.\n");
}

void cli_print_help(const struct cli_command *command)
{
    if (command != NULL)
        print_command(command);
    else
        print_program();
}
