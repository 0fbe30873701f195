/* SPDX-License-Identifier: Apache-2.0 */
/* The handful of macros that every C program of this kind needs. */
#ifndef VMM_BASE_MACROS_H
#define VMM_BASE_MACROS_H

#include <stddef.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The conversion from a member back to its container, keeping const where the member has it. */
#define container_of(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member) + 0 * sizeof((ptr) == &((type *)0)->member)))

/* As container_of, for a pointer to const. */
#define container_of_const(ptr, type, member) \
    ((const type *)(const void *)((const char *)(ptr) - offsetof(type, member)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

enum { KIB = 1024, MIB = 1024 * 1024, GIB = 1024 * 1024 * 1024 };

#endif
