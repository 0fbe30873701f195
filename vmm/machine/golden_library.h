/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden files by name: NAME is a file NAME.golden in a folder of the host's or of the user's, and
 * what has a slash in it is a path. See memory/store/golden/golden.h.
 */
#ifndef VMM_MACHINE_GOLDEN_LIBRARY_H
#define VMM_MACHINE_GOLDEN_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

/** golden_library_dir() - $XDG_DATA_HOME/numavisor/golden; without it root's is
 *  /var/lib/numavisor/golden, others' is below ~/.local/share. Return: @buf. */
const char *golden_library_dir(char *buf, size_t size);

/**
 * golden_library_path() - the file that @name means, whether or not it is there.
 * @ret_path: to be freed.
 * Return: 0; -EINVAL: neither a path nor a name (letters, digits, dots, dashes, underscores; a
 * letter or digit first); -ENOMEM.
 */
int golden_library_path(const char *name, char **ret_path, struct errctx *ec);

struct golden_info {
    uint64_t pages, image_bytes, file_bytes;
    uint64_t damaged; /* pages; golden_library_verify() alone */
};

/** golden_library_add() - make @name of @n images, in the place of an older one. Makes the folder.
 *  Return: 0 or an errno of golden_make(), golden_open() or mkdir. */
int golden_library_add(const char *name, const char *const *images, size_t n,
                       struct golden_info *ret_info, struct errctx *ec);

/** golden_library_remove() - who runs with it goes on. Return: 0; -EINVAL; an errno of unlink. */
int golden_library_remove(const char *name, struct errctx *ec);

/** golden_library_verify() - read all of it. Return: 0, also where pages are damaged; an errno of
 *  golden_open() or golden_verify(). */
int golden_library_verify(const char *name, struct golden_info *ret_info, struct errctx *ec);

/** golden_library_list() - @found of each file of the folder, by name, and what opening it says (an
 *  errno, with @ec). Return: 0, also without a folder; an errno of scandir. */
int golden_library_list(void (*found)(void *ctx, const char *name, int r,
                                      const struct golden_info *info, const struct errctx *ec),
                        void *ctx, struct errctx *ec);

#endif
