/* SPDX-License-Identifier: Apache-2.0 */
/* Rings that the kernel serves, with the kernel of fake_vhost.h. */
// LDFLAGS: -Wl,--wrap=vhost_kernel_open,--wrap=vhost_kernel_ioctl
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_ids.h>

#include "devices/virtio/test/fake_driver.h"
#include "devices/virtio/test/fake_vhost.h"
#include "devices/virtio/vhost_net.h"

enum { WAIT_MS = 5000, TAP_FD = 777, QUEUE = 8 };

/* --- a device of two queues ------------------------------------------------------------------- */

struct fixture {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct virtio_dev vdev;
    struct vhost_net *net;
    unsigned failures; /* atomic */
    int started;
    struct errctx why;
};

static struct fixture *of(struct virtio_dev *vdev)
{
    return container_of(vdev, struct fixture, vdev);
}

static int dev_start(struct virtio_dev *vdev)
{
    struct fixture *f = of(vdev);

    f->why = (struct errctx){ 0 };
    f->started = vhost_net_start(f->net, TAP_FD, &f->why);
    return f->started;
}

static void dev_kick(struct virtio_dev *vdev, unsigned index)
{
    (void)vdev;
    (void)index;
}

static void dev_quiesce(struct virtio_dev *vdev)
{
    vhost_net_stop(of(vdev)->net);
}

static void dev_reset(struct virtio_dev *vdev)
{
    vhost_net_reset(of(vdev)->net);
}

static void dev_destroy(struct virtio_dev *vdev)
{
    vhost_net_free(of(vdev)->net);
}

static const struct virtio_ops dev_ops = {
    .type = "net", .virtio_id = VIRTIO_ID_NET, .start = dev_start, .kick = dev_kick,
    .quiesce = dev_quiesce, .reset = dev_reset, .destroy = dev_destroy,
};

static void failed(void *ctx)
{
    __atomic_fetch_add(&((struct fixture *)ctx)->failures, 1, __ATOMIC_RELEASE);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct errctx ec = { 0 };

    assert_non_null(f);
    kernel_init();
    fake_mem_init(&f->fm);
    assert_int_equal(evloop_new(&f->fl.loop, NULL), 0);
    f->vdev = (struct virtio_dev){ .ops = &dev_ops, .n_queues = 2, .loop = f->fl.loop,
                                   .queue_max = { QUEUE, QUEUE }, .mem = f->fm.mem };
    if (vhost_net_new(f->fm.mem, f->fl.loop, failed, f, &f->net, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_false(kernel.at[0].owned); /* nobody's, until a driver starts */
    assert_int_equal(vhost_net_attach(f->net, &f->vdev, 0, NULL), 0);
    fake_dev_init(&f->fd, &f->vdev, &f->fm, 1ull << VIRTIO_RING_F_EVENT_IDX, QUEUE);
    fake_loop_serve(&f->fl);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    evloop_stop(f->fl.loop);
    (void)pthread_join(f->fl.thread, NULL);
    fake_dev_fini(&f->fd);
    evloop_free(f->fl.loop);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_mem_fini(&f->fm);
    free(f);
    return 0;
}

static void wait_for(const unsigned *counter, unsigned want)
{
    for (unsigned i = 0; i < WAIT_MS && __atomic_load_n(counter, __ATOMIC_ACQUIRE) < want; i++)
        (void)usleep(1000);
    assert_int_equal(__atomic_load_n(counter, __ATOMIC_ACQUIRE), want);
}

static void offer(struct fixture *f, unsigned q, unsigned n)
{
    const struct fake_buf buf = { FAKE_DATA_BASE, 64 };

    for (unsigned i = 0; i < n; i++)
        fake_queue_add(&f->fd.q[q], &buf, 1, 0);
    fake_dev_kick(&f->fd, q);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* --- the tests ------------------------------------------------------------------------------- */

static void kernel_serves_the_rings_where_they_are(void **state)
{
    struct fixture *f = *state;
    struct kernel_ring *tx = &kernel.at[0].ring[1];
    uint32_t head, len;
    eventfd_t rang;

    assert_int_equal(fake_dev_start(&f->fd), 0);
    assert_true(f->fd.lent[0] && f->fd.lent[1]);
    assert_int_equal(kernel.at[0].features,
                     1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX);
    for (unsigned i = 0; i < 2; i++) {
        const struct kernel_ring *r = &kernel.at[0].ring[i];

        assert_int_equal(r->num, QUEUE);
        assert_int_equal(r->backend, TAP_FD);
        assert_int_equal(r->addr.desc_user_addr, (uintptr_t)f->fd.q[i].desc);
        assert_int_equal(r->addr.avail_user_addr, (uintptr_t)f->fd.q[i].avail);
        assert_int_equal(r->addr.used_user_addr, (uintptr_t)f->fd.q[i].used);
    }
    offer(f, 1, 3);
    assert_int_equal(eventfd_read(tx->kick, &rang), 0); /* the guest's own bell */
    assert_int_equal(kernel_serve(tx), 3);
    wait_for(&f->fd.queue_interrupts[1], 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(fake_queue_used(&f->fd.q[1], &head, &len));
        assert_int_equal(head, i);
    }
    assert_int_equal(f->fd.queue_interrupts[0], 0);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0); /* also while it serves */
}

static void all_memory_is_told(void **state)
{
    struct fixture *f = *state;
    const struct kernel *k = &kernel.at[0];
    uint64_t bytes = 0;

    assert_int_equal(fake_dev_start(&f->fd), 0);
    for (uint32_t i = 0; i < k->n_regions; i++) {
        const struct vhost_memory_region *r = &k->regions[i];

        assert_int_equal(r->userspace_addr,
                         (uintptr_t)fake_ptr(f->fm.mem, r->guest_phys_addr, 1));
        bytes += r->memory_size;
    }
    assert_int_equal(bytes, 12 * MIB);
}

static void stopped_ring_is_ours_from_where_it_was_left(void **state)
{
    struct fixture *f = *state;
    struct virtq_chain chain = { 0 };
    struct virtqueue *vq = &f->vdev.vqs[1];

    assert_int_equal(fake_dev_start(&f->fd), 0);
    offer(f, 1, 2);
    assert_int_equal(kernel_serve(&kernel.at[0].ring[1]), 2);
    wait_for(&f->fd.queue_interrupts[1], 1);
    offer(f, 1, 3);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(kernel.at[0].ring[1].backend, -1);
    assert_int_equal(kernel.at[0].ring[1].kick, -1);
    assert_false(f->fd.lent[0] || f->fd.lent[1]);
    assert_int_equal(vq->next_avail, 2);
    assert_int_equal(vq->next_used, 2);
    assert_int_equal(virtqueue_pop(vq, LEASE_WRITE, &chain), 1);
    assert_int_equal(chain.head, 2);
    assert_int_equal(virtqueue_push(vq, &chain, 0), 0);
    virtq_chain_fini(f->fm.mem, &chain);
    __atomic_store_n(&f->fd.queue_interrupts[1], 0, __ATOMIC_RELEASE);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    wait_for(&f->fd.queue_interrupts[1], 1); /* what may have been left unsaid */
    assert_int_equal(kernel.at[0].ring[1].base, 3);
    assert_int_equal(kernel_serve(&kernel.at[0].ring[1]), 2);
    assert_int_equal(f->fd.q[1].used->idx, 5);
    assert_int_equal(kernel.at[0].n_owned, 2); /* once to look, once for this driver */
}

static void nothing_is_told_of_a_ring_that_is_not_enabled(void **state)
{
    struct fixture *f = *state;

    f->vdev.vqs[0].enabled = false;
    assert_int_equal(fake_dev_start(&f->fd), 0);
    assert_int_equal(kernel.at[0].ring[0].backend, -1);
    assert_int_equal(kernel.at[0].ring[1].backend, TAP_FD);
    assert_false(f->fd.lent[0]);
}

static void calls_of_a_stopped_ring_interrupt_nobody(void **state)
{
    struct fixture *f = *state;
    int call;

    assert_int_equal(fake_dev_start(&f->fd), 0);
    call = kernel.at[0].ring[0].call;
    fake_dev_quiesce(&f->fd);
    assert_int_equal(eventfd_write(call, 1), 0);
    evloop_call(f->fl.loop, nothing, NULL);
    (void)usleep(20000);
    assert_int_equal(__atomic_load_n(&f->fd.queue_interrupts[0], __ATOMIC_ACQUIRE), 0);
}

static void ring_that_fails_is_told_of_once(void **state)
{
    struct fixture *f = *state;
    int err;

    assert_int_equal(fake_dev_start(&f->fd), 0);
    err = kernel.at[0].ring[1].err;
    assert_int_equal(eventfd_write(err, 1), 0);
    wait_for(&f->failures, 1);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(eventfd_write(err, 1), 0);
    (void)usleep(20000);
    assert_int_equal(__atomic_load_n(&f->failures, __ATOMIC_ACQUIRE), 1);
}

static void do_reset(void *ctx)
{
    struct fixture *f = ctx;

    f->vdev.ops->reset(&f->vdev);
}

static void after_a_reset_the_kernel_has_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_dev_start(&f->fd), 0);
    fake_dev_quiesce(&f->fd);
    evloop_call(f->fl.loop, do_reset, f);
    assert_false(kernel.at[0].owned);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    assert_int_equal(kernel.at[0].n_owned, 3);
    assert_int_equal(__atomic_load_n(&f->fd.queue_interrupts[0], __ATOMIC_ACQUIRE), 0);
}

static void every_refusal_leaves_the_rings_with_us(void **state)
{
    struct fixture *f = *state;
    unsigned refused = 0;

    for (unsigned at = 1;; at++) {
        kernel.n_asked = 0;
        kernel.fail_at = at;
        if (fake_dev_start(&f->fd) == 0 && kernel.n_asked < at)
            break; /* it never came to that */
        kernel.fail_at = 0;
        if (f->started < 0) {
            assert_int_equal(f->started, -EIO);
            assert_non_null(strstr(f->why.msg, "vhost-net: "));
            refused++;
        }
        assert_true(f->started < 0 || at > 1);
        assert_int_equal(f->fd.lent[0] || f->fd.lent[1], f->started == 0);
        fake_dev_quiesce(&f->fd);
        assert_int_equal(kernel.at[0].ring[0].backend, -1);
        evloop_call(f->fl.loop, do_reset, f);
        assert_false(kernel.at[0].owned);
    }
    assert_true(refused >= 10);
    offer(f, 1, 1);
    assert_int_equal(kernel_serve(&kernel.at[0].ring[1]), 1);
}

static void kernel_that_will_not_do_is_refused_with_a_sentence(void **state)
{
    struct fixture *f = *state;
    struct vhost_net *net = (void *)&net;
    struct errctx ec = { 0 };

    kernel.open_error = ENOENT;
    assert_int_equal(vhost_net_new(f->fm.mem, f->fl.loop, failed, f, &net, &ec), -ENOENT);
    assert_string_equal(ec.msg, "open it: No such file or directory");
    kernel.open_error = 0;
    kernel.offers = 0;
    assert_int_equal(vhost_net_new(f->fm.mem, f->fl.loop, failed, f, &net, &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "vhost-net does not know virtio 1");
    kernel.offers = KERNEL_FEATURES;
    kernel.most_regions = 1;
    assert_int_equal(vhost_net_new(f->fm.mem, f->fl.loop, failed, f, &net, &ec), -E2BIG);
    assert_non_null(strstr(ec.msg, "more than the kernel takes (parameter max_mem_regions"));
    assert_ptr_equal(net, &net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(kernel_serves_the_rings_where_they_are),
        T(all_memory_is_told),
        T(stopped_ring_is_ours_from_where_it_was_left),
        T(nothing_is_told_of_a_ring_that_is_not_enabled),
        T(calls_of_a_stopped_ring_interrupt_nobody),
        T(ring_that_fails_is_told_of_once),
        T(after_a_reset_the_kernel_has_nothing),
        T(every_refusal_leaves_the_rings_with_us),
        T(kernel_that_will_not_do_is_refused_with_a_sentence),
#undef T
    };
    return cmocka_run_group_tests_name("devices/virtio/vhost_net", tests, NULL, NULL);
}
