/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are plugged in and out while they are paged: what goes leaves file, store and counts,
 * what comes is zero, and who touches a block that went gets an error and takes nothing.
 *
 * Accesses go through a pipe: the kernel makes them, as KVM does, so that one to a block that is not
 * there fails with EFAULT.
 */
#include <fcntl.h>

#include "memory/guest_mem_private.h"
#include "memory/pager/test/pager_rig.h"

enum { TOUCHERS = 3, CYCLES = 100, USED = 600 /* pages of the block */ };

static struct gpa block_of(const struct rig *rig)
{
    return guest_mem_window(rig->mem, 0).base;
}

static const struct backing *window(const struct rig *rig)
{
    return guest_mem_backing(rig->mem, NODES);
}

static uint8_t *window_page(const struct rig *rig, size_t page)
{
    return window(rig)->host + page * SMALL;
}

static void plug(const struct rig *rig)
{
    assert_int_equal(guest_mem_plug(rig->mem, block_of(rig), GUEST_MEM_BLOCK_MIN), 0);
}

static uint64_t unplug(const struct rig *rig)
{
    uint64_t gone = UINT64_MAX;

    assert_int_equal(
        guest_mem_unplug(rig->mem, block_of(rig), GUEST_MEM_BLOCK_MIN, &gone), 0);
    return gone;
}

static void rig_init_window(struct rig *rig)
{
    rig_init_hotplug(rig, &(struct pager_params){ 0 }, 2 * GUEST_MEM_BLOCK_MIN);
}

static void what_is_plugged_out_leaves_nothing(void **state)
{
    struct rig rig;
    uint64_t there;

    (void)state;
    rig_init_window(&rig);
    plug(&rig);
    for (size_t i = 0; i < USED; i++)
        make(window_page(&rig, i), i, 1);
    assert_true(evict(&rig, 1, UINT64_MAX) >= USED * SMALL);
    assert_true(count(&rig, 1).store.pages > 0);
    for (size_t i = 0; i < USED; i += 50)
        (void)*(volatile uint8_t *)window_page(&rig, i);
    there = backing_held_bytes(window(&rig));
    assert_true(there >= USED / 50 * SMALL && there < USED * SMALL);
    assert_int_equal(unplug(&rig), there); /* what the host got back: not what it had already */
    assert_int_equal(backing_held_bytes(window(&rig)), 0);
    assert_int_equal(count(&rig, 1).away_pages, 0);
    assert_int_equal(count(&rig, 1).away_zero_pages, 0);
    assert_int_equal(count(&rig, 1).store.pages, 0);

    plug(&rig);
    for (size_t i = 0; i < USED; i++)
        assert_int_equal(*(volatile uint8_t *)window_page(&rig, i), 0);
    make(window_page(&rig, 3), 2, 2);
    while (backing_held_bytes(window(&rig)) > 0) /* the fault thread may be at a page still */
        (void)evict(&rig, 1, UINT64_MAX);
    assert_true(count(&rig, 1).away_pages > 0);
    assert_int_equal(unplug(&rig), 0); /* all of it was in the store */
    assert_int_equal(count(&rig, 1).away_pages, 0);
    assert_int_equal(rig.lost, 0);
    rig_fini(&rig);
}

static void a_reset_leaves_no_block(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_window(&rig);
    plug(&rig);
    (void)unplug(&rig);
    assert_int_equal(pager_reset(rig.pager, NULL), 0);
    assert_int_equal(guest_mem_discard(rig.mem, NULL), 0);
    plug(&rig);
    make(window_page(&rig, 0), 2, 1);
    assert_true(evict(&rig, 1, UINT64_MAX) >= SMALL);
    rig_fini(&rig);
}

/* --- a page that is lost ---------------------------------------------------------------------- */

/* Can the kernel read it for somebody? */
static bool can_reach(const uint8_t *at)
{
    int pipe_fd[2];
    bool can;

    assert_int_equal(pipe(pipe_fd), 0);
    can = write(pipe_fd[1], at, 1) == 1;
    assert_true(can || errno == EFAULT);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    return can;
}

static page_word *window_word(const struct rig *rig, size_t page)
{
    return &rig->pager->nodes[1].regions[1].words[page];
}

static void window_page_is_lost(struct rig *rig, size_t page)
{
    struct pager_node *node = &rig->pager->nodes[1];

    for (size_t i = 0; i < USED; i++)
        make(window_page(rig, i), i, 1);
    while (page_state(atomic_load(window_word(rig, page))) != PAGE_EMPTY)
        (void)evict(rig, 1, UINT64_MAX);
    store_damage(node->first, page_object(atomic_load(window_word(rig, page))));
    assert_false(can_reach(window_page(rig, page)));
    while (page_state(atomic_load(window_word(rig, page))) != PAGE_LOST)
        (void)sched_yield();
}

static size_t closed_pages(const struct rig *rig)
{
    const void *host = NULL;

    return pager_closed_pages(rig->pager, &host);
}

static void a_lost_page_is_anew(bool poison)
{
    enum { LOST = 7 };
    struct rig rig;
    uint64_t gone = 0, dropped, away;
    struct gpa other;

    rig_init_window(&rig);
    other = block_of(&rig);
    if (poison && !rig.pager->nodes[1].can_poison) {
        print_message("# this kernel poisons no pages\n");
        rig_fini(&rig);
        return;
    }
    rig.pager->nodes[1].can_poison = poison;
    plug(&rig);
    window_page_is_lost(&rig, LOST);
    assert_int_equal(closed_pages(&rig), poison ? 0 : 1);

    /* What the guest is told to ask for again leaves the page lost. */
    atomic_store(&rig.pager->nodes[1].starved, window_word(&rig, USED));
    assert_int_equal(guest_mem_unplug(rig.mem, block_of(&rig), GUEST_MEM_BLOCK_MIN, &gone), -EBUSY);
    atomic_store(&rig.pager->nodes[1].starved, NULL);
    assert_false(can_reach(window_page(&rig, LOST)));
    assert_true(can_reach(window_page(&rig, LOST + 1)));
    assert_int_equal(page_state(atomic_load(window_word(&rig, LOST))), PAGE_LOST);
    while (page_state(atomic_load(window_word(&rig, LOST + 1))) != PAGE_EMPTY)
        (void)evict(&rig, 1, UINT64_MAX);

    dropped = count(&rig, 1).dropped_pages;
    away = count(&rig, 1).away_pages;
    assert_true(away >= USED - 1);
    (void)unplug(&rig);
    assert_int_equal(count(&rig, 1).dropped_pages - dropped, away); /* not of what was lost */
    assert_int_equal(count(&rig, 1).away_pages, 0);
    assert_int_equal(count(&rig, 1).store.pages, 0);
    assert_int_equal(count(&rig, 1).lost_pages, 1);
    assert_int_equal(closed_pages(&rig), 0);
    for (size_t i = LOST - 1; i <= LOST + 1; i++)
        assert_false(can_reach(window_page(&rig, i)));

    plug(&rig);
    for (size_t i = 0; i < USED; i++)
        assert_int_equal(*(volatile uint8_t *)window_page(&rig, i), 0);
    window_page_is_lost(&rig, LOST); /* and again, with a reset, beside what was plugged out */
    other.v += GUEST_MEM_BLOCK_MIN;
    assert_int_equal(guest_mem_plug(rig.mem, other, GUEST_MEM_BLOCK_MIN), 0);
    assert_int_equal(guest_mem_unplug(rig.mem, other, GUEST_MEM_BLOCK_MIN, &gone), 0);
    assert_int_equal(pager_reset(rig.pager, NULL), 0);
    assert_int_equal(guest_mem_discard(rig.mem, NULL), 0);
    assert_false(can_reach(window_page(&rig, GUEST_MEM_BLOCK_MIN / SMALL)));
    plug(&rig);
    assert_int_equal(*(volatile uint8_t *)window_page(&rig, LOST), 0);
    assert_int_equal(closed_pages(&rig), 0);
    assert_int_equal(rig.lost, 0);
    rig_fini(&rig);
}

static void a_lost_page_is_anew_when_its_block_was_out(void **state)
{
    (void)state;
    a_lost_page_is_anew(false);
    a_lost_page_is_anew(true);
}

/* --- all of it at once ------------------------------------------------------------------------ */

struct toucher {
    pthread_t thread;
    struct rig *rig;
    unsigned number;
    _Atomic bool *quit;
    const _Atomic unsigned *epoch; /* odd while the block is, or may be, out */
    uint64_t seed, n_checks, n_errors, n_wrong;
    struct {
        bool known;
        unsigned epoch;
        uint64_t value;
    } page[USED];
};

/* Return: whether the page could be reached. */
static bool copy_from(int pipe_fd[2], const uint8_t *at, uint64_t *ret_value)
{
    return write(pipe_fd[1], at, sizeof(*ret_value)) == sizeof(*ret_value) &&
           read(pipe_fd[0], ret_value, sizeof(*ret_value)) == sizeof(*ret_value);
}

static bool copy_to(int pipe_fd[2], uint8_t *at, uint64_t value)
{
    if (write(pipe_fd[1], &value, sizeof(value)) == sizeof(value) &&
        read(pipe_fd[0], at, sizeof(value)) == sizeof(value))
        return true;
    (void)read(pipe_fd[0], &value, sizeof(value)); /* it is in there still */
    return false;
}

static void check_value(struct toucher *t, size_t page, unsigned epoch, uint64_t got)
{
    const bool same = t->page[page].epoch == epoch;

    if (!t->page[page].known)
        return;
    t->n_checks++;
    t->n_wrong += got != (same ? t->page[page].value : 0);
}

/* What was written in this life of the block is there; of a former one nothing is. */
static void touch_one(struct toucher *t, int pipe_fd[2])
{
    const size_t page =
        (t->seed = t->seed * 6364136223846793005ull + 1442695040888963407ull) >> 33;
    const size_t mine = page % USED / TOUCHERS * TOUCHERS + t->number;
    uint8_t *const at = window_page(t->rig, mine);
    const unsigned before = atomic_load(t->epoch);
    uint64_t value = 0;

    if (!copy_from(pipe_fd, at, &value))
        t->n_errors++;
    else if (before % 2 == 0 && atomic_load(t->epoch) == before)
        check_value(t, mine, before, value);
    if (page % 3 == 0)
        return;
    value = t->seed | 1;
    t->page[mine].known = false;
    if (!copy_to(pipe_fd, at, value))
        t->n_errors++;
    else if (before % 2 == 0 && atomic_load(t->epoch) == before) {
        t->page[mine].known = true;
        t->page[mine].epoch = before;
        t->page[mine].value = value;
    }
}

static void *touch_all(void *arg)
{
    struct toucher *t = arg;
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) < 0)
        return NULL;
    while (!atomic_load(t->quit))
        touch_one(t, pipe_fd);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    return NULL;
}

struct plugger {
    pthread_t thread;
    struct rig *rig;
    _Atomic bool *quit;
    _Atomic unsigned *epoch;
    uint64_t gone, n_bad;
};

/* Out and in again, as often as it takes; out there is nothing, for as long as one looks. */
static void *plug_out_and_in(void *arg)
{
    struct plugger *p = arg;
    const struct rig *rig = p->rig;

    for (unsigned i = 0; i < CYCLES; i++) {
        uint64_t gone = 0;

        (void)usleep(i % 4 * 4000);
        atomic_fetch_add(p->epoch, 1);
        while (guest_mem_unplug(rig->mem, block_of(rig), GUEST_MEM_BLOCK_MIN, &gone) == -EBUSY)
            ;
        p->gone += gone;
        (void)usleep(200);
        p->n_bad += backing_held_bytes(window(rig)) != 0;
        p->n_bad += guest_mem_plug(rig->mem, block_of(rig), GUEST_MEM_BLOCK_MIN) != 0;
        atomic_fetch_add(p->epoch, 1);
    }
    atomic_store(p->quit, true);
    return NULL;
}

static void nothing_is_taken_for_blocks_that_went(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct toucher *t = calloc(TOUCHERS, sizeof(*t));
    _Atomic bool quit = false;
    _Atomic unsigned epoch = 0;
    struct plugger p = { .rig = rig, .quit = &quit, .epoch = &epoch };
    uint64_t checks = 0, errors = 0;

    (void)state;
    assert_non_null(rig);
    assert_non_null(t);
    rig_init_window(rig);
    plug(rig);
    for (unsigned i = 0; i < TOUCHERS; i++) {
        t[i] = (struct toucher){ .rig = rig, .number = i, .quit = &quit, .epoch = &epoch,
                                 .seed = i + 1 };
        assert_int_equal(pthread_create(&t[i].thread, NULL, touch_all, &t[i]), 0);
    }
    assert_int_equal(pthread_create(&p.thread, NULL, plug_out_and_in, &p), 0);
    while (!atomic_load(&quit)) {
        (void)evict(rig, 1, UINT64_MAX);
        (void)pager_mend(rig->pager, 100 * 1000);
        pager_look(rig->pager, rig->now_ns += 100 * 1000 * 1000);
        pager_pack(rig->pager, rig->now_ns += UINT64_C(3000) * 1000 * 1000);
    }
    assert_int_equal(pthread_join(p.thread, NULL), 0);
    for (unsigned i = 0; i < TOUCHERS; i++) {
        assert_int_equal(pthread_join(t[i].thread, NULL), 0);
        assert_int_equal(t[i].n_wrong, 0);
        checks += t[i].n_checks;
        errors += t[i].n_errors;
    }
    assert_int_equal(p.n_bad, 0);
    assert_true(checks > 0);
    (void)unplug(rig);
    assert_int_equal(count(rig, 1).store.pages, 0);
    assert_int_equal(rig->lost, 0);
    print_message("# %llu checks, %llu errors, %llu KiB came back, %llu pages evicted, %llu filled\n",
                  (unsigned long long)checks, (unsigned long long)errors,
                  (unsigned long long)p.gone / 1024,
                  (unsigned long long)count(rig, 1).evicted_pages,
                  (unsigned long long)count(rig, 1).filled_pages);
    rig_fini(rig);
    free(t);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_plugged_out_leaves_nothing),
        cmocka_unit_test(a_reset_leaves_no_block),
        cmocka_unit_test(a_lost_page_is_anew_when_its_block_was_out),
        cmocka_unit_test(nothing_is_taken_for_blocks_that_went),
    };
    return cmocka_run_group_tests_name("memory/pager: plugging", tests, NULL, NULL);
}
