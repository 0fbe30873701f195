/* SPDX-License-Identifier: Apache-2.0 */
/* When the driver of a virtio disk has to ring. */
// LDFLAGS: -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
// LDFLAGS: -Wl,--wrap=io_uring_submit
#include "devices/virtio/test/blk_rig.h"

#include <liburing.h>

/* What the driver sees while requests are handed to the kernel, which may work on them there and
 * then. Loop thread; read by the test when the request is answered. */
static struct {
    const __virtio16 *avail_event;
    unsigned calls;
    uint16_t seen;
} submit;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
    if (submit.avail_event != NULL) {
        __atomic_store_n(&submit.seen, *submit.avail_event, __ATOMIC_RELAXED);
        __atomic_fetch_add(&submit.calls, 1, __ATOMIC_RELAXED);
    }
    return __real_io_uring_submit(ring);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void doorbells_are_off_until_there_is_nothing_to_do(void **state)
{
    struct fixture *f = *state;
    struct fake_queue *q = &f->fd.q[0];

    submit.avail_event = (const __virtio16 *)(const void *)&q->used->ring[q->size];
    for (uint16_t i = 0; i < 10; i++) {
        evloop_call(f->fl.loop, nothing, NULL); /* the pass before is over */
        assert_int_equal(*submit.avail_event, i);
        assert_int_equal(run(f, VIRTIO_BLK_T_IN, 8, 4096, NULL), VIRTIO_BLK_S_OK);
        if (submit.calls == 0)
            skip(); /* no io_uring here */
        assert_int_equal(__atomic_load_n(&submit.seen, __ATOMIC_RELAXED), i);
    }
    submit.avail_event = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(doorbells_are_off_until_there_is_nothing_to_do, setup, with_uring, "io_uring"),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk doorbells", tests, NULL, NULL);
}
