/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses of every width, as strings and across edges, to configuration space, to addresses and
 * ports that nobody claims. A narrow access must return its part of the wide one. An access that
 * no device covers whole, or wider than a device takes, may read all ones instead.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"

#define PCI_WINDOWS 0xc0000000ull /* the lowest address that is never RAM below 4 GiB */

enum {
    BYTES = 64,
    FREE_PORT = 0x2f0,
    FREE_PORT_EDGE = 0x3f6, /* the serial port begins two bytes behind */
    CFG_DATA = PLATFORM_PCI_CF8 + 4,
    CFG_ENABLE = 1u << 31,
    SERIAL_SCRATCH = PLATFORM_SERIAL_PORT + 7,
};

static uint8_t by_byte[BYTES], buf[2 * BYTES] __attribute__((aligned(8)));

static bool all_ones(const uint8_t *p, size_t n)
{
    while (n > 0)
        if (p[--n] != 0xff)
            return false;
    return true;
}

static uint64_t read_width(uint64_t at, unsigned width)
{
    return width == 1 ? read8(at) : width == 2 ? read16(at) : width == 4 ? read32(at) : read64(at);
}

/* Each access equals the bytes below it; @or_ones where the device may decline. */
static void check_width(uint64_t base, unsigned width, unsigned step, bool or_ones)
{
    uint64_t want, got, ones = width == 8 ? ~0ull : (1ull << width * 8) - 1;
    unsigned at, bad = 0;

    for (at = 0; at + width <= BYTES; at += step) {
        want = 0;
        memcpy(&want, by_byte + at, width);
        got = read_width(base + at, width);
        if (got != want && !(or_ones && got == ones)) {
            note("%u bytes at +%u: got %lx, want %lx", width, at, got, want);
            bad++;
        }
    }
    ok(bad == 0, "configuration space by %u bytes, steps of %u", width, step);
}

static void strings_from(uint64_t base, const char *what)
{
    void *d = buf;
    const void *s = (const void *)(uintptr_t)base;
    uint64_t n = BYTES;

    memset(buf, 0, sizeof(buf));
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    ok(memcmp(buf, by_byte, BYTES) == 0 && buf[BYTES] == 0, "rep movsb from %s", what);
    d = buf;
    s = (const void *)(uintptr_t)base;
    n = BYTES / 4;
    memset(buf, 0, sizeof(buf));
    __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    ok(memcmp(buf, by_byte, BYTES) == 0 && buf[BYTES] == 0, "rep movsl from %s", what);
}

static void strings_to(uint64_t base, const char *what)
{
    void *d = (void *)(uintptr_t)base;
    const void *s = buf;
    uint64_t n = BYTES;

    memset(buf, 0x55, sizeof(buf));
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    n = BYTES / 8;
    d = (void *)(uintptr_t)base;
    __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(0x1122334455667788ull) : "memory");
    ok(n == 0, "rep movsb and rep stosq to %s", what);
}

static void ecam(void)
{
    const struct acpi_header *t = acpi_table("MCFG");
    uint64_t base;
    unsigned i;

    if (!ok(t != NULL && t->length >= 60, "there is an MCFG"))
        return;
    base = get64((const uint8_t *)t + 44);
    map_range(base, 2 * PAGE_BYTES);
    for (i = 0; i < BYTES; i++)
        by_byte[i] = read8(base + i);
    ok(!all_ones(by_byte, 4), "function 00:00.0 is there");
    check_width(base, 2, 2, false);
    check_width(base, 4, 4, false);
    check_width(base, 8, 8, true);
    check_width(base, 2, 1, true);
    check_width(base, 4, 1, true);
    check_width(base, 8, 1, true);
    strings_from(base, "configuration space");
    /* The second half lies in the function behind. */
    (void)read64(base + PAGE_BYTES - 4);
    (void)read32(base + PAGE_BYTES - 1);
    ok(read32(base) == get32(by_byte), "accesses across a function's end leave it whole");
}

static void nobody(void)
{
    uint64_t at = FREE_MMIO;
    unsigned off, bad = 0;

    for (off = 0; off < 8; off++) {
        bad += read8(at + off) != 0xff || read16(at + off) != 0xffff;
        bad += read32(at + off) != ~0u || read64(at + off) != ~0ull;
        bad += read64(at + PAGE_BYTES - off) != ~0ull;
        write8(at + off, 1);
        write16(at + off, 2);
        write32(at + off, 3);
        write64(at + PAGE_BYTES - off, 4);
    }
    ok(bad == 0, "an unclaimed address reads all ones in every width");
    memset(by_byte, 0xff, BYTES);
    strings_from(at, "an unclaimed address");
    strings_to(at, "an unclaimed address");
    strings_from(at, "an unclaimed address after writes");
}

/* One access, half of it memory and half of it nothing: at the end of the last range below the
 * PCI windows, which may hold the ACPI tables and is therefore put back. */
static void ram_edge(void)
{
    uint64_t end = 0;
    uint32_t old;
    size_t i;

    for (i = 0; i < boot.n_ranges; i++) {
        uint64_t e = boot.range[i].base + boot.range[i].len;

        if (e <= PCI_WINDOWS && e > end)
            end = e;
    }
    old = read32(end - 4);
    ok(read64(end - 4) == (0xffffffff00000000ull | old), "a read across the end of RAM at %lx",
       end);
    write64(end - 4, 0xaabbccdd99887766ull);
    ok(read32(end - 4) == 0x99887766 && read32(end) == ~0u, "a write across it");
    write32(end - 4, old);
}

static void config_ports(void)
{
    uint32_t id, part = 0;
    unsigned i;

    outl(PLATFORM_PCI_CF8, CFG_ENABLE);
    ok(inl(PLATFORM_PCI_CF8) == CFG_ENABLE, "port 0xcf8 reads back");
    id = inl(CFG_DATA);
    for (i = 0; i < 4; i++)
        part |= (uint32_t)inb((uint16_t)(CFG_DATA + i)) << 8 * i;
    ok(part == id, "port 0xcfc by bytes");
    part = inw(CFG_DATA) | (uint32_t)inw(CFG_DATA + 2) << 16;
    ok(part == id, "port 0xcfc by words");
    (void)inl(CFG_DATA + 2); /* behind the end */
    (void)inw(CFG_DATA + 3);
    outl(PLATFORM_PCI_CF8, 0);
    ok(inl(CFG_DATA) == ~0u, "port 0xcfc reads all ones while 0xcf8 is off");
}

static void in_string(uint16_t port, unsigned width)
{
    void *d = buf;
    uint64_t n = BYTES / width;

    memset(buf, 0, sizeof(buf));
    if (width == 1)
        __asm__ volatile("rep insb" : "+D"(d), "+c"(n) : "d"(port) : "memory");
    else if (width == 2)
        __asm__ volatile("rep insw" : "+D"(d), "+c"(n) : "d"(port) : "memory");
    else
        __asm__ volatile("rep insl" : "+D"(d), "+c"(n) : "d"(port) : "memory");
}

static void out_string(uint16_t port, unsigned width)
{
    const void *s = buf;
    uint64_t n = BYTES / width;

    if (width == 1)
        __asm__ volatile("rep outsb" : "+S"(s), "+c"(n) : "d"(port) : "memory");
    else if (width == 2)
        __asm__ volatile("rep outsw" : "+S"(s), "+c"(n) : "d"(port) : "memory");
    else
        __asm__ volatile("rep outsl" : "+S"(s), "+c"(n) : "d"(port) : "memory");
}

static void ports(void)
{
    unsigned width, i, bad = 0;

    ok(inb(FREE_PORT) == 0xff && inw(FREE_PORT) == 0xffff && inl(FREE_PORT) == ~0u,
       "an unclaimed port reads all ones in every width");
    for (width = 1; width <= 4; width *= 2) {
        in_string(FREE_PORT, width);
        ok(all_ones(buf, BYTES) && buf[BYTES] == 0, "a string of %u-byte reads from it", width);
        out_string(FREE_PORT, width);
    }
    outb(SERIAL_SCRATCH, 0xa5);
    in_string(SERIAL_SCRATCH, 1);
    for (i = 0; i < BYTES; i++)
        bad += buf[i] != 0xa5;
    ok(bad == 0, "a string of reads from the serial port's scratch register");
    for (i = 0; i < BYTES; i++)
        buf[i] = (uint8_t)i;
    out_string(SERIAL_SCRATCH, 1);
    ok(inb(SERIAL_SCRATCH) == BYTES - 1, "a string of writes keeps its order");
    (void)inl(FREE_PORT_EDGE); /* ends inside the serial port */
    (void)inw(SERIAL_SCRATCH); /* begins inside, ends behind */
    (void)inl(PLATFORM_SLEEP_CONTROL);
    (void)inl(0xfffe);
    outw(SERIAL_SCRATCH, 0x1234);
    outl(0xfffc, 0);
    outb(SERIAL_SCRATCH, 0x3c);
    ok(inb(SERIAL_SCRATCH) == 0x3c, "accesses across a device's ends leave it working");
}

void guest_main(void)
{
    ecam();
    nobody();
    ram_edge();
    config_ports();
    ports();
    tap_done();
}
