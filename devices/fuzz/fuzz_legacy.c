/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does anything it likes to the legacy devices: accesses of any width at any
 * offset, resets, presses of the power button, ends of interrupt, received bytes, and saved
 * states of its own making. Five bytes an operation: which, device and offset, value.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/cpu_block.h"
#include "devices/ioapic.h"
#include "devices/power_block.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/test/legacy_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SERIAL, RTC, IOAPIC, POWER, CPUS, N_DEVICES, FUZZ_CPUS = 64, OP_BYTES = 5 };

struct guest {
    struct legacy_rig rig;
    struct device *dev[N_DEVICES];
    struct evloop *loop;
    bool busy;
};

static size_t wire_send(void *ctx, const void *bytes, size_t len)
{
    struct guest *g = ctx;

    (void)bytes;
    g->busy = !g->busy;
    return g->busy ? 0 : len;
}

static void on_send(void *ctx, uint64_t addr, uint32_t msg)
{
    (void)ctx;
    (void)msg;
    if (addr >> 20 != 0xfee) /* an I/O APIC sends interrupts, nothing else */
        abort();
}

static void on_route(void *ctx, uint32_t pin, uint64_t addr, uint32_t msg, bool masked)
{
    (void)ctx;
    (void)addr;
    (void)msg;
    (void)masked;
    if (pin >= 24)
        abort();
}

static const struct serial_wire_ops wire = { .send = wire_send };
static const struct ioapic_ops ioapic = { .send = on_send, .route = on_route };

/* Only what was plugged in goes. */
static void gone(void *ctx, uint32_t cpu)
{
    (void)ctx;
    if (cpu == 0 || cpu >= FUZZ_CPUS)
        abort();
}

static const struct cpu_block_ops cpu_ops = { .gone = gone };

static void load(struct device *dev, const uint8_t *bytes, size_t len)
{
    struct snapshot_reader r = { .buf = bytes, .len = len };

    (void)dev->ops->load(dev, &r, dev->ops->version, NULL);
}

static void operate(struct guest *g, const uint8_t *op, const uint8_t *rest, size_t n_rest)
{
    static const size_t sizes[] = { 1, 2, 4, 8 };
    const unsigned which = op[1] % N_DEVICES;
    struct device *dev = g->dev[which];
    const size_t width = sizes[op[0] >> 4 & 3];
    uint8_t bytes[8] = { op[3], op[4], op[3], op[4] };

    switch (op[0] & 7) {
    case 0:
    case 1:
        dev->ops->read(dev, op[2], bytes, width);
        break;
    case 2:
    case 3:
        dev->ops->write(dev, op[2], bytes, width);
        break;
    case 4:
        ioapic_set_pin(g->dev[IOAPIC], op[2], op[3] & 1);
        ioapic_eoi(g->dev[IOAPIC], op[4]);
        break;
    case 5:
        (void)serial_receive(g->dev[SERIAL], op + 1, 4);
        serial_output_ready(g->dev[SERIAL]);
        power_block_press(g->dev[POWER]);
        (void)cpu_block_plug(g->dev[CPUS], op[2], NULL);
        (void)cpu_block_ask(g->dev[CPUS], op[3], NULL);
        break;
    case 6:
        if (rig_copy(dev, dev, NULL) < 0) /* what was saved can be loaded */
            abort();
        break;
    default:
        if (op[3] & 1)
            dev->ops->reset(dev);
        else
            load(dev, rest, n_rest);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest g = { .busy = false };
    const struct power_block_wires power = { .events = &rig_events_ops,
                                             .events_ctx = &g.rig,
                                             .irq = &rig_line_ops,
                                             .irq_ctx = &g.rig,
                                             .line = 9 };
    struct idset cpus = { 0 };

    idset_add_range(&cpus, 1, FUZZ_CPUS - 1);
    if (cpu_block_new(&cpus, &cpu_ops, &g, &g.dev[CPUS], NULL) < 0)
        abort();
    if (evloop_new(&g.loop, NULL) < 0 ||
        serial_new(4, &rig_line_ops, &g.rig, &wire, &g, &g.dev[SERIAL], NULL) < 0 ||
        rtc_new(g.loop, 8, &rig_line_ops, &g.rig, &g.dev[RTC], NULL) < 0 ||
        ioapic_new(&ioapic, &g, &g.dev[IOAPIC], NULL) < 0 ||
        power_block_new(g.loop, &power, &g.dev[POWER], NULL) < 0)
        abort();
    for (; size >= OP_BYTES; data += OP_BYTES, size -= OP_BYTES)
        operate(&g, data, data + OP_BYTES, size - OP_BYTES);
    evloop_stop(g.loop);
    if (evloop_run(g.loop, NULL) < 0)
        abort();
    for (int i = 0; i < N_DEVICES; i++)
        rig_destroy(g.dev[i]);
    evloop_free(g.loop);
    return 0;
}
