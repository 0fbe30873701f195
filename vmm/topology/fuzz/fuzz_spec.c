/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary descriptions: either a sentence, or a plan that keeps its invariants and can be
 * shown in every form.
 */
#include <stdint.h>
#include <stdio.h>

#include "vmm/topology/show.h"
#include "vmm/topology/test/plan_invariants.h"
#include "vmm/topology/test/spec_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A small host by hand: three nodes, of which one has no CPUs, and three levels of cache. */
static struct host_topo fuzz_host(struct host_node nodes[3], struct host_cache caches[4])
{
    struct host_topo host = { .nodes = nodes, .n_nodes = 3, .caches = caches, .n_caches = 4 };

    memset(nodes, 0, 3 * sizeof(*nodes));
    memset(caches, 0, 4 * sizeof(*caches));
    for (uint32_t i = 0; i < 3; i++) {
        nodes[i].id.v = i;
        nodes[i].mem_bytes = 64u << 20;
        if (i < 2)
            idset_add_range(&nodes[i].cpus, i * 4, 4);
    }
    caches[0] = (struct host_cache){ 1, CACHE_DATA, 48 << 10, 64, 12, { 0 } };
    caches[1] = (struct host_cache){ 1, CACHE_INSTRUCTION, 32 << 10, 64, 8, { 0 } };
    caches[2] = (struct host_cache){ 2, CACHE_UNIFIED, 2 << 20, 64, 16, { 0 } };
    caches[3] = (struct host_cache){ 3, CACHE_UNIFIED, 30 << 20, 64, 20, { 0 } };
    return host;
}

static void show(const struct topo_plan *plan, const struct host_topo *host)
{
    char *text = NULL;
    size_t len = 0;
    FILE *mem = open_memstream(&text, &len);
    json_t *json = NULL;

    INVARIANT(mem != NULL);
    topo_plan_print_table(plan, host, mem, true);
    INVARIANT(topo_plan_write_svg(plan, mem, NULL) == 0);
    INVARIANT(topo_plan_to_json(plan, &json) == 0);
    json_decref(json);
    (void)fclose(mem);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host_node nodes[3];
    struct host_cache caches[4];
    struct host_topo host = fuzz_host(nodes, caches);
    struct guest_spec spec;
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };
    int r;

    spec_from_bytes(data, size, &spec);
    r = topo_plan_make(&spec, &host, &plan, &ec);
    if (r == 0) {
        plan_check_invariants(&spec, &host, plan);
        if (plan->n_vcpus <= 64) /* the forms of large plans take their time */
            show(plan, &host);
    } else {
        INVARIANT(plan == NULL && ec.msg[0] != '\0' && ec.code == -r);
    }
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    return 0;
}
