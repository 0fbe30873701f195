/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of CPU features are vcpu/'s, which vmm/config does not see; asked here, so that plan
 * refuses what run would, and both before anything is started.
 */
#include "vmm/machine/machine_config.h"

#include <errno.h>
#include <stdio.h>

#include "memory/pager/pager.h"
#include "memory/store/domain/domain_wire.h"
#include "vmm/machine/control_dir.h"
#include "vmm/machine/machine_arch.h"

int machine_config_check(const struct machine_config *config, struct errctx *ec)
{
    for (size_t i = 0; i < config->n_cpu_features_off; i++)
        if (!machine_arch_feature_known(config->cpu_features_off[i]))
            return errctx_set(ec, EINVAL,
                              "--cpu-feature -%.80s: no feature of that name can be taken away",
                              config->cpu_features_off[i]);
    for (size_t i = 0; !machine_arch_can_plug_cpus() && i < config->spec.n_nodes; i++)
        if (!idset_empty(&config->spec.nodes[i].later_cpus))
            return errctx_set(ec, ENOTSUP, "--node %zu: hotplug-cpus= needs ACPI, which machines of "
                              "this architecture do not have", i);
    if (config->domain != NULL && !domain_name_ok(config->domain))
        return errctx_set(ec, EINVAL,
                          "--domain %.80s: a domain's name has 1 to %d letters, digits, dots, "
                          "dashes and underscores, a letter or digit first",
                          config->domain, DOMAIN_NAME - 1);
    return 0;
}

struct device_needs machine_config_needs(const struct machine_config *config)
{
    struct device_needs needs = { 0 };

    for (size_t i = 0; i < config->n_devices; i++)
        if (config->devices[i].type->needs != NULL)
            config->devices[i].type->needs(&config->devices[i], &needs);
    return needs;
}

int machine_config_pageable(const struct machine_config *config, const struct topo_plan *plan,
                            struct errctx *ec)
{
    int r = config->pager == CONFIG_PAGER_ON ? pager_pageable(plan, ec) : 0;

    return r < 0 ? errctx_wrap(ec, r, "--pager on") : 0;
}

int machine_config_layout(const struct topo_plan *plan, struct mem_layout **ret_layout,
                          struct errctx *ec)
{
    return machine_arch_layout(plan, ret_layout, ec);
}

/* As many as a table of vhost-user holds; above that it depends on the server. */
enum { FILES_MAX = 8 };

void machine_config_files(const struct machine_config *config, struct topo_plan *plan)
{
    size_t n_files = plan->n_backings;
    bool shared = false;

    for (size_t i = 0; i < plan->n_nodes; i++)
        n_files += plan->nodes[i].ram_bytes > 0;
    for (size_t i = 0; i < config->n_devices; i++)
        shared = shared || config->devices[i].type->shares_memory;
    plan->one_file = shared && n_files >= FILES_MAX; /* the hole below 4 GiB cuts one of them */
}

int machine_config_fits(const struct topo_plan *plan, struct errctx *ec)
{
    struct mem_layout *layout;
    int r = machine_config_layout(plan, &layout, ec);

    if (r == 0)
        mem_layout_free(layout);
    return r;
}

const char *machine_config_domain_socket(const struct machine_config *config, char *buf,
                                         size_t size)
{
    char dir[256];

    if (config->domain_socket != NULL)
        return config->domain_socket;
    (void)snprintf(buf, size, "%s/%s", control_dir_path(dir, sizeof(dir)), CONTROL_DIR_SERVICE);
    return buf;
}
