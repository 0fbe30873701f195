/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI transport with an entropy device and a console behind it, driven by a random sequence
 * of register accesses, doorbells, memory writes and machine operations.
 *
 *   8 bytes per operation: kind, flags (bit 0 device, bits 1-2 width, bit 3 write),
 *   2 bytes offset, 4 bytes value
 *
 * The loop runs in the same thread, one turn at a time, so every input is repeatable. After each
 * input both devices must come back from a reset with status 0 and no lease out.
 */
#include <fcntl.h>
#include <sys/epoll.h>

#include "devices/snapshot.h"
#include "devices/virtio/console.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/test/fake_pci.h"
#include "devices/virtio/virtio_pci.h"

enum { DEVICES = 2, OP_BYTES = 8, MAX_OPS = 128, QUEUE = 8 };

struct target {
    struct fake_machine m;
    struct evloop *loop;
    struct evloop_watch *stopper;
    int stop_fd;
    struct device *dev[DEVICES];
    struct fake_vdrv drv[DEVICES];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Its readiness makes evloop_run() return after the batch it is in. */
static void stop_loop(void *ctx, uint32_t events)
{
    struct target *t = ctx;
    uint64_t count;

    (void)events;
    FAKE_MUST(read(t->stop_fd, &count, sizeof(count)) == sizeof(count));
    evloop_stop(t->loop);
}

static void turn(struct target *t)
{
    uint64_t one = 1;

    FAKE_MUST(write(t->stop_fd, &one, sizeof(one)) == sizeof(one));
    FAKE_MUST(evloop_run(t->loop, NULL) == 0);
}

static struct target *target_new(void)
{
    static const struct device_type *const types[DEVICES] = { &rng_device_type,
                                                              &console_device_type };
    struct target *t = calloc(1, sizeof(*t));

    FAKE_MUST(t != NULL);
    fake_machine_init(&t->m);
    FAKE_MUST(evloop_new(&t->loop, NULL) == 0);
    t->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    FAKE_MUST(evloop_watch_fd(t->loop, t->stop_fd, EPOLLIN, stop_loop, t, &t->stopper, NULL) == 0);
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device_env env = { .mem = t->m.fm.mem, .loop = t->loop, .name = "fuzzed" };
        struct device_args args = { .type = types[i] };
        struct virtio_dev *vdev;

        env.console_in_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        env.console_out_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        FAKE_MUST(types[i]->create(&args, &env, &vdev, NULL) == 0);
        FAKE_MUST(virtio_pci_new(vdev, t->m.host, 0, &t->m.irq, &t->dev[i], NULL) == 0);
    }
    return t;
}

/* A driver that does everything right, so that the fuzzer gets behind DRIVER_OK cheaply. */
static void bring_up(struct target *t, unsigned i, bool event_idx)
{
    struct fake_vdrv *d = &t->drv[i];

    fake_vdrv_set_status(d, 0);
    turn(t);
    (void)fake_vdrv_negotiate(d, 1ull << VIRTIO_F_VERSION_1 |
                                     (uint64_t)event_idx << VIRTIO_RING_F_EVENT_IDX);
    fake_vdrv_msix(d, 3);
    for (unsigned q = 0; q <= i; q++)
        fake_vdrv_queue(d, q, QUEUE);
    fake_vdrv_driver_ok(d);
    turn(t);
}

static void save_and_load(struct target *t, unsigned i, uint16_t at, uint8_t flip)
{
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;

    t->dev[i]->ops->quiesce(t->dev[i]);
    FAKE_MUST(guest_mem_leases(t->m.fm.mem) == 0);
    FAKE_MUST(device_save(t->dev[i], &w, NULL) == 0 && !w.failed);
    t->dev[i]->ops->reset(t->dev[i]);
    w.buf[at % w.len] ^= flip;
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    if (device_load(t->dev[i], &r, NULL) < 0)
        t->dev[i]->ops->reset(t->dev[i]);
    snapshot_writer_fini(&w);
    t->dev[i]->ops->resume(t->dev[i]);
}

/* An access inside BAR 0 or the MSI-X BAR, at @off from @base. */
static void access_at(struct target *t, uint64_t addr, uint32_t val, size_t size, bool write)
{
    if (write)
        fake_mmio_write(&t->m, addr, (uint64_t)val << 32 | val, size);
    else
        (void)fake_mmio_read(&t->m, addr, size);
}

static void add_request(struct fake_queue *q, uint16_t off, uint32_t val)
{
    struct fake_buf buf = { FAKE_DATA_BASE + off, val % 100000 };

    if (q->size != 0)
        (void)fake_queue_add(q, &buf, val >> 31, !(val >> 31));
}

static void operate(struct target *t, const uint8_t *op)
{
    static const size_t sizes[] = { 1, 2, 4, 8 };
    unsigned i = op[1] & 1;
    struct fake_vdrv *d = &t->drv[i];
    size_t size = sizes[op[1] >> 1 & 3];
    bool write = op[1] & 8;
    uint16_t off;
    uint32_t val;

    memcpy(&off, op + 2, sizeof(off));
    memcpy(&val, op + 4, sizeof(val));
    switch (op[0] % 12) {
    case 0:
        access_at(t, d->common + off % 64, val, size, write);
        break;
    case 1:
        access_at(t, d->common + off % VIRTIO_PCI_BAR_BYTES, val, size, write);
        break;
    case 2:
        access_at(t, d->msix_table + off % 8192, val, size, write);
        break;
    case 3:
        access_at(t, d->config + off % 256, val, size, write);
        break;
    case 4:
        fake_vdrv_notify(d, off % 3);
        break;
    case 5: /* anything into the rings */
        FAKE_MUST(guest_mem_write(t->m.fm.mem,
                                  (struct gpa){ FAKE_RING_BASE + (uint64_t)FAKE_RING_STRIDE *
                                                                     (op[1] >> 7) + off % 12288 },
                                  &val, 4) == 0);
        break;
    case 6:
        turn(t);
        break;
    case 7:
        bring_up(t, i, op[1] & 16);
        break;
    case 8:
        add_request(&d->q[op[1] >> 7 & i], off, val);
        fake_vdrv_notify(d, op[1] >> 7 & i);
        break;
    case 9:
        t->dev[i]->ops->quiesce(t->dev[i]);
        FAKE_MUST(guest_mem_leases(t->m.fm.mem) == 0);
        t->dev[i]->ops->resume(t->dev[i]);
        break;
    case 10:
        save_and_load(t, i, off, (uint8_t)val);
        break;
    default:
        access_at(t, d->device + off % 64, val, size, write);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t;
    size_t n = MIN(size / OP_BYTES, (size_t)MAX_OPS);

    if (t == NULL)
        t = target_new();
    for (unsigned i = 0; i < DEVICES; i++) {
        t->dev[i]->ops->quiesce(t->dev[i]);
        t->dev[i]->ops->reset(t->dev[i]);
        t->dev[i]->ops->resume(t->dev[i]);
    }
    /* Only now: before, one's BARs may lie where the other's belong. */
    for (unsigned i = 0; i < DEVICES; i++) {
        fake_vdrv_probe(&t->drv[i], &t->m, 0, i + 1);
        FAKE_MUST(fake_vdrv_status(&t->drv[i]) == 0);
    }
    for (size_t i = 0; i < n; i++)
        operate(t, data + i * OP_BYTES);
    turn(t);
    for (unsigned i = 0; i < DEVICES; i++)
        t->dev[i]->ops->quiesce(t->dev[i]);
    FAKE_MUST(guest_mem_leases(t->m.fm.mem) == 0);
    return 0;
}
