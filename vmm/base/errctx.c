/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/errctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int errctx_set(struct errctx *ec, int code, const char *fmt, ...)
{
    va_list ap;

    if (ec == NULL)
        return -code;
    ec->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(ec->msg, sizeof(ec->msg), fmt, ap);
    va_end(ap);
    return -code;
}

int errctx_set_os(struct errctx *ec, int code, const char *fmt, ...)
{
    char text[128];
    va_list ap;
    size_t len;

    if (ec == NULL)
        return -code;
    ec->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(ec->msg, sizeof(ec->msg), fmt, ap);
    va_end(ap);
    len = strlen(ec->msg);
    (void)snprintf(ec->msg + len, sizeof(ec->msg) - len, ": %s",
                   strerror_r(code, text, sizeof(text)));
    return -code;
}

int errctx_wrap(struct errctx *ec, int r, const char *fmt, ...)
{
    char inner[ERRCTX_MSG_MAX];
    va_list ap;
    size_t len;

    if (ec == NULL)
        return r;
    memcpy(inner, ec->msg, sizeof(inner));
    va_start(ap, fmt);
    (void)vsnprintf(ec->msg, sizeof(ec->msg), fmt, ap);
    va_end(ap);
    len = strlen(ec->msg);
    (void)snprintf(ec->msg + len, sizeof(ec->msg) - len, ": %s", inner);
    return r;
}
