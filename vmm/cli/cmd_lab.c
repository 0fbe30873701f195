/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numavisor lab: a command in a machine of the topology that was asked for (docs/lab.md).
 *
 * The machine is "run" in a child, with a description to which the lab adds its kernel, its
 * initramfs, file systems and socket device; so every option of run's that the lab does not need
 * for itself means the same here.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/host_source.h"
#include "vmm/lab/lab.h"
#include "vmm/lab/lab_initramfs.h"
#include "vmm/lab/lab_kernel.h"
#include "vmm/lab/lab_server.h"
#include "vmm/machine/host_check.h"
#include "vmm/machine/machine_arch.h"
#include "vmm/machine/machine_config.h"

enum { LAB_ENV_MAX = 4096, LAB_CID = 3, CMDLINE_MAX = 1500 };

/* Everything that the lab allocates; what is in it is owned. */
struct lab_job {
    struct cli_args *args;
    struct lab_kernel kernel;
    struct lab_request req;
    char *shares[LAB_SHARES_MAX];
    char **env;
    char folder[PATH_MAX];
};

/* --- the command line ------------------------------------------------------------------------- */

static int refuse(const char *option, const char *why, struct errctx *ec)
{
    return errctx_set(ec, EINVAL, "--%s: %s", option, why);
}

/* What the lab needs for itself. */
static int check_config(const struct machine_config *config, struct errctx *ec)
{
    if (config->initrd != NULL)
        return refuse("initrd", "the lab brings its own", ec);
    if (config->console != CONSOLE_SERIAL)
        return refuse("console", "the lab listens to the serial console", ec);
    if (config->pager == CONFIG_PAGER_ON)
        return refuse("pager on", "the lab's file server maps the guest's memory", ec);
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

        if (strcmp(m->name, "rw") != 0)
            continue;
        if (job->req.n_shares == LAB_SHARES_MAX)
            return errctx_set(ec, E2BIG, "--rw: only %d folders can be shared", LAB_SHARES_MAX);
        job->shares[job->req.n_shares] = realpath(m->value, NULL);
        if (job->shares[job->req.n_shares] == NULL)
            return errctx_set_os(ec, errno, "--rw %.200s", m->value);
        job->req.n_shares++;
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

static int add_env(struct lab_job *job, const char *variable, struct errctx *ec)
{
    if (job->req.n_env == LAB_ENV_MAX)
        return errctx_set(ec, E2BIG, "the environment has more than %d variables", LAB_ENV_MAX);
    job->env[job->req.n_env] = strdup(variable);
    if (job->env[job->req.n_env] == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the environment");
    job->req.n_env++;
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

/* --- the machine ------------------------------------------------------------------------------ */

static int add_device(struct machine_config *config, const char *type, const char *text,
                      struct errctx *ec)
{
    struct device_args *grown = realloc(config->devices, (config->n_devices + 1) * sizeof(*grown));
    int r;

    if (grown == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the lab's devices");
    config->devices = grown;
    r = device_args_parse(registry_find(type), text, &config->devices[config->n_devices], ec);
    config->n_devices += r == 0;
    return r;
}

static int add_devices(struct machine_config *config, const struct lab_devices *devices,
                       struct errctx *ec)
{
    char text[LAB_PATH + 64];
    int r;

    (void)snprintf(text, sizeof(text), "fs,socket=%s,tag=lab-root", devices->root_socket);
    r = add_device(config, "vhost-user", text, ec);
    for (size_t i = 0; r == 0 && i < devices->n_shares; i++) {
        (void)snprintf(text, sizeof(text), "fs,socket=%s,tag=lab-rw%zu", devices->share_sockets[i],
                       i);
        r = add_device(config, "vhost-user", text, ec);
    }
    (void)snprintf(text, sizeof(text), "cid=%d,socket=%s", LAB_CID, devices->vsock);
    return r == 0 ? add_device(config, "vsock", text, ec) : r;
}

static int describe(struct lab_job *job, struct errctx *ec)
{
    struct machine_config *config = &job->args->config;
    CLEANUP_FREE char *said = config->cmdline;

    free(config->kernel);
    config->kernel = strdup(job->kernel.image);
    config->cmdline = NULL;
    config->on_reset = ON_RESET_EXIT; /* a panic ends the lab */
    if (config->kernel == NULL ||
        asprintf(&config->cmdline, "%s quiet panic=-1 %s",
                 config_linux_cmdline(config, machine_arch_serial_is_told()),
                 said != NULL ? said : "") < 0) {
        config->cmdline = NULL;
        return errctx_set(ec, ENOMEM, "no memory for the machine's description");
    }
    if (config_check(config, true, ec) < 0)
        return -EINVAL;
    return machine_config_check(config, ec);
}

/* In the child. */
static int be_machine(void *ctx, const struct lab_devices *devices)
{
    struct lab_job *job = ctx;
    struct errctx ec = { 0 };
    int r;

    job->args->config.initrd = strdup(devices->initrd);
    r = job->args->config.initrd == NULL ? errctx_set(&ec, ENOMEM, "no memory for the initramfs")
                                         : add_devices(&job->args->config, devices, &ec);
    return r < 0 ? cli_fail(CLI_FAILURE, &ec) : cmd_run.run(job->args);
}

static int can_run(struct errctx *ec)
{
    struct host_topo host;
    struct host_check check;
    int r = host_source_here(&host, ec);

    if (r < 0)
        return r;
    host_check_run("/dev/kvm", &host, &check);
    host_topo_fini(&host);
    for (size_t i = 0; !check.can_run && i < check.n; i++)
        if (check.findings[i].verdict == HOST_MISSING)
            return errctx_set(ec, ENODEV, "no guest can run Linux here: %s",
                              check.findings[i].what);
    return check.can_run ? 0
                         : errctx_set(ec, ENODEV, "no guest can run Linux here (numavisor check)");
}

/* What is needed of the host: kernel, modules, file server. */
static int gather(struct lab_job *job, struct errctx *ec)
{
    static const char *const modules[] = { "virtio_pci", "virtiofs", "overlay",
                                           "vmw_vsock_virtio_transport", "?virtio_mem", NULL };
    struct lab_modules list = { .n = 0 };
    int r = lab_kernel_find("", job->args->config.kernel, &job->kernel, ec);

    if (r == 0)
        r = lab_modules_list(&job->kernel, modules, &list, ec);
    if (r == 0)
        r = lab_initramfs_make(&list, false, &job->req.initramfs_fd, ec);
    lab_modules_fini(&list);
    job->req.program = lab_server_program();
    if (r == 0 && job->req.program == NULL)
        r = errctx_set(ec, ENOENT, "virtiofsd is not installed (Debian: qemu-system-common)");
    return r;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* End as the command did; a core dump would be ours. */
static int die_by(int number)
{
    const struct rlimit no_core = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
    return 128 + number;
}

/* The last line that the guest's kernel said, of what is not blank. */
static const char *last_line(char *console)
{
    char *line = console, *best = console;

    for (char *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (line[strspn(line, " \t")] != '\0' && strstr(line, "---[ end") == NULL)
            best = line;
    }
    return best;
}

static int tell_machine(struct lab_end *end)
{
    const int status = WIFEXITED(end->status) ? WEXITSTATUS(end->status) : -1;
    const char *panic = strstr(end->console, "Kernel panic");

    if (status == CLI_USAGE || status == CLI_FAILURE) /* which it has told itself */
        return status == CLI_USAGE ? CLI_USAGE : CLI_LAB_MACHINE;
    if (panic != NULL)
        return cli_error(CLI_LAB_GUEST, "the guest's kernel gave up: %.*s",
                         (int)strcspn(panic, "\r\n"), panic);
    return cli_error(CLI_LAB_GUEST, "the guest ended before the command did%s%s",
                     end->console[0] != '\0' ? "; it said last: " : "", last_line(end->console));
}

static int tell_result(const struct lab_job *job, const struct lab_result *result)
{
    switch (result->kind) {
    case LAB_EXITED:
        return (int)(result->value & 0xff);
    case LAB_SIGNALLED:
        return result->value > 0 && result->value < (uint32_t)NSIG ? die_by((int)result->value)
                                                                   : CLI_LAB_GUEST;
    case LAB_NOT_FOUND:
        return cli_error(CLI_LAB_NOT_FOUND, "%s: there is no such command", job->req.args[0]);
    case LAB_NOT_RUN:
        return cli_error(CLI_LAB_NOT_RUN, "%s cannot be run: %s", job->req.args[0],
                         strerror((int)(result->value & 0xfff)));
    default:
        return cli_error(CLI_LAB_GUEST, "the guest could not be made ready: %s", result->text);
    }
}

static int tell(const struct lab_job *job, struct lab_end *end)
{
    switch (end->kind) {
    case LAB_END_RESULT:
        return tell_result(job, &end->result);
    case LAB_END_TIMEOUT:
        return cli_error(CLI_LAB_TIMEOUT, "the command had not ended after %s s",
                         cli_args_get(job->args, "timeout"));
    case LAB_END_SERVER:
        return cli_error(CLI_LAB_MACHINE, "a file server ended before the command did%s%s",
                         end->console[0] != '\0' ? ": " : "", last_line(end->console));
    case LAB_END_SIGNAL:
        return die_by(end->signal);
    case LAB_END_MACHINE:
        break;
    }
    return tell_machine(end);
}

static int lab_job_run(struct lab_job *job)
{
    struct errctx ec = { 0 };
    struct lab_end end;

    if (check_config(&job->args->config, &ec) < 0 || take_shares(job, &ec) < 0 ||
        take_env(job, &ec) < 0 || take_timeout(job, &ec) < 0 || take_words(job, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (gather(job, &ec) < 0)
        return cli_fail(CLI_LAB_HOST, &ec);
    if (describe(job, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (can_run(&ec) < 0)
        return cli_fail(CLI_LAB_HOST, &ec);
    if (lab_run(&job->req, &end, &ec) < 0)
        return cli_fail(CLI_LAB_HOST, &ec);
    return tell(job, &end);
}

static int run_lab(struct cli_args *args)
{
    struct lab_job *job = calloc(1, sizeof(*job));
    int status;

    if (job == NULL)
        return cli_error(CLI_LAB_HOST, "no memory for the lab");
    job->args = args;
    job->req.initramfs_fd = -1;
    job->req.machine = be_machine;
    job->req.ctx = job;
    status = lab_job_run(job);
    if (job->req.initramfs_fd >= 0)
        (void)close(job->req.initramfs_fd);
    for (size_t i = 0; i < job->req.n_shares; i++)
        free(job->shares[i]);
    for (size_t i = 0; i < job->req.n_env; i++)
        free(job->env[i]);
    free(job->env);
    free(job);
    return status;
}

static const struct cli_option lab_options[] = {
    { .name = "rw",
      .arg = "DIR",
      .help = "let the command change this folder of the host's; may be repeated",
      .is_file = true,
      .repeats = true },
    { .name = "env",
      .arg = "NAME[=VALUE]",
      .help = "pass on only the usual variables and this one; may be repeated (default: all)",
      .repeats = true },
    { .name = "timeout", .arg = "S", .help = "end everything after so many seconds" },
    { .name = NULL },
};

const struct cli_command cmd_lab = {
    .name = "lab",
    .summary = "Run a command in a machine of another topology, with this host's files.",
    .operands = "-- COMMAND...",
    .takes_rest = true,
    .takes_config = true,
    .options = lab_options,
    .run = run_lab,
};
