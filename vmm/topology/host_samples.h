/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measured pairs as a file: JSON, versioned.
 *
 *   { "format": "numavisor host measurement", "version": 1, "fingerprint": "16 hex digits",
 *     "measured_at": seconds since 1970,
 *     "pairs": [{ "from": node, "to": node, "latency_ps": n, "bandwidth": bytes per second,
 *                 "check": bool }] }
 *
 * The reader takes nothing on trust: sizes, counts, ranges and every member's type are checked,
 * unknown members and versions are refused.
 */
#ifndef VMM_TOPOLOGY_HOST_SAMPLES_H
#define VMM_TOPOLOGY_HOST_SAMPLES_H

#include "vmm/topology/host_fingerprint.h"
#include "vmm/topology/host_topo.h"

enum {
    HOST_SAMPLES_VERSION = 1,
    HOST_SAMPLES_MAX = 4096,                  /* pairs in a file */
    HOST_SAMPLES_FILE_MAX = 1024 * 1024,      /* bytes */
    HOST_SAMPLES_LATENCY_MAX = 1000 * 1000 * 1000, /* 1 ms in picoseconds */
};

struct host_samples {
    char fingerprint[HOST_FINGERPRINT_BYTES];
    int64_t measured_at;
    struct host_sample *v; /* owned; host_samples_fini() */
    size_t n;
};

/** host_samples_parse() - @len bytes of a file; need not end in a zero. Untouched on failure.
 *  Return: 0, -EINVAL with a sentence, -ENOMEM. */
int host_samples_parse(const char *text, size_t len, struct host_samples *ret, struct errctx *ec);

/** host_samples_format() - the file's text, to be freed by the caller; NULL without memory. */
char *host_samples_format(const struct host_samples *s);

void host_samples_fini(struct host_samples *s);

#endif
