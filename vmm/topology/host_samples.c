/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/topology/host_samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define FORMAT "numavisor host measurement"

/* More than any memory will have for a while; keeps sums of rates in range. */
static const json_int_t rate_max = 1ll << 50;

static int parse_pair(const json_t *j, struct host_sample *ret)
{
    json_int_t from, to, latency, rate;
    int check;

    /* '!' refuses members that are not named; the casts take const away from what is only read. */
    if (json_unpack((json_t *)(uintptr_t)j, "{sI sI sI sI sb !}", "from", &from, "to", &to,
                    "latency_ps", &latency, "bandwidth", &rate, "check", &check) < 0 ||
        from < 0 || from >= IDSET_MAX || to < 0 || to >= IDSET_MAX || latency < 1 ||
        latency > HOST_SAMPLES_LATENCY_MAX || rate < 0 || rate > rate_max)
        return -EINVAL;
    *ret = (struct host_sample){
        .from = { (uint32_t)from },
        .to = { (uint32_t)to },
        .latency_ps = (uint32_t)latency,
        .bytes_per_s = (uint64_t)rate,
        .check = check != 0,
    };
    return 0;
}

static int parse_pairs(const json_t *pairs, struct host_samples *s, struct errctx *ec)
{
    const size_t n = json_array_size(pairs);

    if (n == 0 || n > HOST_SAMPLES_MAX)
        return errctx_set(ec, EINVAL, "not a measurement: %zu pairs, where 1 to %d can be", n,
                          HOST_SAMPLES_MAX);
    s->v = calloc(n, sizeof(*s->v));
    if (s->v == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu measured pairs", n);
    for (s->n = 0; s->n < n; s->n++)
        if (parse_pair(json_array_get(pairs, s->n), &s->v[s->n]) < 0)
            return errctx_set(ec, EINVAL, "not a measurement: pair %zu is not one", s->n);
    return 0;
}

static bool is_fingerprint(const char *text)
{
    return strlen(text) == HOST_FINGERPRINT_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == HOST_FINGERPRINT_BYTES - 1;
}

static int parse_root(json_t *root, struct host_samples *s, struct errctx *ec)
{
    const char *format, *fingerprint;
    json_int_t version, at;
    json_t *pairs;

    if (json_unpack(root, "{ss sI}", "format", &format, "version", &version) < 0 ||
        strcmp(format, FORMAT) != 0)
        return errctx_set(ec, EINVAL, "not a measurement of a host");
    if (version != HOST_SAMPLES_VERSION)
        return errctx_set(ec, EINVAL, "a measurement of version %lld, this program knows %d",
                          (long long)version, HOST_SAMPLES_VERSION);
    if (json_unpack(root, "{ss sI ss sI so !}", "format", &format, "version", &version,
                    "fingerprint", &fingerprint, "measured_at", &at, "pairs", &pairs) < 0 ||
        !is_fingerprint(fingerprint) || at < 0 || at > 1ll << 40 || !json_is_array(pairs))
        return errctx_set(ec, EINVAL, "not a measurement: members are missing, unknown or wrong");
    memcpy(s->fingerprint, fingerprint, HOST_FINGERPRINT_BYTES);
    s->measured_at = at;
    return parse_pairs(pairs, s, ec);
}

int host_samples_parse(const char *text, size_t len, struct host_samples *ret, struct errctx *ec)
{
    struct host_samples s = { .v = NULL };
    json_error_t err;
    json_t *root;
    int r;

    if (len > HOST_SAMPLES_FILE_MAX)
        return errctx_set(ec, EINVAL, "not a measurement: longer than %d bytes",
                          HOST_SAMPLES_FILE_MAX);
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &err);
    if (root == NULL)
        return errctx_set(ec, EINVAL, "not a measurement: no JSON in line %d", err.line);
    r = parse_root(root, &s, ec);
    json_decref(root);
    if (r < 0)
        host_samples_fini(&s);
    else
        *ret = s;
    return r;
}

char *host_samples_format(const struct host_samples *s)
{
    json_t *pairs = json_array(), *root;
    char *text = NULL;

    for (size_t i = 0; i < s->n; i++) {
        const struct host_sample *v = &s->v[i];

        if (json_array_append_new(pairs, json_pack("{sI sI sI sI sb}", "from",
                                                   (json_int_t)v->from.v, "to",
                                                   (json_int_t)v->to.v, "latency_ps",
                                                   (json_int_t)v->latency_ps, "bandwidth",
                                                   (json_int_t)v->bytes_per_s, "check",
                                                   (int)v->check)) < 0) {
            json_decref(pairs);
            return NULL;
        }
    }
    root = json_pack("{ss si ss sI so}", "format", FORMAT, "version", HOST_SAMPLES_VERSION,
                     "fingerprint", s->fingerprint, "measured_at", (json_int_t)s->measured_at,
                     "pairs", pairs);
    if (root != NULL)
        text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    return text;
}

void host_samples_fini(struct host_samples *s)
{
    free(s->v);
    memset(s, 0, sizeof(*s));
}
