/* SPDX-License-Identifier: Apache-2.0 */
/* How pages, weights and fallbacks of a node's memory are spelled, in both directions. Pure. */
#ifndef VMM_CONFIG_CONFIG_MEMORY_H
#define VMM_CONFIG_CONFIG_MEMORY_H

#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_memory.h"

enum { CONFIG_MEMORY_TEXT = 4 * GUEST_MAX_WEIGHTS + 1 /* the longest of the three */ };

/**
 * config_memory_pages() - read "2M" or "1G:2G+2M:1G+thp". Untouched on failure.
 * Return: 0, or -EINVAL (unknown or repeated pages, an amount that is no multiple of the page, a
 * part behind the one that takes the rest), with a sentence.
 */
int config_memory_pages(const char *text, struct guest_pages *ret_pages, struct errctx *ec);

/** config_memory_weights() - read "3:1". -EINVAL; -ERANGE: a weight is not 1 to 255. */
int config_memory_weights(const char *text, struct guest_weights *ret_weights, struct errctx *ec);

/** config_memory_fallback() - read "pages,policy,host" in any order, each at most once. */
int config_memory_fallback(const char *text, struct guest_fallback *ret_fallback,
                           struct errctx *ec);

/** config_memory_format_...() - the form that is read back, in @buf of CONFIG_MEMORY_TEXT bytes. */
const char *config_memory_format_pages(const struct guest_pages *pages, char *buf, size_t size);
const char *config_memory_format_weights(const struct guest_weights *w, char *buf, size_t size);
const char *config_memory_format_fallback(const struct guest_fallback *f, char *buf, size_t size);

#endif
