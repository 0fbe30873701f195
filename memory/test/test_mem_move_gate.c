/* SPDX-License-Identifier: Apache-2.0 */
/* Moves that keep everybody out of what moves, between host nodes that are made up. Skipped where
 * userfaultfd is not allowed. */
// LDFLAGS: -Wl,--wrap=numa_policy_locate -Wl,--wrap=numa_policy_move -Wl,--wrap=numa_policy_apply
// LDFLAGS: -Wl,--wrap=numa_policy_drag -Wl,--wrap=mprotect
#include "memory/pager/uffd.h"
#include "memory/residency.h"
#include "memory/test/move_host.h"

static int open_gate(void)
{
    int fd;

    return uffd_open(&fd, NULL) == 0 ? fd : -1;
}

static void kept_out_nobody_holds_up_a_move(void **state)
{
    const int gate = open_gate(), pagemap = residency_open();

    (void)state;
    if (gate < 0)
        skip();
    for (int used = 0; used < 2; used++) {
        struct script s = { .after = UINT32_MAX };
        struct guest g;
        struct mem_move *mv;

        begin(&g);
        host.gate = gate;
        host.busy[0] = 2; /* dragged, and named: the next pass finds it free */
        s.user = used ? &g : NULL;
        mv = make_with(&g, false, pagemap);
        assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
        assert_int_equal(mem_move_progress(mv)->phase, MOVE_ARRIVED);
        assert_int_equal(mem_move_progress(mv)->moved_bytes, THERE * SMALL);
        assert_int_equal(mem_move_progress(mv)->pass, 2);
        assert_true(host.n_aside >= THERE && host.n_drags > 0);
        assert_pages(&g, TARGET);
        mem_move_free(mv);
        end(&g);
    }
    (void)close(gate);
    (void)close(pagemap);
}

/* A move of @g from which others can be kept out, or the test is skipped. */
static struct mem_move *begin_gated(struct guest *g)
{
    const int gate = open_gate();

    if (gate < 0)
        skip();
    begin(g);
    host.gate = gate;
    return make(g, false);
}

static void end_gated(struct guest *g, struct mem_move *mv)
{
    mem_move_free(mv);
    end(g);
    (void)close(host.gate);
}

/* It is mapped anew, whatever that costs: the guest can read it. And it went, so it goes back. */
static void what_stays_inaccessible_is_not_given_back(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct errctx ec = { 0 };
    struct guest g;
    struct mem_move *const mv = begin_gated(&g);

    (void)state;
    host.n_locks = 1;
    assert_int_equal(mem_move_run(mv, &ops, &s, &ec), -EIO);
    assert_non_null(strstr(ec.msg, "mprotect"));
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_RETURNED);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, 0);
    assert_pages(&g, HOME);
    end_gated(&g, mv);
}

static void what_the_kernel_passes_over_is_moved_by_name(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *const mv = begin_gated(&g);

    (void)state;
    host.pretend = true;
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_true(host.n_drags > 0);
    assert_int_equal(host.n_moved, THERE);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, THERE * SMALL);
    assert_pages(&g, TARGET);
    end_gated(&g, mv);
}

/* What is over there is neither counted nor moved. */
static void only_what_is_elsewhere_counts(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *const mv = begin_gated(&g);
    size_t n_there = 0;

    (void)state;
    for (size_t i = 0; i < PAGES / 4; i += 6) {
        host.node[i] = TARGET;
        n_there++;
    }
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_true(host.n_drags > 0);
    assert_int_equal(host.n_moved, THERE - n_there);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, (THERE - n_there) * SMALL);
    assert_pages(&g, TARGET);
    end_gated(&g, mv);
}

static void from_a_full_target_what_was_dragged_goes_back(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *const mv = begin_gated(&g);

    (void)state;
    host.room[TARGET] = THERE - 5;
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_RETURNED);
    assert_true(mem_move_progress(mv)->was_full);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, 0);
    assert_true(host.n_drags > 2); /* both ways */
    assert_pages(&g, HOME);
    end_gated(&g, mv);
}

static void cancelled_what_was_dragged_goes_back_or_stays(void **state)
{
    static const struct {
        enum mem_move_word word;
        enum move_phase phase;
        uint32_t first;
    } cases[] = {
        { MEM_MOVE_CANCEL, MOVE_RETURNED, HOME },
        { MEM_MOVE_CANCEL_STAY, MOVE_HALF_WAY, TARGET },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct script s = { .word = cases[i].word, .after = 1 }; /* one extent is over there */
        struct guest g;
        struct mem_move *const mv = begin_gated(&g);

        assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
        assert_int_equal(mem_move_progress(mv)->phase, cases[i].phase);
        assert_int_equal(host.n_drags, cases[i].phase == MOVE_RETURNED ? 2 : 1);
        assert_int_equal(host.node[0], cases[i].first);
        assert_pages(&g, cases[i].phase == MOVE_RETURNED ? HOME : -1);
        end_gated(&g, mv);
    }
}

/* Who is kept out is let in again, whatever failed. */
static void a_call_that_fails_leaves_nobody_out(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct errctx ec = { 0 };
    struct guest g;

    (void)state;
    for (size_t at = 0; at < 2; at++) {
        struct mem_move *const mv = begin_gated(&g);

        host.fail = at == 0 ? EACCES : 0; /* every call, or after a piece that a drag passed over */
        host.fail_at = at == 0 ? 0 : THERE / 4;
        host.pretend = at > 0;
        assert_int_equal(mem_move_run(mv, &ops, &s, &ec), -EACCES);
        assert_string_equal(ec.msg, "move_pages");
        assert_int_equal(mem_move_progress(mv)->phase, MOVE_RETURNED);
        assert_int_equal(mem_move_progress(mv)->moved_bytes, 0);
        assert_true(host.n_drags > 0);
        assert_pages(&g, HOME);
        for (size_t i = 0; i < PAGES / 2; i += 3)
            touch(&g, i);
        end_gated(&g, mv);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_out_nobody_holds_up_a_move),
        cmocka_unit_test(what_stays_inaccessible_is_not_given_back),
        cmocka_unit_test(what_the_kernel_passes_over_is_moved_by_name),
        cmocka_unit_test(only_what_is_elsewhere_counts),
        cmocka_unit_test(from_a_full_target_what_was_dragged_goes_back),
        cmocka_unit_test(cancelled_what_was_dragged_goes_back_or_stays),
        cmocka_unit_test(a_call_that_fails_leaves_nobody_out),
    };

    return cmocka_run_group_tests_name("memory/mem_move: kept out", tests, NULL, NULL);
}
