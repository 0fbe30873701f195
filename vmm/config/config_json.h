/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON spelling of a machine: everything the options can say, and the few things that only
 * it can say (every CPU cache, memory-side caches). Reading is strict: an unknown member is an
 * error with its path, save for a member "plan" at the top, which `numavisor plan --json` adds
 * and which says nothing that the rest does not decide.
 */
#ifndef VMM_CONFIG_CONFIG_JSON_H
#define VMM_CONFIG_CONFIG_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/config/config.h"
#include "vmm/config/config_options.h"

/** config_json_field() - name of top-level member @i, or NULL past the last one. */
const char *config_json_field(size_t i);

/** config_json_field_is_list() - do options and file add up there? */
bool config_json_field_is_list(size_t i);

/**
 * config_json_read_file() - read @path into @in->config.
 * Return: 0, the errno of reading, -EINVAL or -ERANGE with the path of the member that is wrong,
 * -EFBIG, -ENOMEM. On failure the config is half filled and only good for config_fini().
 */
int config_json_read_file(struct config_input *in, const char *path, struct errctx *ec);

/** config_json_read_text() - as above for bytes in memory; for tests and fuzzing. */
int config_json_read_text(struct config_input *in, const char *text, size_t len, struct errctx *ec);

/** config_json_write() - what was said, as a new object. Return: 0, -ENOMEM, or -EILSEQ when a
 *  text cannot be said in JSON. */
int config_json_write(const struct machine_config *config, json_t **ret_json, struct errctx *ec);

#endif
