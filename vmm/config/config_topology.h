/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topology language: a guest's topology from a file, a text, a machine or a preset, shrunk,
 * with distances of a known shape. docs/topology-language.md is the specification.
 *
 * --topology, --distances and --scale are kept while options are read and applied after the last
 * one, so that their order does not matter.
 */
#ifndef VMM_CONFIG_CONFIG_TOPOLOGY_H
#define VMM_CONFIG_CONFIG_TOPOLOGY_H

#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/config/config_options.h"
#include "vmm/topology/guest_spec.h"
#include "vmm/topology/topo_notes.h"

enum config_topology_form {
    CONFIG_TOPOLOGY_HOST,      /* "host" */
    CONFIG_TOPOLOGY_PRESET,    /* a name of config_presets.h */
    CONFIG_TOPOLOGY_XML,       /* hwloc's XML */
    CONFIG_TOPOLOGY_JSON,      /* a description as --config reads it, topology only */
    CONFIG_TOPOLOGY_NUMACTL,   /* what numactl -H prints */
    CONFIG_TOPOLOGY_SYSFS,     /* a folder with sys and proc below it */
    CONFIG_TOPOLOGY_SYNTHETIC, /* hwloc's synthetic form */
};

/** config_topology_form_name() - "hwloc XML", for sentences. */
const char *config_topology_form_name(enum config_topology_form form);

/**
 * config_topology_read() - what @text names, as a description.
 * @ret_spec:  guest_spec_fini() it; untouched on failure.
 * @ret_about: what a JSON form says of itself, to free(); NULL where it says nothing.
 * @ret_form:  which form it was; may be NULL.
 * @notes:     what of it a guest cannot have is appended.
 * Return: 0, -EINVAL, -ERANGE, -E2BIG, -EFBIG, -ENOMEM, -EIO, or a file's errno; the sentence names
 * the place.
 */
int config_topology_read(const char *text, struct guest_spec *ret_spec, char **ret_about,
                         enum config_topology_form *ret_form, struct topo_notes *notes,
                         struct errctx *ec);

/** config_topology_read_input() - the same for standard input, whose text is handed out as well, to
 *  free(), where it is a topology: it cannot be read twice. */
int config_topology_read_input(char **ret_text, struct guest_spec *ret_spec, char **ret_about,
                               struct topo_notes *notes, struct errctx *ec);

/** config_topology_text() - as above for the bytes of a file called @name: JSON or numactl -H; for
 *  tests and fuzzing, too. */
int config_topology_text(const char *name, const char *text, size_t len,
                         struct guest_spec *ret_spec, char **ret_about,
                         enum config_topology_form *ret_form, struct topo_notes *notes,
                         struct errctx *ec);

/**
 * config_topology_apply() - put --topology, --scale and --distances into @in->config; after the
 * last option. Does nothing where none of them was given. Same results.
 */
int config_topology_apply(struct config_input *in, struct errctx *ec);

/* Parsers of the rows. */
int config_parse_topology(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_distances(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_scale(struct config_input *in, const char *text, struct errctx *ec);

#endif
