/* SPDX-License-Identifier: Apache-2.0 */
/* From the command line to one command, and what every command uses to print. */
#include "vmm/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/config/suggest.h"

bool cli_colour(int fd)
{
    const char *no_colour = getenv("NO_COLOR");

    return isatty(fd) && (no_colour == NULL || no_colour[0] == '\0');
}

static void print_prefix(void)
{
    bool colour = cli_colour(STDERR_FILENO);

    (void)fprintf(stderr, "%snumavisor:%s ", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "");
}

int cli_error(int status, const char *fmt, ...)
{
    va_list ap;

    print_prefix();
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    return status;
}

int cli_fail(int status, const struct errctx *ec)
{
    return cli_error(status, "%s", ec->msg);
}

int cli_flush(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return cli_error(CLI_FAILURE, "standard output cannot be written: %s", strerror(errno));
}

static int unknown_command(const char *name)
{
    struct suggest s = { .word = name };
    char hint[96];

    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        suggest_offer(&s, (*c)->name);
    return cli_error(CLI_USAGE, "unknown command %s%s (numavisor --help lists them)", name,
                     suggest_format(&s, "", hint, sizeof(hint)));
}

static int run_command(const struct cli_command *command, int argc, char **argv)
{
    struct errctx ec = { 0 };
    struct cli_args args;
    int status;
    int r = cli_args_parse(command, argc, argv, &args, &ec);

    if (r < 0) {
        status = cli_fail(r == -ENOMEM ? CLI_FAILURE : CLI_USAGE, &ec);
    } else if (args.help) {
        cli_print_help(command);
        status = cli_flush(CLI_OK);
    } else {
        status = command->run(&args);
    }
    cli_args_fini(&args);
    return status;
}

/* A standard stream that we were started without would become the number of the next file that
 * is opened, and a guest's console would write into it. */
static int fill_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return -1;
    return 0;
}

int cli_main(int argc, char **argv)
{
    const struct cli_command *command;

    if (fill_standard_streams() < 0)
        return CLI_FAILURE; /* and nobody to tell it to */

    if (argc < 2)
        return cli_error(CLI_USAGE, "say what to do (numavisor --help lists the commands)");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        cli_print_help(NULL);
        return cli_flush(CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0 && argc > 2)
        return cli_error(CLI_USAGE, "--version: unexpected argument \"%s\"", argv[2]);
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("numavisor %s\n", NUMAVISOR_VERSION);
        return cli_flush(CLI_OK);
    }
    command = cli_command_find(argv[1]);
    return command != NULL ? run_command(command, argc - 2, argv + 2) : unknown_command(argv[1]);
}
