/* SPDX-License-Identifier: Apache-2.0 */
/* What the lab was asked for. See lab_job.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/cli/facts_expect.h"
#include "vmm/cli/lab_job.h"

enum { LAB_ENV_MAX = 4096, CMDLINE_MAX = 1500 };

static int refuse(const char *option, const char *why, struct errctx *ec)
{
    return errctx_set(ec, EINVAL, "--%s: %s", option, why);
}

/* What the lab needs for itself. */
static int check_config(const struct cli_args *args, struct errctx *ec)
{
    const struct machine_config *config = &args->config;
    const struct config_input *input = &args->input;

    if (config->initrd != NULL)
        return refuse("initrd", "the lab brings its own", ec);
    if (config->console != CONSOLE_SERIAL)
        return refuse("console", "the lab listens to the serial console", ec);
    if (config->pager == CONFIG_PAGER_ON)
        return refuse("pager on", "the lab's file server maps the guest's memory", ec);
    if (config->spec.balance == GUEST_BALANCE_ON)
        return refuse("balance on", "the lab's file server maps the guest's memory, which stays "
                      "where it is", ec);
    if (input->option_given[config_input_find("on-reset")] || config->on_reset != ON_RESET_RESTART)
        return refuse("on-reset", "a guest that resets itself ends the lab", ec);
    if (config->cmdline != NULL && strlen(config->cmdline) > CMDLINE_MAX)
        return refuse("cmdline", "the text is too long", ec);
    for (size_t i = 0; i < config->n_devices; i++)
        if (strcmp(config->devices[i].type->name, "vsock") == 0)
            return refuse("vsock", "the lab uses the machine's only one", ec);
    return 0;
}

static int take_shares(struct lab_job *job, struct errctx *ec)
{
    for (size_t i = 0; i < job->args->n_many; i++) {
        const struct cli_many *m = &job->args->many[i];
        struct stat st;

        if (strcmp(m->name, "rw") != 0)
            continue;
        if (job->req.n_shares == LAB_SHARES_MAX)
            return errctx_set(ec, E2BIG, "--rw: only %d folders can be shared", LAB_SHARES_MAX);
        job->shares[job->req.n_shares] = realpath(m->value, NULL);
        if (job->shares[job->req.n_shares] == NULL)
            return errctx_set_os(ec, errno, "--rw %.200s", m->value);
        job->req.n_shares++;
        if (stat(m->value, &st) < 0 || !S_ISDIR(st.st_mode))
            return errctx_set(ec, ENOTDIR, "--rw %.200s is no folder", m->value);
        if (strcmp(job->shares[job->req.n_shares - 1], "/") == 0)
            return errctx_set(ec, EINVAL, "--rw /: name the folders that the command may change");
    }
    job->req.shares = job->shares;
    return 0;
}

/* What a login has, which --env adds to. */
static bool is_usual(const char *variable)
{
    static const char *const names[] = { "HOME=",  "LANG=", "LC_",     "LOGNAME=", "PATH=",
                                         "SHELL=", "TERM=", "TMPDIR=", "TZ=",      "USER=" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* In place of one of the same name: programs take the first of two. */
static int add_env(struct lab_job *job, const char *variable, struct errctx *ec)
{
    const size_t name_len = strcspn(variable, "=") + 1;
    char *copy;
    size_t at = 0;

    while (at < job->req.n_env && strncmp(job->env[at], variable, name_len) != 0)
        at++;
    if (at == LAB_ENV_MAX)
        return errctx_set(ec, E2BIG, "the environment has more than %d variables", LAB_ENV_MAX);
    copy = strdup(variable);
    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the environment");
    free(job->env[at]);
    job->env[at] = copy;
    job->req.n_env += at == job->req.n_env;
    return 0;
}

/* "NAME", which the caller has, or "NAME=VALUE". */
static int add_named(struct lab_job *job, const char *word, struct errctx *ec)
{
    CLEANUP_FREE char *both = NULL;
    const char *value;

    if (word[0] == '\0' || word[0] == '=')
        return errctx_set(ec, EINVAL, "--env: \"%.80s\" has no name", word);
    if (strchr(word, '=') != NULL)
        return add_env(job, word, ec);
    value = getenv(word);
    if (value == NULL)
        return errctx_set(ec, EINVAL, "--env %.80s: there is no such variable", word);
    if (asprintf(&both, "%s=%s", word, value) < 0) {
        both = NULL;
        return errctx_set(ec, ENOMEM, "no memory for the environment");
    }
    return add_env(job, both, ec);
}

static int take_env(struct lab_job *job, struct errctx *ec)
{
    bool named = false;
    int r = 0;

    job->env = calloc(LAB_ENV_MAX + 1, sizeof(*job->env));
    if (job->env == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the environment");
    for (size_t i = 0; i < job->args->n_many; i++)
        named = named || strcmp(job->args->many[i].name, "env") == 0;
    for (size_t i = 0; r == 0 && environ[i] != NULL; i++)
        if (!named || is_usual(environ[i]))
            r = add_env(job, environ[i], ec);
    for (size_t i = 0; r == 0 && i < job->args->n_many; i++)
        if (strcmp(job->args->many[i].name, "env") == 0)
            r = add_named(job, job->args->many[i].value, ec);
    job->req.env = job->env;
    return r;
}

static int take_timeout(struct lab_job *job, struct errctx *ec)
{
    const char *text = cli_args_get(job->args, "timeout");
    uint64_t seconds;
    int r;

    if (text == NULL)
        return 0;
    r = units_parse_uint(text, 1000000, &seconds, ec);
    if (r == 0 && seconds == 0)
        r = errctx_set(ec, ERANGE, "0 seconds are no time");
    if (r < 0)
        return errctx_wrap(ec, r, "--timeout");
    job->req.timeout_ns = seconds * 1000000000u;
    return 0;
}

/* A file of what the guest may write is bounded: it is sealed at its size. */
static int take_expect(struct lab_job *job, struct errctx *ec)
{
    const char *what = cli_args_get(job->args, "expect");
    int r = 0;

    if (what == NULL)
        return 0;
    if (strcmp(what, "plan") != 0)
        r = facts_expect_read(what, &job->expected, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "--expect");
    job->req.facts_fd = memfd_create("lab-facts", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (job->req.facts_fd < 0 || ftruncate(job->req.facts_fd, LAB_FACTS_MAX) < 0 ||
        fcntl(job->req.facts_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0)
        return errctx_set_os(ec, errno, "memory for what the guest sees");
    return 0;
}

static int take_words(struct lab_job *job, struct errctx *ec)
{
    size_t bytes = 0;

    job->req.args = job->args->rest;
    job->req.n_args = job->args->n_rest;
    if (getcwd(job->folder, sizeof(job->folder)) == NULL)
        return errctx_set_os(ec, errno, "the present folder");
    job->req.folder = job->folder;
    for (size_t i = 0; i < job->req.n_args; i++)
        bytes += strlen(job->req.args[i]) + 1;
    for (size_t i = 0; i < job->req.n_env; i++)
        bytes += strlen(job->req.env[i]) + 1;
    if (bytes > LAB_STRINGS_MAX - LAB_SHARES_MAX * PATH_MAX - PATH_MAX)
        return errctx_set(ec, E2BIG, "arguments and environment are too long together");
    return 0;
}

int lab_options_take(struct lab_job *job, struct errctx *ec)
{
    int r = check_config(job->args, ec);

    if (r == 0)
        r = take_shares(job, ec);
    if (r == 0)
        r = take_env(job, ec);
    if (r == 0)
        r = take_timeout(job, ec);
    if (r == 0)
        r = take_expect(job, ec);
    if (r == 0)
        r = lab_script_take(job, ec);
    return r < 0 ? r : take_words(job, ec);
}

void lab_options_fini(struct lab_job *job)
{
    for (size_t i = 0; i < job->req.n_shares; i++)
        free(job->shares[i]);
    for (size_t i = 0; i < job->req.n_env; i++)
        free(job->env[i]);
    free(job->env);
    facts_fini(&job->expected);
    lab_script_fini(job);
    if (job->req.facts_fd >= 0)
        (void)close(job->req.facts_fd);
}
