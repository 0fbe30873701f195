/* SPDX-License-Identifier: Apache-2.0 */
/* See config_options.h. Parsers that are more than one scalar are in config_parse.c. */
#include "vmm/config/config_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_json.h"
#include "vmm/config/config_parse.h"
#include "vmm/config/config_shapes.h"
#include "vmm/config/config_topology.h"

static const struct config_option option_rows[] = {
    { .name = "config",
      .arg = "FILE",
      .group = CONFIG_GROUP_BOOT,
      .is_file = true,
      .parse = config_parse_config,
      .help = "read a machine from a JSON file" },
    { .name = "name",
      .arg = "NAME",
      .field = "name",
      .group = CONFIG_GROUP_BOOT,
      .help = "what ctl and list call the machine (default: vm-PID)" },
    { .name = "kernel",
      .arg = "FILE",
      .field = "kernel",
      .group = CONFIG_GROUP_BOOT,
      .is_file = true,
      .help = "bzImage, ELF vmlinux or multiboot image to start" },
    { .name = "initrd",
      .arg = "FILE",
      .field = "initrd",
      .group = CONFIG_GROUP_BOOT,
      .is_file = true,
      .help = "initial RAM disk" },
    { .name = "cmdline",
      .arg = "TEXT",
      .field = "cmdline",
      .group = CONFIG_GROUP_BOOT,
      .help = "kernel command line (Linux' default: console=ttyS0, or as --console says)" },
    { .name = "topology",
      .arg = "PRESET|FILE|DIR|TEXT|host",
      .group = CONFIG_GROUP_TOPOLOGY,
      .is_file = true,
      .offers_presets = true,
      .parse = config_parse_topology,
      .help = "CPUs, memory, nodes, caches and distances of a preset, or of a machine as hwloc "
              "(XML, synthetic, archive), numactl -H or our JSON describe it" },
    { .name = "scale",
      .arg = "memory=1/N,cpus=1/N",
      .group = CONFIG_GROUP_TOPOLOGY,
      .parse = config_parse_scale,
      .help = "shrink the topology and keep its shape; one of the two may be left out" },
    { .name = "distances",
      .arg = "SHAPE|FILE",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "flat line ring one-way mesh torus hypercube",
      .parse = config_parse_distances,
      .help = "all distances: flat, line, ring, one-way, mesh, torus, hypercube, or a matrix" },
    { .name = "cpus",
      .arg = "N",
      .field = "cpus",
      .group = CONFIG_GROUP_TOPOLOGY,
      .help = "number of virtual CPUs" },
    { .name = "memory",
      .arg = "SIZE",
      .field = "memory",
      .group = CONFIG_GROUP_TOPOLOGY,
      .help = "guest memory, spread over the nodes (default 1G)" },
    { .name = "pages",
      .arg = "4K|thp|2M|1G[:SIZE][+...]",
      .field = "pages",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "4K thp 2M 1G",
      .help = "what every node's memory is made of" },
    { .name = "policy",
      .arg = "bind|preferred|interleave|weighted-interleave|local|auto",
      .field = "policy",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "bind preferred interleave weighted-interleave local auto",
      .help = "where every node's memory comes from" },
    { .name = "fallback",
      .arg = "pages|policy|host[,...]",
      .field = "fallback",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "pages policy host",
      .help = "what may give way when the host is short of memory, in order" },
    { .name = "prealloc",
      .field = "prealloc",
      .group = CONFIG_GROUP_TOPOLOGY,
      .parse = config_parse_prealloc,
      .help = "take all memory at the start, in huge pages where there are some" },
    { .name = "vnuma",
      .arg = "N|auto",
      .field = "vnuma",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "auto",
      .help = "N nodes as equal as whole cores and 2 MiB pages allow, or as the host's suit" },
    { .name = "node",
      .arg = "cpus=LIST,memory=SIZE[,host=LIST][,policy=POLICY][,weights=N:...][,pages=PAGES]"
             "[,reserve][,prealloc][,generic_initiator][,initiator=N][,hotplug=SIZE]"
             "[,hotplug-cpus=LIST]",
      .field = "nodes",
      .group = CONFIG_GROUP_TOPOLOGY,
      .repeats = true,
      .parse = config_parse_node,
      .help = "one node; cpus= or memory= may be left out" },
    { .name = "distance",
      .arg = "A-B=D",
      .field = "distances",
      .group = CONFIG_GROUP_TOPOLOGY,
      .repeats = true,
      .parse = config_parse_distance,
      .help = "distance from node A to B, and back unless B-A is given" },
    { .name = "link",
      .arg = "from=A,to=B[,latency=NS][,bandwidth=SIZE/s]",
      .field = "links",
      .group = CONFIG_GROUP_TOPOLOGY,
      .repeats = true,
      .parse = config_parse_link,
      .help = "what it costs the CPUs of A to reach the memory of B" },
    { .name = "threads",
      .arg = "N",
      .field = "threads",
      .group = CONFIG_GROUP_TOPOLOGY,
      .help = "threads in a core (default 1)" },
    { .name = "cores",
      .arg = "N",
      .field = "cores",
      .group = CONFIG_GROUP_TOPOLOGY,
      .help = "cores in a die" },
    { .name = "dies",
      .arg = "N",
      .field = "dies",
      .group = CONFIG_GROUP_TOPOLOGY,
      .help = "dies in a socket (default: one for each node in it)" },
    { .name = "sockets",
      .arg = "N",
      .field = "sockets",
      .group = CONFIG_GROUP_TOPOLOGY,
      .help = "sockets (default: one for each node with CPUs)" },
    { .name = "l3",
      .arg = "SIZE[,cores=N]",
      .field = "caches",
      .group = CONFIG_GROUP_TOPOLOGY,
      .parse = config_parse_l3,
      .help = "size of a level 3 cache and the cores that share it" },
    { .name = "pin",
      .arg = "dedicated|llc|node|socket",
      .field = "pin",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "dedicated llc node socket",
      .help = "find places on the host and pin virtual CPUs to them, by this level" },
    { .name = "objective",
      .arg = "default|load|numa|cache",
      .field = "objective",
      .group = CONFIG_GROUP_TOPOLOGY,
      .values = "default load numa cache",
      .help = "what places are good ones; implies --pin node (default: all together)" },
    { .name = "pager",
      .arg = "on|off",
      .field = "pager",
      .group = CONFIG_GROUP_RUNNING,
      .values = "on off",
      .help = "let ctl evict and target take memory away, which comes back by touch (default: off)" },
    { .name = "pager-budget",
      .arg = "CPUS|PERCENT%",
      .field = "pager_budget",
      .group = CONFIG_GROUP_RUNNING,
      .help = "CPU time to see what is in use and pack what is not (default: 1% for each 16 GiB)" },
    { .name = "pager-store",
      .arg = "SIZE",
      .field = "pager_store",
      .group = CONFIG_GROUP_RUNNING,
      .help = "host memory that what is away may take (default: the guest's memory)" },
    { .name = "pager-swap",
      .arg = "FILE",
      .field = "pager_swap",
      .group = CONFIG_GROUP_RUNNING,
      .help = "a file or disk, written over, for what has no room there or is long away" },
    { .name = "golden",
      .arg = "NAME|FILE",
      .field = "golden",
      .group = CONFIG_GROUP_RUNNING,
      .is_file = true,
      .help = "pages that need no room because they are in a file that all may read" },
    { .name = "domain",
      .arg = "NAME",
      .field = "domain",
      .group = CONFIG_GROUP_RUNNING,
      .help = "share pages that are away with machines of this trust domain (default: none)" },
    { .name = "domain-socket",
      .arg = "FILE",
      .field = "domain_socket",
      .group = CONFIG_GROUP_RUNNING,
      .is_file = true,
      .help = "socket of the host service, numavisord (default: the user's)" },
    { .name = "cpu-weight",
      .arg = "N",
      .field = "cpu_weight",
      .group = CONFIG_GROUP_RUNNING,
      .help = "share of CPU time beside others, 1 to 10000 (default 100)" },
    { .name = "cpu-max",
      .arg = "CPUS|PERCENT%",
      .field = "cpu_max",
      .group = CONFIG_GROUP_RUNNING,
      .help = "never more CPU time than so many CPUs have: 1.5 or 150%" },
    { .name = "cpu-reserve",
      .arg = "CPUS|PERCENT%",
      .field = "cpu_reserve",
      .group = CONFIG_GROUP_RUNNING,
      .help = "never less when it is wanted, refused where it is not to be had" },
    { .name = "halt-poll",
      .arg = "NS",
      .field = "halt_poll",
      .group = CONFIG_GROUP_RUNNING,
      .help = "how long KVM looks for work for a halted virtual CPU, 0 to 1ms" },
    { .name = "balance",
      .arg = "off|advise|on",
      .field = "balance",
      .group = CONFIG_GROUP_RUNNING,
      .values = "off advise on",
      .help = "move virtual nodes when the host changes, or say so; implies --pin node" },
    { .name = "balance-epoch",
      .arg = "TIME",
      .field = "balance_epoch",
      .group = CONFIG_GROUP_RUNNING,
      .help = "how often the host is looked at for that, 100ms to 3600s (default: 10s)" },
    { .name = "balance-trace",
      .arg = "FILE",
      .field = "balance_trace",
      .group = CONFIG_GROUP_RUNNING,
      .is_file = true,
      .help = "write what was seen and decided into FILE, for numavisor replay" },
    { .name = "slow",
      .arg = "node=N,factor=F",
      .field = "slow",
      .group = CONFIG_GROUP_RUNNING,
      .repeats = true,
      .parse = config_parse_slow,
      .help = "have accesses to a node's memory take F times as long, 1.1 to 16; may be repeated" },
    { .name = "console",
      .arg = "serial|virtio|none",
      .field = "console",
      .group = CONFIG_GROUP_DEVICES,
      .values = "serial virtio none",
      .help = "what the terminal is in the guest: ttyS0, hvc0 or nothing" },
    { .name = "io-threads",
      .arg = "N",
      .field = "io_threads",
      .group = CONFIG_GROUP_DEVICES,
      .help = "threads that the virtio devices are spread over (default: 1)" },
    { .name = "io-poll",
      .arg = "US",
      .field = "io_poll",
      .group = CONFIG_GROUP_DEVICES,
      .help = "microseconds that I/O threads look for work before they sleep (default: none)" },
    { .name = "cpu-feature",
      .arg = "-NAME",
      .field = "cpu_features_off",
      .group = CONFIG_GROUP_RUNNING,
      .repeats = true,
      .parse = config_parse_cpu_feature,
      .help = "take a CPU feature away, named as in /proc/cpuinfo" },
    { .name = "on-reset",
      .arg = "restart|exit",
      .field = "on_reset",
      .group = CONFIG_GROUP_RUNNING,
      .values = "restart exit",
      .help = "what a reset by the guest does (default: restart)" },
    { .name = "no-sandbox",
      .field = "sandbox",
      .group = CONFIG_GROUP_RUNNING,
      .parse = config_parse_no_sandbox,
      .help = "run with all privileges, system calls and files, for debugging only" },
};

static const char *const group_titles[CONFIG_GROUP_COUNT] = {
    [CONFIG_GROUP_BOOT] = "What to run",
    [CONFIG_GROUP_TOPOLOGY] = "CPUs, memory and topology",
    [CONFIG_GROUP_DEVICES] = "Devices",
    [CONFIG_GROUP_RUNNING] = "Running",
};

const char *config_group_title(enum config_group group)
{
    return group_titles[group];
}

/* Device rows come after ours. A type that one of our own rows stands for is not an option. */
static const struct device_type *device_row(size_t i)
{
    const struct device_type *const *types = registry_types();

    for (; *types != NULL; types++) {
        bool ours = false;

        for (size_t k = 0; k < ARRAY_SIZE(option_rows); k++)
            ours = ours || strcmp(option_rows[k].name, (*types)->name) == 0;
        if (!ours && i-- == 0)
            return *types;
    }
    return NULL;
}

static bool has_required_key(const struct device_type *type)
{
    for (const struct device_key *k = type->keys; k->name != NULL; k++)
        if (k->required)
            return true;
    return false;
}

size_t config_options_count(void)
{
    size_t n = ARRAY_SIZE(option_rows);

    while (device_row(n - ARRAY_SIZE(option_rows)) != NULL)
        n++;
    return n;
}

struct config_option config_options_get(size_t i)
{
    const struct device_type *type;

    if (i < ARRAY_SIZE(option_rows))
        return option_rows[i];
    type = device_row(i - ARRAY_SIZE(option_rows));
    return (struct config_option){ .name = type->name,
                                   .arg = "", /* config_device_usage() spells it out */
                                   .arg_optional = !has_required_key(type),
                                   .field = "devices",
                                   .help = type->help,
                                   .group = CONFIG_GROUP_DEVICES,
                                   .repeats = !type->single,
                                   .is_file = type->keys[0].name != NULL &&
                                              type->first_key != NULL &&
                                              type->keys[0].kind == DEVICE_KEY_PATH,
                                   .device = type };
}

const char *config_device_usage(const struct device_type *type, char *buf, size_t size)
{
    static const char *const forms[] = {
        [DEVICE_KEY_STRING] = "TEXT", [DEVICE_KEY_PATH] = "FILE", [DEVICE_KEY_FLAG] = "",
        [DEVICE_KEY_UINT] = "N",      [DEVICE_KEY_SIZE] = "SIZE",
    };
    size_t len = 0;

    for (const struct device_key *k = type->keys; k->name != NULL && len < size; k++) {
        bool bare = type->first_key != NULL && strcmp(type->first_key, k->name) == 0;
        bool flag = k->kind == DEVICE_KEY_FLAG;

        len += (size_t)snprintf(buf + len, size - len, "%s%s%s%s%s%s", k->required ? "" : "[",
                                len == 0 ? "" : ",", bare ? "" : k->name, bare || flag ? "" : "=",
                                forms[k->kind], k->required ? "" : "]");
    }
    if (len < size)
        (void)snprintf(buf + len, size - len, "[%snode=N]", len == 0 ? "" : ",");
    return buf;
}

int config_input_find(const char *name)
{
    size_t n = config_options_count();

    for (size_t i = 0; i < n; i++)
        if (strcmp(config_options_get(i).name, name) == 0)
            return (int)i;
    return -1;
}

void config_input_fini(struct config_input *in)
{
    free(in->file);
    free(in->topology);
    free(in->topology_text);
    free(in->distances);
    free(in->scale);
    in->file = in->topology = in->topology_text = in->distances = in->scale = NULL;
}

static int field_index(const char *name)
{
    for (size_t i = 0; config_json_field(i) != NULL; i++)
        if (strcmp(config_json_field(i), name) == 0)
            return (int)i;
    return -1;
}

int config_input_claim(struct config_input *in, size_t field, struct errctx *ec)
{
    const char *name = config_json_field(field);

    for (size_t i = 0; i < ARRAY_SIZE(option_rows) && !config_json_field_is_list(field); i++) {
        const struct config_option *o = &option_rows[i];

        if (in->option_given[i] && o->field != NULL && strcmp(o->field, name) == 0)
            return errctx_set(ec, EINVAL, "\"%s\" and the option --%s both say it", name, o->name);
    }
    in->field_in_file[field] = true;
    return 0;
}

/* Each option once, unless it repeats, and not next to a file that says the same. */
static int check_first(const struct config_input *in, int row, const struct config_option *o,
                       struct errctx *ec)
{
    int field = o->field != NULL ? field_index(o->field) : -1;

    if (in->option_given[row] && !o->repeats)
        return errctx_set(ec, EINVAL, "--%s is given twice", o->name);
    if (field >= 0 && in->field_in_file[field] && !config_json_field_is_list((size_t)field))
        return errctx_set(ec, EINVAL, "--%s: %s says \"%s\" too", o->name, in->file, o->field);
    return 0;
}

static int parse_device(struct machine_config *config, const struct device_type *type,
                        const char *text, struct errctx *ec)
{
    struct device_args args = { 0 };
    int r = device_args_parse(type, text, &args, ec);

    if (r < 0)
        return r;
    r = config_add_device(config, &args, ec);
    if (r < 0)
        device_args_fini(&args);
    return r;
}

int config_input_option(struct config_input *in, int row, const char *text, struct errctx *ec)
{
    struct config_option o = config_options_get((size_t)row);
    int r = check_first(in, row, &o, ec);

    if (r < 0)
        return r;
    in->option_given[row] = true;
    if (o.device != NULL)
        return parse_device(in->config, o.device, text, ec); /* the sentence names the option */
    r = o.parse != NULL ? o.parse(in, text, ec)
                        : config_member_parse(config_machine_member(o.field), in->config, text, ec);
    return r < 0 && o.parse != config_parse_config ? errctx_wrap(ec, r, "--%s", o.name) : r;
}

int config_input_finish(struct config_input *in, struct errctx *ec)
{
    return config_topology_apply(in, ec);
}
