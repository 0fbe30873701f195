/* SPDX-License-Identifier: Apache-2.0 */
/* What the control socket asks of the pager: evictions, targets, counts. See machine_pager.h. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "memory/pager/pager.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_config.h"
#include "vmm/machine/machine_pager.h"
#include "vmm/machine/machine_pager_private.h"
#include "vmm/machine/machine_private.h"

int machine_evict(struct machine *m, struct vnode_id vnode, uint64_t bytes, struct errctx *ec)
{
    struct machine_pager *mp = m->pager;
    struct vnode_id other;

    if (mp == NULL)
        return errctx_set(ec, ENOTSUP, "this machine was not started with --pager on");
    if (vnode.v >= m->plan->n_nodes || m->plan->nodes[vnode.v].ram_bytes == 0)
        return errctx_set(ec, ENOENT, "there is no virtual node %u with memory", vnode.v);
    if (m->paused)
        return errctx_set(ec, EBUSY, "the machine is paused");
    if (mp->job)
        return errctx_set(ec, EBUSY, "memory of virtual node %u is being evicted", mp->vnode.v);
    if (machine_mover_busy(m, &other))
        return errctx_set(ec, EBUSY, "virtual node %u is being moved", other.v);
    mp->job = mp->any = true;
    mp->vnode = vnode;
    mp->want_bytes = bytes;
    LOCK_SCOPE(&mp->lock);
    mp->evicted_bytes = 0;
    mp->todo = true;
    (void)pthread_cond_broadcast(&mp->wake);
    return 0;
}

int machine_set_target(struct machine *m, struct vnode_id vnode, uint64_t bytes, struct errctx *ec)
{
    struct machine_pager *mp = m->pager;

    if (mp == NULL)
        return errctx_set(ec, ENOTSUP, "this machine was not started with --pager on");
    if (vnode.v >= m->plan->n_nodes || m->plan->nodes[vnode.v].ram_bytes == 0)
        return errctx_set(ec, ENOENT, "there is no virtual node %u with memory", vnode.v);
    pager_set_target(mp->pager, vnode, bytes);
    LOCK_SCOPE(&mp->lock);
    mp->target_ec = (struct errctx){ 0 };
    (void)pthread_cond_broadcast(&mp->wake);
    return 0;
}

json_t *machine_evict_status(struct machine *m)
{
    struct machine_pager *mp = m->pager;
    uint64_t evicted;

    if (mp == NULL || !mp->any)
        return json_pack("{s:s}", "state", "none");
    {
        LOCK_SCOPE(&mp->lock);
        evicted = mp->evicted_bytes;
    }
    return json_pack("{s:s, s:i, s:I, s:I, s:s, s:o*}", "state", mp->job ? "evicting" : "over",
                     "vnode", (int)mp->vnode.v, "wanted", (json_int_t)mp->want_bytes, "evicted",
                     (json_int_t)evicted, "why",
                     mp->job || mp->job_result == 0 ? "" : mp->job_ec.msg, "pager",
                     machine_pager_json(m, mp->vnode));
}

json_t *machine_swap_json(const struct machine *m)
{
    struct swap_counts c;

    if (m->pager == NULL || m->pager->swap == NULL)
        return NULL;
    swap_count(m->pager->swap, &c);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "file", m->config->pager_swap, "size",
                     (json_int_t)c.all_bytes, "used", (json_int_t)c.used_bytes, "written",
                     (json_int_t)c.written_bytes, "read", (json_int_t)c.read_bytes, "error",
                     c.trouble != 0 ? strerror(c.trouble) : "");
}

json_t *machine_domain_json(const struct machine *m)
{
    struct domain_client_counts c;
    char path[320];

    if (m->pager == NULL || m->pager->domain == NULL)
        return NULL;
    domain_client_count(m->pager->domain, &c);
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "name", m->config->domain, "socket",
                     machine_config_domain_socket(m->config, path, sizeof(path)), "connected",
                     (int)c.connected, "connects", (json_int_t)c.connects, "took",
                     (json_int_t)c.took, "refused", (json_int_t)c.refused, "segments",
                     (json_int_t)c.segments);
}

json_t *machine_golden_json(const struct machine *m)
{
    struct golden_counts c;

    if (m->pager == NULL || m->pager->golden == NULL)
        return NULL;
    golden_count(m->pager->golden, &c);
    return json_pack("{s:s, s:I, s:I, s:I}", "file", m->config->golden, "pages",
                     (json_int_t)c.pages, "images", (json_int_t)c.image_bytes, "size",
                     (json_int_t)c.file_bytes);
}

uint64_t machine_pager_dropped_bytes(const struct machine *m, struct vnode_id vnode)
{
    struct pager_counts c;

    return m->pager != NULL && pager_count(m->pager->pager, vnode, &c)
               ? c.dropped_pages * BACKING_PAGE
               : 0;
}

json_t *machine_pager_json(const struct machine *m, struct vnode_id vnode)
{
    struct pager_counts c;
    json_t *json;

    if (m->pager == NULL || !pager_count(m->pager->pager, vnode, &c))
        return NULL;
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        { "resident", guest_mem_resident_bytes(m->mem, vnode) },
        { "away", c.away_pages * BACKING_PAGE },
        { "away_zero", c.away_zero_pages * BACKING_PAGE },
        { "store", c.store.held_bytes },
        { "store_pages", c.store.pages },
        { "store_objects", c.store.objects },
        { "store_raw", c.store.raw_objects },
        { "store_packed", c.store.packed_objects },
        { "store_spare", c.store.spare_objects },
        { "store_moved", c.store.moved_objects },
        { "store_swapped", c.store.swapped_objects },
        { "swapped", c.store.swapped_bytes },
        { "again", c.store.again },
        { "shared", c.store.shared_pages * BACKING_PAGE },
        { "shared_objects", c.store.shared_objects },
        { "shared_bytes", c.store.shared_bytes },
        { "golden", c.store.golden_pages * BACKING_PAGE },
        { "golden_objects", c.store.golden_objects },
        { "golden_hits", c.store.golden_hits },
        { "evicted", c.evicted_pages },
        { "cancelled", c.cancelled_pages },
        { "filled", c.filled_pages },
        { "dropped", c.dropped_pages },
        { "ahead", c.ahead_pages },
        { "faults", c.faults },
        { "first_touches", c.first_touches },
        { "taken", c.taken_extents },
        { "strange", c.strange_pages },
        { "lost", c.lost_pages },
        { "mended", c.mended_extents },
        { "mend_cpu_ns", c.mend_cpu_ns },
        { "hot", c.hot_bytes },
        { "warm", c.warm_bytes },
        { "cold", c.cold_bytes },
        { "regions", c.regions },
        { "rounds", c.rounds },
        { "samples", c.samples },
        { "samples_protected", c.protected_samples },
        { "look_cpu_ns", c.look_cpu_ns },
        { "pack_cpu_ns", c.pack_cpu_ns },
        { "domain_cpu_ns", c.domain_cpu_ns },
        { "evict_cpu_ns", c.evict_cpu_ns },
        { "fault_p50_ns", pager_fault_ns(&c, 500) },
        { "fault_p99_ns", pager_fault_ns(&c, 990) },
    };
    json = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        if (json_object_set_new(json, members[i].name, json_integer((json_int_t)members[i].value)) <
            0) {
            json_decref(json);
            return NULL;
        }
    (void)json_object_set_new(json, "looks_by", json_string(c.can_protect ? "rwp" : "zap"));
    if (c.target_bytes != PAGER_NO_TARGET) {
        LOCK_SCOPE(&m->pager->lock);
        (void)json_object_set_new(json, "target", json_integer((json_int_t)c.target_bytes));
        (void)json_object_set_new(json, "target_error", json_string(m->pager->target_ec.msg));
    }
    return json;
}
