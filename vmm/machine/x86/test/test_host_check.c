/* SPDX-License-Identifier: Apache-2.0 */
/* What `check` says when /dev/kvm is not what it should be, and of the kernel's Landlock. */
// LDFLAGS: -Wl,--wrap=open -Wl,--wrap=stat -Wl,--wrap=landlock_abi -Wl,--wrap=kvm_sys_open -Wl,--wrap=kvm_sys_check -Wl,--wrap=kvm_sys_supported_cpuid -Wl,--wrap=kvm_probe_kernel_code -Wl,--wrap=uffd_open -Wl,--wrap=uffd_open_all -Wl,--wrap=page_table_tells -Wl,--wrap=backing_can_collapse -Wl,--wrap=numa_policy_can_prefer_many -Wl,--wrap=numa_policy_allowed
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/page_table.h"
#include "memory/pager/uffd.h"
#include "vmm/base/landlock.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/machine/host_check_private.h"
#include "vmm/topology/test/archive.h"

static int device_code; /* with which ... fails; 0: it does what it does */
static const char *device;

int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
    if (strcmp(path, "/forbidden") == 0) { /* root may open anything, so play it */
        errno = EACCES;
        return -1;
    }
    if (device_code != 0 && strcmp(path, device) == 0) {
        errno = device_code;
        return -1;
    }
    return __real_open(path, flags, 0);
}

static struct stat forbidden; /* st_mode 0: there is none to look at */

int __wrap_stat(const char *path, struct stat *st);
int __real_stat(const char *path, struct stat *st);

int __wrap_stat(const char *path, struct stat *st)
{
    if (strcmp(path, "/forbidden") != 0)
        return __real_stat(path, st);
    *st = forbidden;
    return forbidden.st_mode != 0 ? 0 : -1;
}

static void who_owns_the_device_is_named(void **state)
{
    struct host_node node = { .n_pools = 0 };
    const struct host_topo host = { .nodes = &node, .n_nodes = 1, .n_cpus = 2 };
    struct host_check c;

    (void)state;
    forbidden = (struct stat){ .st_mode = S_IFCHR | 0660, .st_gid = 4294967 };
    host_check_run("/forbidden", &host, &c);
    assert_string_equal(c.findings[0].advice,
                        "have root add you to the group that owns it, number 4294967, then log in again");
    forbidden.st_gid = 0; /* nobody wants to be in root's group */
    host_check_run("/forbidden", &host, &c);
    assert_non_null(strstr(c.findings[0].advice, "chgrp kvm /forbidden"));
    forbidden = (struct stat){ .st_mode = S_IFCHR | 0600, .st_gid = 4294967 };
    host_check_run("/forbidden", &host, &c);
    assert_non_null(strstr(c.findings[0].advice, "chgrp kvm /forbidden"));
    forbidden.st_mode = 0;
}

static void a_kvm_that_cannot_be_used_is_told_with_advice(void **state)
{
    static const struct {
        const char *path, *what, *advice;
    } rows[] = {
        { "/nowhere/kvm", "open /nowhere/kvm: No such file or directory",
          "switch virtualization (SVM or VT-x) on" },
        { "/forbidden", "open /forbidden: Permission denied", "chgrp kvm /forbidden && chmod 660" },
        { "/dev/null", "/dev/null is not KVM's device", "look at the kernel's log" },
    };
    struct host_node node = { .n_pools = 0 };
    const struct host_topo host = { .nodes = &node, .n_nodes = 1, .n_cpus = 2 };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct host_check c;

        host_check_run(rows[i].path, &host, &c);
        assert_false(c.can_run);
        assert_string_equal(c.findings[0].name, "kvm");
        assert_int_equal(c.findings[0].verdict, HOST_MISSING);
        assert_string_equal(c.findings[0].what, rows[i].what);
        assert_non_null(strstr(c.findings[0].advice, rows[i].advice));
        assert_string_equal(c.findings[1].name, "nodes"); /* nothing more is asked of KVM */
        assert_int_equal(c.findings[1].verdict, HOST_LIMITED);
        for (size_t f = 0; f < c.n; f++) {
            assert_true(c.findings[f].what[0] != '\0');
            assert_int_equal(c.findings[f].advice[0] == '\0', c.findings[f].verdict == HOST_OK);
        }
    }
}

static void moving_is_looked_at_where_there_is_somewhere_to_go(void **state)
{
    struct host_node nodes[2] = { 0 };

    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        const struct host_topo host = { .nodes = nodes, .n_nodes = n, .n_cpus = 2 };
        const struct host_finding *found = NULL;
        struct host_check c;

        host_check_run("/nowhere/kvm", &host, &c);
        for (size_t f = 0; f < c.n; f++)
            if (strcmp(c.findings[f].name, "moving") == 0)
                found = &c.findings[f];
        assert_int_equal(found != NULL, n > 1);
        if (found != NULL)
            assert_int_equal(found->advice[0] == '\0', found->verdict == HOST_OK);
    }
}

static void a_device_that_cannot_be_opened_is_told_with_its_own_advice(void **state)
{
    static const struct {
        const char *finding, *device;
        int code;
        const char *what, *advice;
    } rows[] = {
        { "tap", "/dev/net/tun", ENOENT,
          "no TAP devices: /dev/net/tun: No such file or directory", "load the module tun" },
        { "tap", "/dev/net/tun", EACCES, "no TAP devices: /dev/net/tun: Permission denied",
          "ip tuntap add" },
        { "tap", "/dev/net/tun", EPERM, "no TAP devices: /dev/net/tun: Operation not permitted",
          "ip tuntap add" },
        { "vhost-net", "/dev/vhost-net", ENOENT,
          "no --net tap=...,vhost=on: /dev/vhost-net: No such file or directory",
          "load the module vhost_net" },
        { "vhost-net", "/dev/vhost-net", EACCES,
          "no --net tap=...,vhost=on: /dev/vhost-net: Permission denied", "its group" },
    };
    struct host_node node = { .n_pools = 0 };
    const struct host_topo host = { .nodes = &node, .n_nodes = 1, .n_cpus = 2 };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct host_finding *f;
        struct host_check c;

        device = rows[i].device;
        device_code = rows[i].code;
        host_check_run("/forbidden", &host, &c);
        device_code = 0;
        for (f = c.findings; strcmp(f->name, rows[i].finding) != 0; f++)
            assert_true(f < c.findings + c.n);
        assert_int_equal(f->verdict, HOST_LIMITED);
        assert_string_equal(f->what, rows[i].what);
        assert_non_null(strstr(f->advice, rows[i].advice));
        assert_true((strstr(f->advice, "module") != NULL) == (rows[i].code == ENOENT));
    }
}

static const struct host_finding *find(const struct host_check *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->findings[i].name, name) == 0)
            return &c->findings[i];
    fail_msg("there is no finding %s", name);
    return NULL;
}

static void pools_of_huge_pages_count_and_are_advised_where_there_are_none(void **state)
{
    struct host_node node[2] = {
        { .n_pools = 1, .pool = { { 2 * MIB, 8, 5 } } },
        { .n_pools = 2, .pool = { { 2 * MIB, 8, 2 }, { GIB, 3, 3 } } },
    };
    const struct host_topo host = { .nodes = node, .n_nodes = 2, .n_cpus = 2 };
    const struct host_finding *f;
    struct host_check c;

    (void)state;
    host_check_run("/nowhere/kvm", &host, &c);
    f = find(&c, "huge-pages");
    assert_int_equal(f->verdict, HOST_OK);
    assert_non_null(strstr(f->what, "the pools for --pages have 7 free of 2M, 3 of 1G"));
    node[0].n_pools = node[1].n_pools = 0;
    host_check_run("/nowhere/kvm", &host, &c);
    f = find(&c, "huge-pages");
    assert_null(strstr(f->what, "pools"));
    if (f->verdict == HOST_LIMITED) /* else this kernel makes huge pages by itself */
        assert_non_null(strstr(f->advice, "sysctl vm.nr_hugepages"));
}

static int abi = 1; /* of the kernel that is played */

int __wrap_landlock_abi(void);

int __wrap_landlock_abi(void)
{
    return abi;
}

static void a_kernel_without_landlock_is_told_with_advice(void **state)
{
    static const struct {
        int abi;
        enum host_verdict verdict;
        const char *what, *advice;
    } rows[] = {
        { 2, HOST_OK, "names no files but its sockets and /etc/resolv.conf (Landlock version 2)", "" },
        { -ENOSYS, HOST_LIMITED, "no Landlock (Function not implemented)", "SECURITY_LANDLOCK" },
        { -EOPNOTSUPP, HOST_LIMITED, "no Landlock (Operation not supported)", "lsm=" },
        { -EPERM, HOST_LIMITED, "no Landlock (Operation not permitted)", "in the container" },
    };
    struct host_node node = { .n_pools = 0 };
    const struct host_topo host = { .nodes = &node, .n_nodes = 1, .n_cpus = 2 };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct host_finding *f;
        struct host_check c;

        abi = rows[i].abi;
        host_check_run("/nowhere/kvm", &host, &c);
        f = &c.findings[c.n - 1];
        assert_string_equal(f->name, "landlock");
        assert_int_equal(f->verdict, rows[i].verdict);
        assert_non_null(strstr(f->what, rows[i].what));
        assert_non_null(strstr(f->advice, rows[i].advice));
        assert_int_equal(f->advice[0] == '\0', f->verdict == HOST_OK);
    }
}

/* --- kernels that lack something -------------------------------------------------------------- */

/* What the kernel that is played has. */
static struct {
    bool plays, kvm_can, uffd, poison, rwp, accesses, collapse, prefer_many, policies;
} kernel;

int __real_kvm_sys_open(const char *path, struct kvm_sys *ret_sys, struct errctx *ec);
int __wrap_kvm_sys_open(const char *path, struct kvm_sys *ret_sys, struct errctx *ec);
int __wrap_kvm_sys_check(const struct kvm_sys *sys, unsigned cap);
int __wrap_kvm_sys_supported_cpuid(const struct kvm_sys *sys, struct kvm_cpuid2 **ret_cpuid,
                                   struct errctx *ec);
int __wrap_kvm_probe_kernel_code(const struct kvm_sys *sys, bool *ret_native, struct errctx *ec);
int __real_uffd_open(int *ret_fd, struct errctx *ec);
int __wrap_uffd_open(int *ret_fd, struct errctx *ec);
int __real_uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec);
int __wrap_uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec);
bool __wrap_page_table_tells(int pagemap);
bool __wrap_backing_can_collapse(void);
bool __wrap_numa_policy_can_prefer_many(void);
int __wrap_numa_policy_allowed(struct errctx *ec);

int __wrap_kvm_sys_open(const char *path, struct kvm_sys *ret_sys, struct errctx *ec)
{
    if (!kernel.plays)
        return __real_kvm_sys_open(path, ret_sys, ec);
    ret_sys->fd = -1;
    return 0;
}

/* Without kvm_can: all that is needed, and nothing that may be missing. */
int __wrap_kvm_sys_check(const struct kvm_sys *sys, unsigned cap)
{
    (void)sys;
    if (cap == KVM_CAP_HALT_POLL || cap == KVM_CAP_BINARY_STATS_FD)
        return kernel.kvm_can;
    return 1024;
}

int __wrap_kvm_sys_supported_cpuid(const struct kvm_sys *sys, struct kvm_cpuid2 **ret_cpuid,
                                   struct errctx *ec)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + sizeof(cpuid->entries[0]));

    (void)sys;
    (void)ec;
    assert_non_null(cpuid);
    cpuid->nent = 1;
    cpuid->entries[0].function = 0x40000001;
    cpuid->entries[0].eax = kernel.kvm_can ? 1u << 5 : 0;
    *ret_cpuid = cpuid;
    return 0;
}

int __wrap_kvm_probe_kernel_code(const struct kvm_sys *sys, bool *ret_native, struct errctx *ec)
{
    (void)sys;
    (void)ec;
    *ret_native = true;
    return 0;
}

int __wrap_uffd_open(int *ret_fd, struct errctx *ec)
{
    if (!kernel.plays)
        return __real_uffd_open(ret_fd, ec);
    if (!kernel.uffd)
        return errctx_set_os(ec, ENOSYS, "userfaultfd");
    *ret_fd = dup(0);
    return *ret_fd < 0 ? -errno : 0;
}

int __wrap_uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec)
{
    if (!kernel.plays)
        return __real_uffd_open_all(ret_fd, ret_can, ec);
    *ret_can = (struct uffd_can){ .poison = kernel.poison, .protect = kernel.rwp };
    return __wrap_uffd_open(ret_fd, ec);
}

bool __wrap_page_table_tells(int pagemap)
{
    (void)pagemap;
    return kernel.accesses;
}

bool __wrap_backing_can_collapse(void)
{
    return kernel.collapse;
}

bool __wrap_numa_policy_can_prefer_many(void)
{
    return kernel.prefer_many;
}

int __wrap_numa_policy_allowed(struct errctx *ec)
{
    return kernel.policies ? 0 : errctx_set_os(ec, EPERM, "mbind");
}

/* Every finding about what may be missing, with what there is less. */
static const struct {
    const char *name, *what, *advice;
} lacking[] = {
    { "steal-time", "a guest does not see the time", "CONFIG_SCHED_INFO" },
    { "halt-poll", "equally long for all machines", "Linux 5.8" },
    { "kvm-stats", "lacks KVM's own counters", "Linux 5.14" },
    { "moving", "one by one: userfaultfd: Function not implemented", "userfaultfd" },
    { "pager", "cost alone: userfaultfd: Function not implemented", "CONFIG_USERFAULTFD" },
    { "collapse", "that a move has to split stay small", "Linux 6.1" },
    { "policies", "no host=, policy= or ctl NAME memory: mbind: Operation not permitted",
      "CAP_SYS_NICE" },
    { "preferred", "prefers the lowest of them", "Linux 5.15" },
    { "swap", "may swap out guest memory", "MemorySwapMax=0" },
    { "cpu-cgroup", "nice values, a machine keeps --cpu-max itself: there is no cgroup",
      "systemd-run" },
    { "balance", "how long tasks wait for CPUs and for memory", "CONFIG_PSI" },
    { "heat", "count as whole ones", "cpufreq" },
};

/* Of number @i of them: what is about the kernel's files comes from @files. */
static const struct host_finding *look_at(const struct host_check *all,
                                          const struct host_check *files, size_t i)
{
    static const char *const of_files[] = { "swap", "cpu-cgroup", "balance", "heat" };

    for (size_t k = 0; k < ARRAY_SIZE(of_files); k++)
        if (strcmp(of_files[k], lacking[i].name) == 0)
            return find(files, lacking[i].name);
    return find(all, lacking[i].name);
}

static struct host_node two_nodes[2];
static const struct host_topo two_node_host = { .nodes = two_nodes, .n_nodes = 2, .n_cpus = 2 };
static char root[64]; /* of the kernel's files */

static int make_root(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    kernel.plays = true;
    (void)snprintf(root, sizeof(root), "/tmp/test_host_check.XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    kernel.plays = false;
    archive_remove(root);
    return 0;
}

static void what_the_kernel_lacks_is_told_with_one_line_each(void **state)
{
    struct host_check c, files = { .n = 0 };

    (void)state;
    archive_put(root, "proc/swaps", "Filename Type Size Used Priority\\n/dev/zram0 partition 8 0 -2");
    host_check_run("/dev/kvm", &two_node_host, &c);
    assert_true(c.can_run); /* all of it is done without */
    host_check_kernel(&files, root, &two_node_host);
    for (size_t i = 0; i < ARRAY_SIZE(lacking); i++) {
        const struct host_finding *f = look_at(&c, &files, i);

        assert_int_equal(f->verdict, HOST_LIMITED);
        if (strstr(f->what, lacking[i].what) == NULL || strstr(f->advice, lacking[i].advice) == NULL)
            fail_msg("%s: %s -> %s", f->name, f->what, f->advice);
        assert_null(strchr(f->what, '\n'));
    }
}

static void what_the_kernel_has_needs_no_advice(void **state)
{
    struct host_check c, files = { .n = 0 };

    (void)state;
    archive_put(root, "proc/schedstat", "version 15");
    archive_put(root, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3000000");
    archive_put(root, "proc/self/mountinfo", "30 20 0:26 / /cg rw shared:9 - cgroup2 cgroup2 rw");
    archive_put(root, "proc/self/cgroup", "0::/");
    archive_put(root, "cg/cgroup.controllers", "cpu");
    archive_put(root, "cg/cgroup.subtree_control", "cpu");
    archive_put(root, "cg/cgroup.procs", "1");
    archive_put(root, "proc/swaps", "Filename Type Size Used Priority");
    kernel.kvm_can = kernel.uffd = kernel.collapse = kernel.prefer_many =
        kernel.policies = true;
    host_check_run("/dev/kvm", &two_node_host, &c);
    host_check_kernel(&files, root, &two_node_host);
    assert_int_equal(find(&files, "balance")->verdict, HOST_LIMITED);
    assert_non_null(strstr(find(&files, "balance")->what, "how long tasks wait for memory"));
    archive_put(root, "proc/pressure/memory", "some avg10=0.00");
    files = (struct host_check){ .n = 0 };
    host_check_kernel(&files, root, &two_node_host);
    for (size_t i = 0; i < ARRAY_SIZE(lacking); i++) {
        const struct host_finding *f = look_at(&c, &files, i);

        if (f->verdict != HOST_OK)
            fail_msg("%s: %s", f->name, f->what);
        assert_string_equal(f->advice, "");
    }
}

/* A kernel without userfaultfd loses no pages; an older one closes them. */
static void which_way_a_lost_page_is_kept_from_the_guest_is_told(void **state)
{
    const struct host_finding *f;
    struct host_check c;

    (void)state;
    host_check_run("/dev/kvm", &two_node_host, &c);
    for (size_t i = 0; i < c.n; i++)
        assert_string_not_equal(c.findings[i].name, "lost-pages");
    kernel.uffd = true;
    host_check_run("/dev/kvm", &two_node_host, &c);
    assert_int_equal(find(&c, "pager")->verdict, HOST_OK);
    f = find(&c, "lost-pages");
    assert_int_equal(f->verdict, HOST_LIMITED);
    assert_string_equal(f->what, "closed pages: the guest is told of one page that --pager lost at "
                                 "a time, and at most 1024 are kept from it");
    assert_non_null(strstr(f->advice, "Linux 6.6"));
    kernel.poison = true;
    host_check_run("/dev/kvm", &two_node_host, &c);
    f = find(&c, "lost-pages");
    assert_int_equal(f->verdict, HOST_OK);
    assert_non_null(strstr(f->what, "poison: "));
    assert_string_equal(f->advice, "");
}

static void how_it_is_found_what_is_in_use_is_told(void **state)
{
    (void)state;
    kernel.uffd = true;
    for (int i = 0; i < 4; i++) {
        struct host_check c;

        kernel.rwp = i % 2 != 0;
        kernel.accesses = i / 2 != 0;
        host_check_run("/dev/kvm", &two_node_host, &c);
        assert_int_equal(find(&c, "pager")->verdict, HOST_OK);
        assert_non_null(strstr(find(&c, "pager")->what,
                               i == 3 ? "found by protecting it (UFFD_FEATURE_RWP)"
                                      : "found by taking it out of the page table"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_owns_the_device_is_named),
        cmocka_unit_test(a_kvm_that_cannot_be_used_is_told_with_advice),
        cmocka_unit_test(moving_is_looked_at_where_there_is_somewhere_to_go),
        cmocka_unit_test(a_device_that_cannot_be_opened_is_told_with_its_own_advice),
        cmocka_unit_test(pools_of_huge_pages_count_and_are_advised_where_there_are_none),
        cmocka_unit_test(a_kernel_without_landlock_is_told_with_advice),
        cmocka_unit_test_setup_teardown(what_the_kernel_lacks_is_told_with_one_line_each, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(what_the_kernel_has_needs_no_advice, make_root, remove_root),
        cmocka_unit_test_setup_teardown(which_way_a_lost_page_is_kept_from_the_guest_is_told,
                                        make_root, remove_root),
        cmocka_unit_test_setup_teardown(how_it_is_found_what_is_in_use_is_told, make_root,
                                        remove_root),
    };

    return cmocka_run_group_tests_name("machine/host_check", tests, NULL, NULL);
}
