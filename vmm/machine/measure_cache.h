/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measurements kept between runs: $XDG_CACHE_HOME/numavisor/host-FINGERPRINT.json, or below
 * ~/.cache where XDG_CACHE_HOME is not an absolute path (XDG Base Directory Specification).
 */
#ifndef VMM_MACHINE_MEASURE_CACHE_H
#define VMM_MACHINE_MEASURE_CACHE_H

#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/host_samples.h"
#include "vmm/topology/host_topo.h"

enum { MEASURE_CACHE_PATH_MAX = 1024 };

/** measure_cache_path() - of the file for @fingerprint. Return: 0, or -ENOENT: neither variable
 *  names a folder, -ENAMETOOLONG. */
int measure_cache_path(const char *fingerprint, char ret[static MEASURE_CACHE_PATH_MAX],
                       struct errctx *ec);

/** measure_cache_store() - replace the file at once, making its folders. Return: 0, an errno of
 *  the file system, -ENOMEM, or as measure_cache_path(). */
int measure_cache_store(const struct host_samples *samples, struct errctx *ec);

/**
 * measure_cache_load() - give @host what was measured on it, if anything was.
 * @host: this machine's; another is left alone.
 * Return: 1 loaded, 0 nothing there, or a negative errno with a sentence: there is a file, but it
 * cannot be used. @host is unchanged then.
 */
int measure_cache_load(struct host_topo *host, struct errctx *ec);

#endif
