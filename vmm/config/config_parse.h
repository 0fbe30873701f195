/* SPDX-License-Identifier: Apache-2.0 */
/* Parsers of the option rows that are more than one scalar; see struct config_option. */
#ifndef VMM_CONFIG_CONFIG_PARSE_H
#define VMM_CONFIG_CONFIG_PARSE_H

#include "vmm/config/config_options.h"

int config_parse_config(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_node(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_distance(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_link(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_slow(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_l3(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_cpu_feature(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_prealloc(struct config_input *in, const char *text, struct errctx *ec);
int config_parse_no_sandbox(struct config_input *in, const char *text, struct errctx *ec);

/** config_add_cache() - append to the spec's caches. -E2BIG when there is no room. */
int config_add_cache(struct machine_config *config, const struct guest_cache_spec *cache,
                     struct errctx *ec);

#endif
