/* SPDX-License-Identifier: Apache-2.0 */
/* Giving privileges up, thread by thread, for good. */
#ifndef VMM_BASE_PRIVILEGE_H
#define VMM_BASE_PRIVILEGE_H

#include "vmm/base/errctx.h"

/**
 * privilege_drop() - the calling thread, and every thread it creates from now on, loses all
 * capabilities and can gain none by executing something (no_new_privs).
 *
 * Capabilities belong to threads: call it before threads are made, or on each.
 * Return: 0 or the errno of capset or prctl.
 */
int privilege_drop(struct errctx *ec);

#endif
