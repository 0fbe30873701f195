/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI transport as a driver meets it, with the entropy device behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <unistd.h>

#include "devices/device.h"
#include "devices/snapshot.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/test/fake_pci.h"
#include "devices/virtio/virtio_pci.h"

#define VERSION_1 (1ull << VIRTIO_F_VERSION_1)

struct fixture {
    struct fake_machine m;
    struct fake_loop fl;
    struct virtio_dev *vdev;
    struct device *dev;
    struct fake_vdrv d;
    int bell;
};

static struct virtio_dev *make_rng(struct fixture *f, const char *name)
{
    struct device_env env = { .mem = f->m.fm.mem, .loop = f->fl.loop, .name = name };
    struct device_args args = { .type = &rng_device_type };
    struct virtio_dev *vdev = NULL;

    assert_int_equal(rng_device_type.create(&args, &env, &vdev, NULL), 0);
    return vdev;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_machine_init(&f->m);
    fake_loop_start(&f->fl);
    f->vdev = make_rng(f, "rng0");
    assert_int_equal(virtio_pci_new(f->vdev, f->m.host, 1, &f->m.irq, &f->dev, NULL), 0);
    fake_vdrv_probe(&f->d, &f->m, 1, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->dev->ops->quiesce(f->dev);
    f->dev->ops->destroy(f->dev);
    fake_loop_stop(&f->fl);
    fake_machine_fini(&f->m);
    free(f);
    return 0;
}

static void bring_up(struct fixture *f)
{
    uint8_t s = fake_vdrv_negotiate(&f->d, VERSION_1);

    assert_int_equal(s & VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_FEATURES_OK);
    fake_vdrv_msix(&f->d, 2);
    fake_vdrv_queue(&f->d, 0, 16);
    fake_vdrv_driver_ok(&f->d);
}

/* One request; asserts that it is answered whole. */
static void ask(struct fixture *f)
{
    struct fake_buf buf = { FAKE_DATA_BASE, 64 };
    uint8_t *data = fake_ptr(f->m.fm.mem, FAKE_DATA_BASE, 64), zero[64] = { 0 };
    uint32_t head, len;
    uint16_t offered;

    memset(data, 0, 64);
    offered = fake_queue_add(&f->d.q[0], &buf, 0, 1);
    fake_vdrv_notify(&f->d, 0);
    assert_true(fake_vdrv_wait_used(&f->d, 0, &head, &len, 5000));
    assert_int_equal(head, offered);
    assert_int_equal(len, 64);
    assert_memory_not_equal(data, zero, 64);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* Wait until the loop has done everything that was asked before. */
static void settle(struct fixture *f)
{
    for (int i = 0; i < 2; i++)
        evloop_call(f->fl.loop, nothing, NULL);
}

static bool wait_status(struct fixture *f, uint8_t bits)
{
    for (int i = 0; i < 100000; i++) {
        if ((fake_vdrv_status(&f->d) & bits) == bits)
            return true;
        settle(f);
    }
    return false;
}

static void identity_and_structures_are_found(void **state)
{
    struct fixture *f = *state;
    struct fake_vdrv *d = &f->d;

    assert_int_equal(fake_mmio_read(&f->m, d->config + PCI_DEVICE_ID, 2), 0x1044);
    assert_int_equal(fake_mmio_read(&f->m, d->config + PCI_REVISION_ID, 1), 1);
    assert_int_not_equal(d->common, 0);
    assert_int_not_equal(d->isr, 0);
    assert_int_not_equal(d->notify, 0);
    assert_int_equal(d->device, 0); /* no configuration space of its own */
    assert_int_equal(d->notify_mult, 4);
    assert_int_not_equal(d->msix_cap, 0);
    assert_int_equal(fake_mmio_read(&f->m, d->common + VIRTIO_PCI_COMMON_NUMQ, 2), 1);
    assert_true(fake_vdrv_features(d) & VERSION_1);
    assert_int_equal(fake_doorbells(&f->m), 1);
}

static void requests_are_served_and_interrupt(void **state)
{
    struct fixture *f = *state;

    bring_up(f);
    for (int i = 0; i < 40; i++)
        ask(f);
    settle(f);
    assert_true(fake_line_fired(&f->m, 1) >= 1);
    assert_int_equal(fake_line_fired(&f->m, 0), 0);
    assert_int_equal(f->m.lines[1].addr, 0xfee00000);
    assert_int_equal(f->m.lines[1].data, 0x101);
}

static void poll_long(void *ctx)
{
    evloop_set_poll(ctx, 10000000000u);
}

/* Each time that the loop sleeps before it has learned how long the driver takes, one ring. */
static void polled_driver_rings_now_and_then(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_DATA_BASE, 64 };
    struct fake_queue *q = &f->d.q[0];
    unsigned rings = 0;

    evloop_call(f->fl.loop, poll_long, f->fl.loop);
    assert_int_equal(fake_vdrv_negotiate(&f->d, VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX) &
                         VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_FEATURES_OK);
    fake_vdrv_msix(&f->d, 2);
    fake_vdrv_queue(&f->d, 0, 16);
    fake_vdrv_driver_ok(&f->d);
    settle(f); /* the start looks at the ring too */
    for (unsigned i = 0; i < 500; i++) {
        const __virtio16 *avail_event = (const __virtio16 *)(const void *)&q->used->ring[q->size];
        uint16_t old = q->avail_idx;
        uint32_t head, len;

        fake_queue_add(q, &buf, 0, 1);
        /* The wish is read after the index is written; an exchange, since thread sanitizers know
         * no fences. */
        (void)__atomic_exchange_n(&q->avail->idx, q->avail_idx, __ATOMIC_SEQ_CST);
        if (vring_need_event(__atomic_load_n(avail_event, __ATOMIC_SEQ_CST), q->avail_idx, old)) {
            rings++;
            fake_vdrv_notify(&f->d, 0);
        }
        assert_true(fake_vdrv_wait_used(&f->d, 0, &head, &len, 5000));
        if (i == 250) { /* looking goes on after a pause */
            f->dev->ops->quiesce(f->dev);
            f->dev->ops->resume(f->dev);
        }
    }
    assert_true(rings < 100);
    f->dev->ops->quiesce(f->dev); /* looks at nothing until teardown */
    assert_int_equal(guest_mem_leases(f->m.fm.mem), 0);
}

static void writes_serve_as_doorbells_without_ioeventfd(void **state)
{
    struct fixture *f = *state;

    fake_mmio_write(&f->m, f->d.config + PCI_COMMAND, 0, 2);
    assert_int_equal(fake_doorbells(&f->m), 0);
    f->m.no_doorbells = true;
    fake_mmio_write(&f->m, f->d.config + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    bring_up(f);
    ask(f);
    fake_mmio_write(&f->m, f->d.notify + 4 * 63, 0, 4); /* a queue that is not there */
}

static void isr_is_for_drivers_without_msix(void **state)
{
    struct fixture *f = *state;

    fake_vdrv_negotiate(&f->d, VERSION_1);
    fake_vdrv_queue(&f->d, 0, 16);
    fake_vdrv_driver_ok(&f->d);
    ask(f);
    settle(f);
    assert_int_equal(fake_mmio_read(&f->m, f->d.isr, 1), 1);
    assert_int_equal(fake_mmio_read(&f->m, f->d.isr, 1), 0);
}

static void features_not_offered_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_vdrv_negotiate(&f->d, VERSION_1 | 1ull << 50) &
                         VIRTIO_CONFIG_S_FEATURES_OK, 0);
    assert_true(fake_vdrv_reset(&f->d, 5000));
    assert_int_equal(fake_vdrv_negotiate(&f->d, 0) & VIRTIO_CONFIG_S_FEATURES_OK, 0);
    /* DRIVER_OK without FEATURES_OK is not taken. */
    fake_vdrv_driver_ok(&f->d);
    assert_int_equal(fake_vdrv_status(&f->d) & VIRTIO_CONFIG_S_DRIVER_OK, 0);
    assert_true(fake_vdrv_reset(&f->d, 5000));
    assert_int_not_equal(fake_vdrv_negotiate(&f->d, VERSION_1) & VIRTIO_CONFIG_S_FEATURES_OK, 0);
    /* Frozen from here on. */
    fake_mmio_write(&f->m, f->d.common + VIRTIO_PCI_COMMON_GF, 0, 4);
    assert_int_equal(fake_mmio_read(&f->m, f->d.common + VIRTIO_PCI_COMMON_GF, 4), 1);
}

static void queue_registers_keep_sense(void **state)
{
    struct fixture *f = *state;
    uint64_t c = f->d.common;

    fake_vdrv_negotiate(&f->d, VERSION_1);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_SIZE, 128, 2); /* more than there is */
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_SIZE, 0, 2);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_SIZE, 3, 2);
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_MSIX, 9, 2); /* no such vector */
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_DESCLO, 0x1234, 4);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_DESCLO, 0xff, 1); /* not its width */
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x1234);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2); /* only reset undoes it */
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_DESCLO, 0x5678, 4);
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0x1234);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_SELECT, 1, 2); /* no such queue */
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
    fake_mmio_write(&f->m, c + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
    assert_int_equal(fake_mmio_read(&f->m, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
}

static void queue_outside_memory_needs_reset(void **state)
{
    struct fixture *f = *state;
    uint8_t s;

    fake_vdrv_negotiate(&f->d, VERSION_1);
    fake_vdrv_msix(&f->d, 2);
    fake_mmio_write(&f->m, f->d.common + VIRTIO_PCI_COMMON_Q_DESCLO, FAKE_HOLE, 8);
    fake_mmio_write(&f->m, f->d.common + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
    fake_vdrv_driver_ok(&f->d);
    assert_true(wait_status(f, VIRTIO_CONFIG_S_NEEDS_RESET));
    settle(f);
    assert_int_equal(fake_line_fired(&f->m, 0), 1); /* configuration interrupt */
    s = fake_vdrv_status(&f->d);
    fake_vdrv_set_status(&f->d, s & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(fake_vdrv_status(&f->d), s); /* only a reset clears it */
    assert_true(fake_vdrv_reset(&f->d, 5000));
    bring_up(f);
    ask(f);
}

static void broken_ring_stops_the_device_until_reset(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    bring_up(f);
    ask(f);
    fake_queue_offer(&f->d.q[0], 999);
    fake_vdrv_notify(&f->d, 0);
    assert_true(wait_status(f, VIRTIO_CONFIG_S_NEEDS_RESET));
    fake_queue_init(&f->d.q[0], f->m.fm.mem, FAKE_RING_BASE, 16);
    fake_queue_add(&f->d.q[0], &(struct fake_buf){ FAKE_DATA_BASE, 8 }, 0, 1);
    fake_vdrv_notify(&f->d, 0);
    settle(f);
    assert_false(fake_queue_used(&f->d.q[0], &head, &len));
    assert_true(fake_vdrv_reset(&f->d, 5000));
    assert_int_equal(fake_mmio_read(&f->m, f->d.common + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    bring_up(f);
    ask(f);
}

static void quiesced_device_keeps_requests_for_later(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    bring_up(f);
    ask(f);
    f->dev->ops->quiesce(f->dev);
    fake_queue_add(&f->d.q[0], &(struct fake_buf){ FAKE_DATA_BASE, 8 }, 0, 1);
    fake_vdrv_notify(&f->d, 0);
    settle(f);
    assert_false(fake_queue_used(&f->d.q[0], &head, &len));
    assert_int_equal(guest_mem_leases(f->m.fm.mem), 0);
    f->dev->ops->resume(f->dev);
    assert_true(fake_vdrv_wait_used(&f->d, 0, &head, &len, 5000));
    ask(f);
}

static void do_lend(void *ctx)
{
    struct fixture *f = ctx;

    f->bell = f->vdev->transport->lend_bell(f->vdev->transport_ctx, 0);
}

static void do_take(void *ctx)
{
    struct fixture *f = ctx;

    f->vdev->transport->take_bell(f->vdev->transport_ctx, 0);
}

static void lent_bell_rings_for_another(void **state)
{
    struct fixture *f = *state;
    struct pollfd rung = { .events = POLLIN };
    uint32_t head, len;

    bring_up(f);
    ask(f);
    evloop_call(f->fl.loop, do_lend, f);
    rung.fd = f->bell;
    fake_queue_add(&f->d.q[0], &(struct fake_buf){ FAKE_DATA_BASE, 8 }, 0, 1);
    fake_vdrv_notify(&f->d, 0);
    assert_int_equal(poll(&rung, 1, 0), 1);
    (void)usleep(20000);
    settle(f);
    assert_false(fake_queue_used(&f->d.q[0], &head, &len)); /* who has the bell did not care */
    evloop_call(f->fl.loop, do_take, f);
    assert_true(fake_vdrv_wait_used(&f->d, 0, &head, &len, 5000));
    ask(f);
}

static void machine_reset_brings_power_on_state(void **state)
{
    struct fixture *f = *state;
    uint64_t bar = fake_bar(&f->d, 0);

    bring_up(f);
    ask(f);
    fake_mmio_write(&f->m, f->d.config + PCI_COMMAND, 0, 2);
    fake_mmio_write(&f->m, f->d.config + PCI_BASE_ADDRESS_0, bar + 0x100000, 8);
    fake_mmio_write(&f->m, f->d.config + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    f->dev->ops->quiesce(f->dev);
    f->dev->ops->reset(f->dev);
    f->dev->ops->resume(f->dev);
    assert_int_equal(fake_doorbells(&f->m), 0);
    assert_int_equal(fake_mmio_read(&f->m, f->d.config + PCI_COMMAND, 2), 0);
    assert_int_equal(fake_bar(&f->d, 0), bar);
    fake_vdrv_probe(&f->d, &f->m, 1, 1);
    assert_int_equal(fake_vdrv_status(&f->d), 0);
    bring_up(f);
    ask(f);
}

static void saved_device_goes_on_in_another_machine(void **state)
{
    struct fixture *f = *state, g = { .fl = f->fl };
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;
    struct errctx ec = { 0 };

    bring_up(f);
    for (int i = 0; i < 21; i++) /* indices beyond the ring's size */
        ask(f);
    f->dev->ops->quiesce(f->dev);
    assert_int_equal(device_save(f->dev, &w, NULL), 0);
    assert_false(w.failed);

    fake_machine_init(&g.m);
    g.vdev = make_rng(&g, "rng0");
    assert_int_equal(virtio_pci_new(g.vdev, g.m.host, 1, &g.m.irq, &g.dev, NULL), 0);
    g.dev->ops->quiesce(g.dev);
    for (size_t cut = 0; cut < w.len; cut++) { /* every truncation is refused */
        r = (struct snapshot_reader){ .buf = w.buf, .len = cut };
        assert_int_not_equal(device_load(g.dev, &r, &ec), 0);
    }
    assert_int_equal(guest_mem_write(g.m.fm.mem, (struct gpa){ FAKE_RING_BASE },
                                     fake_ptr(f->m.fm.mem, FAKE_RING_BASE, 65536), 65536), 0);
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(device_load(g.dev, &r, &ec), 0);
    g.dev->ops->resume(g.dev);

    g.d = f->d;
    g.d.m = &g.m;
    g.d.q[0] = f->d.q[0];
    g.d.q[0].desc = fake_ptr(g.m.fm.mem, g.d.q[0].desc_addr, 256);
    g.d.q[0].avail = fake_ptr(g.m.fm.mem, g.d.q[0].avail_addr, 64);
    g.d.q[0].used = fake_ptr(g.m.fm.mem, g.d.q[0].used_addr, 256);
    g.d.q[0].mem = g.m.fm.mem;
    ask(&g);
    settle(&g);
    assert_int_equal(fake_line_fired(&g.m, 1), 1);
    assert_int_equal(g.m.lines[1].data, 0x101);

    g.dev->ops->quiesce(g.dev);
    g.dev->ops->destroy(g.dev);
    fake_machine_fini(&g.m);
    snapshot_writer_fini(&w);
}

static void config_window_reaches_the_bar(void **state)
{
    struct fixture *f = *state;
    uint64_t cap = f->d.config + f->d.window_cap;

    fake_mmio_write(&f->m, f->d.config + PCI_COMMAND, 0, 2); /* works without decoding */
    fake_mmio_write(&f->m, cap + 8, VIRTIO_PCI_COMMON_STATUS, 4);
    fake_mmio_write(&f->m, cap + 12, 1, 4);
    fake_mmio_write(&f->m, cap + 16, VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
    assert_int_equal(fake_mmio_read(&f->m, cap + 16, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    fake_mmio_write(&f->m, cap + 8, 0xfffffffc, 4); /* outside: nothing happens */
    fake_mmio_write(&f->m, cap + 12, 4, 4);
    fake_mmio_write(&f->m, cap + 16, 0, 4);
    assert_int_equal(fake_mmio_read(&f->m, cap + 16, 4), 0);
    fake_mmio_write(&f->m, f->d.config + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(fake_vdrv_status(&f->d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

static void failed_creation_leaves_the_device_alone(void **state)
{
    struct fixture *f = *state;
    struct virtio_dev *vdev = make_rng(f, "rng1");
    struct device *dev = NULL;
    struct errctx ec = { 0 };

    f->m.lines_left = 1; /* one too few */
    assert_int_equal(virtio_pci_new(vdev, f->m.host, 1, &f->m.irq, &dev, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "rng1: MSI-X vector 1 of 2: no interrupt lines left");
    f->m.lines_left = FAKE_LINES - 2;
    assert_int_equal(virtio_pci_new(vdev, f->m.host, 7, &f->m.irq, &dev, &ec), -ENOENT);
    assert_null(dev);
    assert_null(vdev->vqs);
    vdev->ops->destroy(vdev);
}

/* Resets race with requests, register reads and each other; for the thread sanitizer. */
static void *reader(void *arg)
{
    struct fixture *f = arg;
    uint64_t sum = 0;

    for (int i = 0; i < 20000; i++) {
        sum += fake_mmio_read(&f->m, f->d.common + (i % 16) * 4, 4);
        sum += fake_mmio_read(&f->m, f->d.isr, 1);
    }
    return sum == UINT64_MAX ? arg : NULL;
}

static void resets_race_with_register_reads(void **state)
{
    struct fixture *f = *state;
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, reader, f), 0);
    for (int i = 0; i < 200; i++) {
        bring_up(f);
        ask(f);
        fake_queue_add(&f->d.q[0], &(struct fake_buf){ FAKE_DATA_BASE, 64 }, 0, 1);
        fake_vdrv_notify(&f->d, 0);
        assert_true(fake_vdrv_reset(&f->d, 5000));
    }
    assert_int_equal(pthread_join(other, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(identity_and_structures_are_found),
        T(requests_are_served_and_interrupt),
        T(polled_driver_rings_now_and_then),
        T(writes_serve_as_doorbells_without_ioeventfd),
        T(isr_is_for_drivers_without_msix),
        T(features_not_offered_are_refused),
        T(queue_registers_keep_sense),
        T(queue_outside_memory_needs_reset),
        T(broken_ring_stops_the_device_until_reset),
        T(quiesced_device_keeps_requests_for_later),
        T(lent_bell_rings_for_another),
        T(machine_reset_brings_power_on_state),
        T(saved_device_goes_on_in_another_machine),
        T(config_window_reaches_the_bar),
        T(failed_creation_leaves_the_device_alone),
        T(resets_race_with_register_reads),
#undef T
    };
    return cmocka_run_group_tests_name("devices/virtio/virtio_pci", tests, NULL, NULL);
}
