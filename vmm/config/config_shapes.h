/* SPDX-License-Identifier: Apache-2.0 */
/* The members of every struct that a machine description is made of. Constant data. */
#ifndef VMM_CONFIG_CONFIG_SHAPES_H
#define VMM_CONFIG_CONFIG_SHAPES_H

#include "vmm/config/config_member.h"

extern const struct config_shape config_machine_shape;   /* scalars of struct machine_config */
extern const struct config_shape config_node_shape;      /* struct guest_node_spec */
extern const struct config_shape config_distance_shape;  /* struct guest_distance_spec */
extern const struct config_shape config_link_shape;      /* struct guest_link_spec */
extern const struct config_shape config_slow_shape;      /* struct config_slow */
extern const struct config_shape config_cache_shape;     /* struct guest_cache_spec */
extern const struct config_shape config_mem_cache_shape; /* struct guest_mem_cache_spec */

/** config_machine_member() - a scalar of the machine by its JSON name, or NULL. */
const struct config_member *config_machine_member(const char *name);

#endif
