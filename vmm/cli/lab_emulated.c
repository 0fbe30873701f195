/* SPDX-License-Identifier: Apache-2.0 */
/* "lab" on the emulated host: whether, how large that has to be, and what cannot be had there. */
#include <errno.h>
#include <limits.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/cli/host_source.h"
#include "vmm/cli/lab_job.h"
#include "vmm/config/config_json.h"
#include "vmm/config/config_topology.h"
#include "vmm/lab/lab_emulate.h"
#include "vmm/lab/lab_server.h"
#include "vmm/machine/host_check.h"

enum { NODES_LEAST = 2, MEMORY_UNIT = 2 << 20 };

static const uint64_t HOST_OWN_BYTES = 1536ull << 20, /* its kernel, caches and layers of files */
    DEFAULT_BYTES = 1ull << 30;

/* Why this host cannot run Linux as a guest: a sentence and -ENODEV; or 0. */
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

int lab_emulated_wanted(const struct lab_job *job, bool *ret_wanted, struct errctx *ec)
{
    struct errctx why = { 0 };
    int r = 0;

    *ret_wanted = cli_args_get(job->args, "emulate") != NULL && !job->is_inside;
    if (!*ret_wanted)
        r = can_run(&why);
    if (r == -ENODEV && !job->is_inside) {
        *ret_wanted = true;
        r = 0;
    }
    *ec = why;
    return r;
}

/* What the host inside does not have, or what would be lost with it. */
static int check_config(const struct machine_config *config, struct errctx *ec)
{
    if (config->balance_trace != NULL)
        return errctx_set(ec, EINVAL, "--balance-trace: the emulated host's files are lost");
    for (size_t i = 0; i < config->n_devices; i++) {
        const struct device_args *args = &config->devices[i];

        if (strcmp(args->type->name, "disk") == 0 && device_args_get(args, "ro") == NULL)
            return errctx_set(ec, EINVAL,
                              "--disk: on the emulated host what is written is lost; say ro");
        if (strcmp(args->type->name, "vhost-user") == 0)
            return errctx_set(ec, EINVAL,
                              "--vhost-user: its server is outside of the emulated host");
        if (strcmp(args->type->name, "net") == 0 && (device_args_get(args, "tap") != NULL ||
                                                     device_args_get(args, "hostfwd") != NULL))
            return errctx_set(ec, EINVAL, "--net: tap= and hostfwd= would lead to the emulated "
                                          "host, which nobody reaches");
    }
    return 0;
}

/* Each node has room for all of the guest's memory, so no placement fails for want of it. */
static void size_host(const struct machine_config *config, struct lab_emulation *e)
{
    const struct guest_spec *spec = &config->spec;
    uint64_t bytes = 0;

    e->nodes = NODES_LEAST;
    for (size_t i = 0; i < spec->n_nodes; i++) {
        const struct idset *hosts = &spec->nodes[i].host_nodes;

        bytes += spec->nodes[i].memory_bytes + spec->nodes[i].hotplug_bytes;
        for (uint32_t n = 0; n < GUEST_MAX_VNODES; n++)
            if (idset_has(hosts, n))
                e->nodes = MAX(e->nodes, n + 1);
    }
    bytes = MAX(bytes, spec->memory_bytes != 0 ? spec->memory_bytes : DEFAULT_BYTES);
    e->node_bytes = (bytes + HOST_OWN_BYTES + MEMORY_UNIT - 1) / MEMORY_UNIT * MEMORY_UNIT;
    for (size_t i = 0; i < config->n_devices; i++)
        e->network = e->network || strcmp(config->devices[i].type->name, "net") == 0;
}

/* What the kernel would refuse to map. */
static int check_size(const struct lab_emulation *e, struct errctx *ec)
{
    struct sysinfo si;
    uint64_t need, has;
    char a[32], b[32];

    if (sysinfo(&si) < 0)
        return errctx_set_os(ec, errno, "sysinfo");
    has = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
    if (!checked_mul(e->node_bytes, e->nodes, &need))
        need = UINT64_MAX;
    if (need <= has)
        return 0;
    return errctx_set(ec, ENOMEM, "the emulated host would need %s, on each of its %u nodes room for "
                      "all of the machine's memory, and this one has %s",
                      units_format_human(need, a, sizeof(a)), e->nodes,
                      units_format_human(has, b, sizeof(b)));
}

/* The folder of the file of --junit has to be changed for real, too. Return: whether there is one. */
static bool junit_folder(const struct lab_job *job, char ret_folder[static PATH_MAX])
{
    const char *path = cli_args_get(job->args, "junit");
    CLEANUP_FREE char *real = path != NULL ? realpath(path, NULL) : NULL;
    struct stat st;

    if (real == NULL || stat(real, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    (void)snprintf(ret_folder, PATH_MAX, "%s", dirname(real));
    return true;
}

/* --- a topology that only this process can read ----------------------------------------------- */

#define TOPOLOGY_INSIDE "/run/numavisor/topology"

/* Standard input is read once. */
static int check_inputs(const struct lab_job *job, struct errctx *ec)
{
    const char *const values[] = { job->args->input.file, job->args->input.distances,
                                   cli_args_get(job->args, "events"),
                                   cli_args_get(job->args, "expect") };
    static const char *const names[] = { "config", "distances", "events", "expect" };

    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (values[i] != NULL && strcmp(values[i], "-") == 0)
            return errctx_set(ec, EINVAL, "--%s -: the emulated host cannot read standard input "
                              "again; name a file", names[i]);
    return 0;
}

/* This machine as a description in JSON, to free(). */
static int describe_host(char **ret_text, struct errctx *ec)
{
    struct topo_notes notes = { 0 };
    struct machine_config here;
    json_t *json = NULL;
    int r;

    config_init(&here);
    r = config_topology_read("host", &here.spec, &here.about, NULL, &notes, ec);
    if (r == 0)
        r = config_json_write(&here, &json, ec);
    if (r == 0) {
        *ret_text = json_dumps(json, 0);
        json_decref(json);
        if (*ret_text == NULL)
            r = errctx_set(ec, ENOMEM, "no memory for a topology");
    }
    config_fini(&here);
    return r;
}

/* Return: 0, @ret_fd -1 where the machine inside can read it as well. */
static int keep_topology(const struct config_input *in, int *ret_fd, struct errctx *ec)
{
    CLEANUP_FREE char *described = NULL;
    const char *text = in->topology_text;
    CLEANUP_CLOSE int fd = -1;
    int r = 0;

    *ret_fd = -1;
    if (in->topology != NULL && strcmp(in->topology, "host") == 0) {
        r = describe_host(&described, ec);
        text = described;
    }
    if (r < 0 || text == NULL)
        return r;
    fd = memfd_create("topology", 0); /* inherited */
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return errctx_set_os(ec, errno, "memory for a topology");
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Names that file in place of what cannot be read inside. @option: the whole option that does. */
static void point_at_topology(char **words, size_t n, const char *topology, char *option)
{
    for (size_t i = 0; i < n; i++) {
        const size_t len = strcspn(words[i], "=");

        if (strncmp(words[i], option, strlen("--topology")) != 0 || len != strlen("--topology"))
            continue;
        if (words[i][len] == '=' && strcmp(words[i] + len + 1, topology) == 0)
            words[i] = option;
        else if (words[i][len] == '\0' && i + 1 < n && strcmp(words[i + 1], topology) == 0)
            words[i + 1] = option + strlen("--topology=");
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

int lab_emulated_run(struct lab_job *job, struct errctx *ec)
{
    const struct cli_args *args = job->args;
    struct lab_emulation e = { .shares = job->shares,
                               .n_shares = job->req.n_shares,
                               .file_path = TOPOLOGY_INSIDE,
                               .file_fd = -1,
                               .lost_status = CLI_LAB_HOST,
                               .server_status = CLI_LAB_MACHINE };
    char self[PATH_MAX] = "", rig[PATH_MAX], folder[PATH_MAX], lab[] = "lab";
    char topology[] = "--topology=" TOPOLOGY_INSIDE;
    char *shares[LAB_SHARES_MAX + 1];
    char **command;
    int r = check_config(&args->config, ec);

    if (r == 0)
        r = check_inputs(job, ec);
    if (r == 0 && readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        r = errctx_set_os(ec, errno, "/proc/self/exe");
    if (r == 0)
        r = lab_emulate_find(self, rig, ec);
    e.rig = rig;
    e.program = lab_server_program();
    if (r == 0 && e.program == NULL)
        r = errctx_set(ec, ENOENT, "virtiofsd is not installed (Debian: qemu-system-common)");
    if (r < 0)
        return r;
    memcpy(shares, job->shares, sizeof(job->shares));
    e.shares = shares;
    if (junit_folder(job, folder)) {
        if (strcmp(folder, "/") == 0)
            return errctx_set(ec, EINVAL, "--junit: a file in / cannot be written from the "
                                          "emulated host");
        shares[e.n_shares++] = folder;
    }
    r = keep_topology(&args->input, &e.file_fd, ec);
    if (r < 0)
        return r;
    size_host(&args->config, &e);
    r = check_size(&e, ec);
    if (r < 0)
        return r;
    command = calloc(args->n_words + 2, sizeof(*command));
    if (command == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a command line");
    command[0] = self;
    command[1] = lab;
    memcpy(command + 2, args->words, args->n_words * sizeof(*command));
    if (e.file_fd >= 0)
        point_at_topology(command + 2, (size_t)(args->rest - args->words), args->input.topology,
                          topology);
    e.command = command;
    e.n_command = args->n_words + 2;
    r = lab_emulate(&e, ec);
    free(command);
    if (e.file_fd >= 0)
        (void)close(e.file_fd);
    return r;
}
