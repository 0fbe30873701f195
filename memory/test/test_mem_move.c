/* SPDX-License-Identifier: Apache-2.0 */
/* A move of real memory between host nodes that are made up: which pages go, in which direction,
 * under which policy, and that nothing appears or is lost on the way. */
// LDFLAGS: -Wl,--wrap=numa_policy_locate -Wl,--wrap=numa_policy_move -Wl,--wrap=numa_policy_apply
// LDFLAGS: -Wl,--wrap=numa_policy_drag -Wl,--wrap=mprotect
#include "memory/residency.h"
#include "memory/test/move_host.h"

static void what_is_in_use_goes_first(void **state)
{
    const int pagemap = residency_open();
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *mv;

    (void)state;
    assert_true(pagemap >= 0);
    for (int used = 0; used < 2; used++) {
        begin(&g);
        s.user = used ? &g : NULL;
        mv = make_with(&g, false, pagemap);
        assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
        assert_int_equal(mem_move_progress(mv)->phase, MOVE_ARRIVED);
        assert_int_equal(mem_move_progress(mv)->hot_bytes, used ? 2 * MIB : 0);
        assert_true(used ? host.first_moved >= PAGES / 4 : host.first_moved == 0);
        assert_pages(&g, TARGET); /* samples that were taken out are all there */
        mem_move_free(mv);
        end(&g);
    }
    (void)close(pagemap);
}

static void all_that_is_there_moves_and_nothing_else(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct idset homes;
    struct guest g;
    struct mem_move *mv;

    (void)state;
    begin(&g);
    mv = make(&g, false);
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_ARRIVED);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, THERE * SMALL);
    assert_int_equal(mem_move_progress(mv)->left_bytes, 0);
    assert_int_equal(host.n_moved, THERE);
    assert_pages(&g, TARGET);
    assert_int_equal(host.policy, GUEST_POLICY_BIND);
    assert_string_equal(host.nodes, "3");
    guest_mem_home(g.mem, (struct vnode_id){ 0 }, &homes);
    assert_true(idset_has(&homes, HOME)); /* until it is recorded */
    mem_move_record(mv, g.mem);
    guest_mem_home(g.mem, (struct vnode_id){ 0 }, &homes);
    assert_true(idset_has(&homes, TARGET) && idset_count(&homes) == 1);
    mem_move_free(mv);
    end(&g);
}

static void pages_in_use_are_tried_again(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *mv;

    (void)state;
    begin(&g);
    host.busy[0] = 2;
    host.busy[600] = 1;
    host.busy[3] = UINT8_MAX; /* for ever */
    mv = make(&g, false);
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_ARRIVED);
    assert_int_equal(mem_move_progress(mv)->left_bytes, SMALL);
    assert_int_equal(mem_move_progress(mv)->pass, MOVE_PASSES);
    assert_int_equal(host.node[0], TARGET);
    assert_int_equal(host.node[600], TARGET);
    assert_int_equal(host.node[3], HOME);
    assert_pages(&g, -1);
    mem_move_free(mv);
    end(&g);
}

static void from_a_full_target_everything_goes_back(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *mv;

    (void)state;
    begin(&g);
    host.room[TARGET] = THERE - 5;
    host.node[9] = 2; /* a stranger, that goes back to where it was */
    mv = make(&g, false);
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_RETURNED);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, 0);
    assert_true(mem_move_progress(mv)->was_full);
    assert_pages(&g, HOME);
    assert_int_equal(host.policy, GUEST_POLICY_BIND);
    assert_string_equal(host.nodes, "1");
    mem_move_record(mv, g.mem);
    assert_false(guest_mem_backing(g.mem, 0)->moved);
    mem_move_free(mv);
    end(&g);
}

static void told_to_stay_it_is_bound_to_both(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *mv;

    (void)state;
    begin(&g);
    host.room[TARGET] = THERE / 2;
    mv = make(&g, true);
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_HALF_WAY);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, THERE / 2 * SMALL);
    assert_pages(&g, -1);
    assert_int_equal(host.policy, GUEST_POLICY_BIND);
    assert_string_equal(host.nodes, "1,3");
    mem_move_record(mv, g.mem);
    assert_true(guest_mem_backing(g.mem, 0)->moved);
    mem_move_free(mv);
    end(&g);
}

static void cancelled_it_goes_back_or_stays(void **state)
{
    static const struct {
        enum mem_move_word word;
        enum move_phase phase;
    } cases[] = {
        { MEM_MOVE_CANCEL, MOVE_RETURNED },
        { MEM_MOVE_CANCEL_STAY, MOVE_HALF_WAY },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct script s = { .word = cases[i].word, .after = 1 }; /* one extent is over there */
        struct guest g;
        struct mem_move *mv;

        begin(&g);
        mv = make(&g, false);
        assert_int_equal(mem_move_run(mv, &ops, &s, NULL), 0);
        assert_int_equal(mem_move_progress(mv)->phase, cases[i].phase);
        assert_true(mem_move_progress(mv)->cancelled);
        assert_int_equal(host.node[0], cases[i].phase == MOVE_RETURNED ? HOME : TARGET);
        assert_pages(&g, cases[i].phase == MOVE_RETURNED ? HOME : -1);
        mem_move_free(mv);
        end(&g);
    }
}

static void a_call_that_fails_undoes_the_move_and_is_told(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct errctx ec = { 0 };
    struct guest g;
    struct mem_move *mv;

    (void)state;
    begin(&g);
    host.fail = EACCES;
    mv = make(&g, false);
    assert_int_equal(mem_move_run(mv, &ops, &s, &ec), -EACCES);
    assert_string_equal(ec.msg, "move_pages");
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_RETURNED);
    assert_pages(&g, HOME);
    assert_string_equal(host.nodes, "1");
    mem_move_free(mv);
    end(&g);
}

static void what_went_before_a_call_failed_goes_back(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct guest g;
    struct mem_move *mv;

    (void)state;
    begin(&g);
    host.fail_at = THERE / 4; /* in the middle of an extent */
    mv = make(&g, false);
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), -EACCES);
    assert_int_equal(host.fail_at, 0);
    assert_int_equal(mem_move_progress(mv)->phase, MOVE_RETURNED);
    assert_int_equal(mem_move_progress(mv)->moved_bytes, 0);
    assert_pages(&g, HOME);
    mem_move_free(mv);
    end(&g);
}

static void told_to_quit_it_leaves_everything(void **state)
{
    struct script s = { .word = MEM_MOVE_QUIT, .after = 1 };
    struct guest g;
    struct mem_move *mv;
    unsigned policies;

    (void)state;
    begin(&g);
    policies = host.n_policies;
    mv = make(&g, false);
    assert_int_equal(mem_move_run(mv, &ops, &s, NULL), -ECANCELED);
    assert_int_equal(s.calls, 2);
    assert_int_equal(host.n_policies, policies + 1);
    assert_pages(&g, -1);
    mem_move_free(mv);
    end(&g);
}

static void homes_keep_their_meaning(void **state)
{
    struct backing_home home = { .policy = GUEST_POLICY_PREFERRED }, next;

    (void)state;
    idset_add(&home.host_nodes, HOME);
    next = mem_move_home(&home, (struct hnode_id){ TARGET }, MOVE_ARRIVED);
    assert_int_equal(next.policy, GUEST_POLICY_PREFERRED);
    next = mem_move_home(&home, (struct hnode_id){ TARGET }, MOVE_HALF_WAY);
    assert_true(idset_equal(&next.host_nodes, &home.host_nodes));
    home.policy = GUEST_POLICY_WEIGHTED; /* over one node: all of it there */
    next = mem_move_home(&home, (struct hnode_id){ TARGET }, MOVE_ARRIVED);
    assert_int_equal(next.policy, GUEST_POLICY_BIND);
    next = mem_move_home(&home, (struct hnode_id){ TARGET }, MOVE_FORWARD);
    assert_int_equal(next.policy, GUEST_POLICY_PREFERRED); /* no first touch kills anybody */
    home = (struct backing_home){ .policy = GUEST_POLICY_NONE };
    next = mem_move_home(&home, (struct hnode_id){ TARGET }, MOVE_ARRIVED);
    assert_int_equal(next.policy, GUEST_POLICY_PREFERRED); /* what was not bound is not now */
    next = mem_move_home(&home, (struct hnode_id){ TARGET }, MOVE_HALF_WAY);
    assert_int_equal(next.policy, GUEST_POLICY_NONE);
}

static void a_node_without_memory_cannot_move(void **state)
{
    struct mem_move_params params = {
        .vnode = { 1 }, .to = { TARGET }, .pagemap = -1, .gate = -1, .vmstat = -1
    };
    struct mem_move *mv = (void *)0x1;
    struct errctx ec = { 0 };
    struct guest g;

    (void)state;
    begin(&g);
    params.mem = g.mem;
    assert_int_equal(mem_move_new(&params, &mv, &ec), -ENOENT);
    assert_string_equal(ec.msg, "virtual node 1 has no memory");
    assert_ptr_equal(mv, (void *)0x1);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_use_goes_first),
        cmocka_unit_test(all_that_is_there_moves_and_nothing_else),
        cmocka_unit_test(pages_in_use_are_tried_again),
        cmocka_unit_test(from_a_full_target_everything_goes_back),
        cmocka_unit_test(told_to_stay_it_is_bound_to_both),
        cmocka_unit_test(cancelled_it_goes_back_or_stays),
        cmocka_unit_test(a_call_that_fails_undoes_the_move_and_is_told),
        cmocka_unit_test(what_went_before_a_call_failed_goes_back),
        cmocka_unit_test(told_to_quit_it_leaves_everything),
        cmocka_unit_test(homes_keep_their_meaning),
        cmocka_unit_test(a_node_without_memory_cannot_move),
    };

    return cmocka_run_group_tests_name("memory/mem_move", tests, NULL, NULL);
}
