/* SPDX-License-Identifier: Apache-2.0 */
/* The mover's thread and the main loop: begin, follow, hold, cancel, end in the middle. */
// LDFLAGS: -Wl,--wrap=numa_policy_locate -Wl,--wrap=numa_policy_move -Wl,--wrap=numa_policy_apply
// LDFLAGS: -Wl,--wrap=machine_follow -Wl,--wrap=machine_pager_ask -Wl,--wrap=machine_pager_release
// LDFLAGS: -Wl,--wrap=machine_pager_watches -Wl,--wrap=mem_move_new
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "memory/mem_move.h"
#include "memory/numa_policy.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

enum { SMALL = 4096, NODE_BYTES = 16 * MIB, PAGES = NODE_BYTES / SMALL, HOME = 0, TARGET = 4 };

int __wrap_numa_policy_locate(void **pages, size_t n, int *ret_nodes, struct errctx *ec);
int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec);
int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *host_nodes, struct errctx *ec);
int __wrap_machine_follow(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                          const struct idset *cpus, struct errctx *ec);
void __wrap_machine_pager_ask(const struct machine *m);
void __wrap_machine_pager_release(const struct machine *m);
bool __wrap_machine_pager_watches(const struct machine *m, struct vnode_id vnode);
int __wrap_mem_move_new(const struct mem_move_params *params, struct mem_move **ret_move,
                        struct errctx *ec);
int __real_mem_move_new(const struct mem_move_params *params, struct mem_move **ret_move,
                        struct errctx *ec);

/* The host, used by the mover's thread; ->lock for what the test looks at meanwhile. */
static struct {
    pthread_mutex_t lock;
    uint8_t *start;
    uint8_t node[PAGES];
    unsigned moves;
    unsigned follows; /* main loop only */
    uint32_t followed_to;
} host = { .lock = PTHREAD_MUTEX_INITIALIZER };

int __wrap_numa_policy_locate(void **pages, size_t n, int *ret_nodes, struct errctx *ec)
{
    (void)ec;
    for (size_t i = 0; i < n; i++)
        ret_nodes[i] = host.node[((uint8_t *)pages[i] - host.start) / SMALL];
    return 0;
}

int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec)
{
    (void)nodes;
    (void)ec;
    for (size_t i = 0; i < n; i++)
        host.node[((uint8_t *)pages[i] - host.start) / SMALL] = (uint8_t)to.v;
    (void)pthread_mutex_lock(&host.lock);
    host.moves++;
    (void)pthread_mutex_unlock(&host.lock);
    return 0;
}

int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *host_nodes, struct errctx *ec)
{
    (void)addr;
    (void)len_bytes;
    (void)policy;
    (void)host_nodes;
    (void)ec;
    return 0;
}

int __wrap_machine_follow(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                          const struct idset *cpus, struct errctx *ec)
{
    (void)m;
    (void)vnode;
    (void)ec;
    assert_true(idset_has(cpus, 40));
    host.follows++;
    host.followed_to = to.v;
    return 0;
}

static struct {
    unsigned n_held;
    bool watches;
} pager;

void __wrap_machine_pager_ask(const struct machine *m)
{
    (void)m;
    pager.n_held++;
}

void __wrap_machine_pager_release(const struct machine *m)
{
    (void)m;
    assert_true(pager.n_held > 0);
    pager.n_held--;
}

bool __wrap_machine_pager_watches(const struct machine *m, struct vnode_id vnode)
{
    (void)m;
    assert_int_equal(vnode.v, 0);
    assert_true(pager.n_held > 0); /* or it could begin right after */
    return pager.watches;
}

int __wrap_mem_move_new(const struct mem_move_params *params, struct mem_move **ret_move,
                        struct errctx *ec)
{
    assert_int_equal(params->paged, pager.watches);
    return __real_mem_move_new(params, ret_move, ec);
}

static unsigned moves(void)
{
    unsigned n;

    (void)pthread_mutex_lock(&host.lock);
    n = host.moves;
    (void)pthread_mutex_unlock(&host.lock);
    return n;
}

struct fixture {
    struct plan_ram ram;
    struct topo_plan_backing backing;
    struct topo_plan_host hosts[2];
    uint32_t told, real[4];
    struct mem_layout *layout;
    struct evloop *loop;
    struct evloop_timer *timer;
    struct machine_config config;
    struct machine m;
    struct machine_ask ask;
    int answer;
    struct errctx ec;
    const char *until; /* state that the loop runs to */
};

/* Run the main loop until the move has come to a state. */
static void look(void *ctx)
{
    struct fixture *f = ctx;
    json_t *status = machine_move_status(&f->m);
    const char *state = json_string_value(json_object_get(status, "state"));

    if (strcmp(state, f->until) == 0)
        evloop_stop(f->loop);
    else
        evloop_timer_arm(f->timer, evloop_now_ns() + 1000000);
    json_decref(status);
}

static void answered(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec)
{
    struct fixture *f = container_of(ask, struct fixture, ask);

    assert_null(result);
    f->answer = r;
    f->ec = *ec;
}

/* Nothing is evicted, so the answer is there at once. */
static int move(struct fixture *f, const struct machine_move_request *req, struct errctx *ec)
{
    f->answer = 1;
    f->ask.answer = answered;
    machine_move(&f->m, req, &f->ask);
    if (ec != NULL)
        *ec = f->ec;
    return f->answer;
}

static void hold(struct fixture *f)
{
    machine_mover_hold(&f->m);
    while (!machine_mover_is_still(&f->m))
        (void)sched_yield();
}

static void run_until(struct fixture *f, const char *state)
{
    f->until = state;
    evloop_timer_arm(f->timer, evloop_now_ns());
    assert_int_equal(evloop_run(f->loop, NULL), 0);
}

static json_int_t number(struct fixture *f, const char *name)
{
    json_t *status = machine_move_status(&f->m);
    const json_int_t v = json_integer_value(json_object_get(status, name));

    json_decref(status);
    return v;
}

static void begin(struct fixture *f, size_t n_hosts)
{
    static const uint64_t bytes[] = { NODE_BYTES };
    struct machine *m = &f->m;

    memset(f, 0, sizeof(*f));
    plan_ram_init(&f->ram, 1, bytes);
    f->backing = (struct topo_plan_backing){ .len_bytes = NODE_BYTES, .policy = GUEST_POLICY_BIND,
                                             .pages = GUEST_PAGES_4K };
    idset_add(&f->backing.host_nodes, HOME);
    f->ram.plan.backings = &f->backing;
    f->ram.plan.n_backings = 1;
    f->hosts[1].id.v = TARGET;
    idset_add(&f->hosts[1].cpus, 40);
    f->ram.plan.hosts = f->hosts;
    f->ram.plan.n_hosts = n_hosts;
    f->ram.plan.distances = &f->told;
    f->ram.plan.host_distances = f->real;
    assert_int_equal(mem_layout_make(&test_map, &f->ram.plan, 40, &f->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f->ram.plan, f->layout, &m->mem, NULL), 0);
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    assert_int_equal(evloop_timer_new(f->loop, look, f, &f->timer, NULL), 0);
    m->plan = &f->ram.plan;
    m->config = &f->config;
    m->main_loop = f->loop;
    m->pagemap = m->move_gate = m->move_vmstat = -1;
    (void)pthread_mutex_init(&m->request_lock, NULL);
    host.start = guest_mem_backing(m->mem, 0)->host;
    memset(host.node, HOME, sizeof(host.node));
    memset(host.start, 7, NODE_BYTES);
    host.moves = host.follows = 0;
    pager.n_held = 0;
    pager.watches = false;
    run_gate_init(&m->gate);
    assert_int_equal(machine_stand_new(m, NULL), 0);
    assert_int_equal(machine_start_mover(m, NULL), 0);
}

static void end(struct fixture *f)
{
    machine_stop_mover(&f->m);
    machine_stand_free(&f->m);
    run_gate_fini(&f->m.gate);
    evloop_timer_free(f->timer);
    evloop_free(f->loop);
    guest_mem_free(f->m.mem);
    mem_layout_free(f->layout);
    (void)pthread_mutex_destroy(&f->m.request_lock);
}

static const struct machine_move_request there = { .to = { TARGET } };
/* 2 MiB take longer than any test. */
static const struct machine_move_request slowly = { .to = { TARGET }, .bytes_per_s = 1000 };

static void a_node_arrives_and_its_threads_follow(void **state)
{
    struct idset homes;
    struct fixture f;

    (void)state;
    begin(&f, 2);
    run_until(&f, "none");
    for (int again = 1; again <= 2; again++) { /* the second time it is there already */
        pager.watches = again == 2;
        assert_int_equal(move(&f, &there, NULL), 0);
        run_until(&f, "arrived");
        assert_int_equal(pager.n_held, 0);
        assert_int_equal(host.follows, again);
        assert_int_equal(host.followed_to, TARGET);
        assert_int_equal(number(&f, "moved"), again == 1 ? NODE_BYTES : 0);
    }
    assert_int_equal(moves(), NODE_BYTES / (2 * MIB));
    guest_mem_home(f.m.mem, (struct vnode_id){ 0 }, &homes);
    assert_true(idset_has(&homes, TARGET) && idset_count(&homes) == 1);
    end(&f);
}

static void what_cannot_be_is_refused(void **state)
{
    struct machine_move_request wrong = there;
    struct errctx ec = { 0 };
    struct fixture f;

    (void)state;
    begin(&f, 2);
    wrong.vnode.v = 1;
    assert_int_equal(move(&f, &wrong, &ec), -ENOENT);
    assert_string_equal(ec.msg, "there is no virtual node 1 (0 to 0)");
    wrong = (struct machine_move_request){ .to = { 1 } };
    assert_int_equal(move(&f, &wrong, &ec), -ENOENT);
    assert_string_equal(ec.msg, "there is no host node 1, or it is not this machine's to use");
    assert_int_equal(machine_move_cancel(&f.m, false, &ec), -EALREADY);
    assert_int_equal(move(&f, &slowly, NULL), 0);
    assert_int_equal(move(&f, &there, &ec), -EBUSY);
    assert_string_equal(ec.msg, "virtual node 0 is being moved");
    end(&f);
    begin(&f, 1);
    assert_int_equal(move(&f, &there, &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "this host has one node: there is nowhere to move to");
    end(&f);
}

static struct {
    int answer;
    unsigned asked, ended, arrived;
} room;

static int may_move(void *ctx, struct vnode_id vnode, struct hnode_id to, struct errctx *ec)
{
    (void)ctx;
    assert_int_equal(vnode.v, 0);
    assert_int_equal(to.v, TARGET);
    room.asked++;
    return room.answer < 0 ? errctx_set(ec, -room.answer, "no room") : 0;
}

static void moved(void *ctx, struct vnode_id vnode, struct hnode_id to, bool arrived)
{
    (void)ctx;
    assert_int_equal(vnode.v, 0);
    assert_int_equal(to.v, TARGET);
    room.ended++;
    room.arrived += arrived;
}

static void it_begins_where_there_is_room_and_tells_how_it_ended(void **state)
{
    struct errctx ec = { 0 };
    struct fixture f;

    (void)state;
    begin(&f, 2);
    f.m.hooks = (struct machine_hooks){ .may_move = may_move, .moved = moved };
    room.answer = -ENOSPC;
    assert_int_equal(move(&f, &there, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "no room");
    assert_int_equal(pager.n_held, 0);
    run_until(&f, "none");
    assert_int_equal(moves() + room.ended, 0);
    room.answer = 0;
    assert_int_equal(move(&f, &slowly, NULL), 0);
    assert_int_equal(move(&f, &there, NULL), -EBUSY);
    assert_int_equal(room.asked, 2); /* not by who is refused for another reason */
    while (moves() == 0)
        ; /* back it would go as slowly */
    assert_int_equal(machine_move_cancel(&f.m, true, NULL), 0);
    run_until(&f, "half-way");
    assert_int_equal(room.ended, 1);
    assert_int_equal(room.arrived, 0);
    assert_int_equal(move(&f, &there, NULL), 0);
    run_until(&f, "arrived");
    assert_int_equal(room.ended, 2);
    assert_int_equal(room.arrived, 1);
    end(&f);
}

static void cancelled_it_does_not_wait_for_its_turn(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 2);
    assert_int_equal(move(&f, &slowly, NULL), 0);
    while (moves() == 0)
        ;
    assert_int_equal(machine_move_cancel(&f.m, true, NULL), 0);
    run_until(&f, "half-way");
    assert_int_equal(number(&f, "moved"), 2 * MIB);
    assert_int_equal(host.follows, 0);
    end(&f);
}

static void held_it_stands_still_and_then_goes_on(void **state)
{
    struct fixture f;
    unsigned before;

    (void)state;
    begin(&f, 2);
    hold(&f);
    assert_int_equal(move(&f, &there, NULL), 0);
    machine_mover_release(&f.m);
    hold(&f); /* at whatever point it is by now */
    before = moves();
    memset(host.start, 9, NODE_BYTES); /* as a reset would: nobody else looks at memory now */
    assert_int_equal(moves(), before);
    machine_mover_release(&f.m);
    run_until(&f, "arrived");
    assert_int_equal(number(&f, "moved"), NODE_BYTES);
    end(&f);
}

static void the_end_comes_in_the_middle(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 2);
    assert_int_equal(move(&f, &slowly, NULL), 0);
    end(&f);
    begin(&f, 2);
    hold(&f); /* of a machine that is paused */
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_arrives_and_its_threads_follow),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(it_begins_where_there_is_room_and_tells_how_it_ended),
        cmocka_unit_test(cancelled_it_does_not_wait_for_its_turn),
        cmocka_unit_test(held_it_stands_still_and_then_goes_on),
        cmocka_unit_test(the_end_comes_in_the_middle),
    };

    return cmocka_run_group_tests_name("machine/machine_move", tests, NULL, NULL);
}
