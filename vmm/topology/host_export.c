/* SPDX-License-Identifier: Apache-2.0 */
/* See host_export.h. The discovery is set up as host_discover.c does, so that host_topo_from_xml()
 * finds in the file what host_topo_discover() finds here. */
#include "vmm/topology/host_export.h"

#include <errno.h>

#include <hwloc.h>

#include "vmm/topology/host_hwloc.h"

int host_export_xml(FILE *out, struct errctx *ec)
{
    hwloc_topology_t topo;
    char *xml;
    int len, r = 0;

    if (hwloc_topology_init(&topo) < 0)
        return errctx_set(ec, ENOMEM, "no memory for hwloc");
    (void)hwloc_topology_set_components(topo, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
    (void)hwloc_topology_set_io_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_NONE);
    (void)hwloc_topology_set_icache_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (host_hwloc_load(topo) < 0) {
        r = errctx_set_os(ec, errno != 0 ? errno : EIO, "hwloc cannot read this machine");
    } else if (hwloc_topology_export_xmlbuffer(topo, &xml, &len, 0) < 0) {
        r = errctx_set(ec, EIO, "hwloc cannot write this machine as XML");
    } else {
        (void)fputs(xml, out);
        hwloc_free_xmlbuffer(topo, xml);
    }
    hwloc_topology_destroy(topo);
    return r;
}
