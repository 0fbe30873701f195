/* SPDX-License-Identifier: Apache-2.0 */
/* What the JSON forms of plan and host share. Private to vmm/topology. */
#ifndef VMM_TOPOLOGY_SHOW_JSON_H
#define VMM_TOPOLOGY_SHOW_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "vmm/base/idset.h"
#include "vmm/topology/guest_spec.h"

/** show_json_set() - the whole list form as a string, however long; NULL without memory. */
json_t *show_json_set(const struct idset *s);

/** show_json_matrix() - an array of @n rows; NULL without memory. */
json_t *show_json_matrix(const uint32_t *values, size_t n);

/** show_json_cache_type() - as /sys/devices/system/cpu/cpu0/cache/index0/type. */
const char *show_json_cache_type(enum cache_type type);

#endif
