/* SPDX-License-Identifier: Apache-2.0 */
/* A move of real memory between host nodes that are made up: which pages go, in which direction,
 * under which policy, and that nothing appears or is lost on the way. */
// LDFLAGS: -Wl,--wrap=numa_policy_locate -Wl,--wrap=numa_policy_move -Wl,--wrap=numa_policy_apply
// LDFLAGS: -Wl,--wrap=numa_policy_drag -Wl,--wrap=mprotect
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/mem_move.h"
#include "memory/pager/uffd.h"
#include "memory/numa_policy.h"
#include "memory/residency.h"
#include "memory/test/plan_ram.h"
#include "vmm/base/macros.h"

enum {
    NUMBER = 64,
    SMALL = 4096,
    NODE_BYTES = 8 * MIB,
    PAGES = NODE_BYTES / SMALL,
    HOME = 1,
    TARGET = 3
};

int __wrap_numa_policy_locate(void **pages, size_t n, int *ret_nodes, struct errctx *ec);
int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec);
int __wrap_numa_policy_drag(void *addr, size_t len_bytes, struct hnode_id to, struct errctx *ec);
int __wrap_mprotect(void *addr, size_t len, int prot);
int __real_mprotect(void *addr, size_t len, int prot);
int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *host_nodes, struct errctx *ec);

/* The host. */
static struct {
    uint8_t *start; /* of the memory that pages are of */
    uint8_t node[PAGES];
    uint32_t room[8];            /* pages that a node can still take */
    uint8_t busy[PAGES];         /* so many tries find the page in use */
    int fail;                    /* an errno for the next move */
    int gate;                    /* for the moves that are made */
    size_t n_moved, first_moved; /* a page's number */
    size_t n_aside;              /* pages that were named by another mapping than the guest's */
    size_t n_drags;
    bool lock;    /* what was made inaccessible stays it */
    bool pretend; /* a drag says that all went, and nothing did */
    enum guest_policy policy;
    char nodes[32]; /* of the policy */
    unsigned n_policies;
} host;

/* By its address in the guest's mapping; in another one every page tells its number. */
static size_t page_of(const void *at)
{
    const uint8_t *const p = at;
    size_t i;

    if (p >= host.start && p < host.start + NODE_BYTES)
        return (size_t)(p - host.start) / SMALL;
    memcpy(&i, p + NUMBER, sizeof(i));
    host.n_aside++;
    assert_true(i < PAGES);
    return i;
}

int __wrap_numa_policy_locate(void **pages, size_t n, int *ret_nodes, struct errctx *ec)
{
    (void)ec;
    for (size_t i = 0; i < n; i++)
        ret_nodes[i] = host.node[page_of(pages[i])];
    return 0;
}

/* Return: 0, -EBUSY where it stays, or -ENOMEM. */
static int move_page(size_t p, struct hnode_id to)
{
    if (host.busy[p] > 0) {
        host.busy[p]--;
        return -EBUSY;
    }
    if (host.node[p] == to.v)
        return 0;
    if (host.room[to.v] == 0)
        return -ENOMEM;
    if (host.n_moved == 0)
        host.first_moved = p;
    host.room[to.v]--;
    host.room[host.node[p]]++;
    host.node[p] = (uint8_t)to.v;
    host.n_moved++;
    return 0;
}

int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec)
{
    assert_true(n <= 512);
    if (host.fail != 0)
        return errctx_set(ec, host.fail, "move_pages");
    for (size_t i = 0; i < n; i++) {
        const int r = move_page(page_of(pages[i]), to);

        if (r == -ENOMEM)
            return errctx_set(ec, ENOMEM, "move_pages");
        nodes[i] = r < 0 ? r : (int)to.v;
    }
    return 0;
}

int __wrap_mprotect(void *addr, size_t len, int prot)
{
    if (host.lock && prot == (PROT_READ | PROT_WRITE)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_mprotect(addr, len, prot);
}

/* Nobody can read what is dragged, and it is as it was for who comes after. */
int __wrap_numa_policy_drag(void *addr, size_t len_bytes, struct hnode_id to, struct errctx *ec)
{
    static unsigned char there[512];
    uint8_t *const at = addr;
    int pipes[2], r = 0;

    assert_true(at < host.start || at >= host.start + NODE_BYTES);
    assert_int_equal(pipe(pipes), 0);
    assert_true(write(pipes[1], at, 1) < 0 && errno == EFAULT);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    host.n_drags++;
    if (host.fail != 0)
        return errctx_set(ec, host.fail, "mbind");
    if (host.pretend)
        return 0;
    assert_int_equal(mprotect(at, len_bytes, PROT_READ), 0);
    assert_int_equal(mincore(at, len_bytes, there), 0);
    for (size_t i = 0; i < len_bytes / SMALL; i++)
        if ((there[i] & 1) != 0 && move_page(page_of(at + i * SMALL), to) < 0)
            r = -EIO;
    assert_int_equal(mprotect(at, len_bytes, PROT_NONE), 0);
    return r;
}

int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *host_nodes, struct errctx *ec)
{
    (void)addr;
    (void)ec;
    (void)len_bytes;
    host.policy = policy;
    (void)idset_format(host_nodes, host.nodes, sizeof(host.nodes));
    host.n_policies++;
    return 0;
}

struct guest {
    struct plan_ram ram;
    struct topo_plan_backing backing;
    struct mem_layout *layout;
    struct guest_mem *mem;
};

static void touch(const struct guest *g, size_t page)
{
    const struct backing *b = guest_mem_backing(g->mem, 0);

    b->host[page * SMALL] = (uint8_t)(page * 7 + 1);
    memcpy(&b->host[page * SMALL + NUMBER], &page, sizeof(page));
}

/* One node at host node 1, bound; every third page of the first half is there. */
static void begin(struct guest *g)
{
    static const uint64_t bytes[] = { NODE_BYTES };

    memset(&host, 0, sizeof(host));
    host.gate = -1;
    plan_ram_init(&g->ram, 1, bytes);
    g->backing = (struct topo_plan_backing){ .len_bytes = NODE_BYTES,
                                             .policy = GUEST_POLICY_BIND,
                                             .pages = GUEST_PAGES_4K };
    idset_add(&g->backing.host_nodes, HOME);
    g->ram.plan.backings = &g->backing;
    g->ram.plan.n_backings = 1;
    assert_int_equal(mem_layout_make(&g->ram.plan, 40, &g->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&g->ram.plan, g->layout, &g->mem, NULL), 0);
    host.start = guest_mem_backing(g->mem, 0)->host;
    memset(host.node, HOME, sizeof(host.node));
    memset(host.room, 0x7f, sizeof(host.room));
    for (size_t i = 0; i < PAGES / 2; i += 3)
        touch(g, i);
}

enum { THERE = (PAGES / 2 + 2) / 3 };

static void end(struct guest *g)
{
    guest_mem_free(g->mem);
    mem_layout_free(g->layout);
}

/* All pages that are there have their content, are on @node (or anywhere, -1), and no other
 * appeared. */
static void assert_pages(const struct guest *g, int node)
{
    const struct backing *b = guest_mem_backing(g->mem, 0);
    static unsigned char there[PAGES];

    assert_int_equal(guest_mem_resident_bytes(g->mem, (struct vnode_id){ 0 }),
                     (uint64_t)THERE * SMALL);
    assert_int_equal(mincore(b->host, NODE_BYTES, there), 0);
    for (size_t i = 0; i < PAGES / 2; i += 3) {
        assert_int_equal(there[i] & 1, 1);
        assert_int_equal(b->host[i * SMALL], (uint8_t)(i * 7 + 1));
        if (node >= 0)
            assert_int_equal(host.node[i], node);
    }
}

/* What is said between extents: the word @word once @after of them, GO before and afterwards. */
struct script {
    enum mem_move_word word;
    unsigned after, calls;
    uint64_t last_ready_ns;
    const struct guest *user; /* touches its second extent all the time */
};

static enum mem_move_word between(void *ctx, const struct mem_move_progress *progress,
                                  uint64_t ready_ns)
{
    struct script *s = ctx;

    assert_true(progress->seen_bytes <= progress->total_bytes);
    assert_true(ready_ns == 0 || ready_ns >= s->last_ready_ns || progress->seen_bytes == 0);
    s->last_ready_ns = ready_ns;
    for (size_t i = PAGES / 4 + 1; s->user != NULL && i < PAGES / 2; i += 3)
        touch(s->user, i);
    return s->calls++ == s->after ? s->word : MEM_MOVE_GO;
}

static const struct mem_move_ops ops = { .between = between };

static struct mem_move *make_with(const struct guest *g, bool stay, int pagemap)
{
    const struct mem_move_params params = { .mem = g->mem,
                                            .to = { TARGET },
                                            .stay = stay,
                                            .pagemap = pagemap,
                                            .gate = host.gate,
                                            .vmstat = -1 };
    struct mem_move *mv = NULL;

    assert_int_equal(mem_move_new(&params, &mv, NULL), 0);
    assert_int_equal(mem_move_progress(mv)->total_bytes, NODE_BYTES);
    return mv;
}

static struct mem_move *make(const struct guest *g, bool stay)
{
    return make_with(g, stay, -1);
}

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

/* It is mapped anew, whatever that costs: the guest can read it. */
static void what_stays_inaccessible_is_not_given_back(void **state)
{
    struct script s = { .after = UINT32_MAX };
    struct errctx ec = { 0 };
    struct guest g;
    struct mem_move *const mv = begin_gated(&g);

    (void)state;
    host.lock = true;
    assert_int_equal(mem_move_run(mv, &ops, &s, &ec), -EIO);
    assert_non_null(strstr(ec.msg, "mprotect"));
    assert_pages(&g, -1);
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
        cmocka_unit_test(kept_out_nobody_holds_up_a_move),
        cmocka_unit_test(what_stays_inaccessible_is_not_given_back),
        cmocka_unit_test(what_the_kernel_passes_over_is_moved_by_name),
        cmocka_unit_test(pages_in_use_are_tried_again),
        cmocka_unit_test(from_a_full_target_everything_goes_back),
        cmocka_unit_test(told_to_stay_it_is_bound_to_both),
        cmocka_unit_test(cancelled_it_goes_back_or_stays),
        cmocka_unit_test(a_call_that_fails_undoes_the_move_and_is_told),
        cmocka_unit_test(told_to_quit_it_leaves_everything),
        cmocka_unit_test(homes_keep_their_meaning),
        cmocka_unit_test(a_node_without_memory_cannot_move),
    };

    return cmocka_run_group_tests_name("memory/mem_move", tests, NULL, NULL);
}
