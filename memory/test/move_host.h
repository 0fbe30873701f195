/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host whose nodes are made up, and a guest of one node whose real memory is moved between them:
 * where each page is, who has room, what fails. Who includes this wraps the calls that place
 * memory, as the prototypes say.
 */
#ifndef MEMORY_TEST_MOVE_HOST_H
#define MEMORY_TEST_MOVE_HOST_H

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
#include "memory/numa_policy.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
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
    int fail;                    /* an errno for every move, or */
    size_t fail_at;              /* once, when so many pages moved */
    int gate;                    /* for the moves that are made */
    size_t n_moved, first_moved; /* a page's number */
    size_t n_aside;              /* pages that were named by another mapping than the guest's */
    size_t n_drags;
    int n_locks;  /* so many times what was made inaccessible stays it */
    bool pretend; /* a drag says that all went, and nothing did */
    enum guest_policy policy;
    char nodes[32]; /* of the policy */
    unsigned n_policies;
} host;

/* By its address in the guest's mapping; in another one every page tells its number. */
static inline size_t page_of(const void *at)
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
static inline int move_page(size_t p, struct hnode_id to)
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

        if (host.fail_at > 0 && host.n_moved == host.fail_at) {
            host.fail_at = 0;
            return errctx_set(ec, EACCES, "move_pages");
        }
        if (r == -ENOMEM)
            return errctx_set(ec, ENOMEM, "move_pages");
        nodes[i] = r < 0 ? r : (int)to.v;
    }
    return 0;
}

int __wrap_mprotect(void *addr, size_t len, int prot)
{
    if (prot == (PROT_READ | PROT_WRITE) && host.n_locks > 0) {
        host.n_locks--;
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

static inline void touch(const struct guest *g, size_t page)
{
    const struct backing *b = guest_mem_backing(g->mem, 0);

    b->host[page * SMALL] = (uint8_t)(page * 7 + 1);
    memcpy(&b->host[page * SMALL + NUMBER], &page, sizeof(page));
}

/* One node at host node 1, bound; every third page of the first half is there. */
static inline void begin(struct guest *g)
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
    assert_int_equal(mem_layout_make(&test_map, &g->ram.plan, 40, &g->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&g->ram.plan, g->layout, &g->mem, NULL), 0);
    host.start = guest_mem_backing(g->mem, 0)->host;
    memset(host.node, HOME, sizeof(host.node));
    memset(host.room, 0x7f, sizeof(host.room));
    for (size_t i = 0; i < PAGES / 2; i += 3)
        touch(g, i);
}

enum { THERE = (PAGES / 2 + 2) / 3 };

static inline void end(struct guest *g)
{
    guest_mem_free(g->mem);
    mem_layout_free(g->layout);
}

/* All pages that are there have their content, are on @node (or anywhere, -1), and no other
 * appeared. */
static inline void assert_pages(const struct guest *g, int node)
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

static inline enum mem_move_word between(void *ctx, const struct mem_move_progress *progress,
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

static inline struct mem_move *make_with(const struct guest *g, bool stay, int pagemap)
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

static inline struct mem_move *make(const struct guest *g, bool stay)
{
    return make_with(g, stay, -1);
}

#endif
