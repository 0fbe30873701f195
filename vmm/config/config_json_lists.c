/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of config_json_lists.h. */
#include "vmm/config/config_json_lists.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/config/config_parse.h"
#include "vmm/config/config_shapes.h"
#include "vmm/config/suggest.h"

static int expect_list(const json_t *list, const char *name, struct errctx *ec)
{
    return json_is_array(list) ? 0 : errctx_set(ec, EINVAL, "%s: a list is expected here", name);
}

/* Fill the zeroed @target from an object. The member @extra is left to the caller. */
static int read_shape(const struct config_shape *shape, const json_t *object, void *target,
                      const char *extra, struct errctx *ec)
{
    struct suggest s = { 0 };
    const char *name;
    json_t *value;
    char hint[96];

    if (!json_is_object(object))
        return errctx_set(ec, EINVAL, "an object is expected here");
    /* The cast drops const only because jansson's iteration takes no pointer to const. */
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        int i = config_shape_find(shape, name), r;

        if (i < 0 && extra != NULL && strcmp(name, extra) == 0)
            continue;
        if (i < 0) {
            s.word = name;
            for (size_t k = 0; k < shape->n_members; k++)
                suggest_offer(&s, shape->members[k].name);
            return errctx_set(ec, EINVAL, "unknown member \"%.80s\"%s", name,
                              suggest_format(&s, "", hint, sizeof(hint)));
        }
        r = config_member_read(&shape->members[i], target, value, ec);
        if (r < 0)
            return errctx_wrap(ec, r, "%s", name);
    }
    for (size_t i = 0; i < shape->n_members; i++)
        if (shape->members[i].required && json_object_get(object, shape->members[i].name) == NULL)
            return errctx_set(ec, EINVAL, "\"%s\" is missing", shape->members[i].name);
    return 0;
}

static int read_mem_caches(struct guest_node_spec *node, const json_t *list, struct errctx *ec)
{
    size_t n = json_array_size(list);
    int r = expect_list(list, "memory_caches", ec);

    if (r < 0)
        return r;
    if (n > GUEST_MAX_MEM_CACHES)
        return errctx_set(ec, E2BIG, "memory_caches: a node has at most %d", GUEST_MAX_MEM_CACHES);
    for (size_t i = 0; i < n; i++) {
        r = read_shape(&config_mem_cache_shape, json_array_get(list, i), &node->mem_cache[i], NULL,
                       ec);
        if (r < 0)
            return errctx_wrap(ec, r, "memory_caches[%zu]", i);
    }
    node->n_mem_caches = (uint32_t)n;
    return 0;
}

static int read_node(struct machine_config *config, const json_t *object, struct errctx *ec)
{
    CLEANUP_FREE struct guest_node_spec *node = calloc(1, sizeof(*node));
    const json_t *caches;
    int r;

    if (node == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a node");
    r = read_shape(&config_node_shape, object, node, "memory_caches", ec);
    if (r < 0)
        return r;
    caches = json_object_get(object, "memory_caches");
    r = caches != NULL ? read_mem_caches(node, caches, ec) : 0;
    return r < 0 ? r : guest_spec_add_node(&config->spec, node, ec);
}

static int read_distance(struct machine_config *config, const json_t *object, struct errctx *ec)
{
    struct guest_distance_spec d = { 0 };
    int r = read_shape(&config_distance_shape, object, &d, NULL, ec);

    return r < 0 ? r : guest_spec_add_distance(&config->spec, &d, ec);
}

static int read_link(struct machine_config *config, const json_t *object, struct errctx *ec)
{
    struct guest_link_spec link = { 0 };
    int r = read_shape(&config_link_shape, object, &link, NULL, ec);

    if (r == 0 && link.latency_ns == 0 && link.bandwidth_bytes_per_s == 0)
        r = errctx_set(ec, EINVAL, "neither \"latency\" nor \"bandwidth\" is there");
    return r < 0 ? r : guest_spec_add_link(&config->spec, &link, ec);
}

static int read_slow(struct machine_config *config, const json_t *object, struct errctx *ec)
{
    struct config_slow slow = { 0 };
    int r = read_shape(&config_slow_shape, object, &slow, NULL, ec);

    return r < 0 ? r : config_add_slow(config, &slow, ec);
}

static int read_cache(struct machine_config *config, const json_t *object, struct errctx *ec)
{
    struct guest_cache_spec cache = { 0 };
    int r = read_shape(&config_cache_shape, object, &cache, NULL, ec);

    return r < 0 ? r : config_add_cache(config, &cache, ec);
}

static int read_feature(struct machine_config *config, const json_t *value, struct errctx *ec)
{
    if (!json_is_string(value))
        return errctx_set(ec, EINVAL, "a string is expected here");
    return config_add_feature_off(config, json_string_value(value), ec);
}

static int set_device_key(struct device_args *args, const char *key, const json_t *value,
                          struct errctx *ec)
{
    char number[32];

    switch (json_typeof(value)) {
    case JSON_STRING:
        if (strlen(json_string_value(value)) != json_string_length(value))
            return errctx_set(ec, EINVAL, "%s: the string holds a zero byte", key);
        return device_args_set(args, key, json_string_value(value), ec);
    case JSON_TRUE:
    case JSON_FALSE:
        return device_args_set(args, key, json_is_true(value) ? "on" : "off", ec);
    case JSON_INTEGER:
        (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return device_args_set(args, key, number, ec);
    default:
        return errctx_set(ec, EINVAL, "%s: a string, a whole number, true or false is expected",
                          key);
    }
}

static int read_device_keys(struct device_args *args, const json_t *object, struct errctx *ec)
{
    const char *key;
    json_t *value;
    int r = 0;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (strcmp(key, "type") == 0)
            continue;
        if (!json_is_array(value))
            r = set_device_key(args, key, value, ec);
        for (size_t i = 0; json_is_array(value) && i < json_array_size(value) && r == 0; i++)
            r = set_device_key(args, key, json_array_get(value, i), ec);
        if (r < 0)
            return r;
    }
    return device_args_check(args, ec);
}

static int read_device(struct machine_config *config, const json_t *object, struct errctx *ec)
{
    const char *name = json_string_value(json_object_get(object, "type"));
    struct device_args args = { 0 };
    int row, r;

    if (!json_is_object(object))
        return errctx_set(ec, EINVAL, "an object is expected here");
    if (name == NULL)
        return errctx_set(ec, EINVAL, "\"type\" is missing or not a string");
    row = config_input_find(name);
    args.type = row >= 0 ? config_options_get((size_t)row).device : NULL;
    if (args.type == NULL)
        return errctx_set(ec, EINVAL, "there is no device of type \"%.80s\"", name);
    r = read_device_keys(&args, object, ec);
    if (r == 0)
        r = config_add_device(config, &args, ec);
    device_args_fini(&args);
    return r;
}

/* One reader of elements for every list. */
static int read_list(struct machine_config *config, const json_t *list, const char *name,
                     int (*read)(struct machine_config *config, const json_t *v, struct errctx *ec),
                     struct errctx *ec)
{
    int r = expect_list(list, name, ec);

    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        r = read(config, json_array_get(list, i), ec);
        if (r < 0)
            r = errctx_wrap(ec, r, "%s[%zu]", name, i);
    }
    return r;
}

int config_json_read_nodes(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "nodes", read_node, ec);
}

int config_json_read_distances(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "distances", read_distance, ec);
}

int config_json_read_links(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "links", read_link, ec);
}

int config_json_read_slow(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "slow", read_slow, ec);
}

int config_json_read_caches(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "caches", read_cache, ec);
}

int config_json_read_devices(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "devices", read_device, ec);
}

int config_json_read_features(struct machine_config *config, const json_t *list, struct errctx *ec)
{
    return read_list(config, list, "cpu_features_off", read_feature, ec);
}
