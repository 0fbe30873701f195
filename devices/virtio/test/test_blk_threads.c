/* SPDX-License-Identifier: Apache-2.0 */
/* What the pool's threads may do: the system call of a request is replaced by opening a file. */
// LDFLAGS: -Wl,--wrap=blk_syscall_run
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/blk_syscall.h"
#include "vmm/base/landlock.h"
#include "vmm/base/place.h"

int64_t __wrap_blk_syscall_run(const struct blk_io *io, int fd);

static struct idset ran_on; /* CPUs that the last request could have run on */

int64_t __wrap_blk_syscall_run(const struct blk_io *io, int fd)
{
    const int other = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

    (void)io;
    (void)fd;
    (void)place_get_thread(&ran_on);
    if (other < 0)
        return -errno;
    (void)close(other);
    return 0;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void the_threads_name_no_files(void **state)
{
    struct blk_backend_cfg cfg = { .fd = -1, .buffered_fd = -1, .depth = 1, .ready = nothing };
    struct blk_io io = { .op = BLK_OP_FLUSH };
    struct blk_backend *be;
    const int abi = landlock_abi();

    (void)state;
    if (abi < 0) {
        print_message("no Landlock: %s\n", strerror(-abi));
        skip();
    }
    assert_int_equal(evloop_new(&cfg.loop, NULL), 0);
    assert_int_equal(blk_threads_new(&cfg, &be, NULL), 0);
    be->ops->submit(be, &io);
    be->ops->wait(be);
    assert_ptr_equal(be->ops->reap(be), &io);
    assert_int_equal(io.res, -EACCES);
    be->ops->free(be);
    evloop_free(cfg.loop);
    assert_int_equal(access("/etc/passwd", R_OK), 0); /* and the process is as it was */
    assert_int_equal(__wrap_blk_syscall_run(&io, -1), 0);
}

static void the_threads_go_where_their_loop_goes(void **state)
{
    struct blk_backend_cfg cfg = { .fd = -1, .buffered_fd = -1, .depth = 1, .ready = nothing };
    struct blk_io io = { .op = BLK_OP_FLUSH };
    struct idset before, one = { 0 };
    struct blk_backend *be;

    (void)state;
    assert_int_equal(place_get_thread(&before), 0);
    idset_add(&one, idset_next(&before, 0));
    assert_int_equal(evloop_new(&cfg.loop, NULL), 0);
    assert_int_equal(blk_threads_new(&cfg, &be, NULL), 0);
    for (int moved = 0; moved < 2; moved++) {
        if (moved)
            place_group_send(evloop_place(cfg.loop), &one);
        be->ops->submit(be, &io);
        be->ops->wait(be);
        assert_ptr_equal(be->ops->reap(be), &io);
        assert_true(idset_equal(&ran_on, moved ? &one : &before));
    }
    be->ops->free(be);
    evloop_free(cfg.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_threads_name_no_files),
        cmocka_unit_test(the_threads_go_where_their_loop_goes),
    };

    return cmocka_run_group_tests_name("virtio/blk_threads", tests, NULL, NULL);
}
