/* SPDX-License-Identifier: Apache-2.0 */
/* One backing: what is left behind when a step of making it fails. */
// LDFLAGS: -Wl,--wrap=numa_policy_apply,--wrap=madvise,--wrap=ftruncate
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/backing.h"
#include "memory/guest_mem.h"
#include "memory/numa_policy.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"
#include "vmm/topology/test/archive.h"

enum { LEN = 4 * MIB };

int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *nodes, struct errctx *ec);
int __wrap_madvise(void *addr, size_t len, int advice);
int __real_madvise(void *addr, size_t len, int advice);
int __wrap_ftruncate(int fd, off_t len);
int __real_ftruncate(int fd, off_t len);

static int fail_advice;
static bool fail_truncate;

int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *nodes, struct errctx *ec)
{
    int code;

    assert_non_null(addr);
    if (policy == GUEST_POLICY_LOCAL) /* what nobody asked to be bound, beside what is */
        return 0;
    assert_int_equal(policy, GUEST_POLICY_BIND);
    check_expected(len_bytes);
    assert_true(idset_has(nodes, 1));
    code = mock_type(int);
    return code ? errctx_set(ec, code, "bind to host node 1: mbind") : 0;
}

int __wrap_madvise(void *addr, size_t len, int advice)
{
    if (advice == fail_advice) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(addr, len, advice);
}

int __wrap_ftruncate(int fd, off_t len)
{
    if (fail_truncate) {
        errno = ENOSPC;
        return -1;
    }
    return __real_ftruncate(fd, len);
}

struct held {
    unsigned fds, maps;
};

/* Descriptors, and mappings that name our memory. */
static struct held held(void)
{
    struct held h = { 0 };
    char line[512];
    DIR *d = opendir("/proc/self/fd");
    FILE *f;

    while (readdir(d) != NULL)
        h.fds++;
    (void)closedir(d);
    f = fopen("/proc/self/maps", "re");
    while (fgets(line, sizeof(line), f) != NULL)
        h.maps += strstr(line, "guest-ram") != NULL;
    (void)fclose(f);
    return h;
}

static void assert_nothing_held(const struct held *before)
{
    const struct held now = held();

    assert_int_equal(now.fds, before->fds);
    assert_int_equal(now.maps, before->maps);
}

/* A piece of memory of node 5, bound to host node 1, and room for it. */
struct piece {
    struct topo_plan_backing plan;
    struct mem_area area;
};

static struct piece *piece(struct piece *p, bool bound)
{
    *p = (struct piece){ .plan = { .vnode = { 5 }, .len_bytes = LEN } };
    if (bound) {
        p->plan.policy = GUEST_POLICY_BIND;
        idset_add(&p->plan.host_nodes, 1);
    }
    assert_int_equal(mem_area_init(LEN, 2 * MIB, &p->area, NULL), 0);
    return p;
}

static void bind_failure_leaves_nothing(void **state)
{
    const struct held before = held();
    struct backing b = { .memfd = 77 };
    struct errctx ec = { 0 };
    struct piece p;

    (void)state;
    (void)piece(&p, true);
    expect_value(__wrap_numa_policy_apply, len_bytes, LEN);
    will_return(__wrap_numa_policy_apply, EINVAL);
    assert_int_equal(backing_init(&p.plan, p.area.start, false, &b, &ec), -EINVAL);
    mem_area_fini(&p.area);
    assert_int_equal(ec.code, EINVAL);
    assert_string_equal(ec.msg, "bind to host node 1: mbind");
    assert_int_equal(b.memfd, 77); /* result untouched on failure */
    assert_nothing_held(&before);
}

static void madvise_and_size_failures_leave_nothing(void **state)
{
    static const int advices[] = { MADV_DONTFORK, MADV_DONTDUMP };
    const struct held before = held();
    struct backing b = { .memfd = 77 };
    struct errctx ec = { 0 };
    struct piece p;

    (void)state;
    (void)piece(&p, false);
    for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
        fail_advice = advices[i];
        assert_int_equal(backing_init(&p.plan, p.area.start, false, &b, &ec), -EINVAL);
        assert_string_equal(ec.msg, "madvise: Invalid argument");
        fail_advice = 0;
    }
    fail_truncate = true;
    assert_int_equal(backing_init(&p.plan, p.area.start, false, &b, &ec), -ENOSPC);
    mem_area_fini(&p.area);
    assert_string_equal(ec.msg, "size of 4194304 bytes: No space left on device");
    fail_truncate = false;
    assert_int_equal(b.memfd, 77);
    assert_nothing_held(&before);
}

static void a_length_without_room_fails_with_its_number(void **state)
{
    const struct held before = held();
    struct mem_area area = { .len_bytes = 77 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(mem_area_init((size_t)1 << 62, 2 * MIB, &area, &ec), -ENOMEM);
    assert_string_equal(ec.msg,
                        "find addresses for 4611686018427387904 bytes: Cannot allocate memory");
    assert_int_equal(area.len_bytes, 77);
    assert_nothing_held(&before);
}

/* A later node's failure takes the earlier nodes' memory down, too. */
static void guest_memory_names_the_node_and_undoes_the_others(void **state)
{
    const struct held before = held();
    struct guest_mem *mem = (void *)0x1;
    struct mem_layout *layout;
    struct errctx ec = { 0 };
    struct plan_ram p;

    (void)state;
    plan_ram_init(&p, 2, (const uint64_t[]){ LEN, 2 * LEN });
    idset_add(&p.nodes[1].host_nodes, 1);
    assert_int_equal(mem_layout_make(&test_map, &p.plan, 46, &layout, NULL), 0);
    expect_value(__wrap_numa_policy_apply, len_bytes, 2 * LEN);
    will_return(__wrap_numa_policy_apply, EPERM);
    assert_int_equal(guest_mem_new(&p.plan, layout, &mem, &ec), -EPERM);
    assert_string_equal(ec.msg, "virtual node 1: bind to host node 1: mbind");
    assert_ptr_equal(mem, (void *)0x1);
    assert_nothing_held(&before);
    mem_layout_free(layout);
}

static void a_backing_is_aligned_closed_on_exec_and_untouched(void **state)
{
    const struct held before = held();
    struct backing b;
    struct stat st;
    struct piece p;

    (void)state;
    (void)piece(&p, true);
    expect_value(__wrap_numa_policy_apply, len_bytes, LEN);
    will_return(__wrap_numa_policy_apply, 0);
    assert_int_equal(backing_init(&p.plan, p.area.start, false, &b, NULL), 0);
    assert_int_equal((uintptr_t)b.host % (2 * MIB), 0);
    assert_int_equal(b.plan->vnode.v, 5);
    assert_true(fcntl(b.memfd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fstat(b.memfd, &st), 0);
    assert_int_equal(st.st_size, LEN);
    assert_int_equal(st.st_blocks, 0);
    backing_fini(&b);
    assert_null(b.host);
    backing_fini(&b); /* twice is harmless */
    mem_area_fini(&p.area);
    assert_nothing_held(&before);
}

static void huge_pages_come_by_themselves_where_the_kernel_says_so(void **state)
{
    static const struct {
        const char *choice;
        bool any, thp;
    } cases[] = {
        { "[always] within_size advise never deny force", true, true },
        { "always [within_size] advise never deny force", true, true },
        { "always within_size advise never deny [force]", true, true },
        { "always within_size [advise] never deny force", false, true },
        { "always within_size advise [never] deny force", false, false },
        { "always within_size advise never [deny] force", false, false },
        { "", false, false },
    };
    char root[] = "/tmp/test_backing_XXXXXX", path[128];

    (void)state;
    assert_non_null(mkdtemp(root));
    assert_false(backing_comes_huge(root, GUEST_PAGES_ANY)); /* no such file */
    (void)snprintf(path, sizeof(path), "%s%s", root, BACKING_HUGE_CHOICE);
    archive_make_parents(path);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        archive_write(path, cases[i].choice);
        assert_int_equal(backing_comes_huge(root, GUEST_PAGES_ANY), cases[i].any);
        assert_int_equal(backing_comes_huge(root, GUEST_PAGES_THP), cases[i].thp);
        assert_false(backing_comes_huge(root, GUEST_PAGES_4K));
    }
    archive_remove(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bind_failure_leaves_nothing),
        cmocka_unit_test(madvise_and_size_failures_leave_nothing),
        cmocka_unit_test(a_length_without_room_fails_with_its_number),
        cmocka_unit_test(guest_memory_names_the_node_and_undoes_the_others),
        cmocka_unit_test(a_backing_is_aligned_closed_on_exec_and_untouched),
        cmocka_unit_test(huge_pages_come_by_themselves_where_the_kernel_says_so),
    };

    return cmocka_run_group_tests_name("memory/backing", tests, NULL, NULL);
}
