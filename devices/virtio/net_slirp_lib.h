/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libslirp, loaded when a machine has a user network and not before: it brings GLib and PCRE,
 * and mapping and binding the three costs every other start 0.2 ms of CPU time and the pages
 * that they write to.
 */
#ifndef DEVICES_VIRTIO_NET_SLIRP_LIB_H
#define DEVICES_VIRTIO_NET_SLIRP_LIB_H

#include <slirp/libslirp.h>

#include "vmm/base/errctx.h"

/* What we call, under the names of <slirp/libslirp.h> without their prefix. */
struct slirp_lib {
    void *handle; /* NULL: not open */
    __typeof__(&slirp_new) create;
    __typeof__(&slirp_cleanup) cleanup;
    __typeof__(&slirp_add_hostfwd) add_hostfwd;
    __typeof__(&slirp_input) input;
    __typeof__(&slirp_pollfds_fill) pollfds_fill;
    __typeof__(&slirp_pollfds_poll) pollfds_poll;
};

/**
 * slirp_lib_open() - load the library. Before the sandbox, which lets nobody map code.
 * @ret: untouched on failure; release with slirp_lib_close().
 * Return: 0 or -ELIBACC (no such library, or not the one that we know).
 */
int slirp_lib_open(struct slirp_lib *ret, struct errctx *ec);

/** slirp_lib_close() - nothing happens for one that is not open. The code stays mapped. */
void slirp_lib_close(struct slirp_lib *lib);

#endif
