/* SPDX-License-Identifier: Apache-2.0 */
/* The memory device: what a driver may plug in and out, and what of it is memory then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_mem.h>
#include <unistd.h>

#include "devices/virtio/mem.h"
#include "devices/virtio/test/fake_driver.h"

#define BLOCK  GUEST_MEM_BLOCK_MIN
#define WINDOW (4ull << 30)
enum { BLOCKS = 8, INACCESSIBLE = 1 << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE };

struct fixture {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct virtio_dev *vdev;
    struct layout_range ranges[4];
    unsigned plugs, unplugs;
    int fail; /* what plug and unplug return instead of doing it */
};

static int fake_plug(void *ctx, struct gpa addr, uint64_t len_bytes)
{
    struct fixture *f = ctx;

    f->plugs++;
    return f->fail < 0 ? f->fail : guest_mem_plug(f->fm.mem, addr, len_bytes);
}

static int fake_unplug(void *ctx, struct gpa addr, uint64_t len_bytes, uint64_t *ret_gone)
{
    struct fixture *f = ctx;

    f->unplugs++;
    return f->fail < 0 ? f->fail : guest_mem_unplug(f->fm.mem, addr, len_bytes, ret_gone);
}

static const struct device_plug_ops plug_ops = { .plug = fake_plug, .unplug = fake_unplug };

/* The usual memory, and a window of eight blocks of node 1. */
static void init_memory(struct fixture *f)
{
    fake_mem_init(&f->fm);
    fake_mem_fini(&f->fm);
    memcpy(f->ranges, f->fm.ranges, sizeof(f->fm.ranges));
    f->ranges[3] = (struct layout_range){ { WINDOW }, BLOCKS * BLOCK, { 1 }, LAYOUT_HOTPLUG,
                                          8 * MIB };
    f->fm.layout.ranges = f->ranges;
    f->fm.layout.n_ranges = 4;
    f->fm.nodes[1].hotplug_bytes = BLOCKS * BLOCK;
    assert_int_equal(guest_mem_new(&f->fm.plan, &f->fm.layout, &f->fm.mem, NULL), 0);
}

static struct virtio_dev *make_mem(struct fixture *f)
{
    struct device_env env = { .mem = f->fm.mem, .loop = f->fl.loop, .name = "mem0", .vnode = 1,
                              .plug = &plug_ops, .plug_ctx = f };
    struct device_args args = { .type = &virtio_mem_device_type, .vnode = 1 };
    struct virtio_dev *vdev = NULL;

    assert_int_equal(virtio_mem_device_type.create(&args, &env, &vdev, NULL), 0);
    return vdev;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    init_memory(f);
    fake_loop_start(&f->fl);
    f->vdev = make_mem(f);
    fake_dev_init(&f->fd, f->vdev, &f->fm, INACCESSIBLE, 16);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fake_dev_fini(&f->fd);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_loop_stop(&f->fl);
    fake_mem_fini(&f->fm);
    free(f);
    return 0;
}

static struct virtio_mem_resp ask(struct fixture *f, uint16_t type, uint64_t addr, uint16_t blocks)
{
    const struct virtio_mem_req req = { .type = type,
                                        .u.plug = { .addr = addr, .nb_blocks = blocks } };
    const struct fake_buf bufs[2] = { { FAKE_DATA_BASE, sizeof(req) },
                                      { FAKE_DATA_BASE + 100, sizeof(struct virtio_mem_resp) } };
    struct virtio_mem_resp resp = { .type = 99 };
    uint32_t head, len;

    memcpy(fake_ptr(f->fm.mem, FAKE_DATA_BASE, sizeof(req)), &req, sizeof(req));
    fake_queue_add(&f->fd.q[0], bufs, 1, 1);
    fake_dev_kick(&f->fd, 0);
    assert_true(fake_queue_used(&f->fd.q[0], &head, &len));
    assert_int_equal(len, sizeof(resp));
    memcpy(&resp, fake_ptr(f->fm.mem, FAKE_DATA_BASE + 100, sizeof(resp)), sizeof(resp));
    return resp;
}

static uint64_t plugged(struct fixture *f)
{
    struct virtio_mem_status st;

    virtio_mem_status(f->vdev, &st);
    return st.plugged_bytes;
}

static void plug(struct fixture *f, unsigned block, uint16_t n)
{
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, WINDOW + block * BLOCK, n).type,
                     VIRTIO_MEM_RESP_ACK);
}

/* --- the tests ----------------------------------------------------------------------------------- */

static void nothing(void *ctx)
{
    (void)ctx;
}

static uint64_t returned(struct fixture *f)
{
    struct virtio_mem_status st;

    virtio_mem_status(f->vdev, &st);
    return st.returned_bytes;
}

/* Whether whoever has the guest's mapping, as KVM does, finds memory behind the window's start. */
static bool is_open(struct fixture *f)
{
    const struct guest_mem_window w = guest_mem_window(f->fm.mem, 0);
    int fds[2];
    bool open;

    assert_int_equal(pipe(fds), 0);
    open = write(fds[1], w.host, 1) == 1;
    assert_true(open || errno == EFAULT);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return open;
}

static void blocks_become_memory_and_stop_being_it(void **state)
{
    struct fixture *f = *state;
    struct mem_lease lease;
    uint8_t byte = 1;

    assert_false(is_open(f)); /* from the start */
    assert_int_equal(virtio_mem_request(f->vdev, 3 * BLOCK + 5, NULL), 0);
    evloop_call(f->fl.loop, nothing, NULL); /* asked in order */
    assert_int_equal(f->fd.config_interrupts, 1);
    assert_int_equal(guest_mem_read(f->fm.mem, (struct gpa){ WINDOW }, &byte, 1), -EFAULT);
    plug(f, 0, 2);
    assert_int_equal(plugged(f), 2 * BLOCK);
    assert_int_equal(guest_mem_fill(f->fm.mem, (struct gpa){ WINDOW + BLOCK - 4096 }, 7, 8192), 0);
    assert_int_equal(guest_mem_lease_begin(f->fm.mem, (struct gpa){ WINDOW + 2 * BLOCK - 1 }, 2,
                                           LEASE_READ, &lease), -EFAULT);
    assert_int_equal(guest_mem_resident_bytes(f->fm.mem, (struct vnode_id){ 1 }) >= 8192, 1);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG, WINDOW, 1).type, VIRTIO_MEM_RESP_ACK);
    assert_int_equal(plugged(f), BLOCK);
    assert_int_equal(returned(f), 4096); /* the only page of it that had memory */
    assert_false(is_open(f));
    assert_int_equal(guest_mem_read(f->fm.mem, (struct gpa){ WINDOW + BLOCK - 1 }, &byte, 1),
                     -EFAULT);
    assert_int_equal(guest_mem_read(f->fm.mem, (struct gpa){ WINDOW + BLOCK }, &byte, 1), 0);
    assert_int_equal(byte, 7);
    plug(f, 0, 1); /* again: zero */
    assert_true(is_open(f));
    assert_int_equal(guest_mem_read(f->fm.mem, (struct gpa){ WINDOW + BLOCK - 1 }, &byte, 1), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0).type, VIRTIO_MEM_RESP_ACK);
    assert_int_equal(plugged(f), 0);
    plug(f, 0, 1);
    assert_true(is_open(f));
    assert_int_equal(guest_mem_discard(f->fm.mem, NULL), 0); /* a reset of the machine */
    assert_false(is_open(f));
}

static void nobody_plugs_more_than_was_asked_for(void **state)
{
    struct fixture *f = *state;
    struct errctx ec = { 0 };

    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, WINDOW, 1).type, VIRTIO_MEM_RESP_NACK);
    assert_int_equal(virtio_mem_request(f->vdev, 2 * BLOCK, NULL), 0);
    plug(f, 5, 2);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, WINDOW, 1).type, VIRTIO_MEM_RESP_NACK);
    assert_int_equal(virtio_mem_request(f->vdev, 9 * BLOCK, &ec), -ERANGE);
    assert_string_equal(ec.msg, "virtual node 1 has room for 1024 MiB to be plugged in");
    assert_int_equal(f->plugs, 1);
}

static void nonsense_is_an_error(void **state)
{
    static const struct {
        uint16_t type;
        uint64_t addr;
        uint16_t blocks;
    } bad[] = {
        { VIRTIO_MEM_REQ_PLUG, WINDOW + 4096, 1 },
        { VIRTIO_MEM_REQ_PLUG, WINDOW, 0 },
        { VIRTIO_MEM_REQ_PLUG, WINDOW, BLOCKS + 1 },
        { VIRTIO_MEM_REQ_PLUG, 0, 1 },
        { VIRTIO_MEM_REQ_PLUG, WINDOW + BLOCKS * BLOCK, 1 },
        { VIRTIO_MEM_REQ_PLUG, UINT64_MAX - BLOCK + 1, 1 },
        { VIRTIO_MEM_REQ_PLUG, WINDOW, UINT16_MAX },
        { VIRTIO_MEM_REQ_PLUG, WINDOW + BLOCK, 1 }, /* is plugged in */
        { VIRTIO_MEM_REQ_PLUG, WINDOW, 2 },
        { VIRTIO_MEM_REQ_UNPLUG, WINDOW, 1 }, /* is not */
        { VIRTIO_MEM_REQ_UNPLUG, WINDOW, 2 },
        { VIRTIO_MEM_REQ_STATE, WINDOW, 0 },
        { 77, WINDOW, 1 },
    };
    struct fixture *f = *state;

    assert_int_equal(virtio_mem_request(f->vdev, 4 * BLOCK, NULL), 0);
    plug(f, 1, 1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(ask(f, bad[i].type, bad[i].addr, bad[i].blocks).type,
                         VIRTIO_MEM_RESP_ERROR);
    assert_int_equal(plugged(f), BLOCK);
    assert_int_equal(f->plugs + f->unplugs, 1);
}

static void state_is_told(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(virtio_mem_request(f->vdev, BLOCK, NULL), 0);
    plug(f, 1, 1);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, WINDOW, 1).u.state.state,
                     VIRTIO_MEM_STATE_UNPLUGGED);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, WINDOW + BLOCK, 1).u.state.state,
                     VIRTIO_MEM_STATE_PLUGGED);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, WINDOW, 2).u.state.state,
                     VIRTIO_MEM_STATE_MIXED);
}

static void what_is_in_use_is_busy(void **state)
{
    struct fixture *f = *state;
    struct mem_lease lease;

    assert_int_equal(virtio_mem_request(f->vdev, 2 * BLOCK, NULL), 0);
    plug(f, 0, 2);
    assert_int_equal(guest_mem_lease_begin(f->fm.mem, (struct gpa){ WINDOW + BLOCK }, 1, LEASE_DMA,
                                           &lease), 0);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG, WINDOW, 2).type, VIRTIO_MEM_RESP_BUSY);
    assert_int_equal(plugged(f), 2 * BLOCK);
    guest_mem_lease_end(f->fm.mem, &lease);
    f->fail = -ENOMEM;
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0).type, VIRTIO_MEM_RESP_BUSY);
    f->fail = 0;
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG, WINDOW, 2).type, VIRTIO_MEM_RESP_ACK);
    f->fail = -ENOMEM;
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, WINDOW, 2).type, VIRTIO_MEM_RESP_BUSY);
    assert_int_equal(plugged(f), 0);
}

static void the_driver_reads_its_window(void **state)
{
    struct fixture *f = *state;
    struct virtio_mem_config config = { 0 };

    assert_int_equal(virtio_mem_request(f->vdev, 2 * BLOCK, NULL), 0);
    plug(f, 7, 1);
    f->vdev->ops->config_read(f->vdev, 0, &config, sizeof(config));
    assert_true(config.block_size == BLOCK && config.addr == WINDOW);
    assert_true(config.region_size == BLOCKS * BLOCK && config.usable_region_size == BLOCKS * BLOCK);
    assert_true(config.plugged_size == BLOCK && config.requested_size == 2 * BLOCK);
    assert_int_equal(config.node_id, 1);
}

static void a_request_that_is_too_short_breaks_it(void **state)
{
    struct fixture *f = *state;
    const struct fake_buf bufs[2] = { { FAKE_DATA_BASE, 20 }, { FAKE_DATA_BASE + 100, 10 } };

    fake_queue_add(&f->fd.q[0], bufs, 1, 1);
    fake_dev_kick(&f->fd, 0);
    assert_true(f->vdev->broken);
}

static void do_reset(void *ctx)
{
    struct fixture *f = ctx;

    f->vdev->ops->reset(f->vdev);
}

static void a_reset_of_the_device_keeps_memory_one_of_the_machine_does_not(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(virtio_mem_request(f->vdev, 2 * BLOCK, NULL), 0);
    plug(f, 0, 1);
    fake_dev_quiesce(&f->fd);
    evloop_call(f->fl.loop, do_reset, f);
    fake_dev_resume(&f->fd);
    assert_int_equal(plugged(f), BLOCK);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(guest_mem_discard(f->fm.mem, NULL), 0);
    fake_dev_resume(&f->fd);
    assert_int_equal(plugged(f), 0);
    f->vdev->features = 0; /* a driver that would touch what is not there */
    assert_int_equal(fake_dev_start(&f->fd), -EPROTO);
}

static void state_is_saved_and_checked(void **state)
{
    struct fixture *f = *state;
    struct virtio_dev *other = make_mem(f);
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;

    assert_int_equal(virtio_mem_request(f->vdev, 3 * BLOCK, NULL), 0);
    plug(f, 2, 3);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(f->vdev->ops->save(f->vdev, &w, NULL), 0);
    assert_int_equal(guest_mem_discard(f->fm.mem, NULL), 0);
    for (size_t cut = 0; cut < w.len; cut++) {
        r = (struct snapshot_reader){ .buf = w.buf, .len = cut };
        assert_int_equal(other->ops->load(other, &r, 1, NULL), -EINVAL);
    }
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(other->ops->load(other, &r, 1, NULL), 0);
    assert_int_equal(guest_mem_plugged(f->fm.mem, (struct gpa){ WINDOW + 2 * BLOCK }, 3 * BLOCK),
                     3 * BLOCK);
    assert_int_equal(plugged(f), 3 * BLOCK);
    w.buf[0] ^= 1; /* another window */
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(other->ops->load(other, &r, 1, NULL), -EINVAL);
    other->ops->destroy(other);
    snapshot_writer_fini(&w);
}

static void a_node_without_a_window_has_no_device(void **state)
{
    struct fixture *f = *state;
    struct device_env env = { .mem = f->fm.mem, .loop = f->fl.loop, .name = "mem1", .vnode = 0,
                              .plug = &plug_ops, .plug_ctx = f };
    struct device_args args = { .type = &virtio_mem_device_type };
    struct virtio_dev *vdev = NULL;
    struct errctx ec = { 0 };

    assert_int_equal(virtio_mem_device_type.create(&args, &env, &vdev, &ec), -EINVAL);
    assert_string_equal(ec.msg, "mem1: virtual node 0 has no window");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(blocks_become_memory_and_stop_being_it),
        T(nobody_plugs_more_than_was_asked_for),
        T(nonsense_is_an_error),
        T(state_is_told),
        T(what_is_in_use_is_busy),
        T(the_driver_reads_its_window),
        T(a_request_that_is_too_short_breaks_it),
        T(a_reset_of_the_device_keeps_memory_one_of_the_machine_does_not),
        T(state_is_saved_and_checked),
        T(a_node_without_a_window_has_no_device),
#undef T
    };

    return cmocka_run_group_tests_name("devices/virtio/mem", tests, NULL, NULL);
}
