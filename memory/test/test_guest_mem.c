/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: copies, leases, and giving pages back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory/guest_mem.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"

#define G ((uint64_t)GIB)
#define M ((uint64_t)MIB)

/* Node 0: 4 MiB; node 1: 4 MiB behind it; node 2: 3 GiB, above 4 GiB. Nothing of it is touched
 * but what a test touches. */
struct fixture {
    struct plan_ram plan;
    struct mem_layout *layout;
    struct guest_mem *mem;
};

static int make(void **state, bool one_file)
{
    static struct fixture f;

    plan_ram_init(&f.plan, 3, (const uint64_t[]){ 4 * M, 4 * M, 3 * G });
    f.plan.plan.one_file = one_file;
    assert_int_equal(mem_layout_make(&test_map, &f.plan.plan, 46, &f.layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f.plan.plan, f.layout, &f.mem, NULL), 0);
    *state = &f;
    return 0;
}

static int setup(void **state)
{
    return make(state, false);
}

/* The same nodes as parts of one file. */
static int setup_joined(void **state)
{
    return make(state, true);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    guest_mem_free(f->mem);
    mem_layout_free(f->layout);
    return 0;
}

static struct gpa at(uint64_t v)
{
    return (struct gpa){ v };
}

static void copies_cross_from_one_node_to_the_next(void **state)
{
    struct fixture *f = *state;
    uint8_t out[64], in[64];

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i + 1);
    assert_int_equal(guest_mem_write(f->mem, at(4 * M - 20), out, sizeof(out)), 0);
    assert_int_equal(guest_mem_read(f->mem, at(4 * M - 20), in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_true(guest_mem_resident_bytes(f->mem, (struct vnode_id){ 0 }) > 0);
    assert_true(guest_mem_resident_bytes(f->mem, (struct vnode_id){ 1 }) > 0);
    assert_int_equal(guest_mem_fill(f->mem, at(4 * M - 1), 0xee, 2), 0);
    assert_int_equal(guest_mem_read(f->mem, at(4 * M - 2), in, 4), 0);
    assert_memory_equal(in, ((const uint8_t[]){ out[18], 0xee, 0xee, out[21] }), 4);
}

static void addresses_without_memory_fault(void **state)
{
    static const struct {
        uint64_t addr;
        size_t len;
    } bad[] = {
        { 8 * M, 1 }, { 8 * M - 1, 2 },  { 4 * G - 1, 1 },  { 4 * G - 1, 2 },      { 7 * G - 1, 2 },
        { 7 * G, 1 }, { UINT64_MAX, 1 }, { UINT64_MAX, 2 }, { UINT64_MAX - 3, 8 },
    };
    struct fixture *f = *state;
    uint8_t buf[8] = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct mem_lease lease = { .ptr = buf };

        assert_int_equal(guest_mem_read(f->mem, at(bad[i].addr), buf, bad[i].len), -EFAULT);
        assert_int_equal(guest_mem_write(f->mem, at(bad[i].addr), buf, bad[i].len), -EFAULT);
        assert_int_equal(guest_mem_fill(f->mem, at(bad[i].addr), 0, bad[i].len), -EFAULT);
        assert_int_equal(
            guest_mem_lease_begin(f->mem, at(bad[i].addr), bad[i].len, LEASE_READ, &lease),
            -EFAULT);
        assert_null(lease.ptr);
        guest_mem_lease_end(f->mem, &lease); /* not held: ignored */
    }
    assert_int_equal(guest_mem_leases(f->mem), 0);
    assert_int_equal(guest_mem_read(f->mem, at(UINT64_MAX), buf, 0), 0); /* no byte, no fault */
}

static void a_lease_stays_within_one_range_and_is_counted(void **state)
{
    struct fixture *f = *state;
    struct mem_lease a, b, c;
    uint8_t byte;

    assert_int_equal(guest_mem_lease_begin(f->mem, at(0), 4 * M, LEASE_WRITE, &a), 0);
    assert_int_equal(guest_mem_lease_begin(f->mem, at(4 * G), 3 * G, LEASE_DMA, &b), 0);
    assert_int_equal(guest_mem_lease_begin(f->mem, at(4 * M - 1), 2, LEASE_READ, &c), -EFAULT);
    assert_int_equal(guest_mem_leases(f->mem), 2);
    *(uint8_t *)a.ptr = 0x5a;
    assert_int_equal(guest_mem_read(f->mem, at(0), &byte, 1), 0);
    assert_int_equal(byte, 0x5a);
    guest_mem_lease_end(f->mem, &a);
    assert_null(a.ptr);
    guest_mem_lease_end(f->mem, &a); /* a second time: ignored */
    assert_int_equal(guest_mem_leases(f->mem), 1);
    guest_mem_lease_end(f->mem, &b);
    assert_int_equal(guest_mem_leases(f->mem), 0);
    assert_int_equal(guest_mem_lease_begin(f->mem, at(0), SIZE_MAX, LEASE_READ, &a), -EFAULT);
}

static void discard_waits_for_leases_and_leaves_zeroes(void **state)
{
    struct fixture *f = *state;
    struct errctx ec = { 0 };
    struct mem_lease lease;
    uint8_t buf[16];

    assert_int_equal(guest_mem_fill(f->mem, at(0), 0xaa, 4 * M), 0);
    assert_int_equal(guest_mem_fill(f->mem, at(5 * G), 0xbb, 2 * M), 0);
    assert_int_equal(guest_mem_lease_begin(f->mem, at(4 * M), 16, LEASE_DMA, &lease), 0);
    assert_int_equal(guest_mem_discard(f->mem, &ec), -EBUSY);
    assert_string_equal(ec.msg, "guest memory is in use (1 leases)");
    assert_int_equal(guest_mem_read(f->mem, at(0), buf, 1), 0);
    assert_int_equal(buf[0], 0xaa); /* nothing was given back */
    assert_true(guest_mem_resident_bytes(f->mem, (struct vnode_id){ 0 }) == 4 * M);
    guest_mem_lease_end(f->mem, &lease);

    assert_int_equal(guest_mem_discard(f->mem, NULL), 0);
    for (uint32_t n = 0; n < 3; n++)
        assert_int_equal(guest_mem_resident_bytes(f->mem, (struct vnode_id){ n }), 0);
    assert_int_equal(guest_mem_read(f->mem, at(4 * M - 16), buf, 16), 0);
    assert_memory_equal(buf, ((const uint8_t[16]){ 0 }), 16);
    assert_int_equal(guest_mem_read(f->mem, at(5 * G + 100), buf, 16), 0);
    assert_memory_equal(buf, ((const uint8_t[16]){ 0 }), 16);
    assert_int_equal(guest_mem_resident_bytes(f->mem, (struct vnode_id){ 99 }), 0);
}

static uint64_t there(struct fixture *f, uint32_t vnode)
{
    return guest_mem_resident_bytes(f->mem, (struct vnode_id){ vnode });
}

static void memory_goes_back_page_by_page(void **state)
{
    struct fixture *f = *state;
    uint64_t gone = 77;
    uint8_t byte, seen[3];

    assert_int_equal(guest_mem_fill(f->mem, at(3 * M), 0xaa, 3 * M), 0); /* of two nodes */
    assert_int_equal(guest_mem_give_back(f->mem, at(4 * M - 8192), 3 * 4096 + 100, false, &gone),
                     0);
    assert_int_equal(gone, 3 * 4096); /* what is no whole page stays */
    assert_true(there(f, 0) == M - 8192 && there(f, 1) == 2 * M - 4096);
    assert_int_equal(guest_mem_present(f->mem, at(4 * M), 2, seen), 0);
    assert_true((seen[0] & 1) == 0 && (seen[1] & 1) == 1);
    assert_int_equal(guest_mem_give_back(f->mem, at(4 * M - 8192), 8192, false, &gone), 0);
    assert_int_equal(gone, 0); /* a second time nothing goes */
    assert_int_equal(guest_mem_give_back(f->mem, at(0), 8 * M, false, &gone), 0);
    assert_int_equal(gone, 3 * M - 3 * 4096);
    assert_true(there(f, 0) == 0 && there(f, 1) == 0);
    assert_int_equal(guest_mem_read(f->mem, at(5 * M), &byte, 1), 0);
    assert_int_equal(byte, 0);
    gone = 77;
    assert_int_equal(guest_mem_give_back(f->mem, at(7 * M), 2 * M, false, &gone), -EFAULT);
    assert_int_equal(gone, 77);
    assert_int_equal(guest_mem_present(f->mem, at(8 * M - 4096), 2, seen), -EFAULT);
}

static void what_is_leased_does_not_go_back(void **state)
{
    struct fixture *f = *state;
    struct mem_lease l;
    uint64_t gone;

    assert_int_equal(guest_mem_fill(f->mem, at(0), 0xaa, 4 * M), 0);
    assert_int_equal(guest_mem_lease_begin(f->mem, at(M), 16, LEASE_DMA, &l), 0);
    assert_true(guest_mem_lease_addr(f->mem, &l).v == M);
    assert_int_equal(guest_mem_give_back(f->mem, at(0), 4 * M, false, &gone), 0);
    assert_int_equal(gone, 2 * M); /* the other extent */
    assert_int_equal(*(uint8_t *)l.ptr, 0xaa);
    guest_mem_lease_end(f->mem, &l);
    assert_int_equal(guest_mem_lease_begin(f->mem, at(2 * M - 8), 16, LEASE_READ, &l), 0);
    assert_int_equal(guest_mem_give_back(f->mem, at(0), 4 * M, false, &gone), 0);
    assert_int_equal(gone, 0); /* it lies in both */
    guest_mem_lease_end(f->mem, &l);
    assert_int_equal(guest_mem_give_back(f->mem, at(0), 4 * M, false, &gone), 0);
    assert_int_equal(gone, 2 * M);
}

static void pages_have_a_size(void **state)
{
    struct fixture *f = *state;
    struct gpa start = { 77 };

    assert_int_equal(guest_mem_page(f->mem, at(4 * M + 5000), &start), 4096);
    assert_int_equal(start.v, 4 * M + 4096);
    assert_int_equal(guest_mem_page(f->mem, at(8 * M), &start), 0);
}

/* Who writes under a lease finds what it wrote, whatever is given back around it. */
static void *write_many(void *arg)
{
    struct fixture *f = arg;

    for (uint32_t i = 0; i < 20000; i++) {
        const uint64_t addr = i % 3 == 0 ? 2 * M - 4 : (i % 64) * 4096;
        struct mem_lease l;
        uint32_t v;

        if (guest_mem_lease_begin(f->mem, at(addr), 8, LEASE_DMA, &l) < 0)
            return arg;
        memcpy(l.ptr, &i, sizeof(i));
        memcpy(&v, l.ptr, sizeof(v));
        if (v != i)
            return arg;
        guest_mem_lease_end(f->mem, &l);
    }
    return NULL;
}

static void a_lease_and_giving_back_exclude_each_other(void **state)
{
    struct fixture *f = *state;
    pthread_t writer;
    void *failed;

    assert_int_equal(pthread_create(&writer, NULL, write_many, f), 0);
    for (int i = 0; i < 2000; i++) {
        uint64_t gone;

        assert_int_equal(guest_mem_give_back(f->mem, at(0), 4 * M, false, &gone), 0);
    }
    assert_int_equal(pthread_join(writer, &failed), 0);
    assert_null(failed);
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

static void *give_back_once(void *arg)
{
    struct fixture *f = arg;
    uint64_t gone;

    return guest_mem_give_back(f->mem, at(0), 4 * M, false, &gone) == 0 && gone == 4 * M ? NULL
                                                                                         : arg;
}

static void pages_stay_while_somebody_looks(void **state)
{
    struct fixture *f = *state;
    pthread_t giver;
    void *failed;

    assert_int_equal(guest_mem_fill(f->mem, at(0), 0xaa, 4 * M), 0);
    guest_mem_pages_stay(f->mem);
    assert_int_equal(pthread_create(&giver, NULL, give_back_once, f), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(there(f, 0) == 4 * M);
    guest_mem_pages_may_go(f->mem);
    assert_int_equal(pthread_join(giver, &failed), 0);
    assert_null(failed);
    assert_true(there(f, 0) == 0);
}

static void *lease_many(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < 5000; i++) {
        struct mem_lease l;

        if (guest_mem_lease_begin(f->mem, at(4 * M), 64, LEASE_READ, &l) == 0)
            guest_mem_lease_end(f->mem, &l);
    }
    return NULL;
}

static void leases_of_several_threads_add_up(void **state)
{
    struct fixture *f = *state;
    pthread_t t[3];

    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, lease_many, f), 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

static void slots_are_the_ram_ranges(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(guest_mem_n_slots(f->mem), 3);
    assert_true(guest_mem_slot(f->mem, 2).base.v == 4 * G);
    assert_true(guest_mem_slot(f->mem, 2).len_bytes == 3 * G);
    assert_int_equal((uintptr_t)guest_mem_slot(f->mem, 2).host % (2 * M), 0);
    assert_ptr_equal(guest_mem_layout(f->mem), f->layout);
}

static void pieces_are_what_another_process_maps(void **state)
{
    struct fixture *f = *state;
    struct guest_mem_piece pieces[8] = { { .memfd = -1 } };
    const size_t n = guest_mem_pieces(f->mem, NULL, 0);
    uint64_t bytes = 0;
    uint8_t there;

    assert_int_equal(n, f->plan.plan.one_file ? 2 : 3);
    assert_int_equal(guest_mem_pieces(f->mem, pieces, 8), n);
    for (size_t i = 0; i < n; i++) {
        const uint8_t mark = (uint8_t)(i + 1);

        bytes += pieces[i].len_bytes;
        assert_int_equal(guest_mem_write(f->mem, pieces[i].base, &mark, 1), 0);
        assert_int_equal(pread(pieces[i].memfd, &there, 1, (off_t)pieces[i].off), 1);
        assert_int_equal(there, mark);
        assert_int_equal(ftruncate(pieces[i].memfd, 0), -1); /* sealed: nobody takes it from us */
        assert_int_equal(errno, EPERM);
    }
    assert_int_equal(bytes, 3 * G + 8 * M);
}

struct asker {
    struct guest_mem *mem;
    _Atomic int tid;
    _Atomic bool had;
};

static void *ask_for_pages(void *arg)
{
    struct asker *a = arg;

    a->tid = (int)syscall(SYS_gettid);
    guest_mem_pages_stay(a->mem);
    a->had = true;
    guest_mem_pages_may_go(a->mem);
    return NULL;
}

static bool sleeps(int tid)
{
    char path[64], state = 0;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %*[^)]) %c", &state), 1);
    (void)fclose(f);
    return state == 'S';
}

static void who_waits_for_pages_is_next(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 20; i++) {
        struct asker a = { .mem = f->mem };
        pthread_t thread;

        guest_mem_pages_stay(f->mem);
        assert_int_equal(pthread_create(&thread, NULL, ask_for_pages, &a), 0);
        while (a.tid == 0 || !sleeps(a.tid))
            (void)sched_yield();
        assert_false(a.had);
        guest_mem_pages_may_go(f->mem);
        guest_mem_pages_stay(f->mem);
        assert_true(a.had);
        guest_mem_pages_may_go(f->mem);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

/* More nodes than a file server takes files; each keeps its own bytes and gives back its own. */
static void many_nodes_are_few_pieces(void **state)
{
    uint64_t sizes[64];
    struct guest_mem_piece pieces[2];
    struct plan_ram plan;
    struct mem_layout *layout;
    struct guest_mem *mem;
    uint64_t gone;
    uint8_t mark;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        sizes[i] = (i % 3 + 1) * 2 * M;
    plan_ram_init(&plan, ARRAY_SIZE(sizes), sizes);
    plan.plan.one_file = true;
    assert_int_equal(mem_layout_make(&test_map, &plan.plan, 46, &layout, NULL), 0);
    assert_int_equal(guest_mem_new(&plan.plan, layout, &mem, NULL), 0);
    assert_int_equal(guest_mem_pieces(mem, pieces, 2), 1);
    assert_int_equal(pieces[0].len_bytes, layout->low_end);
    for (uint64_t addr = 0; addr < layout->low_end; addr += 2 * M) {
        mark = (uint8_t)(addr / (2 * M) + 1);
        assert_int_equal(guest_mem_write(mem, at(addr), &mark, 1), 0);
    }
    for (uint64_t addr = 0; addr < layout->low_end; addr += 2 * M) {
        assert_int_equal(pread(pieces[0].memfd, &mark, 1, (off_t)(pieces[0].off + addr)), 1);
        assert_int_equal(mark, (uint8_t)(addr / (2 * M) + 1));
    }
    for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++)
        assert_int_equal(guest_mem_resident_bytes(mem, (struct vnode_id){ i }),
                         sizes[i] / (2 * M) * 4096);
    assert_int_equal(guest_mem_give_back(mem, at(2 * M), 4096, false, &gone), 0);
    assert_int_equal(gone, 4096);
    assert_int_equal(guest_mem_resident_bytes(mem, (struct vnode_id){ 0 }), 4096);
    assert_int_equal(guest_mem_resident_bytes(mem, (struct vnode_id){ 1 }), 4096);
    guest_mem_free(mem);
    mem_layout_free(layout);
}

/* Once for nodes with a file each, once for those that share one. */
#define BOTH(test)                                                                                 \
    { #test, test, setup, teardown, NULL },                                                        \
    {                                                                                              \
        #test " (one file)", test, setup_joined, teardown, NULL                                    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(who_waits_for_pages_is_next),
        BOTH(pieces_are_what_another_process_maps),
        BOTH(copies_cross_from_one_node_to_the_next),
        BOTH(addresses_without_memory_fault),
        BOTH(a_lease_stays_within_one_range_and_is_counted),
        BOTH(discard_waits_for_leases_and_leaves_zeroes),
        BOTH(leases_of_several_threads_add_up),
        BOTH(memory_goes_back_page_by_page),
        BOTH(what_is_leased_does_not_go_back),
        BOTH(pages_have_a_size),
        BOTH(a_lease_and_giving_back_exclude_each_other),
        BOTH(pages_stay_while_somebody_looks),
        BOTH(slots_are_the_ram_ranges),
        cmocka_unit_test(many_nodes_are_few_pieces),
    };

    return cmocka_run_group_tests_name("memory/guest_mem", tests, NULL, NULL);
}
