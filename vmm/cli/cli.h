/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: subcommands as rows, their own options as rows, what they print and the
 * status they end with. Only this folder prints.
 */
#ifndef VMM_CLI_CLI_H
#define VMM_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/config/config.h"
#include "vmm/config/config_options.h"

#define NUMAVISOR_VERSION "0.1.0"

/* Listed in the manual. */
enum cli_status {
    CLI_OK = 0,          /* done; run: the guest switched itself off */
    CLI_FAILURE = 1,     /* ours or the host's: could not build, start or go on */
    CLI_USAGE = 2,       /* command line or description refused; nothing was started */
    CLI_GUEST_RESET = 3, /* run --on-reset exit: the guest reset itself */
    CLI_STOPPED = 4,     /* run: ctl stop, the escape key or a signal */
    CLI_LOST = 5,        /* run: memory of the guest's that was away cannot be brought back */
    CLI_LAB_EVENT = 119,     /* lab --at, --events: one failed, or was not reached */
    CLI_LAB_DIFFERS = 120,   /* lab --expect, conformance: the guest sees another machine */
    CLI_LAB_HOST = 121,      /* lab: kernel, file server or KVM are not to be had */
    CLI_LAB_MACHINE = 122,   /* lab: the machine could not be started or kept running */
    CLI_LAB_GUEST = 123,     /* lab: the guest gave up before the command ended */
    CLI_LAB_TIMEOUT = 124,   /* lab: --timeout; this and what follows as timeout(1) and env(1) have it */
    CLI_LAB_NOT_RUN = 126,
    CLI_LAB_NOT_FOUND = 127,
    CLI_GUEST_CODE = 32, /* run: plus the value that the guest wrote to the debug-exit port ... */
    CLI_GUEST_CODE_MAX = 91,
    CLI_GUEST_CODE_LARGE = 124, /* ... or this, when the value is larger than 91 */
};

enum { CLI_MAX_OWN_OPTIONS = 8, CLI_MAX_OPERANDS = 4, CLI_MAX_MANY = 256 };

struct cli_option {
    const char *name; /* without the dashes */
    const char *arg;  /* NULL: a flag */
    const char *help;
    bool is_file; /* completion offers files */
    bool repeats; /* read from struct cli_args' ->many */
};

/* What completion offers behind an operand that is @after. */
struct cli_more {
    const char *after, *words;
};

struct cli_args;

struct cli_command {
    const char *name;
    const char *summary;
    const char *operands; /* "NAME ACTION"; NULL: none */
    const char *words;    /* completion offers these for the last operand that must be; NULL */
    const struct cli_more *more; /* up to an ->after of NULL; by the second operand; NULL: nothing */
    bool offers_commands; /* completion offers the names of commands as its operand */
    bool offers_machines; /* ... of running machines as its first operand */
    size_t min_operands, max_operands;
    bool takes_rest; /* from the first operand on all words are ->rest, at least one */
    bool takes_config;                 /* every option of vmm/config */
    const struct cli_option *options;  /* its own, up to a name of NULL; may be NULL */
    int (*run)(struct cli_args *args); /* returns an enum cli_status */
};

/* An own option that may be repeated, once. */
struct cli_many {
    const char *name, *value;
};

/* One command line, read. */
struct cli_args {
    const struct cli_command *command;
    const char *own[CLI_MAX_OWN_OPTIONS]; /* by row: the value, "" for a flag, NULL: not given */
    const char *operands[CLI_MAX_OPERANDS];
    size_t n_operands;
    struct cli_many many[CLI_MAX_MANY]; /* in the order given */
    size_t n_many;
    char *const *words; /* all of them, behind the command's name */
    size_t n_words;
    char *const *rest; /* ->takes_rest: a command's own words, up to a NULL */
    size_t n_rest;
    bool help; /* --help was among them; nothing else was judged after it */
    struct machine_config config;
    struct config_input input;
};

/** cli_commands() - the rows, up to a NULL entry. */
const struct cli_command *const *cli_commands(void);
const struct cli_command *cli_command_find(const char *name);

/** cli_main() - the whole program. */
int cli_main(int argc, char **argv);

/** cli_args_parse() - @argv without program and command name. cli_args_fini() afterwards, also
 *  after a failure. Return: 0, or what config_input_option() returns, -EINVAL. */
int cli_args_parse(const struct cli_command *command, int argc, char **argv,
                   struct cli_args *ret_args, struct errctx *ec);
void cli_args_fini(struct cli_args *args);

/** cli_args_get() - value of one of the command's own options, or NULL. */
const char *cli_args_get(const struct cli_args *args, const char *name);

/** cli_print_help() - one command's help, or the program's for NULL, on stdout. */
void cli_print_help(const struct cli_command *command);

/** cli_error() - "numavisor: sentence" on stderr. Returns @status. */
int cli_error(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** cli_fail() - the recorded sentence. Returns @status. */
int cli_fail(int status, const struct errctx *ec);

/** cli_flush() - CLI_FAILURE with a sentence when stdout could not be written, else @status. */
int cli_flush(int status);

/** cli_colour() - may @fd get colours? A terminal, and NO_COLOR is not set. */
bool cli_colour(int fd);

#endif
