/* SPDX-License-Identifier: Apache-2.0 */
/* This machine as an XML file of hwloc's, to plan for it elsewhere. */
#ifndef VMM_TOPOLOGY_HOST_EXPORT_H
#define VMM_TOPOLOGY_HOST_EXPORT_H

#include <stdio.h>

#include "vmm/base/errctx.h"

/** host_export_xml() - write what host_topo_discover("") reads to @out; write errors are for
 *  ferror(@out). Return: 0, -ENOMEM, or -EIO. */
int host_export_xml(FILE *out, struct errctx *ec);

#endif
