/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page whose copy is damaged: who touches it learns that, and nobody else is harmed. On this
 * machine's kernel, with poisoned pages where it has them and with closed ones.
 */
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "memory/pager/test/pager_rig.h"

enum { LOST = 2, EVICT_TRIES = 100 };

/* Or what the kernel says of it. */
static sigjmp_buf hit_jump;
static volatile sig_atomic_t hit_signal;
static void *volatile hit_addr;

static void on_hit(int sig, siginfo_t *info, void *context)
{
    (void)context;
    hit_signal = sig;
    hit_addr = info->si_addr;
    siglongjmp(hit_jump, 1);
}

/* Read a byte as a CPU does. Return: false: a signal came. */
static bool can_read(const uint8_t *at)
{
    struct sigaction on = { .sa_sigaction = on_hit, .sa_flags = SA_SIGINFO }, bus, segv;
    volatile bool good = false;

    assert_int_equal(sigaction(SIGBUS, &on, &bus), 0);
    assert_int_equal(sigaction(SIGSEGV, &on, &segv), 0);
    hit_signal = 0;
    if (sigsetjmp(hit_jump, 1) == 0) {
        (void)*(const volatile uint8_t *)at;
        good = true;
    }
    assert_int_equal(sigaction(SIGBUS, &bus, NULL), 0);
    assert_int_equal(sigaction(SIGSEGV, &segv, NULL), 0);
    return good;
}

static struct gpa addr_of(const struct rig *rig, uint32_t node, size_t page)
{
    const void *host = page_at(rig, node, page);

    for (size_t i = 0; i < guest_mem_n_slots(rig->mem); i++) {
        const struct guest_mem_slot s = guest_mem_slot(rig->mem, i);

        if ((const uint8_t *)host >= (uint8_t *)s.host &&
            (const uint8_t *)host < (uint8_t *)s.host + s.len_bytes)
            return (struct gpa){ s.base.v + (uint64_t)((const uint8_t *)host - (uint8_t *)s.host) };
    }
    fail();
    return (struct gpa){ 0 };
}

/* All of node 1, which is @bytes. What is being made one huge page just then stays, for once. */
static void evict_all(struct rig *rig, uint64_t bytes)
{
    uint64_t gone = 0;

    for (int i = 0; i < EVICT_TRIES && gone < bytes; i++)
        gone += evict(rig, 1, UINT64_MAX);
    assert_int_equal(gone, bytes);
}

/* All of node 1 is away, and the copy of page LOST is damaged. @poison: whether the kernel's way
 * may be taken. Skips where there is no such thing. */
static struct rig *rig_with_damage(bool poison)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_node *node;

    assert_non_null(rig);
    rig_init(rig);
    node = &rig->pager->nodes[1];
    if (poison && !node->can_poison) {
        print_message("# skip: this kernel poisons no pages\n");
        rig_fini(rig);
        free(rig);
        skip();
    }
    node->can_poison = poison;
    for (size_t i = 0; i < PAGES; i++)
        make(page_at(rig, 1, i), i, 0);
    evict_all(rig, NODE_BYTES);
    store_damage(node->first, page_object(atomic_load(&node->regions[0].words[LOST])));
    return rig;
}

static void rig_free(struct rig *rig)
{
    assert_int_equal(rig->lost, 0); /* no machine had to end */
    rig_fini(rig);
    free(rig);
}

static void must_be_lost(struct rig *rig)
{
    const struct gpa addr = addr_of(rig, 1, LOST);
    uint8_t *page = page_at(rig, 1, LOST);
    struct mem_lease lease;
    uint8_t byte = 7;
    char why[160];
    int pipes[2];

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(guest_mem_read(rig->mem, addr, &byte, 1), -EHWPOISON);
    assert_int_equal(guest_mem_write(rig->mem, addr, &byte, 1), -EHWPOISON);
    for (int mode = LEASE_READ; mode <= LEASE_DMA; mode++) {
        assert_int_equal(guest_mem_lease_begin(rig->mem, addr, SMALL, (enum lease_mode)mode, &lease),
                         -EHWPOISON);
        assert_null(lease.ptr);
    }
    assert_int_equal(byte, 7);
    assert_int_equal(write(pipes[1], page, 1), -1);
    assert_int_equal(errno, EFAULT);
    assert_false(can_read(page + 5));
    assert_ptr_equal(hit_addr, page + 5);
    assert_int_equal(hit_signal, rig->pager->nodes[1].can_poison ? SIGBUS : SIGSEGV);
    assert_true(pager_lost_at(rig->pager, page + 9, why, sizeof(why)));
    assert_string_equal(why, "page 2 of virtual node 1 was damaged in the store");
    assert_false(pager_lost_at(rig->pager, page + SMALL, why, sizeof(why)));
    assert_int_equal(guest_mem_leases(rig->mem), 0);
    assert_int_equal(page_leases(atomic_load(&rig->pager->nodes[1].regions[0].words[LOST])), 0);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void must_be_closed_pages(struct rig *rig, size_t n)
{
    const void *host = NULL;

    assert_int_equal(pager_closed_pages(rig->pager, &host), n);
    assert_ptr_equal(host, n > 0 ? page_at(rig, 1, LOST) : NULL);
}

static void others_are_there(struct rig *rig)
{
    uint8_t want[SMALL];

    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 0);
        if (i != LOST)
            assert_memory_equal(page_at(rig, 1, i), want, SMALL);
    }
    /* The fault thread is at nothing any more that could not be evicted. */
    LOCK_SCOPE(&rig->pager->nodes[1].serving);
}

static void nobody_reads_it_and_others_are_there(bool poison)
{
    struct rig *rig = rig_with_damage(poison);

    assert_false(pager_ever_lost(rig->pager));
    must_be_closed_pages(rig, 0);
    must_be_lost(rig);
    must_be_closed_pages(rig, poison ? 0 : 1);
    others_are_there(rig);
    assert_true(pager_ever_lost(rig->pager));
    assert_int_equal(count(rig, 1).lost_pages, 1);
    /* Taken out of the page table and put back, by evicting, it is lost still. */
    evict_all(rig, NODE_BYTES - SMALL);
    must_be_lost(rig);
    others_are_there(rig);
    must_be_lost(rig);
    rig_free(rig);
}

static void a_poisoned_page_is_read_by_nobody(void **state)
{
    (void)state;
    nobody_reads_it_and_others_are_there(true);
}

static void a_closed_page_is_read_by_nobody(void **state)
{
    (void)state;
    nobody_reads_it_and_others_are_there(false);
}

static void it_is_anew_when_given_back(bool poison)
{
    struct rig *rig = rig_with_damage(poison);
    uint64_t gone;

    must_be_lost(rig);
    assert_int_equal(guest_mem_give_back(rig->mem, addr_of(rig, 1, LOST), SMALL, false, &gone), 0);
    must_be_closed_pages(rig, 0);
    assert_int_equal(*(volatile uint8_t *)page_at(rig, 1, LOST), 0);
    make(page_at(rig, 1, LOST), LOST, 0);
    others_are_there(rig);
    evict_all(rig, NODE_BYTES);
    assert_int_equal(state_of(rig, 1, LOST), PAGE_EMPTY);
    others_are_there(rig);
    rig_free(rig);
}

static void and_at_a_reset(bool poison)
{
    struct rig *rig = rig_with_damage(poison);

    must_be_lost(rig);
    assert_int_equal(pager_reset(rig->pager, NULL), 0);
    assert_int_equal(guest_mem_discard(rig->mem, NULL), 0);
    must_be_closed_pages(rig, 0);
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(*(volatile uint8_t *)page_at(rig, 1, i), 0);
    rig_free(rig);
}

static void a_page_that_nobody_wants_any_more_is_anew(void **state)
{
    (void)state;
    it_is_anew_when_given_back(false);
    and_at_a_reset(false);
    it_is_anew_when_given_back(true);
    and_at_a_reset(true);
}

/* What threads of the host see that wait for the page at the moment when it is found to be lost. */
struct waiting {
    struct rig *rig;
    _Atomic int *go;
    ssize_t got;
    int error;
};

static void *wait_for_page(void *arg)
{
    struct waiting *w = arg;
    struct iovec from = { page_at(w->rig, 1, LOST), 8 };
    uint8_t byte[8];
    struct iovec to = { byte, 8 };

    atomic_fetch_add(w->go, 1);
    w->got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    w->error = errno;
    return NULL;
}

static void nobody_who_waits_gets_anything(bool poison)
{
    enum { WAITING = 4 };
    struct rig *rig = rig_with_damage(poison);
    struct waiting w[WAITING];
    pthread_t thread[WAITING];
    _Atomic int go = 0;

    {
        LOCK_SCOPE(&rig->pager->nodes[1].serving); /* the fault thread gets no further */

        for (int i = 0; i < WAITING; i++) {
            w[i] = (struct waiting){ .rig = rig, .go = &go };
            assert_int_equal(pthread_create(&thread[i], NULL, wait_for_page, &w[i]), 0);
        }
        while (atomic_load(&go) < WAITING)
            (void)sched_yield();
        (void)usleep(20000);
    }
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(w[i].got, -1);
        assert_int_equal(w[i].error, EFAULT);
    }
    others_are_there(rig);
    rig_free(rig);
}

static void who_waits_for_it_gets_nothing(void **state)
{
    (void)state;
    nobody_who_waits_gets_anything(false);
    nobody_who_waits_gets_anything(true);
}

/* More pages than may be closed: the machine ends, as its own sentence says. */
static void where_no_more_can_be_closed_the_machine_ends(void **state)
{
    struct rig *rig = rig_with_damage(false);
    uint8_t byte;

    (void)state;
    rig->pager->closed.n = PAGER_CLOSED_MAX;
    assert_int_equal(guest_mem_read(rig->mem, addr_of(rig, 1, LOST), &byte, 1), 0);
    assert_int_equal(rig->lost, 1);
    assert_string_equal(rig->why, "page 2 of virtual node 1 was damaged in the store");
    rig->pager->closed.n = 0;
    rig_fini(rig);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_page_is_read_by_nobody),
        cmocka_unit_test(a_poisoned_page_is_read_by_nobody),
        cmocka_unit_test(a_page_that_nobody_wants_any_more_is_anew),
        cmocka_unit_test(who_waits_for_it_gets_nothing),
        cmocka_unit_test(where_no_more_can_be_closed_the_machine_ends),
    };
    return cmocka_run_group_tests_name("memory/pager/lost", tests, NULL, NULL);
}
