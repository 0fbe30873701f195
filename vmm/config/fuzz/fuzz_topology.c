/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a topology's file, shrunk, and as a matrix of distances. What is accepted can be
 * planned, or the refusal has a sentence; its numactl form is read back as the same nodes.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config/config_topology.h"
#include "vmm/topology/guest_distances.h"
#include "vmm/topology/guest_from_host.h"
#include "vmm/topology/guest_scale.h"
#include "vmm/topology/numactl_text.h"
#include "vmm/topology/topo_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct host_topo nowhere = { .source = "nowhere" };

static void say_again(const struct topo_plan *plan)
{
    struct host_topo host;
    struct errctx ec = { 0 };
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert(f != NULL);
    numactl_text_write(plan, f);
    assert(fclose(f) == 0);
    assert(numactl_text_read(text, len, &host, &ec) == 0);
    assert(host.n_nodes == plan->n_nodes && host.n_cpus == plan->n_vcpus);
    host_topo_fini(&host);
    free(text);
}

static void plan_it(const struct guest_spec *spec)
{
    struct errctx ec = { 0 };
    struct topo_plan *plan;

    if (topo_plan_make(spec, &nowhere, &plan, &ec) < 0) {
        assert(ec.msg[0] != '\0');
        return;
    }
    say_again(plan);
    topo_plan_free(plan);
}

static void read_matrix(const char *text, size_t size)
{
    struct guest_spec spec = { 0 };
    struct errctx ec = { 0 };

    assert(guest_distances_matrix(&spec, text, size, 3, &ec) == 0 || ec.msg[0] != '\0');
    assert(spec.n_distances <= 6);
    guest_spec_fini(&spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct guest_scale half = { 1, 64, 1, 3 };
    enum config_topology_form form;
    struct topo_notes notes = { 0 };
    struct guest_spec spec;
    struct errctx ec = { 0 };
    char *about;

    read_matrix((const char *)data, size);
    if (config_topology_text("it", (const char *)data, size, &spec, &about, &form, &notes, &ec) < 0) {
        assert(ec.msg[0] != '\0');
        return 0;
    }
    assert(guest_spec_check(&spec, &ec) == 0);
    plan_it(&spec);
    if (guest_scale_apply(&spec, &half, &ec) == 0)
        plan_it(&spec);
    else
        assert(ec.msg[0] != '\0');
    guest_spec_fini(&spec);
    free(about);
    return 0;
}
