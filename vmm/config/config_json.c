/* SPDX-License-Identifier: Apache-2.0 */
/* See config_json.h. Every failure carries the path of the member: "nodes[1].memory: ...". */
#include "vmm/config/config_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"
#include "vmm/config/config_json_lists.h"
#include "vmm/config/config_shapes.h"
#include "vmm/config/suggest.h"

enum { CONFIG_FILE_MAX = 16 * MIB /* a plan of 128 nodes is a tenth of that */ };

/* After the scalars of config_machine_shape, these members. */
static const struct {
    const char *name;
    int (*read)(struct machine_config *config, const json_t *list, struct errctx *ec);
    int (*write)(const struct machine_config *config, json_t *root);
} lists[] = {
    { "nodes", config_json_read_nodes, config_json_write_nodes },
    { "distances", config_json_read_distances, config_json_write_distances },
    { "links", config_json_read_links, config_json_write_links },
    { "slow", config_json_read_slow, config_json_write_slow },
    { "caches", config_json_read_caches, config_json_write_caches },
    { "devices", config_json_read_devices, config_json_write_devices },
    { "cpu_features_off", config_json_read_features, config_json_write_features },
};

const char *config_json_field(size_t i)
{
    size_t n = config_machine_shape.n_members;

    if (i < n)
        return config_machine_shape.members[i].name;
    return i - n < ARRAY_SIZE(lists) ? lists[i - n].name : NULL;
}

bool config_json_field_is_list(size_t i)
{
    return i >= config_machine_shape.n_members;
}

static int unknown_member(const char *name, struct errctx *ec)
{
    struct suggest s = { .word = name };
    char hint[96];

    for (size_t i = 0; config_json_field(i) != NULL; i++)
        suggest_offer(&s, config_json_field(i));
    return errctx_set(ec, EINVAL, "unknown member \"%.80s\"%s", name,
                      suggest_format(&s, "", hint, sizeof(hint)));
}

static int read_member(struct config_input *in, const char *name, const json_t *value,
                       struct errctx *ec)
{
    size_t n = config_machine_shape.n_members, i = 0;
    int r;

    while (config_json_field(i) != NULL && strcmp(config_json_field(i), name) != 0)
        i++;
    if (config_json_field(i) == NULL)
        return strcmp(name, "plan") == 0 ? 0 : unknown_member(name, ec);
    r = config_input_claim(in, i, ec);
    if (r < 0)
        return r;
    r = i < n ? config_member_read(&config_machine_shape.members[i], in->config, value, ec)
              : lists[i - n].read(in->config, value, ec);
    /* Lists put their own name in front, with the index. */
    return r < 0 && i < n ? errctx_wrap(ec, r, "%s", name) : r;
}

int config_json_read_text(struct config_input *in, const char *text, size_t len, struct errctx *ec)
{
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error), *value;
    const char *name;
    int r = 0;

    if (root == NULL)
        return errctx_set(ec, EINVAL, "line %d, column %d: %s", error.line, error.column,
                          error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return errctx_set(ec, EINVAL, "the outermost value is not an object");
    }
    json_object_foreach(root, name, value)
    {
        r = read_member(in, name, value, ec);
        if (r < 0)
            break;
    }
    json_decref(root);
    return r;
}

int config_json_read_file(struct config_input *in, const char *path, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    size_t len;
    int r = read_file(path, CONFIG_FILE_MAX, &text, &len, ec);

    if (r == 0)
        r = config_json_read_text(in, text, len, ec);
    return r < 0 ? errctx_wrap(ec, r, "--config: %s", path) : 0;
}

int config_json_write(const struct machine_config *config, json_t **ret_json, struct errctx *ec)
{
    json_t *root = json_object();
    int r = root != NULL ? config_shape_write(&config_machine_shape, config, root) : -ENOMEM;

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++)
        r = lists[i].write(config, root);
    if (r < 0) {
        json_decref(root);
        return errctx_set(ec, -r,
                          r == -EILSEQ ? "a name that is not UTF-8 cannot be said in JSON"
                                       : "no memory for the JSON form");
    }
    *ret_json = root;
    return 0;
}
