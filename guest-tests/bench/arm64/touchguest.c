/* SPDX-License-Identifier: Apache-2.0 */
/* See touchguest.h: nobody has measured on arm64 yet. */
#include "guest-tests/bench/touchguest.h"

#include <errno.h>

int touch_guest_new(uint8_t *memory, size_t bytes, struct touch_guest **ret_guest,
                    struct errctx *ec)
{
    (void)memory;
    (void)bytes;
    (void)ret_guest;
    return errctx_set(ec, ENOTSUP, "there is no guest that touches pages for arm64");
}

int touch_guest_ns(const struct touch_guest *guest, uint64_t offset, uint64_t *ret_ns,
                   struct errctx *ec)
{
    (void)guest;
    (void)offset;
    (void)ret_ns;
    return errctx_set(ec, ENOTSUP, "there is no guest that touches pages for arm64");
}
