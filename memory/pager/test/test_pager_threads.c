/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads write patterns into guest memory and check them, a device does I/O there, while all of it
 * is taken away and comes back, again and again. Some is given back, and has to be zero then.
 */
#include <fcntl.h>

#include "memory/pager/test/pager_rig.h"

enum { WRITERS = 3 };

struct writer {
    pthread_t thread;
    struct rig *rig;
    unsigned number;
    _Atomic bool *quit;
    uint64_t seed, n_checks, n_wrong;
    uint32_t version[NODES * PAGES]; /* of those that are this writer's */
};

static uint32_t dice(struct writer *w)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(w->seed >> 33);
}

/* Where no device has anything, so that all of it goes. */
static void give_back(struct writer *w, size_t page)
{
    uint64_t gone;

    w->n_wrong += guest_mem_give_back(w->rig->mem, (struct gpa){ page * SMALL }, SMALL,
                                      dice(w) % 2 == 0, &gone) != 0;
    w->version[page] = 0;
}

/* Pages number writer, writer + WRITERS, ... are its own: nobody else writes there. */
static void *write_and_check(void *arg)
{
    struct writer *w = arg;
    uint8_t want[SMALL];

    while (!atomic_load(w->quit)) {
        const size_t page = dice(w) % (NODES * PAGES) / WRITERS * WRITERS + w->number;
        const uint32_t node = (uint32_t)(page / PAGES);
        uint8_t *at;

        if (page >= (size_t)NODES * PAGES)
            continue;
        at = page_at(w->rig, node, page % PAGES);
        make(want, page, w->version[page]);
        if (w->version[page] == 0)
            memset(want, 0, SMALL);
        w->n_wrong += memcmp(at, want, SMALL) != 0;
        w->n_checks++;
        if (dice(w) % 2 == 0)
            make(at, page, ++w->version[page]);
        else if (node == 1 && dice(w) % 4 == 0)
            give_back(w, page);
    }
    return NULL;
}

/* A device: leases, and the kernel that writes into what is leased. Its pages are a writer's that
 * it gives back as they were. */
static void *do_io(void *arg)
{
    struct writer *w = arg;
    uint8_t was[SMALL];
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return NULL;
    while (!atomic_load(w->quit)) {
        const size_t page = dice(w) % PAGES / WRITERS * WRITERS + w->number;
        struct mem_lease lease;

        if (page >= PAGES ||
            guest_mem_lease_begin(w->rig->mem, (struct gpa){ page * SMALL }, SMALL, LEASE_DMA,
                                  &lease) < 0)
            continue;
        make(was, page, w->version[page]);
        if (w->version[page] == 0)
            memset(was, 0, SMALL);
        w->n_wrong += write(pipe_fd[1], lease.ptr, SMALL) != SMALL;
        make(was, page, ++w->version[page]);
        if (read(pipe_fd[0], lease.ptr, SMALL) != SMALL)
            w->n_wrong++;
        if (write(pipe_fd[1], was, SMALL) != SMALL || read(pipe_fd[0], lease.ptr, SMALL) != SMALL)
            w->n_wrong++;
        guest_mem_lease_end(w->rig->mem, &lease);
        w->n_wrong += memcmp(page_at(w->rig, 0, page), was, SMALL) != 0;
        w->n_checks++;
    }
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    return NULL;
}

static void nothing_is_lost_while_all_of_it_goes_and_comes(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct writer *w = calloc(WRITERS, sizeof(*w));
    struct pager_counts c[NODES];
    _Atomic bool quit = false;
    uint64_t checks = 0;
    unsigned rounds = 0;

    (void)state;
    assert_non_null(rig);
    assert_non_null(w);
    rig_init(rig);
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){ .rig = rig, .number = i, .quit = &quit, .seed = i + 1 };
        assert_int_equal(pthread_create(&w[i].thread, NULL, i == 0 ? do_io : write_and_check,
                                        &w[i]),
                         0);
    }
    pager_set_target(rig->pager, (struct vnode_id){ 1 }, NODE_BYTES / 2);
    /* until everything went three times over */
    do {
        for (uint32_t node = 0; node < NODES; node++) {
            /* all, or so little that whole extents come back and become huge */
            (void)evict(rig, node, rounds % 2 == 0 ? UINT64_MAX : (uint64_t)MIB);
            c[node] = count(rig, node);
        }
        for (int i = 0; i < 20; i++) { /* let some of it come back */
            (void)usleep(50);
            (void)pager_mend(rig->pager, 100 * 1000);
            pager_look(rig->pager, rig->now_ns += 100 * 1000 * 1000);
            pager_pack(rig->pager, rig->now_ns += UINT64_C(3000) * 1000 * 1000); /* soon old */
            assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
        }
    } while (++rounds < 100000 &&
             (c[0].filled_pages < 3 * PAGES || c[1].filled_pages < 3 * PAGES));
    atomic_store(&quit, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_int_equal(w[i].n_wrong, 0);
        checks += w[i].n_checks;
    }
    for (uint32_t i = 0; i < NODES; i++) {
        c[i] = count(rig, i);
        assert_true(c[i].filled_pages >= 3 * PAGES);
        print_message("# node %u: %llu evicted, %llu cancelled, %llu filled, %llu faults, "
                      "%llu mended, "
                      "p50 %llu ns, p99 %llu ns, %llu ns CPU an evicted page\n",
                      i, (unsigned long long)c[i].evicted_pages,
                      (unsigned long long)c[i].cancelled_pages,
                      (unsigned long long)c[i].filled_pages, (unsigned long long)c[i].faults,
                      (unsigned long long)c[i].mended_extents,
                      (unsigned long long)pager_fault_ns(&c[i], 500),
                      (unsigned long long)pager_fault_ns(&c[i], 990),
                      (unsigned long long)(c[i].evict_cpu_ns / c[i].evicted_pages));
    }
    print_message("# %llu checks in %u rounds\n", (unsigned long long)checks, rounds);
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(w);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_while_all_of_it_goes_and_comes),
    };
    return cmocka_run_group_tests_name("memory/pager: threads", tests, NULL, NULL);
}
