/* SPDX-License-Identifier: Apache-2.0 */
/* See config_shapes.h. A new field of a spec is one row here. */
#include "vmm/config/config_shapes.h"

#include "vmm/base/macros.h"
#include "vmm/config/config.h"

enum {
    CONFIG_MAX_IO_THREADS = 64,
    CONFIG_MAX_IO_POLL_US = 10000,
    CONFIG_MAX_WEIGHT = 10000,
    CONFIG_MIN_CPU_MILLI = 10, /* cgroups give time in pieces of a millisecond at least */
    CONFIG_MAX_CPU_MILLI = 8192000,
    CONFIG_MAX_HALT_POLL_NS = 1000000,
    CONFIG_MIN_EPOCH_NS = 100000000,
};

#define CONFIG_MAX_EPOCH_NS UINT64_C(3600000000000)

static const char *const console_words[] = { "serial", "virtio", "none", NULL };
static const char *const pager_words[] = { "off", "on", NULL };
static const char *const reset_words[] = { "restart", "exit", NULL };
static const char *const pin_words[] = { "", "dedicated", "llc", "node", "socket", NULL };
static const char *const objective_words[] = { "", "default", "load", "numa", "cache", NULL };
static const char *const cache_type_words[] = { "", "data", "instruction", "unified", NULL };
static const char *const assoc_words[] = { "none", "direct", "complex", NULL };
static const char *const write_words[] = { "none", "back", "through", NULL };

#define MACHINE(field) offsetof(struct machine_config, field)

static const struct config_member machine_members[] = {
    { .name = "name", .kind = CONFIG_TEXT, .off = MACHINE(name) },
    { .name = "kernel", .kind = CONFIG_TEXT, .off = MACHINE(kernel) },
    { .name = "initrd", .kind = CONFIG_TEXT, .off = MACHINE(initrd) },
    { .name = "cmdline", .kind = CONFIG_TEXT, .off = MACHINE(cmdline) },
    { .name = "about", .kind = CONFIG_TEXT, .off = MACHINE(about) },
    { .name = "cpus", .kind = CONFIG_U32, .off = MACHINE(spec.n_cpus), .min = 1 },
    { .name = "memory", .kind = CONFIG_SIZE, .off = MACHINE(spec.memory_bytes), .min = 2 * MIB },
    { .name = "pages", .kind = CONFIG_PAGES, .off = MACHINE(spec.pages) },
    { .name = "policy",
      .kind = CONFIG_WORD,
      .off = MACHINE(spec.policy),
      .words = guest_policy_words },
    { .name = "prealloc", .kind = CONFIG_TRUE, .off = MACHINE(spec.prealloc) },
    { .name = "fallback", .kind = CONFIG_FALLBACK, .off = MACHINE(spec.fallback) },
    { .name = "vnuma", .kind = CONFIG_COUNT, .off = MACHINE(spec.n_vnuma), .min = 1 },
    { .name = "threads", .kind = CONFIG_U32, .off = MACHINE(spec.threads), .min = 1 },
    { .name = "cores", .kind = CONFIG_U32, .off = MACHINE(spec.cores), .min = 1 },
    { .name = "dies", .kind = CONFIG_U32, .off = MACHINE(spec.dies), .min = 1 },
    { .name = "sockets", .kind = CONFIG_U32, .off = MACHINE(spec.sockets), .min = 1 },
    { .name = "host_caches", .kind = CONFIG_FALSE, .off = MACHINE(spec.no_host_caches) },
    { .name = "pin", .kind = CONFIG_WORD, .off = MACHINE(spec.pin), .words = pin_words },
    { .name = "objective",
      .kind = CONFIG_WORD,
      .off = MACHINE(spec.objective),
      .words = objective_words },
    { .name = "cpu_weight",
      .kind = CONFIG_U32,
      .off = MACHINE(spec.share.weight),
      .min = 1,
      .max = CONFIG_MAX_WEIGHT },
    { .name = "cpu_max",
      .kind = CONFIG_CPUS,
      .off = MACHINE(spec.share.max_milli),
      .min = CONFIG_MIN_CPU_MILLI,
      .max = CONFIG_MAX_CPU_MILLI },
    { .name = "cpu_reserve",
      .kind = CONFIG_CPUS,
      .off = MACHINE(spec.share.reserve_milli),
      .min = CONFIG_MIN_CPU_MILLI,
      .max = CONFIG_MAX_CPU_MILLI },
    { .name = "halt_poll",
      .kind = CONFIG_NS,
      .off = MACHINE(halt_poll_ns),
      .flag_off = MACHINE(has_halt_poll),
      .max = CONFIG_MAX_HALT_POLL_NS },
    { .name = "balance",
      .kind = CONFIG_WORD,
      .off = MACHINE(spec.balance),
      .words = guest_balance_words },
    { .name = "balance_epoch",
      .kind = CONFIG_NS,
      .off = MACHINE(balance_epoch_ns),
      .min = CONFIG_MIN_EPOCH_NS,
      .max = CONFIG_MAX_EPOCH_NS },
    { .name = "balance_trace", .kind = CONFIG_TEXT, .off = MACHINE(balance_trace) },
    { .name = "pager", .kind = CONFIG_WORD, .off = MACHINE(pager), .words = pager_words },
    { .name = "pager_budget",
      .kind = CONFIG_CPUS,
      .off = MACHINE(pager_budget_milli),
      .min = 1,
      .max = 1000 },
    { .name = "pager_store", .kind = CONFIG_SIZE, .off = MACHINE(pager_store_bytes), .min = MIB },
    { .name = "pager_swap", .kind = CONFIG_TEXT, .off = MACHINE(pager_swap) },
    { .name = "golden", .kind = CONFIG_TEXT, .off = MACHINE(golden) },
    { .name = "domain", .kind = CONFIG_TEXT, .off = MACHINE(domain) },
    { .name = "domain_socket", .kind = CONFIG_TEXT, .off = MACHINE(domain_socket) },
    { .name = "console", .kind = CONFIG_WORD, .off = MACHINE(console), .words = console_words },
    { .name = "on_reset", .kind = CONFIG_WORD, .off = MACHINE(on_reset), .words = reset_words },
    { .name = "io_threads",
      .kind = CONFIG_U32,
      .off = MACHINE(io_threads),
      .min = 1,
      .max = CONFIG_MAX_IO_THREADS },
    { .name = "io_poll",
      .kind = CONFIG_U32,
      .off = MACHINE(io_poll_us),
      .min = 1,
      .max = CONFIG_MAX_IO_POLL_US },
    { .name = "sandbox", .kind = CONFIG_FALSE, .off = MACHINE(no_sandbox) },
};

#define NODE(field) offsetof(struct guest_node_spec, field)

static const struct config_member node_members[] = {
    { .name = "cpus", .kind = CONFIG_IDSET, .off = NODE(cpus) },
    { .name = "memory", .kind = CONFIG_SIZE, .off = NODE(memory_bytes), .min = 2 * MIB },
    { .name = "host", .kind = CONFIG_IDSET, .off = NODE(host_nodes) },
    { .name = "policy", .kind = CONFIG_WORD, .off = NODE(policy), .words = guest_policy_words },
    { .name = "weights", .kind = CONFIG_WEIGHTS, .off = NODE(weights) },
    { .name = "pages", .kind = CONFIG_PAGES, .off = NODE(pages) },
    { .name = "reserve", .kind = CONFIG_TRUE, .off = NODE(reserve) },
    { .name = "prealloc", .kind = CONFIG_TRUE, .off = NODE(prealloc) },
    { .name = "generic_initiator", .kind = CONFIG_TRUE, .off = NODE(generic_initiator) },
    { .name = "initiator",
      .kind = CONFIG_U32,
      .off = NODE(initiator),
      .flag_off = NODE(has_initiator) },
    { .name = "hotplug", .kind = CONFIG_SIZE, .off = NODE(hotplug_bytes), .min = 2ull * GIB },
    { .name = "hotplug-cpus", .kind = CONFIG_IDSET, .off = NODE(later_cpus) },
};

#define DISTANCE(field) offsetof(struct guest_distance_spec, field)

static const struct config_member distance_members[] = {
    { .name = "from", .kind = CONFIG_U32, .off = DISTANCE(from), .required = true },
    { .name = "to", .kind = CONFIG_U32, .off = DISTANCE(to), .required = true },
    { .name = "value", .kind = CONFIG_U32, .off = DISTANCE(value), .required = true },
};

#define LINK(field) offsetof(struct guest_link_spec, field)

static const struct config_member link_members[] = {
    { .name = "from", .kind = CONFIG_U32, .off = LINK(from), .required = true },
    { .name = "to", .kind = CONFIG_U32, .off = LINK(to), .required = true },
    { .name = "latency", .kind = CONFIG_NS, .off = LINK(latency_ns), .min = 1 },
    { .name = "bandwidth", .kind = CONFIG_RATE, .off = LINK(bandwidth_bytes_per_s), .min = MIB },
};

#define SLOW(field) offsetof(struct config_slow, field)

static const struct config_member slow_members[] = {
    { .name = "node",
      .kind = CONFIG_U32,
      .off = SLOW(vnode),
      .required = true,
      .max = GUEST_MAX_VNODES - 1 },
    { .name = "factor",
      .kind = CONFIG_FACTOR,
      .off = SLOW(factor_milli),
      .required = true,
      .min = CONFIG_SLOW_MIN_MILLI,
      .max = CONFIG_SLOW_MAX_MILLI },
};

#define CACHE(field) offsetof(struct guest_cache_spec, field)

static const struct config_member cache_members[] = {
    { .name = "level",
      .kind = CONFIG_U32,
      .off = CACHE(level),
      .required = true,
      .min = 1,
      .max = 4 },
    { .name = "type",
      .kind = CONFIG_WORD,
      .off = CACHE(type),
      .required = true,
      .words = cache_type_words },
    { .name = "size", .kind = CONFIG_SIZE, .off = CACHE(size_bytes), .min = 1 },
    { .name = "line", .kind = CONFIG_U32, .off = CACHE(line_bytes), .min = 1 },
    { .name = "ways", .kind = CONFIG_U32, .off = CACHE(ways), .min = 1 },
    { .name = "cores", .kind = CONFIG_U32, .off = CACHE(cores), .min = 1 },
    { .name = "span_nodes", .kind = CONFIG_TRUE, .off = CACHE(span_nodes) },
};

#define MEM_CACHE(field) offsetof(struct guest_mem_cache_spec, field)

static const struct config_member mem_cache_members[] = {
    { .name = "size",
      .kind = CONFIG_SIZE,
      .off = MEM_CACHE(size_bytes),
      .required = true,
      .min = 1 },
    { .name = "line", .kind = CONFIG_U32, .off = MEM_CACHE(line_bytes), .min = 1 },
    { .name = "associativity", .kind = CONFIG_WORD, .off = MEM_CACHE(assoc), .words = assoc_words },
    { .name = "write", .kind = CONFIG_WORD, .off = MEM_CACHE(write), .words = write_words },
};

#define SHAPE(rows)                                                                                \
    {                                                                                              \
        .members = (rows), .n_members = ARRAY_SIZE(rows)                                           \
    }

const struct config_shape config_machine_shape = SHAPE(machine_members);
const struct config_shape config_node_shape = SHAPE(node_members);
const struct config_shape config_distance_shape = SHAPE(distance_members);
const struct config_shape config_link_shape = SHAPE(link_members);
const struct config_shape config_slow_shape = SHAPE(slow_members);
const struct config_shape config_cache_shape = SHAPE(cache_members);
const struct config_shape config_mem_cache_shape = SHAPE(mem_cache_members);

_Static_assert(ARRAY_SIZE(machine_members) <= CONFIG_SHAPE_MAX, "CONFIG_SHAPE_MAX is too small");

const struct config_member *config_machine_member(const char *name)
{
    int i = config_shape_find(&config_machine_shape, name);

    return i < 0 ? NULL : &machine_members[i];
}
