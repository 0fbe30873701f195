/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a kept measurement. What is accepted is written to a form that reads back the
 * same, and can be applied to a host, judged and shown.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/topology/host_measured.h"
#include "vmm/topology/host_samples.h"
#include "vmm/topology/show.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply_and_show(const struct host_samples *s)
{
    struct host_topo host = { 0 };
    struct host_contradiction c[4];
    struct errctx ec = { 0 };
    char text[HOST_CONTRADICTION_BYTES];
    json_t *j = NULL;
    int r = host_topo_from_synthetic("pack:2 numa:2 core:2 pu:1", &host, &ec);

    assert(r == 0);
    host.has_distances = true;
    r = host_measured_apply(&host, s->v, s->n, s->measured_at, &ec);
    assert(r == 0 || ec.msg[0] != '\0');
    if (r == 0) {
        const size_t n = host_measured_judge(&host, c, 4);

        for (size_t i = 0; i < n && i < 4; i++)
            assert(strlen(host_contradiction_text(&c[i], text, sizeof(text))) > 0);
        assert(host_topo_to_json(&host, &j) == 0);
        json_decref(j);
    }
    host_topo_fini(&host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host_samples s, again;
    struct errctx ec = { 0 };
    char *text;
    int r = host_samples_parse((const char *)data, size, &s, &ec);

    if (r < 0) {
        assert(ec.msg[0] != '\0');
        return 0;
    }
    text = host_samples_format(&s);
    assert(text != NULL);
    r = host_samples_parse(text, strlen(text), &again, &ec);
    assert(r == 0 && again.n == s.n && again.measured_at == s.measured_at);
    for (size_t i = 0; i < s.n; i++)
        assert(again.v[i].from.v == s.v[i].from.v && again.v[i].to.v == s.v[i].to.v &&
               again.v[i].latency_ps == s.v[i].latency_ps &&
               again.v[i].bytes_per_s == s.v[i].bytes_per_s && again.v[i].check == s.v[i].check);
    apply_and_show(&s);
    host_samples_fini(&again);
    host_samples_fini(&s);
    free(text);
    return 0;
}
