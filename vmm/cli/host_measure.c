/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cli/host_measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "vmm/cli/cli.h"
#include "vmm/machine/measure.h"
#include "vmm/machine/measure_cache.h"
#include "vmm/machine/measure_memory.h"
#include "vmm/topology/host_measured.h"

static const uint64_t budget_ns = 4600ull * 1000 * 1000; /* start and end fit in 5 s with it */

static void show_progress(void *ctx, size_t done, size_t n)
{
    (void)ctx;
    (void)fprintf(stderr, "\rmeasuring: %zu of %zu pairs of nodes", done, n);
    (void)fflush(stderr);
}

static void keep(const struct host_samples *samples)
{
    char path[MEASURE_CACHE_PATH_MAX];
    struct errctx ec = { 0 };

    if (measure_cache_store(samples, &ec) < 0)
        (void)cli_error(0, "the measurement is shown, but not kept: %s", ec.msg);
    else if (measure_cache_path(samples->fingerprint, path, NULL) == 0)
        (void)fprintf(stderr, "kept in %s\n", path);
}

static int measure(struct host_topo *host, struct measure_memory *memory,
                   const char *fingerprint, struct measure_result *ret, struct errctx *ec)
{
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const struct measure_ops ops = {
        .now_ns = measure_memory_now_ns,
        .prepare = measure_memory_prepare,
        .latency = measure_memory_latency,
        .bandwidth = measure_memory_bandwidth,
        .progress = terminal ? show_progress : NULL,
    };
    /* The fingerprint as the seed: the same machine is measured alike, others differ. */
    const struct measure_params params = { .budget_ns = budget_ns,
                                           .seed = strtoull(fingerprint, NULL, 16),
                                           .max_pairs = MEASURE_MAX_PAIRS };
    int r = measure_run(host, &params, &ops, memory, ret, ec);

    if (terminal)
        (void)fputs("\r\033[K", stderr);
    return r;
}

static void report(const struct measure_result *m)
{
    (void)fprintf(stderr, "measured %zu of %zu pairs of nodes in %" PRIu64 ".%" PRIu64 " s", m->n,
                  m->n_chosen, m->took_ns / 1000000000, m->took_ns / 100000000 % 10);
    if (m->n + m->n_left_out < m->n_chosen)
        (void)fprintf(stderr, "; the others did not fit in the time");
    if (m->n_left_out > 0)
        (void)fprintf(stderr, "; %zu could not be measured: %s", m->n_left_out, m->why.msg);
    (void)fputc('\n', stderr);
}

int host_measure(struct host_topo *host, struct errctx *ec)
{
    struct host_samples samples = { .measured_at = (int64_t)time(NULL) };
    struct measure_result result;
    struct measure_memory *memory;
    int r = measure_memory_new(host, &memory, ec);

    if (r < 0)
        return r;
    host_fingerprint("", samples.fingerprint);
    r = measure(host, memory, samples.fingerprint, &result, ec);
    measure_memory_free(memory);
    if (r < 0)
        return r;
    report(&result);
    r = host_measured_apply(host, result.samples, result.n, samples.measured_at, ec);
    samples.v = result.samples;
    samples.n = result.n;
    if (r == 0)
        keep(&samples);
    free(result.samples);
    return r;
}
