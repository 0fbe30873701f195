/* SPDX-License-Identifier: Apache-2.0 */
/* See config_parse.h. Whether the pieces fit together is guest_spec_check()'s business. */
#include "vmm/config/config_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"
#include "vmm/config/config_json.h"
#include "vmm/config/config_shapes.h"

enum { CONFIG_MAX_SLOW = GUEST_MAX_VNODES, CONFIG_MAX_DEVICES = 1024, CONFIG_MAX_FEATURES_OFF = 256 };

int config_parse_config(struct config_input *in, const char *text, struct errctx *ec)
{
    in->file = strdup(text);
    if (in->file == NULL)
        return errctx_set(ec, ENOMEM, "--config: no memory for the file name");
    return config_json_read_file(in, text, ec);
}

int config_parse_node(struct config_input *in, const char *text, struct errctx *ec)
{
    CLEANUP_FREE struct guest_node_spec *node = calloc(1, sizeof(*node)); /* 3 KB of sets */
    int r;

    if (text[0] == '\0')
        return errctx_set(ec, EINVAL, "an empty text says nothing");
    if (node == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a node");
    r = config_shape_parse(&config_node_shape, node, text, ec);
    return r < 0 ? r : guest_spec_add_node(&in->config->spec, node, ec);
}

int config_parse_distance(struct config_input *in, const char *text, struct errctx *ec)
{
    CLEANUP_FREE char *copy = strdup(text);
    struct guest_distance_spec d;
    char *dash, *eq;
    uint64_t from, to, value;
    int r;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    dash = strchr(copy, '-');
    eq = strchr(copy, '=');
    if (dash == NULL || eq == NULL || eq < dash)
        return errctx_set(ec, EINVAL, "\"%s\" is not of the form A-B=D", text);
    *dash = *eq = '\0';
    r = units_parse_uint(copy, GUEST_MAX_VNODES - 1, &from, ec);
    if (r == 0)
        r = units_parse_uint(dash + 1, GUEST_MAX_VNODES - 1, &to, ec);
    if (r == 0)
        r = units_parse_uint(eq + 1, UINT32_MAX, &value, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "%s", text);
    d = (struct guest_distance_spec){ (uint32_t)from, (uint32_t)to, (uint32_t)value };
    return guest_spec_add_distance(&in->config->spec, &d, ec);
}

int config_parse_link(struct config_input *in, const char *text, struct errctx *ec)
{
    struct guest_link_spec link = { 0 };
    int r = config_shape_parse(&config_link_shape, &link, text, ec);

    if (r < 0)
        return r;
    if (link.latency_ns == 0 && link.bandwidth_bytes_per_s == 0)
        return errctx_set(ec, EINVAL, "\"%s\" says neither latency= nor bandwidth=", text);
    return guest_spec_add_link(&in->config->spec, &link, ec);
}

int config_parse_slow(struct config_input *in, const char *text, struct errctx *ec)
{
    struct config_slow slow = { 0 };
    int r = config_shape_parse(&config_slow_shape, &slow, text, ec);

    return r < 0 ? r : config_add_slow(in->config, &slow, ec);
}

int config_add_slow(struct machine_config *config, const struct config_slow *slow,
                    struct errctx *ec)
{
    struct config_slow *grown;

    if (config->n_slow == CONFIG_MAX_SLOW)
        return errctx_set(ec, E2BIG, "more than %d slow nodes", CONFIG_MAX_SLOW);
    grown = realloc(config->slow, (config->n_slow + 1) * sizeof(*grown));
    if (grown == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a slow node");
    config->slow = grown;
    grown[config->n_slow++] = *slow;
    return 0;
}

int config_add_cache(struct machine_config *config, const struct guest_cache_spec *cache,
                     struct errctx *ec)
{
    struct guest_spec *spec = &config->spec;

    if (spec->n_caches == GUEST_MAX_CACHE_SPECS)
        return errctx_set(ec, E2BIG, "more than %d caches", GUEST_MAX_CACHE_SPECS);
    spec->caches[spec->n_caches++] = *cache;
    return 0;
}

int config_parse_l3(struct config_input *in, const char *text, struct errctx *ec)
{
    struct guest_cache_spec cache = { .level = 3, .type = CACHE_UNIFIED };
    CLEANUP_FREE char *copy = strdup(text);
    uint64_t cores;
    char *comma;
    int r;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    comma = strchr(copy, ',');
    if (comma != NULL) {
        *comma = '\0';
        if (strncmp(comma + 1, "cores=", 6) != 0)
            return errctx_set(ec, EINVAL, "\"%s\" is not of the form SIZE[,cores=N]", text);
        r = units_parse_uint(comma + 7, GUEST_MAX_VCPUS, &cores, ec);
        if (r < 0)
            return errctx_wrap(ec, r, "cores=");
        if (cores == 0)
            return errctx_set(ec, EINVAL, "cores=0: a cache belongs to at least one core");
        cache.cores = (uint32_t)cores;
    }
    r = units_parse_size(copy, &cache.size_bytes, ec);
    if (r < 0)
        return r;
    if (cache.size_bytes == 0)
        return errctx_set(ec, EINVAL, "a cache of size 0 is no cache");
    return config_add_cache(in->config, &cache, ec);
}

int config_parse_cpu_feature(struct config_input *in, const char *text, struct errctx *ec)
{
    if (text[0] != '-')
        return errctx_set(ec, EINVAL,
                          "\"%s\" does not start with a minus; features can only be taken away",
                          text);
    return config_add_feature_off(in->config, text + 1, ec);
}

int config_parse_prealloc(struct config_input *in, const char *text, struct errctx *ec)
{
    (void)text;
    (void)ec;
    in->config->spec.prealloc = true;
    return 0;
}

int config_parse_no_sandbox(struct config_input *in, const char *text, struct errctx *ec)
{
    (void)text;
    (void)ec;
    in->config->no_sandbox = true;
    return 0;
}

int config_add_feature_off(struct machine_config *config, const char *name, struct errctx *ec)
{
    char **grown, *copy;

    if (name[0] == '\0')
        return errctx_set(ec, EINVAL, "the feature has no name");
    for (const char *c = name; *c != '\0'; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
            return errctx_set(ec, EINVAL,
                              "\"%s\" is not a feature's name as /proc/cpuinfo spells it", name);
    for (size_t i = 0; i < config->n_cpu_features_off; i++)
        if (strcmp(config->cpu_features_off[i], name) == 0)
            return errctx_set(ec, EINVAL, "%s is taken away twice", name);
    if (config->n_cpu_features_off == CONFIG_MAX_FEATURES_OFF)
        return errctx_set(ec, E2BIG, "more than %d features", CONFIG_MAX_FEATURES_OFF);
    grown = realloc(config->cpu_features_off,
                    (config->n_cpu_features_off + 1) * sizeof(*config->cpu_features_off));
    if (grown == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the feature's name");
    config->cpu_features_off = grown;
    copy = strdup(name);
    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the feature's name");
    grown[config->n_cpu_features_off++] = copy;
    return 0;
}

int config_add_device(struct machine_config *config, struct device_args *args, struct errctx *ec)
{
    struct device_args *grown;

    if (config->n_devices == CONFIG_MAX_DEVICES)
        return errctx_set(ec, E2BIG, "more than %d devices", CONFIG_MAX_DEVICES);
    grown = realloc(config->devices, (config->n_devices + 1) * sizeof(*grown));
    if (grown == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the device's options");
    config->devices = grown;
    grown[config->n_devices++] = *args;
    *args = (struct device_args){ 0 };
    return 0;
}
