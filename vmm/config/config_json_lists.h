/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists of the JSON form. Readers append to the config and return 0, -EINVAL, -ERANGE,
 * -E2BIG or -ENOMEM with a sentence that starts with the element's path; writers add a member
 * unless the list is empty and return 0, -ENOMEM or -EILSEQ.
 */
#ifndef VMM_CONFIG_CONFIG_JSON_LISTS_H
#define VMM_CONFIG_CONFIG_JSON_LISTS_H

#include <jansson.h>

#include "vmm/base/errctx.h"
#include "vmm/config/config.h"

int config_json_read_nodes(struct machine_config *config, const json_t *list, struct errctx *ec);
int config_json_read_distances(struct machine_config *config, const json_t *list,
                               struct errctx *ec);
int config_json_read_links(struct machine_config *config, const json_t *list, struct errctx *ec);
int config_json_read_slow(struct machine_config *config, const json_t *list, struct errctx *ec);
int config_json_read_caches(struct machine_config *config, const json_t *list, struct errctx *ec);
int config_json_read_devices(struct machine_config *config, const json_t *list, struct errctx *ec);
int config_json_read_features(struct machine_config *config, const json_t *list, struct errctx *ec);

int config_json_write_nodes(const struct machine_config *config, json_t *root);
int config_json_write_distances(const struct machine_config *config, json_t *root);
int config_json_write_links(const struct machine_config *config, json_t *root);
int config_json_write_slow(const struct machine_config *config, json_t *root);
int config_json_write_caches(const struct machine_config *config, json_t *root);
int config_json_write_devices(const struct machine_config *config, json_t *root);
int config_json_write_features(const struct machine_config *config, json_t *root);

#endif
