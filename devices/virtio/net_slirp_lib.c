/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/net_slirp_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

#include "vmm/base/macros.h"

static const char file[] = "libslirp.so.0";

/* Where the address of each function goes. */
static const struct {
    const char *name;
    size_t offset;
} functions[] = {
    { "slirp_new", offsetof(struct slirp_lib, create) },
    { "slirp_cleanup", offsetof(struct slirp_lib, cleanup) },
    { "slirp_add_hostfwd", offsetof(struct slirp_lib, add_hostfwd) },
    { "slirp_input", offsetof(struct slirp_lib, input) },
    { "slirp_pollfds_fill", offsetof(struct slirp_lib, pollfds_fill) },
    { "slirp_pollfds_poll", offsetof(struct slirp_lib, pollfds_poll) },
};

int slirp_lib_open(struct slirp_lib *ret, struct errctx *ec)
{
    /* Kept mapped until the end: unmapping code from within the sandbox is nobody's test. */
    struct slirp_lib lib = { .handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) };

    if (lib.handle == NULL)
        return errctx_set(ec, ELIBACC, "the user network needs %s: %s", file, dlerror());
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        void *address = dlsym(lib.handle, functions[i].name);

        if (address == NULL) {
            slirp_lib_close(&lib);
            return errctx_set(ec, ELIBACC, "%s has no %s()", file, functions[i].name);
        }
        *(void **)((char *)&lib + functions[i].offset) = address; /* as POSIX's dlsym() says */
    }
    *ret = lib;
    return 0;
}

void slirp_lib_close(struct slirp_lib *lib)
{
    if (lib->handle != NULL)
        (void)dlclose(lib->handle);
    lib->handle = NULL;
}
