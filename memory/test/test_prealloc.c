/* SPDX-License-Identifier: Apache-2.0 */
/* Memory taken at once: all of it, with what was in it, as huge as this kernel can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/guest_mem.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"

static const uint64_t extent = 2 * MIB;

static bool kernel_can_collapse(void)
{
    uint8_t *area = mmap(NULL, 2 * extent, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                         0);
    uint8_t *start;
    bool can;

    assert_ptr_not_equal(area, MAP_FAILED);
    start = area + (extent - (uintptr_t)area % extent) % extent;
    start[0] = 1;
    can = madvise(start, extent, 25) == 0; /* MADV_COLLAPSE */
    (void)munmap(area, 2 * extent);
    return can;
}

/* What the kernel says about the mapping at @host; in bytes. */
static uint64_t huge_bytes(const void *host)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long from, to, kib = 0;
    bool here = false;
    char line[512];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from == (unsigned long)(uintptr_t)host;
        else if (here && sscanf(line, "ShmemPmdMapped: %lu", &kib) == 1)
            break;
    }
    (void)fclose(f);
    return (uint64_t)kib * KIB;
}

static void all_memory_is_there_and_keeps_its_content(void **state)
{
    static struct topo_plan_backing backings[] = {
        { .vnode = { 0 }, .len_bytes = 8 * MIB, .prealloc = true },
        { .vnode = { 2 }, .len_bytes = 4 * MIB, .prealloc = true },
    };
    static struct topo_plan_node nodes[] = { { .vnode = { 0 }, .ram_bytes = 8 * MIB },
                                             { .vnode = { 1 } },
                                             { .vnode = { 2 }, .ram_bytes = 4 * MIB } };
    const struct topo_plan plan = { .nodes = nodes,
                                    .n_nodes = ARRAY_SIZE(nodes),
                                    .backings = backings,
                                    .n_backings = ARRAY_SIZE(backings) };
    struct mem_layout *layout = NULL;
    struct guest_mem *mem = NULL;
    char text[6] = "";

    (void)state;
    assert_int_equal(mem_layout_make(&test_map, &plan, 40, &layout, NULL), 0);
    assert_int_equal(guest_mem_new(&plan, layout, &mem, NULL), 0);
    assert_int_equal(guest_mem_write(mem, (struct gpa){ 5 * MIB + 77 }, "hello", 6), 0);
    for (int round = 0; round < 2; round++) {
        const struct guest_mem_commit how = { .threads = round == 0 };

        assert_int_equal(guest_mem_commit(mem, &how, NULL), 0);
        assert_int_equal(guest_mem_resident_bytes(mem, (struct vnode_id){ 0 }), 8 * MIB);
        assert_int_equal(guest_mem_resident_bytes(mem, (struct vnode_id){ 2 }), 4 * MIB);
        if (kernel_can_collapse()) {
            assert_int_equal(huge_bytes(guest_mem_slot(mem, 0).host), 8 * MIB);
            assert_int_equal(huge_bytes(guest_mem_slot(mem, 1).host), 4 * MIB);
        }
        assert_int_equal(guest_mem_read(mem, (struct gpa){ 5 * MIB + 77 }, text, 6), 0);
        assert_string_equal(text, round == 0 ? "hello" : "");
        assert_int_equal(guest_mem_discard(mem, NULL), 0);
        assert_int_equal(guest_mem_resident_bytes(mem, (struct vnode_id){ 0 }), 0);
    }
    guest_mem_free(mem);
    mem_layout_free(layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_memory_is_there_and_keeps_its_content),
    };
    return cmocka_run_group_tests_name("memory/prealloc", tests, NULL, NULL);
}
