/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a trace: whatever it is, it is refused, or the policy can decide on it. */
#include <assert.h>
#include <stdint.h>

#include "vmm/machine/balance_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct balance_params params = balance_defaults();
    json_t *json = json_loadb((const char *)data, size, 0, NULL);
    struct balance_decision d;
    struct balance_line line;
    struct balance *b;
    struct balance_head head;
    int r;

    (void)balance_head_from_json(json, &head, NULL);
    r = balance_trace_from_json(json, NULL, &line, NULL);

    json_decref(json);
    if (r < 0)
        return 0;
    if (balance_new(&params, line.snap.n_nodes, line.snap.n_vnodes, &b, NULL) == 0) {
        for (int i = 0; i < 20; i++) {
            r = balance_epoch(b, &line.snap, &d, NULL);
            assert(r >= 0);
            line.snap.time_ns += UINT64_C(10000000000);
        }
        balance_free(b);
    }
    balance_line_fini(&line);
    return 0;
}
