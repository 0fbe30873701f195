/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the event loop share: a loop with descriptors that are readable at once. */
#ifndef NUMAVISOR_VMM_BASE_TEST_EVLOOP_FIXTURE_H
#define NUMAVISOR_VMM_BASE_TEST_EVLOOP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/evloop.h"

enum { N_FDS = 8, N_POSTS = 2000 };

struct fixture {
    struct evloop *loop;
    struct evloop_watch *watch[N_FDS];
    struct evloop_timer *timer;
    int fd[N_FDS];
    unsigned calls;
    unsigned order[16], n_order;
    _Atomic unsigned served;
};

static inline void setup(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    for (int i = 0; i < N_FDS; i++)
        f->fd[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* readable at once */
}

static inline void teardown(struct fixture *f)
{
    evloop_free(f->loop);
    for (int i = 0; i < N_FDS; i++)
        (void)close(f->fd[i]);
}

static inline void stop(void *ctx)
{
    struct fixture *f = ctx;

    evloop_stop(f->loop);
}

#endif
