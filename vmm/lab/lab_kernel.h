/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel that a lab's guest runs: which of the installed ones, and which of its modules it
 * needs before it has a root file system. Reads files only. Main thread.
 */
#ifndef VMM_LAB_LAB_KERNEL_H
#define VMM_LAB_LAB_KERNEL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"

enum { LAB_RELEASE_MAX = 65, LAB_MODULES_MAX = 64 };

struct lab_kernel {
    char image[PATH_MAX];
    char release[LAB_RELEASE_MAX]; /* "6.1.0-13-amd64" */
    char modules[PATH_MAX];        /* its folder */
};

/**
 * lab_kernel_find() - @wanted is a path of an image, or a release of which there is one in
 * @root/boot, or NULL: the newest there.
 * @root: "" for this host's.
 * @with_modules: it is to have its modules, below @root; else only ->image says something.
 * Return: 0; -ENOENT (there is none, or it has no modules); -EINVAL (no image that tells its
 * release); or the errno of reading.
 */
int lab_kernel_find(const char *root, const char *wanted, bool with_modules,
                    struct lab_kernel *ret_kernel, struct errctx *ec);

/* Paths of modules in the order of loading, owned. */
struct lab_modules {
    char *paths[LAB_MODULES_MAX];
    size_t n;
};

/**
 * lab_modules_list() - @names, up to a NULL, and what they need, each once; what is built into the
 * kernel is left out, and so is a name that begins with "?" where the kernel has none of it.
 * Return: 0; -ENOENT (the kernel has no such module); -E2BIG; -ENOMEM; or the errno of reading.
 */
int lab_modules_list(const struct lab_kernel *kernel, const char *const *names,
                     struct lab_modules *ret_modules, struct errctx *ec);
void lab_modules_fini(struct lab_modules *modules);

#endif
