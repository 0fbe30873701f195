/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of CPU features are vcpu/'s, which vmm/config does not see; asked here, so that plan
 * refuses what run would, and both before anything is started.
 */
#include "vmm/machine/machine_config.h"

#include <errno.h>

#include "vcpu/cpuid_features.h"

int machine_config_check(const struct machine_config *config, struct errctx *ec)
{
    for (size_t i = 0; i < config->n_cpu_features_off; i++)
        if (!cpuid_feature_known(config->cpu_features_off[i]))
            return errctx_set(ec, EINVAL,
                              "--cpu-feature -%.80s: no feature of that name can be taken away",
                              config->cpu_features_off[i]);
    return 0;
}
