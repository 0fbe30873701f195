/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The saved state of a whole machine's devices, loaded into a second machine of the same
 * description: every device from the I/O APIC to the disks, one section after the other in build
 * order. The tests stand in for the vCPUs, which do not run: a driver brings a disk up in the
 * first machine and goes on with the same rings in the second.
 *
 * The machines are made on the real /dev/kvm; without a usable one the tests are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>

#include "devices/snapshot.h"
#include "devices/virtio/test/fake_pci.h"
#include "firmware/x86/x86_map.h"
#include "firmware/x86/x86_platform.h"
#include "vmm/config/test/config_words.h"
#include "vmm/machine/machine_private.h"

enum {
    RAM_BYTES = 64 * MIB,
    DISK_SLOT = 1, /* of bus 0; slot 0 is the bridge */
    RNG_SLOT = 2,
    QUEUE_SIZE = 16,
    HDR = FAKE_DATA_BASE,
    DATA = FAKE_DATA_BASE + 4096,
    STATUS = FAKE_DATA_BASE + 64,
    WAIT_MS = 20000,
};

static const char words[] = "--cpus 2 --memory 64M --console none --io-threads 2 --disk %s,ro "
                            "--rng node=0 --net user --kernel %s";
static const char without_rng[] = "--cpus 2 --memory 64M --console none --io-threads 2 "
                                  "--disk %s,ro --net user --kernel %s";

struct files {
    char disk[32], kernel[32];
};

struct fixture {
    struct machine_config config;
    struct topo_plan *plan;
    struct evloop *loop;
    struct machine *m;
    struct stand_wish next;
    struct fake_machine pci; /* only what a driver needs: the buses and guest memory */
};

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(close(fd), 0);
}

/* A disk with a number in each sector, and a multiboot image that spins (and never runs). */
static int make_files(void **state)
{
    static struct files f;
    static uint32_t disk[1 * MIB / 4];
    const uint32_t magic = 0x1badb002, flags = 1u << 16, base = 0x100000;
    const uint32_t image[9] = {
        magic, flags, -(magic + flags), base, base, 0, 0, base + 32, 0xfeeb
    };

    (void)snprintf(f.disk, sizeof(f.disk), "/tmp/nv-state-%d.img", (int)getpid());
    (void)snprintf(f.kernel, sizeof(f.kernel), "/tmp/nv-state-%d.elf", (int)getpid());
    for (uint32_t i = 0; i < ARRAY_SIZE(disk); i++)
        disk[i] = i / 128 + 1;
    write_file(f.disk, disk, sizeof(disk));
    write_file(f.kernel, image, sizeof(image));
    *state = &f;
    return 0;
}

static int remove_files(void **state)
{
    struct files *f = *state;

    (void)unlink(f->disk);
    (void)unlink(f->kernel);
    return 0;
}

/* A machine whose I/O threads serve and whose devices stand still. */
static void init(struct fixture *f, const char *format, const struct files *files)
{
    struct host_topo host;
    struct errctx ec = { 0 };
    char text[256];

    memset(f, 0, sizeof(*f));
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        print_message("no usable /dev/kvm\n");
        skip();
    }
    (void)snprintf(text, sizeof(text), format, files->disk, files->kernel);
    if (config_words(text, &f->config, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(config_complete(&f->config, NULL), 0);
    f->config.no_sandbox = true;
    assert_int_equal(host_topo_from_synthetic("node:1 core:4 pu:1", &host, NULL), 0);
    assert_int_equal(topo_plan_make(&f->config.spec, &host, &f->plan, NULL), 0);
    host_topo_fini(&host);
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    if (machine_new(&f->config, f->plan, f->loop, NULL, &f->m, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(machine_start_io(f->m, NULL), 0);
    f->pci.mem_bus = f->m->mem_bus;
    f->pci.fm.mem = f->m->mem;
}

static void answered(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec)
{
    (void)result;
    assert_true(r == 0 || r == -EALREADY);
    (void)ec;
    evloop_stop(ask->machine->main_loop);
}

static void halt(struct fixture *f)
{
    struct machine_ask ask = { .answer = answered, .machine = f->m };

    machine_pause(f->m, &ask);
    assert_int_equal(evloop_run(f->loop, NULL), 0);
    assert_true(f->m->paused);
}

static void runs(struct stand_wish *wish, bool stands)
{
    struct fixture *f = container_of(wish, struct fixture, next);

    assert_true(stands);
    evloop_stop(f->loop);
}

/* Until the devices go on: who wishes something next has his turn after that. */
static void go(struct fixture *f)
{
    struct machine_ask ask = { .answer = answered };

    machine_resume(f->m, &ask);
    assert_int_equal(evloop_run(f->loop, NULL), 0);
    assert_false(f->m->paused);
    f->next = (struct stand_wish){ .level = STAND_VCPUS, .run = runs };
    machine_stand_ask(f->m, &f->next);
    assert_int_equal(evloop_run(f->loop, NULL), 0);
}

static void fini(struct fixture *f)
{
    halt(f);
    machine_stop_io(f->m);
    machine_free(f->m);
    evloop_free(f->loop);
    topo_plan_free(f->plan);
    config_fini(&f->config);
}

static void save(struct fixture *f, struct snapshot_writer *w)
{
    for (size_t i = 0; i < f->m->n_devices; i++)
        assert_int_equal(device_save(f->m->devices[i], w, NULL), 0);
}

static int load(struct fixture *f, const struct snapshot_writer *w, struct errctx *ec)
{
    struct snapshot_reader r = { .buf = w->buf, .len = w->len };
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < f->m->n_devices; i++)
        ret = device_load(f->m->devices[i], &r, ec);
    if (ret == 0)
        assert_int_equal(r.pos, w->len);
    return ret;
}

/* --- a guest's accesses ----------------------------------------------------------------------- */

static void out(struct fixture *f, uint16_t port, uint8_t v)
{
    assert_true(bus_write(f->m->port_bus, port, &v, 1));
}

static uint8_t in(struct fixture *f, uint16_t port)
{
    uint8_t v = 0;

    assert_true(bus_read(f->m->port_bus, port, &v, 1));
    return v;
}

static void ioapic_put(struct fixture *f, uint32_t index, uint32_t v)
{
    fake_mmio_write(&f->pci, X86_IOAPIC_BASE, index, 4);
    fake_mmio_write(&f->pci, X86_IOAPIC_BASE + 0x10, v, 4);
}

static uint32_t ioapic_get(struct fixture *f, uint32_t index)
{
    fake_mmio_write(&f->pci, X86_IOAPIC_BASE, index, 4);
    return (uint32_t)fake_mmio_read(&f->pci, X86_IOAPIC_BASE + 0x10, 4);
}

/* Something in each of the fixed parts that is not there at power-on. */
static void program_legacy(struct fixture *f)
{
    ioapic_put(f, 0x10 + 2 * PLATFORM_SERIAL_IRQ, 0x8031);
    out(f, PLATFORM_SERIAL_PORT + 3, 0x1b); /* line control */
    out(f, PLATFORM_SERIAL_PORT + 7, 0xa5); /* scratch */
    out(f, PLATFORM_RTC_PORT, 0x40);        /* battery-backed memory */
    out(f, PLATFORM_RTC_PORT + 1, 0x77);
    out(f, PLATFORM_RESET_PORT, 0x02); /* the kind of reset, no reset yet */
}

static void check_legacy(struct fixture *f)
{
    assert_int_equal(ioapic_get(f, 0x10 + 2 * PLATFORM_SERIAL_IRQ), 0x8031);
    assert_int_equal(in(f, PLATFORM_SERIAL_PORT + 3), 0x1b);
    assert_int_equal(in(f, PLATFORM_SERIAL_PORT + 7), 0xa5);
    assert_int_equal(in(f, PLATFORM_RTC_PORT + 1), 0x77); /* the index is still there */
    assert_int_equal(in(f, PLATFORM_RESET_PORT), 0x02);
}

static void bring_disk_up(struct fixture *f, struct fake_vdrv *d)
{
    fake_vdrv_probe(d, &f->pci, 0, DISK_SLOT);
    assert_true(fake_vdrv_negotiate(d, 1ull << VIRTIO_F_VERSION_1) & VIRTIO_CONFIG_S_FEATURES_OK);
    fake_vdrv_msix(d, 2);
    fake_vdrv_queue(d, 0, QUEUE_SIZE);
    fake_vdrv_driver_ok(d);
}

/* The driver with its rings, as it finds itself in another machine's memory. */
static void move_driver(struct fake_vdrv *d, struct fixture *to)
{
    struct fake_queue *q = &d->q[0];

    d->m = &to->pci;
    q->mem = to->m->mem;
    q->desc = fake_ptr(q->mem, q->desc_addr, sizeof(struct vring_desc) * q->size);
    q->avail = fake_ptr(q->mem, q->avail_addr, 6u + 2u * q->size);
    q->used = fake_ptr(q->mem, q->used_addr, 6u + 8u * q->size);
}

static void offer_read(struct fake_vdrv *d, uint64_t sector)
{
    const struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN, .sector = sector };
    const struct fake_buf bufs[] = { { HDR, sizeof(hdr) }, { DATA, 512 }, { STATUS, 1 } };

    assert_int_equal(guest_mem_write(d->m->fm.mem, (struct gpa){ HDR }, &hdr, sizeof(hdr)), 0);
    (void)fake_queue_add(&d->q[0], bufs, 1, 2);
}

static void check_read(struct fake_vdrv *d, uint32_t sector)
{
    uint32_t head, len, v[128];
    uint8_t status = 0xee;

    assert_true(fake_vdrv_wait_used(d, 0, &head, &len, WAIT_MS));
    assert_int_equal(len, 513);
    assert_int_equal(guest_mem_read(d->m->fm.mem, (struct gpa){ STATUS }, &status, 1), 0);
    assert_int_equal(status, VIRTIO_BLK_S_OK);
    assert_int_equal(guest_mem_read(d->m->fm.mem, (struct gpa){ DATA }, v, sizeof(v)), 0);
    assert_int_equal(v[0], sector + 1);
    assert_int_equal(v[127], sector + 1);
}

static void copy_memory(struct fixture *from, struct fixture *to)
{
    static uint8_t chunk[1 * MIB];

    for (uint64_t at = 0; at < RAM_BYTES; at += sizeof(chunk)) {
        assert_int_equal(guest_mem_read(from->m->mem, (struct gpa){ at }, chunk, sizeof(chunk)), 0);
        assert_int_equal(guest_mem_write(to->m->mem, (struct gpa){ at }, chunk, sizeof(chunk)), 0);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static void a_second_machine_goes_on_where_the_first_stood(void **state)
{
    struct fixture a, b;
    struct fake_vdrv disk, rng;
    struct snapshot_writer first = { 0 }, second = { 0 };
    struct errctx ec = { 0 };

    init(&a, words, *state);
    init(&b, words, *state);
    bring_disk_up(&a, &disk);
    offer_read(&disk, 3);
    fake_vdrv_notify(&disk, 0);
    check_read(&disk, 3);
    fake_vdrv_probe(&rng, &a.pci, 0, RNG_SLOT); /* in the middle of its set-up */
    fake_vdrv_set_status(&rng, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    program_legacy(&a);

    halt(&a);
    halt(&b);
    offer_read(&disk, 4); /* its doorbell rings in the other machine only */
    save(&a, &first);
    assert_int_equal(guest_mem_leases(a.m->mem), 0);
    if (load(&b, &first, &ec) < 0)
        fail_msg("%s", ec.msg);
    save(&b, &second);
    assert_int_equal(second.len, first.len);
    assert_memory_equal(second.buf, first.buf, first.len);

    copy_memory(&a, &b);
    move_driver(&disk, &b);
    go(&b);
    check_legacy(&b);
    assert_int_equal(fake_vdrv_status(&disk), 0xf); /* up to DRIVER_OK */
    check_read(&disk, 4);
    offer_read(&disk, 5);
    fake_vdrv_notify(&disk, 0);
    check_read(&disk, 5);
    rng.m = &b.pci;
    assert_int_equal(fake_vdrv_status(&rng), VIRTIO_CONFIG_S_ACKNOWLEDGE);

    snapshot_writer_fini(&first);
    snapshot_writer_fini(&second);
    fini(&a);
    fini(&b);
}

static void a_machine_of_other_devices_refuses_the_state(void **state)
{
    struct fixture a, b;
    struct snapshot_writer w = { 0 };
    struct errctx ec = { 0 };

    init(&a, words, *state);
    init(&b, without_rng, *state);
    halt(&a);
    halt(&b);
    save(&a, &w);
    assert_int_equal(load(&b, &w, &ec), -EINVAL);
    assert_string_equal(ec.msg, "net0: the saved state holds another device here");
    assert_int_equal(load(&a, &w, &ec), 0); /* where it came from it still fits */
    w.len--;
    assert_int_equal(load(&a, &w, &ec), -EINVAL);
    assert_string_equal(ec.msg, "net0: the saved state is cut short");
    snapshot_writer_fini(&w);
    fini(&a);
    fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_machine_goes_on_where_the_first_stood),
        cmocka_unit_test(a_machine_of_other_devices_refuses_the_state),
    };

    return cmocka_run_group_tests_name("machine/state", tests, make_files, remove_files);
}
