/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a machine description, and the rules that cross several of its fields. */
#include "vmm/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_NAME_MAX = 64 };

void config_init(struct machine_config *config)
{
    *config = (struct machine_config){ .console = CONSOLE_SERIAL, .on_reset = ON_RESET_RESTART };
}

void config_fini(struct machine_config *config)
{
    free(config->name);
    free(config->kernel);
    free(config->initrd);
    free(config->cmdline);
    free(config->about);
    free(config->balance_trace);
    free(config->pager_swap);
    free(config->golden);
    free(config->domain);
    free(config->domain_socket);
    guest_spec_fini(&config->spec);
    for (size_t i = 0; i < config->n_devices; i++)
        device_args_fini(&config->devices[i]);
    free(config->devices);
    for (size_t i = 0; i < config->n_cpu_features_off; i++)
        free(config->cpu_features_off[i]);
    free(config->cpu_features_off);
    free(config->slow);
    *config = (struct machine_config){ 0 };
}

const char *config_linux_cmdline(const struct machine_config *config, bool serial_is_told)
{
#define MOVABLE "memhp_default_state=online_movable"
    static const char *const defaults[][2] = {
        [CONSOLE_SERIAL] = { "console=ttyS0", "console=ttyS0 " MOVABLE },
        [CONSOLE_VIRTIO] = { "console=hvc0", "console=hvc0 " MOVABLE },
        [CONSOLE_NONE] = { "", MOVABLE },
    };
    const enum config_console console = config->console == CONSOLE_SERIAL && serial_is_told
                                          ? CONSOLE_NONE
                                          : config->console;
#undef MOVABLE
    bool grows = false;

    for (size_t i = 0; i < config->spec.n_nodes; i++)
        grows = grows || config->spec.nodes[i].hotplug_bytes > 0;
    return defaults[console][grows];
}

bool config_name_ok(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > CONFIG_NAME_MAX || !isalnum((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
            return false;
    return true;
}

static uint32_t count_nodes(const struct guest_spec *spec)
{
    if (spec->n_nodes > 0)
        return (uint32_t)spec->n_nodes;
    return spec->n_vnuma > 0 && spec->n_vnuma != GUEST_VNUMA_AUTO ? spec->n_vnuma : 1;
}

static int check_devices(const struct machine_config *config, struct errctx *ec)
{
    uint32_t n_nodes = count_nodes(&config->spec);

    for (size_t i = 0; i < config->n_devices; i++) {
        const struct device_args *d = &config->devices[i];

        if (d->vnode > 0 && config->spec.n_vnuma == GUEST_VNUMA_AUTO)
            return errctx_set(ec, EINVAL,
                              "--%s: node=%u: with --vnuma auto only node 0 is sure to exist",
                              d->type->name, d->vnode);
        if (d->vnode >= n_nodes)
            return errctx_set(ec, EINVAL,
                              "--%s: node=%u does not exist, the guest's last node is %u",
                              d->type->name, d->vnode, n_nodes - 1);
        for (size_t j = 0; d->type->single && j < i; j++)
            if (config->devices[j].type == d->type)
                return errctx_set(ec, EINVAL, "--%s is given twice, a guest has at most one",
                                  d->type->name);
        for (size_t j = 0; j < i; j++) {
            const struct device_args *other = &config->devices[j];
            int r = other->type == d->type && d->type->clash != NULL
                        ? d->type->clash(other, d, ec)
                        : 0;

            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Virtio devices that I/O threads serve. */
static size_t count_served(const struct machine_config *config)
{
    size_t n = config->console == CONSOLE_VIRTIO;

    for (size_t i = 0; i < config->n_devices; i++)
        n += !config->devices[i].type->reclaims;
    return n;
}

/* Memory that is set aside is there whatever happens; a device that gives it back would end that. */
static int check_reclaims(const struct machine_config *config, struct errctx *ec)
{
    const struct guest_spec *spec = &config->spec;

    for (size_t i = 0; i < config->n_devices; i++) {
        const struct device_type *type = config->devices[i].type;

        if (!type->reclaims)
            continue;
        if (spec->prealloc)
            return errctx_set(ec, EINVAL, "--%s gives memory back that --prealloc takes for good: "
                              "leave one out", type->name);
        for (size_t k = 0; k < spec->n_nodes; k++)
            if (spec->nodes[k].reserve || spec->nodes[k].prealloc)
                return errctx_set(ec, EINVAL,
                                  "--%s gives memory back that --node %zu takes for good with %s: "
                                  "leave one out", type->name, k,
                                  spec->nodes[k].reserve ? "reserve" : "prealloc");
    }
    return 0;
}

/* Another process maps the guest's memory: a hole reads as zero there and is filled, and pages that
 * two processes map stay where they are. */
static int check_shares(const struct machine_config *config, struct errctx *ec)
{
    size_t n = 0;

    for (size_t i = 0; i < config->n_devices; i++) {
        const struct device_type *type = config->devices[i].type;

        if (!type->shares_memory)
            continue;
        if (++n > DEVICE_PEERS_MAX)
            return errctx_set(ec, EINVAL, "--%s: at most %d of them", type->name,
                              DEVICE_PEERS_MAX);
        if (config->pager == CONFIG_PAGER_ON)
            return errctx_set(ec, EINVAL,
                              "--%s and --pager on exclude each other: the back end would read "
                              "zeroes where memory was taken away", type->name);
        if (config->spec.balance == GUEST_BALANCE_ON)
            return errctx_set(ec, EINVAL,
                              "--%s and --balance on exclude each other: memory that a back end "
                              "maps stays on its host node", type->name);
    }
    return 0;
}

/* Who else takes pages out of the page table, or moves them, would be in the way. */
static int check_slow(const struct machine_config *config, struct errctx *ec)
{
    const uint32_t n_nodes = count_nodes(&config->spec);

    for (size_t i = 0; i < config->n_slow; i++) {
        const uint32_t vnode = config->slow[i].vnode;

        if (vnode > 0 && config->spec.n_vnuma == GUEST_VNUMA_AUTO)
            return errctx_set(ec, EINVAL,
                              "--slow: node=%u: with --vnuma auto only node 0 is sure to exist",
                              vnode);
        if (vnode >= n_nodes)
            return errctx_set(ec, EINVAL,
                              "--slow: node=%u does not exist, the guest's last node is %u", vnode,
                              n_nodes - 1);
        for (size_t k = 0; k < i; k++)
            if (config->slow[k].vnode == vnode)
                return errctx_set(ec, EINVAL, "--slow: node=%u is given twice", vnode);
    }
    if (config->n_slow > 0 && config->pager == CONFIG_PAGER_ON)
        return errctx_set(ec, EINVAL, "--slow and --pager on exclude each other: both take pages out "
                          "of the page table");
    if (config->n_slow > 0 && config->spec.balance == GUEST_BALANCE_ON)
        return errctx_set(ec, EINVAL, "--slow and --balance on exclude each other: a slow node is "
                          "not moved");
    return 0;
}

int config_check(const struct machine_config *config, bool to_run, struct errctx *ec)
{
    size_t n_devices = count_served(config);
    int r;

    if (config->name != NULL && !config_name_ok(config->name))
        return errctx_set(ec, EINVAL,
                          "--name: \"%.80s\" is not a name of at most %d letters, digits, dots, "
                          "dashes and underscores that starts with a letter or digit",
                          config->name, CONFIG_NAME_MAX);
    if (to_run && config->kernel == NULL)
        return errctx_set(ec, EINVAL, "there is nothing to boot, say --kernel FILE");
    if (config->initrd != NULL && config->kernel == NULL)
        return errctx_set(ec, EINVAL, "--initrd has no effect without --kernel");
    if (config->cmdline != NULL && config->kernel == NULL)
        return errctx_set(ec, EINVAL, "--cmdline has no effect without --kernel");
    if (config->io_threads > 0 && n_devices == 0)
        return errctx_set(ec, EINVAL, "--io-threads has no effect without a virtio device");
    if (config->io_poll_us > 0 && n_devices == 0)
        return errctx_set(ec, EINVAL, "--io-poll has no effect without a virtio device");
    if (config->io_threads > n_devices)
        return errctx_set(ec, EINVAL,
                          "--io-threads: %u threads have only %zu virtio device%s to serve",
                          config->io_threads, n_devices, n_devices == 1 ? "" : "s");
    if (config->pager_budget_milli > 0 && config->pager == CONFIG_PAGER_OFF)
        return errctx_set(ec, EINVAL, "--pager-budget has no effect without --pager on");
    if (config->pager_store_bytes > 0 && config->pager == CONFIG_PAGER_OFF)
        return errctx_set(ec, EINVAL, "--pager-store has no effect without --pager on");
    if (config->pager_swap != NULL && config->pager == CONFIG_PAGER_OFF)
        return errctx_set(ec, EINVAL, "--pager-swap has no effect without --pager on");
    if (config->golden != NULL && config->pager == CONFIG_PAGER_OFF)
        return errctx_set(ec, EINVAL, "--golden has no effect without --pager on");
    if (config->domain != NULL && config->pager == CONFIG_PAGER_OFF)
        return errctx_set(ec, EINVAL, "--domain has no effect without --pager on");
    if (config->domain_socket != NULL && config->domain == NULL)
        return errctx_set(ec, EINVAL, "--domain-socket has no effect without --domain");
    if (config->spec.balance == GUEST_BALANCE_ON &&
        (config->spec.pin == GUEST_PIN_DEDICATED || config->spec.pin == GUEST_PIN_LLC))
        return errctx_set(ec, EINVAL,
                          "--balance on and --pin %s exclude each other: rebalancing weighs CPU "
                          "time, not which CPUs or caches are free",
                          config->spec.pin == GUEST_PIN_LLC ? "llc" : "dedicated");
    r = check_devices(config, ec);
    if (r == 0)
        r = guest_spec_check(&config->spec, ec);
    if (r == 0)
        r = check_slow(config, ec);
    if (r == 0)
        r = check_shares(config, ec);
    return r < 0 ? r : check_reclaims(config, ec);
}

int config_complete(struct machine_config *config, struct errctx *ec)
{
    if (config->name == NULL && asprintf(&config->name, "vm-%d", (int)getpid()) < 0) {
        config->name = NULL;
        return errctx_set(ec, ENOMEM, "no memory for the machine's name");
    }
    if (config->io_threads == 0)
        config->io_threads = 1;
    return 0;
}
