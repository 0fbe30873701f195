/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other machines say of themselves: whatever it is, it is refused or can be said again, and
 * sums, admission and weights of several that say the same stay within their bounds.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "vmm/machine/machine_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host_node nodes[2] = { { .id = { 0 } }, { .id = { 3 } } };
    struct host_topo host = { .nodes = nodes, .n_nodes = 2 };
    struct machine_use use, again;
    struct machine_use three[3];
    struct place_use used[2];
    uint32_t weights[3];
    json_t *json = json_loadb((const char *)data, size, 0, NULL), *back;
    int r = machine_use_from_json(json, &use);

    json_decref(json);
    if (r < 0)
        return 0;
    back = machine_use_to_json(&use); /* NULL: a name that jansson does not take */
    if (back != NULL) {
        r = machine_use_from_json(back, &again);
        assert(r == 0 && again.n_nodes == use.n_nodes && again.weight == use.weight);
        assert(memcmp(again.nodes, use.nodes, use.n_nodes * sizeof(use.nodes[0])) == 0);
        json_decref(back);
        machine_use_fini(&again);
    }
    idset_add_range(&nodes[0].cpus, 0, 4);
    idset_add_range(&nodes[1].cpus, 4, 4);
    for (size_t i = 0; i < 3; i++)
        three[i] = use;
    machine_use_sum(&host, three, 3, used);
    (void)machine_use_admit(&host, three, 2, &use, NULL);
    machine_use_weights(&host, three, 3, weights);
    for (size_t i = 0; i < 3; i++)
        assert(weights[i] >= 1 && weights[i] <= 10000);
    machine_use_fini(&use);
    return 0;
}
