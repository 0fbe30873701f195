/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/privilege.h"

#include <cap-ng.h>
#include <errno.h>
#include <sys/prctl.h>

int privilege_drop(struct errctx *ec)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return errctx_set_os(ec, errno, "no_new_privs");
    /* The bounding set stays: without CAP_SETPCAP it cannot be changed, and with no_new_privs
     * nothing can be gained from it. */
    capng_clear(CAPNG_SELECT_CAPS);
    if (capng_apply(CAPNG_SELECT_CAPS) != 0)
        return errctx_set(ec, EPERM, "capabilities could not be dropped");
    return 0;
}
