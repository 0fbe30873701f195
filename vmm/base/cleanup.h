/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope cleanup for resources that live no longer than one function.
 *
 * Declare with the empty value (fd = -1, pointer = NULL), hand over with take_fd()/take_ptr().
 * Objects that are built in steps use goto labels instead; never both for one resource.
 */
#ifndef VMM_BASE_CLEANUP_H
#define VMM_BASE_CLEANUP_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void cleanup_free_ptr(void *pp)
{
    free(*(void **)pp);
}

static inline void cleanup_fclose(FILE **f)
{
    if (*f != NULL)
        (void)fclose(*f);
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
    if (*m != NULL)
        (void)pthread_mutex_unlock(*m);
}

#define CLEANUP_CLOSE  __attribute__((cleanup(cleanup_close_fd)))
#define CLEANUP_FREE   __attribute__((cleanup(cleanup_free_ptr)))
#define CLEANUP_FCLOSE __attribute__((cleanup(cleanup_fclose)))

/* Hold @mutex until the end of the enclosing scope. One per scope. */
#define LOCK_SCOPE(mutex) \
    __attribute__((cleanup(cleanup_unlock), unused)) pthread_mutex_t *lock_scope_held_ = (mutex); \
    (void)pthread_mutex_lock(lock_scope_held_)

/* Hand a descriptor over: returns it and leaves -1 behind. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Hand a pointer over: returns it and leaves NULL behind. */
#define take_ptr(p)              \
    (__extension__({             \
        __typeof__(p) t_ = (p);  \
        (p) = NULL;              \
        t_;                      \
    }))

#endif
