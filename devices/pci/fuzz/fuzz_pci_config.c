/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration accesses by a guest that means no good: two functions, random reads and writes
 * through ECAM and mechanism #1, and accesses to wherever their BARs are then.
 *
 *   8 bytes per operation: kind, slot and width, 2 bytes offset, 4 bytes value
 *
 * Read-only registers stay, doorbells are balanced (the harness aborts otherwise), and what is
 * decoded lies inside the bridge's window.
 */
#include "devices/pci/msix.h"
#include "devices/virtio/test/fake_pci.h"

enum { FUNCS = 2, OP_BYTES = 8, MAX_OPS = 256, BAR0_BYTES = 4096 };

struct target {
    struct fake_machine m;
    struct pci_func func[FUNCS];
    unsigned mapped[FUNCS];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_read(struct pci_func *f, unsigned bar, uint64_t off, void *data, size_t size)
{
    FAKE_MUST(bar < PCI_MAX_BARS && off + size <= f->bar[bar].size_bytes);
    memset(data, 0x5a, size);
}

static void on_write(struct pci_func *f, unsigned bar, uint64_t off, const void *data, size_t size)
{
    (void)data;
    FAKE_MUST(bar < PCI_MAX_BARS && off + size <= f->bar[bar].size_bytes);
}

static void on_mapped(struct pci_func *f, unsigned bar, struct gpa base, bool mapped)
{
    FAKE_MUST(f->bar[bar].base == base.v);
    FAKE_MUST(!mapped || pci_host_window_has(f->host, f->bus, base.v, f->bar[bar].size_bytes));
}

static const struct pci_func_ops ops = { on_read, on_write, on_mapped, NULL, NULL };

static const struct pci_func_desc desc = {
    .vendor = 0x1234,
    .device = 0x5678,
    .class_code = 0x010203,
    .bar = { { .size_bytes = BAR0_BYTES },
             { .size_bytes = MSIX_BAR_BYTES },
             { .size_bytes = 0x10000, .prefetchable = true } },
};

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));

    FAKE_MUST(t != NULL);
    fake_machine_init(&t->m);
    for (unsigned i = 0; i < FUNCS; i++) {
        pci_func_init(&t->func[i], &desc, &ops, "fuzzed");
        FAKE_MUST(pci_func_add_msix(&t->func[i], 1, 4, &t->m.irq, NULL) == 0);
        FAKE_MUST(pci_host_add_func(t->m.host, 1, &t->func[i], NULL) == 0);
    }
    return t;
}

static void port_access(struct target *t, uint16_t port, uint32_t val, size_t size, bool write)
{
    if (write)
        (void)bus_write(t->m.port_bus, port, &val, size);
    else
        (void)bus_read(t->m.port_bus, port, &val, size);
}

static void operate(struct target *t, const uint8_t *op)
{
    static const size_t sizes[] = { 1, 2, 4, 8 };
    unsigned slot = (op[1] & 3) % (FUNCS + 1) + 1;
    size_t size = sizes[op[1] >> 2 & 3];
    uint16_t off;
    uint32_t val;
    struct pci_func *f = &t->func[slot % FUNCS];
    uint64_t data = 0;

    memcpy(&off, op + 2, sizeof(off));
    memcpy(&val, op + 4, sizeof(val));
    switch (op[0] % 7) {
    case 0:
        fake_mmio_write(&t->m, fake_ecam(1, slot, off % 256), val, size);
        break;
    case 1:
        fake_mmio_write(&t->m, fake_ecam(1, slot, off % PCI_CONFIG_BYTES), val, size);
        break;
    case 2:
        (void)fake_mmio_read(&t->m, fake_ecam(off >> 12 & 1, slot, off & 0xfff), size);
        break;
    case 3:
        port_access(t, (uint16_t)(0xcf8 + off % 8), val, MIN(size, 4), op[1] >> 7);
        break;
    case 4: /* a BAR next to where it was */
        memcpy(&data, f->config + PCI_BASE_ADDRESS_0 + 8 * (off % 3), 8);
        data += (uint64_t)(val % 64) * 4096;
        fake_mmio_write(
            &t->m, fake_ecam(1, (unsigned)(f - t->func) + 1, PCI_BASE_ADDRESS_0 + 8 * (off % 3)),
            data, 8);
        break;
    case 5: /* into a BAR */
        memcpy(&data, f->config + PCI_BASE_ADDRESS_0 + 8 * (off % 3), 8);
        data = (data & ~0xfull) + val % 0x10010;
        if (op[1] >> 7)
            fake_mmio_write(&t->m, data, val, size);
        else
            (void)fake_mmio_read(&t->m, data, size);
        break;
    default:
        (void)msix_notify(f->msix, val % 6);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t;
    size_t n = MIN(size / OP_BYTES, (size_t)MAX_OPS);

    if (t == NULL)
        t = target_new();
    for (unsigned i = 0; i < FUNCS; i++)
        pci_func_reset(&t->func[i]);
    for (size_t i = 0; i < n; i++)
        operate(t, data + i * OP_BYTES);
    for (unsigned i = 0; i < FUNCS; i++) {
        FAKE_MUST(fake_mmio_read(&t->m, fake_ecam(1, i + 1, 0), 4) == 0x56781234);
        FAKE_MUST(fake_mmio_read(&t->m, fake_ecam(1, i + 1, 8), 4) == 0x01020300);
    }
    return 0;
}
