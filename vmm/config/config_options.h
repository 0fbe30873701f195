/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that describe a machine: one row each, with the form of the argument, the help
 * and the JSON member that says the same. Help text, completion and the manual's test read the
 * rows; the device options among them are made from the registry's.
 */
#ifndef VMM_CONFIG_CONFIG_OPTIONS_H
#define VMM_CONFIG_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/config/config.h"
#include "vmm/topology/topo_notes.h"

enum config_group {
    CONFIG_GROUP_BOOT,
    CONFIG_GROUP_TOPOLOGY,
    CONFIG_GROUP_DEVICES,
    CONFIG_GROUP_RUNNING,
    CONFIG_GROUP_COUNT,
};

struct config_input;

struct config_option {
    const char *name;  /* without the dashes */
    const char *arg;   /* "SIZE"; NULL: the option takes no value */
    bool arg_optional; /* a device of which every key may be left out */
    const char *field; /* member of the JSON form; NULL for --config itself */
    const char *help;  /* one line */
    enum config_group group;
    bool repeats;
    bool is_file;        /* completion offers files */
    bool offers_presets; /* and the names of presets */
    const char *values; /* completion offers these words, separated by spaces; NULL: none */
    int (*parse)(struct config_input *in, const char *text, struct errctx *ec); /* NULL: scalar */
    const struct device_type *device; /* set for device options */
};

/** config_options_count() / config_options_get() - all rows in the order of the help text. */
size_t config_options_count(void);
struct config_option config_options_get(size_t i);
const char *config_group_title(enum config_group group);

enum { CONFIG_MAX_OPTIONS = 64, CONFIG_MAX_FIELDS = 64 };

/* State of reading one command line. Zero it, then set config. */
struct config_input {
    struct machine_config *config;
    char *file; /* of --config; owned */
    char *topology, *distances, *scale; /* of the options; owned; see config_topology.h */
    char *topology_text; /* what was read where the topology is "-"; owned */
    struct topo_notes notes; /* what of the topology a guest cannot have */
    bool option_given[CONFIG_MAX_OPTIONS];
    bool field_in_file[CONFIG_MAX_FIELDS]; /* index as in config_json_fields() */
};

void config_input_fini(struct config_input *in);

/** config_input_find() - index of the row for "cpus", or -1. */
int config_input_find(const char *name);

/**
 * config_input_option() - take one option.
 * @row:  from config_input_find().
 * @text: its value; NULL when the row takes none, or when it is optional and not there.
 * Return: 0, -EINVAL, -ERANGE, -ENOMEM, or a file's errno, the sentence naming the option.
 */
int config_input_option(struct config_input *in, int row, const char *text, struct errctx *ec);

/** config_input_finish() - after the last option: what waits for all of them. Return: as
 *  config_topology_apply(). */
int config_input_finish(struct config_input *in, struct errctx *ec);

/** config_input_claim() - the file says @field: mark it, or refuse what an option said before.
 *  For config_json.c. */
int config_input_claim(struct config_input *in, size_t field, struct errctx *ec);

/** config_device_usage() - "FILE[,ro][,queues=N]" for a device option, in @buf. */
const char *config_device_usage(const struct device_type *type, char *buf, size_t size);

/** config_add_device() and friends - append; @args is taken over on success. */
int config_add_slow(struct machine_config *config, const struct config_slow *slow,
                    struct errctx *ec);
int config_add_device(struct machine_config *config, struct device_args *args, struct errctx *ec);
int config_add_feature_off(struct machine_config *config, const char *name, struct errctx *ec);

#endif
