/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numavisor lab: a command in a machine of the topology that was asked for (docs/lab.md).
 *
 * The machine is "run" in a child, with a description to which the lab adds its kernel, its
 * initramfs, file systems and socket device; so every option of run's that the lab does not need
 * for itself means the same here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/facts_expect.h"
#include "vmm/cli/lab_job.h"
#include "vmm/lab/lab_emulate.h"
#include "vmm/lab/lab_initramfs.h"
#include "vmm/lab/lab_server.h"
#include "vmm/machine/machine_arch.h"
#include "vmm/machine/machine_config.h"

enum { LAB_CID = 3 };

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

/* The description without what the lab adds to it later: a kernel, and devices of its own, which
 * what is asked of I/O threads counts in. */
static int check(struct lab_job *job, struct errctx *ec)
{
    struct machine_config *config = &job->args->config;
    const unsigned io_threads = config->io_threads, io_poll_us = config->io_poll_us;
    const size_t n_devices = config->n_devices + 2 + job->req.n_shares;
    char *const kernel = config->kernel, any[] = "";
    int r;

    if (io_threads > n_devices)
        return errctx_set(ec, EINVAL,
                          "--io-threads: %u threads have only %zu virtio devices to serve",
                          io_threads, n_devices);
    config->kernel = any;
    config->io_threads = config->io_poll_us = 0;
    r = config_check(config, true, ec);
    config->kernel = kernel;
    config->io_threads = io_threads;
    config->io_poll_us = io_poll_us;
    return r < 0 ? r : machine_config_check(config, ec);
}

static int describe(struct lab_job *job, struct errctx *ec)
{
    struct machine_config *config = &job->args->config;
    CLEANUP_FREE char *said = config->cmdline;

    free(config->kernel);
    config->kernel = strdup(job->kernel.image);
    config->cmdline = NULL;
    config->on_reset = ON_RESET_EXIT; /* a panic ends the lab */
    config->slow_later = true;        /* what boots it is none of the command's business */
    if (config->kernel != NULL &&
        asprintf(&config->cmdline, "%s quiet panic=-1 %s",
                 config_linux_cmdline(config, machine_arch_serial_is_told()),
                 said != NULL ? said : "") >= 0)
        return 0;
    config->cmdline = NULL;
    return errctx_set(ec, ENOMEM, "no memory for the machine's description");
}

/* In another child. */
static void direct(void *ctx, int listen_fd)
{
    const struct lab_job *job = ctx;

    lab_direct(&job->script, listen_fd);
}

/* In the child. */
static int be_machine(void *ctx, const struct lab_devices *devices)
{
    struct lab_job *job = ctx;
    struct errctx ec = { 0 };
    int r;

    if (job->script.records_fd >= 0)
        (void)close(job->script.records_fd);
    job->args->config.initrd = strdup(devices->initrd);
    r = job->args->config.initrd == NULL ? errctx_set(&ec, ENOMEM, "no memory for the initramfs")
                                         : add_devices(&job->args->config, devices, &ec);
    return r < 0 ? cli_fail(CLI_FAILURE, &ec) : cmd_run.run(job->args);
}

/* Modules for what the machine has, up to a NULL: nobody in the guest looks for them. */
static void list_modules(const struct machine_config *config, const char *ret_names[static 16])
{
    static const char *const base[] = { "virtio_pci", "virtiofs", "overlay",
                                        "vmw_vsock_virtio_transport", "?virtio_mem" };
    static const struct {
        const char *device, *module;
    } more[] = {
        { "disk", "virtio_blk" },       { "net", "virtio_net" }, { "balloon", "virtio_balloon" },
        { "rng", "virtio_rng" },        { "vhost-user", "?virtio_blk" },
        { "vhost-user", "?virtio_net" },
    };
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(base); i++)
        ret_names[n++] = base[i];
    for (size_t k = 0; k < ARRAY_SIZE(more); k++) {
        bool has = false;

        for (size_t i = 0; i < config->n_devices; i++)
            has = has || strcmp(config->devices[i].type->name, more[k].device) == 0;
        if (has)
            ret_names[n++] = more[k].module;
    }
    ret_names[n] = NULL;
}

/* What is needed of the host: kernel, modules, file server. */
static int gather(struct lab_job *job, struct errctx *ec)
{
    const char *modules[16];
    struct lab_modules list = { .n = 0 };
    int r = lab_kernel_find("", job->args->config.kernel, true, &job->kernel, ec);

    list_modules(&job->args->config, modules);
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

/* How it ended, also where it did not begin. @decided: 0, or why it cannot; @ec with a sentence on
 * that, or on why it is emulated. */
static void run_job(struct lab_job *job, int decided, bool emulated, struct errctx *ec,
                    struct lab_verdict *ret_verdict)
{
    struct lab_end end;

    if (job->events.n > 0 || job->script.slow)
        job->req.direct = direct;
    if (emulated && ec->msg[0] != '\0')
        (void)cli_error(0, "%s; the lab runs on an emulated host", ec->msg);
    if (decided == 0 && (!emulated || lab_emulated_run(job, ec) == 0) && gather(job, ec) == 0 &&
        describe(job, ec) == 0 && lab_expect_plan(job, ec) == 0 &&
        lab_run(&job->req, &end, ec) == 0) {
        lab_judge(job, &end, ret_verdict);
        lab_script_judge(job, &end, ret_verdict);
        lab_expect_judge(job, &end, ret_verdict);
        return;
    }
    *ret_verdict = (struct lab_verdict){ .grade = LAB_BROKEN, .status = CLI_LAB_HOST };
    (void)snprintf(ret_verdict->text, sizeof(ret_verdict->text), "%s", ec->msg);
    (void)snprintf(ret_verdict->reason, sizeof(ret_verdict->reason), "%s", ec->msg);
}

static int lab_job_run(struct lab_job *job)
{
    const char *path = cli_args_get(job->args, "junit");
    CLEANUP_FCLOSE FILE *junit = NULL;
    struct lab_verdict verdict;
    struct errctx ec = { 0 }, why = { 0 };
    const uint64_t start = evloop_now_ns();
    bool emulated = false;
    int decided, r = 0;

    if (lab_options_take(job, &ec) < 0 || check(job, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    decided = lab_emulated_wanted(job, &emulated, &why);
    if (decided == 0 && !emulated)
        decided = facts_expect_settle(&job->args->config, &why);
    if (decided == 0 && lab_script_check(job, emulated, &ec) < 0)
        return cli_fail(CLI_USAGE, &ec);
    junit = path != NULL ? fopen(path, "we") : NULL;
    if (path != NULL && junit == NULL)
        return cli_error(CLI_USAGE, "--junit %.200s: %s", path, strerror(errno));
    job->req.report_fd = junit != NULL ? fileno(junit) : -1;
    if (junit != NULL)
        lab_junit_begin(junit, job);
    run_job(job, decided, emulated, &why, &verdict);
    if (junit != NULL)
        r = lab_junit_write(junit, job, &verdict, (double)(evloop_now_ns() - start) / 1e9);
    if (r < 0)
        (void)cli_error(CLI_FAILURE, "--junit %.200s: %s", path, strerror(-r));
    if (r < 0 && verdict.grade == LAB_PASSED)
        verdict.status = CLI_FAILURE;
    return lab_tell(&verdict);
}

static int run_lab(struct cli_args *args)
{
    struct lab_job *job = calloc(1, sizeof(*job));
    int status;

    if (job == NULL)
        return cli_error(CLI_LAB_HOST, "no memory for the lab");
    job->args = args;
    job->req.initramfs_fd = job->req.facts_fd = job->req.report_fd = -1;
    job->script.records_fd = -1;
    job->req.machine = be_machine;
    job->req.ctx = job;
    job->is_inside = getenv(LAB_EMULATED) != NULL;
    (void)unsetenv(LAB_EMULATED); /* the command's environment is the caller's */
    status = lab_job_run(job);
    if (job->req.initramfs_fd >= 0)
        (void)close(job->req.initramfs_fd);
    lab_options_fini(job);
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
    { .name = "junit",
      .arg = "FILE",
      .help = "write how it ended to this file, as JUnit's XML",
      .is_file = true },
    { .name = "expect",
      .arg = "FILE|plan",
      .help = "check what the guest sees of its machine: facts in a file, or all of the plan",
      .is_file = true },
    { .name = "at",
      .arg = "EVENT",
      .help = "change the machine under the command: \"2s offline cpu 3\"; may be repeated",
      .repeats = true },
    { .name = "events",
      .arg = "FILE",
      .help = "the same, an event a line",
      .is_file = true },
    { .name = "emulate",
      .help = "run it on a host that QEMU emulates, as where KVM cannot run Linux" },
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
