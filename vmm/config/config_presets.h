/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topologies that come with numavisor: files NAME.json in one folder.
 *
 * The folder is $NUMAVISOR_TOPOLOGIES, share/numavisor/topologies beside the program's bin, or that
 * of the source tree in which the program was built.
 */
#ifndef VMM_CONFIG_CONFIG_PRESETS_H
#define VMM_CONFIG_CONFIG_PRESETS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"

enum { CONFIG_PRESETS_MAX = 256, CONFIG_PRESET_NAME_MAX = 64 };

struct config_presets {
    size_t n;
    char name[CONFIG_PRESETS_MAX][CONFIG_PRESET_NAME_MAX]; /* sorted */
};

/** config_presets_dir() - the folder's path in @buf. -ENOENT: there is none. */
int config_presets_dir(char buf[static PATH_MAX], struct errctx *ec);

/** config_presets_list() - all of them. -ENOENT, or the folder's errno. */
int config_presets_list(struct config_presets *ret_presets, struct errctx *ec);

/** config_preset_path() - the file of preset @name in @buf; false when there is none such. */
bool config_preset_path(char buf[static PATH_MAX], const char *name);

#endif
