/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM is where the memory map says, to the last byte, and nowhere else.
 *
 * Every range's first and last page and every power of two inside gets a pattern made from its
 * own address; all are written before the first is read back, so an alias shows. Pages of this
 * image are left out. What lies behind the end of RAM must read all ones and swallow writes.
 */
#include "guest-tests/bare/lib/bare.h"

enum { MAX_PROBES = 1024, BOOT_RAM = 1 };
#define PATTERN 0x5aa5c33c0ff0a596ull

static uint64_t probes[MAX_PROBES];
static size_t n_probes;
static uint64_t ram_bytes;

static bool in_image(uint64_t page)
{
    return page + PAGE_BYTES > phys(image_start) && page < phys(image_end);
}

static void probe_add(uint64_t page)
{
    if (in_image(page) || n_probes == MAX_PROBES)
        return;
    map_range(page, PAGE_BYTES);
    probes[n_probes++] = page;
}

static void probe_range(const struct boot_range *r)
{
    uint64_t first = (r->base + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
    uint64_t end = (r->base + r->len) & ~(uint64_t)(PAGE_BYTES - 1);
    unsigned bit;

    if (end <= first)
        return;
    probe_add(first);
    if (end - PAGE_BYTES != first)
        probe_add(end - PAGE_BYTES);
    for (bit = 20; bit < 52; bit++) {
        uint64_t at = 1ull << bit;

        if (at > first && at < end - PAGE_BYTES)
            probe_add(at);
    }
}

static void write_all(void)
{
    size_t i;

    for (i = 0; i < n_probes; i++) {
        write64(probes[i], probes[i] ^ PATTERN);
        write64(probes[i] + PAGE_BYTES - 8, ~probes[i] ^ PATTERN);
    }
}

static void read_all(void)
{
    unsigned bad = 0;
    size_t i;

    for (i = 0; i < n_probes; i++) {
        if (read64(probes[i]) == (probes[i] ^ PATTERN) &&
            read64(probes[i] + PAGE_BYTES - 8) == (~probes[i] ^ PATTERN))
            continue;
        bad++;
        note("page %lx: got %lx and %lx", probes[i], read64(probes[i]),
             read64(probes[i] + PAGE_BYTES - 8));
    }
    ok(bad == 0, "%lu pages at edges and powers of two keep their own content", n_probes);
}

static bool overlaps_ram(uint64_t base, uint64_t len)
{
    size_t i;

    for (i = 0; i < boot.n_ranges; i++)
        if (boot.range[i].type == BOOT_RAM && base < boot.range[i].base + boot.range[i].len &&
            base + len > boot.range[i].base)
            return true;
    return false;
}

static bool overlaps_any(uint64_t base, uint64_t len)
{
    size_t i;

    for (i = 0; i < boot.n_ranges; i++)
        if (base < boot.range[i].base + boot.range[i].len && base + len > boot.range[i].base)
            return true;
    return false;
}

/* Behind a range of RAM, where nothing else is listed. */
static void check_hole(uint64_t at)
{
    map_range(at, PAGE_BYTES);
    write64(at, PATTERN);
    write8(at + 9, 0);
    ok(read64(at) == ~0ull && read8(at + 9) == 0xff && read32(at + PAGE_BYTES - 4) == ~0u,
       "%lx is no memory: reads all ones, writes vanish", at);
}

static void holes(void)
{
    uint64_t end;
    size_t i;

    for (i = 0; i < boot.n_ranges; i++) {
        end =
            (boot.range[i].base + boot.range[i].len + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
        if (end > MIB && end != DEVICE_SPACE && !overlaps_any(end, PAGE_BYTES))
            check_hole(end);
    }
}

static void map_is_sane(void)
{
    unsigned bad = 0;
    size_t i, k;

    for (i = 0; i < boot.n_ranges; i++) {
        const struct boot_range *r = &boot.range[i];

        fact("range.%lu=base:%lx,len:%lx,type:%u", i, r->base, r->len, r->type);
        if (r->type == BOOT_RAM)
            ram_bytes += r->len;
        bad += r->len == 0 || r->base + r->len < r->base;
        for (k = 0; k < i; k++)
            bad += r->base < boot.range[k].base + boot.range[k].len &&
                   r->base + r->len > boot.range[k].base;
    }
    fact("ram_bytes=%lu", ram_bytes);
    ok(bad == 0, "no range is empty, wraps or overlaps another");
    ok(overlaps_ram(phys(image_start), 1), "the image lies in RAM");
}

/* What describes the machine: where it belongs, and whole before and after the probes. */
static void describers(const char *when)
{
    struct describer d;
    unsigned i;

    for (i = 0; describer_at(i, &d); i++)
        ok(d.is_whole && overlaps_ram(d.at, d.len) == d.in_ram, "%s is whole %s, %s usable RAM",
           d.name, when, d.in_ram ? "in" : "not in");
}

void guest_main(void)
{
    size_t i;

    ok(boot.n_ranges > 0, "the loader gave a memory map");
    map_is_sane();
    describers("before");
    for (i = 0; i < boot.n_ranges; i++)
        if (boot.range[i].type == BOOT_RAM)
            probe_range(&boot.range[i]);
    write_all();
    read_all();
    describers("afterwards");
    holes();
    tap_done();
}
