/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space, BAR decoding and the host, from a guest's point of view. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/pci/msix.h"
#include "devices/platform.h"
#include "devices/snapshot.h"
#include "devices/virtio/test/fake_pci.h"
#include "memory/test/test_map.h"

enum { BAR0_BYTES = 0x4000 };

/* A function that remembers what reached it. */
struct probe {
    struct pci_func func;
    unsigned reads, writes, maps, unmaps;
    unsigned bar;
    uint64_t off, value, base;
};

static void probe_read(struct pci_func *f, unsigned bar, uint64_t off, void *data, size_t size)
{
    struct probe *p = container_of(f, struct probe, func);

    p->reads++;
    p->bar = bar;
    p->off = off;
    memset(data, 0x5a, size);
}

static void probe_write(struct pci_func *f, unsigned bar, uint64_t off, const void *data,
                        size_t size)
{
    struct probe *p = container_of(f, struct probe, func);

    p->writes++;
    p->bar = bar;
    p->off = off;
    p->value = 0;
    memcpy(&p->value, data, size);
}

static void probe_mapped(struct pci_func *f, unsigned bar, struct gpa base, bool mapped)
{
    struct probe *p = container_of(f, struct probe, func);

    if (bar != 0)
        return;
    p->maps += mapped;
    p->unmaps += !mapped;
    p->base = base.v;
}

static const struct pci_func_ops probe_ops = {
    .bar_read = probe_read,
    .bar_write = probe_write,
    .bar_mapped = probe_mapped,
};

static const struct pci_func_desc probe_desc = {
    .vendor = 0x1234,
    .device = 0x5678,
    .subsys_vendor = 0x9abc,
    .subsys_device = 0xdef0,
    .revision = 7,
    .class_code = 0x010203,
    .bar = { { .size_bytes = BAR0_BYTES },
             { .size_bytes = MSIX_BAR_BYTES },
             { .size_bytes = 0x100000, .prefetchable = true } },
};

struct fixture {
    struct fake_machine m;
    struct probe p;
};

static void probe_init(struct fixture *f, struct probe *p, const char *name)
{
    *p = (struct probe){ 0 };
    pci_func_init(&p->func, &probe_desc, &probe_ops, name);
    assert_true(pci_func_add_cap(&p->func, PCI_CAP_ID_VNDR, "\6abc", 4, "\0\xff\0\xff", NULL) > 0);
    assert_int_equal(pci_func_add_msix(&p->func, 1, 3, &f->m.irq, NULL), 0);
    assert_int_equal(pci_host_add_func(f->m.host, 1, &p->func, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_machine_init(&f->m);
    probe_init(f, &f->p, "probe0");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pci_host_remove_func(&f->p.func);
    pci_func_fini(&f->p.func);
    fake_machine_fini(&f->m);
    free(f);
    return 0;
}

static uint64_t cfg(struct fixture *f, unsigned off, size_t size)
{
    return fake_mmio_read(&f->m, fake_ecam(1, 1, off), size);
}

static void cfg_set(struct fixture *f, unsigned off, uint64_t v, size_t size)
{
    fake_mmio_write(&f->m, fake_ecam(1, 1, off), v, size);
}

static uint64_t bar(struct fixture *f, unsigned i)
{
    return cfg(f, PCI_BASE_ADDRESS_0 + 8 * i, 8) & ~0xfull;
}

static void identity_reads_at_every_width(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(cfg(f, 0, 4), 0x56781234);
    assert_int_equal(cfg(f, 0, 8), 0x0010000056781234ull); /* capability list in the status */
    assert_int_equal(cfg(f, 2, 2), 0x5678);
    assert_int_equal(cfg(f, 3, 1), 0x56);
    assert_int_equal(cfg(f, PCI_CLASS_REVISION, 4), 0x01020307);
    assert_int_equal(cfg(f, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
    assert_int_equal(cfg(f, PCI_HEADER_TYPE, 1), 0);
    assert_int_equal(cfg(f, PCI_INTERRUPT_PIN, 1), 0);
    assert_int_equal(cfg(f, 0x100, 4), 0);           /* no extended capabilities */
    assert_int_equal(cfg(f, 0xffe, 4), 0xffff0000u); /* past the end */
}

static void absent_functions_read_as_ones(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_mmio_read(&f->m, fake_ecam(1, 2, 0), 4), 0xffffffff);
    assert_int_equal(fake_mmio_read(&f->m, fake_ecam(1, 1, 0x1000), 4), 0xffffffff); /* 1.1 */
    assert_int_equal(fake_mmio_read(&f->m, fake_ecam(2, 0, 0), 4), 0xffffffff);      /* no bus 2 */
    fake_mmio_write(&f->m, fake_ecam(1, 2, 0), 0, 4);
    for (unsigned bus = 0; bus < 2; bus++) /* a host bridge on each bus */
        assert_int_equal(fake_mmio_read(&f->m, fake_ecam(bus, 0, PCI_CLASS_REVISION), 4) >> 8,
                         0x060000);
}

static void only_writable_bits_change(void **state)
{
    struct fixture *f = *state;

    for (unsigned off = 0; off < PCI_CONFIG_BYTES; off += 4) {
        if (off == PCI_COMMAND || (off >= PCI_BASE_ADDRESS_0 && off < PCI_CARDBUS_CIS))
            continue;
        cfg_set(f, off, 0, 4);
        cfg_set(f, off, 0xffffffff, 4);
    }
    assert_int_equal(cfg(f, 0, 4), 0x56781234);
    assert_int_equal(cfg(f, PCI_CLASS_REVISION, 4), 0x01020307);
    assert_int_equal(cfg(f, PCI_INTERRUPT_LINE, 4), 0x000000ff);
    assert_int_equal(cfg(f, 0x40, 4), 0xff060009 | 0x4800); /* vendor capability, then MSI-X */
    cfg_set(f, PCI_COMMAND, 0xffff, 2);
    assert_int_equal(cfg(f, PCI_COMMAND, 2), 0x406);
}

static void bars_have_sizes_and_places_from_the_start(void **state)
{
    struct fixture *f = *state;
    const struct layout_bridge *b = &f->m.fm.layout.bridges[1];

    for (unsigned i = 0; i < 3; i++) {
        uint64_t at = bar(f, i), size = probe_desc.bar[i].size_bytes;

        assert_in_range(at, b->mmio64_base, b->mmio64_base + b->mmio64_len - size);
        assert_int_equal(at % size, 0);
        assert_int_equal(cfg(f, PCI_BASE_ADDRESS_0 + 8 * i, 4) & 0xf, i == 2 ? 0xc : 0x4);
        cfg_set(f, PCI_BASE_ADDRESS_0 + 8 * i, 0xffffffff, 4);
        cfg_set(f, PCI_BASE_ADDRESS_1 + 8 * i, 0xffffffff, 4);
        assert_int_equal(cfg(f, PCI_BASE_ADDRESS_0 + 8 * i, 8) & ~0xfull, ~(size - 1));
        cfg_set(f, PCI_BASE_ADDRESS_0 + 8 * i, at, 8);
        assert_int_equal(bar(f, i), at);
    }
}

static void accesses_reach_the_function_only_while_decoded(void **state)
{
    struct fixture *f = *state;
    uint64_t at = bar(f, 0);

    assert_int_equal(fake_mmio_read(&f->m, at, 4), 0xffffffff);
    assert_int_equal(f->p.reads, 0);
    cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(f->p.maps, 1);
    assert_int_equal(f->p.base, at);
    assert_int_equal(fake_mmio_read(&f->m, at + 0x123, 2), 0x5a5a);
    assert_int_equal(f->p.off, 0x123);
    fake_mmio_write(&f->m, bar(f, 2) + 8, 0x77, 8);
    assert_int_equal(f->p.bar, 2);
    assert_int_equal(f->p.value, 0x77);
    fake_mmio_write(&f->m, at + BAR0_BYTES - 2, 1, 4); /* crosses the end: not ours */
    assert_int_equal(f->p.writes, 1);
    cfg_set(f, PCI_COMMAND, 0, 2);
    assert_int_equal(f->p.unmaps, 1);
    assert_int_equal(fake_mmio_read(&f->m, at, 4), 0xffffffff);
}

static void moved_bar_answers_at_its_new_place(void **state)
{
    struct fixture *f = *state;
    uint64_t at = bar(f, 0), to = at + 0x1000000;

    cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    cfg_set(f, PCI_BASE_ADDRESS_0, to, 4); /* low half, decoding on */
    assert_int_equal(fake_mmio_read(&f->m, at, 1), 0xff);
    assert_int_equal(fake_mmio_read(&f->m, to, 1), 0x5a);
    cfg_set(f, PCI_BASE_ADDRESS_1, 0, 4); /* outside every window */
    assert_int_equal(fake_mmio_read(&f->m, to, 1), 0xff);
    cfg_set(f, PCI_BASE_ADDRESS_1, to >> 32, 4);
    assert_int_equal(fake_mmio_read(&f->m, to, 1), 0x5a);
    assert_int_equal(f->p.maps, 3);
    assert_int_equal(f->p.unmaps, 2);
}

static void bars_in_bad_places_are_not_decoded(void **state)
{
    struct fixture *f = *state;
    const struct layout_bridge *b = f->m.fm.layout.bridges;
    const uint64_t bad[] = {
        0,
        0x200000 /* RAM */,
        test_map.ecam_base,
        test_map.high_base - 64 * BAR0_BYTES, /* of neither window */
        ~0ull,
        b[0].mmio64_base, /* the other bridge's window */
        b[1].mmio64_base + b[1].mmio64_len,
        b[1].mmio64_base - BAR0_BYTES,
        bar(f, 2), /* its own other BAR */
    };

    cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cfg_set(f, PCI_BASE_ADDRESS_0, bad[i], 8);
        assert_int_equal(f->p.maps, f->p.unmaps);
    }
    assert_int_equal(fake_mmio_read(&f->m, fake_ecam(1, 1, 0), 4), 0x56781234); /* ECAM lives */
}

static void two_functions_can_not_take_each_others_place(void **state)
{
    struct fixture *f = *state;
    struct probe other;
    uint64_t theirs;

    probe_init(f, &other, "probe1");
    assert_int_equal(other.func.slot, 2);
    theirs = fake_mmio_read(&f->m, fake_ecam(1, 2, PCI_BASE_ADDRESS_0), 8) & ~0xfull;
    fake_mmio_write(&f->m, fake_ecam(1, 2, PCI_COMMAND), PCI_COMMAND_MEMORY, 2);
    cfg_set(f, PCI_BASE_ADDRESS_0, theirs, 8);
    cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    (void)fake_mmio_read(&f->m, theirs, 1);
    assert_int_equal(f->p.reads, 0);
    assert_int_equal(other.reads, 1);
    pci_host_remove_func(&other.func);
    pci_func_fini(&other.func);
    assert_int_equal(fake_mmio_read(&f->m, fake_ecam(1, 2, 0), 4), 0xffffffff);
    assert_int_equal(fake_mmio_read(&f->m, theirs, 1), 0xff);
}

static uint64_t port_in(struct fixture *f, uint16_t port, size_t size)
{
    uint64_t v = 0;

    (void)bus_read(f->m.port_bus, port, &v, size);
    return v;
}

static void port_out(struct fixture *f, uint16_t port, uint32_t v, size_t size)
{
    (void)bus_write(f->m.port_bus, port, &v, size);
}

static void mechanism_one_reaches_the_same_registers(void **state)
{
    struct fixture *f = *state;

    port_out(f, 0xcf8, 0x80010800 | PCI_VENDOR_ID, 4); /* bus 1, device 1 */
    assert_int_equal(port_in(f, 0xcf8, 4), 0x80010800);
    assert_int_equal(port_in(f, 0xcfc, 4), 0x56781234);
    assert_int_equal(port_in(f, 0xcfe, 2), 0x5678);
    assert_int_equal(port_in(f, 0xcff, 1), 0x56);
    port_out(f, 0xcf8, 0x80010800 | PCI_INTERRUPT_LINE, 4);
    port_out(f, 0xcfc, 0x42, 1);
    assert_int_equal(cfg(f, PCI_INTERRUPT_LINE, 1), 0x42);
    port_out(f, 0xcf8, 0x00010800, 4); /* not enabled */
    assert_int_equal(port_in(f, 0xcfc, 4), 0xffffffff);
    port_out(f, 0xcf8, 0x12, 1); /* bytes are not for the latch */
    assert_int_equal(port_in(f, 0xcf8, 4), 0x00010800);
    port_out(f, 0xcf8, 0x80ff0000, 4); /* no such bus */
    assert_int_equal(port_in(f, 0xcfc, 4), 0xffffffff);
    assert_int_equal(port_in(f, 0xcf9, 1), 0xff); /* nobody there in this machine */
}

static unsigned cf9_value;

static void cf9_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    (void)dev;
    memset(data, 0x11, size);
    assert_int_equal(off, 0);
}

static void cf9_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    (void)dev;
    assert_int_equal(off + size, 1);
    cf9_value = *(const uint8_t *)data;
}

static void reset_port_lives_inside_mechanism_one(void **state)
{
    static const struct device_ops ops = { .type = "cf9", .read = cf9_read, .write = cf9_write };
    struct fixture *f = *state;
    struct device cf9 = { .ops = &ops };
    struct pci_host *host = NULL;
    struct bus *mem_bus, *port_bus;
    struct pci_host_params params;
    struct errctx ec = { 0 };
    uint8_t v = 6;

    assert_int_equal(bus_new("memory", &mem_bus, NULL), 0);
    assert_int_equal(bus_new("port", &port_bus, NULL), 0);
    params = (struct pci_host_params){ &f->m.fm.layout, mem_bus, port_bus, &cf9 };
    assert_int_equal(pci_host_new(&params, &host, NULL), 0);
    cf9_value = 0;
    assert_true(bus_write(port_bus, PLATFORM_PCI_CF8 + 1, &v, 1));
    assert_int_equal(cf9_value, 6);
    assert_true(bus_read(port_bus, PLATFORM_PCI_CF8 + 1, &v, 1));
    assert_int_equal(v, 0x11);
    /* A second host on the same buses is refused and leaves nothing behind. */
    params.mem_bus = f->m.mem_bus;
    assert_int_equal(pci_host_new(&params, &host, &ec), -EEXIST);
    params.mem_bus = mem_bus;
    params.port_bus = f->m.port_bus;
    pci_host_free(host);
    assert_int_equal(pci_host_new(&params, &host, &ec), -EEXIST);
    params.port_bus = port_bus;
    assert_int_equal(pci_host_new(&params, &host, &ec), 0);
    pci_host_device(host)->ops->destroy(pci_host_device(host));
    bus_free(mem_bus);
    bus_free(port_bus);
}

static void window_and_slots_run_out_politely(void **state)
{
    static const struct pci_func_desc huge = { .bar = { { .size_bytes = 1ull << 33 } } };
    struct fixture *f = *state;
    struct pci_func funcs[PCI_SLOTS];
    struct errctx ec = { 0 };
    struct pci_func big;
    unsigned n = 0;

    pci_func_init(&big, &huge, &probe_ops, "big0");
    assert_int_equal(pci_host_add_func(f->m.host, 1, &big, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "big0: the PCI window of node 1 has no room for BAR 0");
    for (;; n++) {
        pci_func_init(&funcs[n], &probe_desc, &probe_ops, "more");
        if (pci_host_add_func(f->m.host, 1, &funcs[n], &ec) < 0)
            break;
    }
    assert_int_equal(n, PCI_SLOTS - 2);
    assert_string_equal(ec.msg, "more: PCI bus 1 has no free slot");
    while (n > 0)
        pci_host_remove_func(&funcs[--n]);
}

static void reset_restores_power_on_state(void **state)
{
    struct fixture *f = *state;
    uint8_t before[256], after[256];

    memcpy(before, f->p.func.config, sizeof(before));
    cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    cfg_set(f, PCI_BASE_ADDRESS_0, bar(f, 0) + 0x1000000, 8);
    cfg_set(f, PCI_INTERRUPT_LINE, 9, 1);
    cfg_set(f, 0x43, 9, 1);
    pci_func_reset(&f->p.func);
    memcpy(after, f->p.func.config, sizeof(after));
    assert_memory_equal(before, after, sizeof(before));
    assert_int_equal(f->p.maps, f->p.unmaps);
}

static void saved_function_is_decoded_again_after_load(void **state)
{
    struct fixture *f = *state;
    struct device *host = pci_host_device(f->m.host);
    struct snapshot_writer w = { 0 }, wh = { 0 };
    struct snapshot_reader r;
    struct errctx ec = { 0 };
    uint64_t to = bar(f, 0) + 0x1000000;

    cfg_set(f, PCI_BASE_ADDRESS_0, to, 8);
    cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    port_out(f, 0xcf8, 0x80010800, 4);
    assert_int_equal(pci_func_save(&f->p.func, &w, NULL), 0);
    assert_int_equal(device_save(host, &wh, NULL), 0);
    pci_func_reset(&f->p.func);
    host->ops->reset(host);
    assert_int_equal(port_in(f, 0xcf8, 4), 0);
    assert_int_equal(fake_mmio_read(&f->m, to, 1), 0xff);

    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(pci_func_load(&f->p.func, &r, NULL), 0);
    r = (struct snapshot_reader){ .buf = wh.buf, .len = wh.len };
    assert_int_equal(device_load(host, &r, NULL), 0);
    assert_int_equal(fake_mmio_read(&f->m, to, 1), 0x5a);
    assert_int_equal(port_in(f, 0xcfc, 4), 0x56781234);

    w.buf[PCI_DEVICE_ID] ^= 1; /* another device's state */
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(pci_func_load(&f->p.func, &r, &ec), -EINVAL);
    assert_string_equal(ec.msg, "probe0: saved configuration space is another function's (byte 2)");
    snapshot_writer_fini(&w);
    snapshot_writer_fini(&wh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(identity_reads_at_every_width),
        T(absent_functions_read_as_ones),
        T(only_writable_bits_change),
        T(bars_have_sizes_and_places_from_the_start),
        T(accesses_reach_the_function_only_while_decoded),
        T(moved_bar_answers_at_its_new_place),
        T(bars_in_bad_places_are_not_decoded),
        T(two_functions_can_not_take_each_others_place),
        T(mechanism_one_reaches_the_same_registers),
        T(reset_port_lives_inside_mechanism_one),
        T(window_and_slots_run_out_politely),
        T(reset_restores_power_on_state),
        T(saved_function_is_decoded_again_after_load),
#undef T
    };
    return cmocka_run_group_tests_name("devices/pci", tests, NULL, NULL);
}
