/* SPDX-License-Identifier: Apache-2.0 */
/* Which host a command plans for: this machine, or one that --host-xml or --host-synthetic say. */
#ifndef VMM_CLI_HOST_SOURCE_H
#define VMM_CLI_HOST_SOURCE_H

#include "vmm/cli/cli.h"
#include "vmm/topology/host_topo.h"

#define HOST_SOURCE_OPTIONS                                                                        \
    { .name = "host-xml",                                                                          \
      .arg = "FILE",                                                                               \
      .is_file = true,                                                                             \
      .help = "another host, from an XML file of hwloc's (lstopo FILE.xml)" },                     \
    {                                                                                              \
        .name = "host-synthetic", .arg = "TEXT",                                                   \
        .help = "another host, from hwloc's synthetic form (\"node:2 core:4 pu:2\")"               \
    }

/** host_source_read() - Return: 0, -EINVAL (both said, or not what it should be), or what
 *  host_topo_discover() returns. */
int host_source_read(const struct cli_args *args, struct host_topo *ret_host, struct errctx *ec);

/** host_source_here() - this machine, with what `host --measure` found on it at some time. A
 *  measurement that cannot be used is a warning. Return: as host_topo_discover(). */
int host_source_here(struct host_topo *ret_host, struct errctx *ec);

/** host_source_is_other() - was another host than this machine named? */
bool host_source_is_other(const struct cli_args *args);

#endif
