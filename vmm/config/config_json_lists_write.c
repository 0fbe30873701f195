/* SPDX-License-Identifier: Apache-2.0 */
/* The writers of config_json_lists.h. */
#include "vmm/config/config_json_lists.h"

#include <errno.h>

#include "vmm/base/units.h"
#include "vmm/config/config_shapes.h"

/* Append @shape's view of @source to @list; *ret_object is borrowed from it. */
static int write_element(json_t *list, const struct config_shape *shape, const void *source,
                         json_t **ret_object)
{
    json_t *object = json_object();

    if (json_array_append_new(list, object) < 0)
        return -ENOMEM;
    *ret_object = object;
    return config_shape_write(shape, source, object);
}

static int write_array(json_t *root, const char *name, const struct config_shape *shape,
                       const void *items, size_t n, size_t item_bytes)
{
    json_t *list, *object;
    int r = 0;

    if (n == 0)
        return 0;
    list = json_array();
    if (json_object_set_new(root, name, list) < 0)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = write_element(list, shape, (const char *)items + i * item_bytes, &object);
    return r;
}

int config_json_write_nodes(const struct machine_config *config, json_t *root)
{
    const struct guest_spec *spec = &config->spec;
    json_t *list;
    int r = write_array(root, "nodes", &config_node_shape, spec->nodes, spec->n_nodes,
                        sizeof(*spec->nodes));

    list = json_object_get(root, "nodes");
    for (size_t i = 0; r == 0 && i < spec->n_nodes; i++)
        r = write_array(json_array_get(list, i), "memory_caches", &config_mem_cache_shape,
                        spec->nodes[i].mem_cache, spec->nodes[i].n_mem_caches,
                        sizeof(spec->nodes[i].mem_cache[0]));
    return r;
}

int config_json_write_distances(const struct machine_config *config, json_t *root)
{
    return write_array(root, "distances", &config_distance_shape, config->spec.distances,
                       config->spec.n_distances, sizeof(*config->spec.distances));
}

int config_json_write_links(const struct machine_config *config, json_t *root)
{
    return write_array(root, "links", &config_link_shape, config->spec.links, config->spec.n_links,
                       sizeof(*config->spec.links));
}

int config_json_write_slow(const struct machine_config *config, json_t *root)
{
    return write_array(root, "slow", &config_slow_shape, config->slow, config->n_slow,
                       sizeof(*config->slow));
}

int config_json_write_caches(const struct machine_config *config, json_t *root)
{
    return write_array(root, "caches", &config_cache_shape, config->spec.caches,
                       config->spec.n_caches, sizeof(config->spec.caches[0]));
}

static json_t *device_value(const struct device_arg *arg)
{
    char buf[32];

    switch (arg->key->kind) {
    case DEVICE_KEY_FLAG:
        return json_boolean(arg->number != 0);
    case DEVICE_KEY_UINT:
        return json_integer((json_int_t)arg->number);
    case DEVICE_KEY_SIZE:
        return json_string(units_format_size(arg->number, buf, sizeof(buf)));
    case DEVICE_KEY_STRING:
    case DEVICE_KEY_PATH:
        break;
    }
    return json_string(arg->text);
}

static int write_device_arg(json_t *object, const struct device_arg *arg)
{
    json_t *value = device_value(arg), *list;
    bool text = arg->key->kind == DEVICE_KEY_STRING || arg->key->kind == DEVICE_KEY_PATH;

    if (value == NULL)
        return text ? -EILSEQ : -ENOMEM;
    if (!arg->key->repeats)
        return json_object_set_new(object, arg->key->name, value) < 0 ? -ENOMEM : 0;
    list = json_object_get(object, arg->key->name);
    if (list == NULL) {
        list = json_array();
        if (json_object_set_new(object, arg->key->name, list) < 0) {
            json_decref(value);
            return -ENOMEM;
        }
    }
    return json_array_append_new(list, value) < 0 ? -ENOMEM : 0;
}

int config_json_write_devices(const struct machine_config *config, json_t *root)
{
    json_t *list;
    int r = 0;

    if (config->n_devices == 0)
        return 0;
    list = json_array();
    if (json_object_set_new(root, "devices", list) < 0)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < config->n_devices; i++) {
        const struct device_args *d = &config->devices[i];
        json_t *object = json_pack("{ss}", "type", d->type->name);

        if (json_array_append_new(list, object) < 0)
            return -ENOMEM;
        for (size_t k = 0; r == 0 && k < d->n_args; k++)
            r = write_device_arg(object, &d->args[k]);
        if (r == 0 && d->vnode != 0 &&
            json_object_set_new(object, "node", json_integer(d->vnode)) < 0)
            r = -ENOMEM;
    }
    return r;
}

int config_json_write_features(const struct machine_config *config, json_t *root)
{
    json_t *list;

    if (config->n_cpu_features_off == 0)
        return 0;
    list = json_array();
    if (json_object_set_new(root, "cpu_features_off", list) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < config->n_cpu_features_off; i++)
        if (json_array_append_new(list, json_string(config->cpu_features_off[i])) < 0)
            return -ENOMEM;
    return 0;
}
