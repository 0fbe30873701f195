/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel is asked for each policy, and what happens where it knows less. */
// LDFLAGS: -Wl,--wrap=syscall
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "memory/numa_policy.h"
#include "vmm/base/macros.h"

/* The last call and how calls end: a kernel before 5.15 knows no MPOL_PREFERRED_MANY. */
static struct {
    long nr;
    int mode, fail;
    long stayed; /* pages that could not be moved */
    bool old_kernel;
    uint64_t mask;
    unsigned long maxnode;
    int own_mode;         /* of who is asked about */
    const void *asked_at; /* by get_mempolicy, and with which flags */
    unsigned long asked_flags;
    unsigned fails_from; /* calls from this one on fail; 0: none for that */
    int flags;       /* of mbind */
    int moved_by; /* the last flags that were any, and where to that was */
    uint64_t dragged;
    int drag_fails; /* an errno */
    unsigned calls;
    bool asked;   /* what is allowed, only: nothing may change */
    long refused; /* then this call is, with EPERM */
} kernel;

long __wrap_syscall(long nr, ...);

static long answer(long nr, int mode, const unsigned long *mask, unsigned long maxnode)
{
    kernel.calls++;
    kernel.nr = nr;
    kernel.mode = mode;
    kernel.mask = mask != NULL ? mask[0] : 0;
    kernel.maxnode = maxnode;
    errno = kernel.fail != 0 ? kernel.fail : EINVAL;
    if (kernel.fails_from > 0 && kernel.calls >= kernel.fails_from)
        return -1;
    return kernel.fail != 0 || (kernel.old_kernel && mode == MPOL_PREFERRED_MANY) ? -1 : 0;
}

/* No memory, no pages, and a policy that there is not. */
static long answer_asked(long nr, va_list ap)
{
    kernel.calls++;
    errno = nr == kernel.refused ? EPERM : EINVAL;
    if (nr == SYS_mbind)
        assert_true(va_arg(ap, void *) == NULL && va_arg(ap, size_t) == 0);
    else if (nr == SYS_move_pages)
        assert_true(va_arg(ap, int) == 0 && va_arg(ap, unsigned long) == 0);
    else
        assert_int_equal(va_arg(ap, int), -1);
    return nr == kernel.refused || nr == SYS_set_mempolicy ? -1 : 0;
}

long __wrap_syscall(long nr, ...)
{
    va_list ap;
    long r = -1;

    va_start(ap, nr);
    if (kernel.asked) {
        r = answer_asked(nr, ap);
    } else if (nr == SYS_mbind) {
        void *addr = va_arg(ap, void *);
        size_t len = va_arg(ap, size_t);
        int mode = va_arg(ap, int);
        const unsigned long *mask = va_arg(ap, const unsigned long *);

        assert_ptr_equal(addr, (void *)0x200000);
        assert_int_equal(len, 4 * MIB);
        r = answer(nr, mode, mask, va_arg(ap, unsigned long));
        kernel.flags = va_arg(ap, int);
        if (kernel.flags != 0) {
            kernel.moved_by = kernel.flags;
            kernel.dragged = mode == MPOL_BIND ? kernel.mask : 0;
            errno = kernel.drag_fails;
            r = kernel.drag_fails != 0 ? -1 : r;
        }
    } else if (nr == SYS_set_mempolicy) {
        int mode = va_arg(ap, int);
        const unsigned long *mask = va_arg(ap, const unsigned long *);

        r = answer(nr, mode, mask, va_arg(ap, unsigned long));
    } else if (nr == SYS_move_pages) {
        const int pid = va_arg(ap, int);
        const unsigned long n = va_arg(ap, unsigned long);
        const int *targets, *status;

        (void)va_arg(ap, void **);
        targets = va_arg(ap, const int *);
        status = va_arg(ap, const int *);
        assert_int_equal(pid, 0); /* nobody else's pages */
        assert_int_equal(va_arg(ap, int), MPOL_MF_MOVE);
        for (unsigned long i = 0; i < n; i++)
            assert_true(targets[i] == 3 && status[i] < 0);
        kernel.calls++;
        errno = kernel.fail;
        r = kernel.fail != 0 ? -1 : kernel.stayed;
    } else if (nr == SYS_get_mempolicy) {
        int *mode = va_arg(ap, int *);
        unsigned long *mask = va_arg(ap, unsigned long *);

        assert_int_equal(va_arg(ap, unsigned long), IDSET_MAX);
        kernel.asked_at = va_arg(ap, const void *);
        kernel.asked_flags = va_arg(ap, unsigned long);
        r = answer(nr, 0, NULL, 0);
        if (r == 0) {
            *mode = kernel.own_mode;
            mask[0] = kernel.own_mode != MPOL_DEFAULT ? 0x6 : 0;
        }
    }
    va_end(ap);
    return r;
}

static int reset(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    return 0;
}

static struct idset nodes(uint32_t a, uint32_t b)
{
    struct idset s = { 0 };

    idset_add(&s, a);
    idset_add(&s, b);
    return s;
}

static int apply(enum guest_policy policy, const struct idset *hosts, struct errctx *ec)
{
    return numa_policy_apply((void *)0x200000, 4 * MIB, policy, hosts, ec);
}

static void every_policy_has_its_mode(void **state)
{
    static const struct {
        enum guest_policy policy;
        int mode;
        uint64_t mask;
    } rows[] = {
        { GUEST_POLICY_BIND, MPOL_BIND, 0xa },
        { GUEST_POLICY_PREFERRED, MPOL_PREFERRED_MANY, 0xa },
        { GUEST_POLICY_INTERLEAVE, MPOL_INTERLEAVE, 0xa },
        { GUEST_POLICY_LOCAL, MPOL_LOCAL, 0 },
    };
    const struct idset hosts = nodes(1, 3);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(apply(rows[i].policy, &hosts, NULL), 0);
        assert_int_equal(kernel.nr, SYS_mbind);
        assert_int_equal(kernel.mode, rows[i].mode);
        assert_true(kernel.mask == rows[i].mask);
        assert_int_equal(kernel.maxnode, rows[i].mask != 0 ? 65 : 0);
    }
}

static void old_kernels_prefer_the_lowest(void **state)
{
    const struct idset hosts = nodes(5, 2);

    (void)state;
    kernel.old_kernel = true;
    assert_int_equal(apply(GUEST_POLICY_PREFERRED, &hosts, NULL), 0);
    assert_int_equal(kernel.mode, MPOL_PREFERRED);
    assert_true(kernel.mask == 1u << 2);
    assert_int_equal(numa_policy_prefer(&hosts, NULL), 0);
    assert_int_equal(kernel.nr, SYS_set_mempolicy);
    assert_int_equal(kernel.mode, MPOL_PREFERRED);
    assert_true(kernel.mask == 1u << 2);
}

static void pages_that_stay_are_no_failure_but_a_full_node_is(void **state)
{
    static const struct {
        int fail, want;
    } rows[] = { { 0, 0 }, { ENOENT, 0 }, { ENOMEM, -ENOMEM }, { ENODEV, -ENODEV } };
    void *pages[2] = { (void *)0x200000, (void *)0x201000 };
    struct errctx ec = { 0 };
    int room[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        kernel.fail = rows[i].fail;
        kernel.stayed = 1;
        assert_int_equal(numa_policy_move(pages, 2, (struct hnode_id){ 3 }, room, &ec),
                         rows[i].want);
    }
    assert_non_null(strstr(ec.msg, "move pages to host node 3: move_pages"));
    assert_int_equal(kernel.calls, ARRAY_SIZE(rows));
}

static void threads_prefer_and_are_not_bound(void **state)
{
    const struct idset hosts = nodes(1, 3);

    (void)state;
    assert_int_equal(numa_policy_prefer(&hosts, NULL), 0);
    assert_int_equal(kernel.nr, SYS_set_mempolicy);
    assert_int_equal(kernel.mode, MPOL_PREFERRED_MANY);
    assert_true(kernel.mask == 0xa);
}

static void memory_not_asked_for_keeps_this_process_policy(void **state)
{
    (void)state;
    assert_int_equal(numa_policy_keep((void *)0x200000, 4 * MIB, NULL), 0);
    assert_int_equal(kernel.mode, MPOL_LOCAL); /* what a process without one does */
    assert_true(kernel.asked_at == NULL && kernel.asked_flags == 0);
    kernel.own_mode = MPOL_INTERLEAVE;
    assert_int_equal(numa_policy_keep((void *)0x200000, 4 * MIB, NULL), 0);
    assert_int_equal(kernel.mode, MPOL_INTERLEAVE);
    assert_true(kernel.mask == 0x6);
}

static int drag(struct errctx *ec)
{
    return numa_policy_drag((void *)0x200000, 4 * MIB, (struct hnode_id){ 3 }, ec);
}

static void what_is_dragged_keeps_its_policy(void **state)
{
    static const struct {
        int mode, stayed; /* the errno of the call that moves */
        uint64_t mask;
    } rows[] = {
        { MPOL_INTERLEAVE, 0, 0x6 }, { MPOL_INTERLEAVE, EIO, 0x6 }, { MPOL_DEFAULT, 0, 0 }
    };
    struct errctx ec = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)reset(NULL);
        kernel.own_mode = rows[i].mode;
        kernel.drag_fails = rows[i].stayed;
        assert_int_equal(drag(&ec), -rows[i].stayed);
        assert_ptr_equal(kernel.asked_at, (void *)0x200000); /* the range, not the thread */
        assert_int_equal(kernel.asked_flags, MPOL_F_ADDR);
        assert_int_equal(kernel.moved_by, MPOL_MF_MOVE | MPOL_MF_STRICT);
        assert_true(kernel.dragged == 1u << 3);
        assert_int_equal(kernel.calls, 3);
        assert_int_equal(kernel.mode, rows[i].mode);
        assert_true(kernel.mask == rows[i].mask && kernel.flags == 0);
    }
    assert_string_equal(ec.msg, "move pages to host node 3: mbind: Input/output error");
}

static void nothing_is_dragged_whose_policy_is_unknown(void **state)
{
    struct errctx ec = { 0 };

    (void)state;
    kernel.fail = EFAULT;
    assert_int_equal(drag(&ec), -EFAULT);
    assert_string_equal(ec.msg, "ask for a policy: get_mempolicy: Bad address");
    assert_int_equal(kernel.calls, 1);
    assert_int_equal(kernel.moved_by, 0);
    (void)reset(NULL);
    kernel.fails_from = 3; /* it was moved, and is bound still */
    assert_int_equal(drag(&ec), -EINVAL);
    assert_string_equal(ec.msg, "the policy that was: mbind: Invalid argument");
    assert_int_equal(kernel.calls, 3);
}

static void what_is_not_allowed_is_told_without_a_change(void **state)
{
    static const struct {
        long refused;
        const char *says;
    } rows[] = { { SYS_mbind, "mbind: Operation not permitted" },
                 { SYS_set_mempolicy, "set_mempolicy: Operation not permitted" },
                 { SYS_move_pages, "move_pages: Operation not permitted" } };
    struct errctx ec = { 0 };

    (void)state;
    kernel.asked = true;
    assert_int_equal(numa_policy_allowed(&ec), 0);
    assert_int_equal(kernel.calls, 3);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        kernel.refused = rows[i].refused;
        assert_int_equal(numa_policy_allowed(&ec), -EPERM);
        assert_string_equal(ec.msg, rows[i].says);
    }
}

static void failures_name_the_host_nodes(void **state)
{
    const struct idset hosts = nodes(1, 3);
    struct errctx ec = { 0 };

    (void)state;
    kernel.fail = EPERM;
    assert_int_equal(apply(GUEST_POLICY_BIND, &hosts, &ec), -EPERM);
    assert_string_equal(ec.msg, "bind to host node 1,3: mbind: Operation not permitted");
    assert_int_equal(apply(GUEST_POLICY_PREFERRED, &hosts, &ec), -EPERM);
    assert_string_equal(ec.msg, "preferred host node 1,3: mbind: Operation not permitted");
    assert_int_equal(kernel.calls, 2); /* only an unknown mode is tried again */
    assert_int_equal(apply(GUEST_POLICY_LOCAL, &hosts, &ec), -EPERM);
    assert_string_equal(ec.msg, "local memory: mbind: Operation not permitted");
    assert_int_equal(numa_policy_prefer(&hosts, &ec), -EPERM);
    assert_string_equal(ec.msg, "prefer host node 1,3: set_mempolicy: Operation not permitted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_policy_has_its_mode, reset),
        cmocka_unit_test_setup(pages_that_stay_are_no_failure_but_a_full_node_is, reset),
        cmocka_unit_test_setup(old_kernels_prefer_the_lowest, reset),
        cmocka_unit_test_setup(threads_prefer_and_are_not_bound, reset),
        cmocka_unit_test_setup(memory_not_asked_for_keeps_this_process_policy, reset),
        cmocka_unit_test_setup(what_is_dragged_keeps_its_policy, reset),
        cmocka_unit_test_setup(nothing_is_dragged_whose_policy_is_unknown, reset),
        cmocka_unit_test_setup(what_is_not_allowed_is_told_without_a_change, reset),
        cmocka_unit_test_setup(failures_name_the_host_nodes, reset),
    };
    return cmocka_run_group_tests_name("memory/numa_policy", tests, NULL, NULL);
}
