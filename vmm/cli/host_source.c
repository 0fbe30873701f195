/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cli/host_source.h"

#include <errno.h>

#include "vmm/machine/measure_cache.h"

int host_source_read(const struct cli_args *args, struct host_topo *ret_host, struct errctx *ec)
{
    const char *xml = cli_args_get(args, "host-xml");
    const char *synthetic = cli_args_get(args, "host-synthetic");
    int r;

    if (xml != NULL && synthetic != NULL)
        return errctx_set(ec, EINVAL, "--host-xml and --host-synthetic name two hosts, say one");
    if (xml != NULL) {
        r = host_topo_from_xml(xml, ret_host, ec);
        return r < 0 ? errctx_wrap(ec, r, "--host-xml") : r;
    }
    if (synthetic != NULL) {
        r = host_topo_from_synthetic(synthetic, ret_host, ec);
        return r < 0 ? errctx_wrap(ec, r, "--host-synthetic") : r;
    }
    return host_source_here(ret_host, ec);
}

int host_source_here(struct host_topo *ret_host, struct errctx *ec)
{
    struct errctx unusable = { 0 };
    int r = host_topo_discover("", ret_host, ec);

    if (r == 0 && measure_cache_load(ret_host, &unusable) < 0)
        (void)cli_error(0, "an earlier measurement is not used: %s", unusable.msg);
    return r;
}

bool host_source_is_other(const struct cli_args *args)
{
    return cli_args_get(args, "host-xml") != NULL || cli_args_get(args, "host-synthetic") != NULL;
}
