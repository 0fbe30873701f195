/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: a file's bytes into it, in huge pages or in normal ones. The clock that tells what
 * they cost is the test's, and so is whether files can be copied into each other.
 */
// LDFLAGS: -Wl,--wrap=clock_gettime,--wrap=sendfile,--wrap=pread,--wrap=mem_load_host_reports
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "memory/guest_mem.h"
#include "memory/mem_load.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"

enum { FILE_BYTES = 9 * MIB, RAM_BYTES = 8 * MIB, HUGE = 2 * MIB, MS = 1000000 };

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);
ssize_t __wrap_sendfile(int out, int in, off_t *off, size_t len);
ssize_t __real_sendfile(int out, int in, off_t *off, size_t len);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t off);
ssize_t __real_pread(int fd, void *buf, size_t len, off_t off);

bool __wrap_mem_load_host_reports(const char *root);
bool __real_mem_load_host_reports(const char *root);

static bool reports;         /* the host its free pages */
static long take_ms, now_ns; /* what a huge page costs; its filling costs 1 ms */
static unsigned asked, sent;
static int sendfile_errno, pread_errno;

/* Asked before the page is taken, after that, and after it is filled. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    assert_int_equal(clock, CLOCK_THREAD_CPUTIME_ID);
    now_ns += asked % 3 == 1 ? take_ms * MS : MS;
    asked++;
    *ret_time = (struct timespec){ .tv_nsec = now_ns };
    return 0;
}

ssize_t __wrap_sendfile(int out, int in, off_t *off, size_t len)
{
    sent++;
    if (sendfile_errno == 0)
        return __real_sendfile(out, in, off, MIN(len, (size_t)MIB)); /* as much as it likes */
    errno = sendfile_errno;
    return -1;
}

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t off)
{
    if (pread_errno == 0)
        return __real_pread(fd, buf, len, off);
    errno = pread_errno;
    return -1;
}

bool __wrap_mem_load_host_reports(const char *root)
{
    assert_string_equal(root, "");
    return reports;
}

/* One node of 8 MiB from address 0, and a file that is longer. */
struct fixture {
    struct topo_plan_node node;
    struct topo_plan_backing backing;
    struct topo_plan plan;
    struct mem_layout *layout;
    struct guest_mem *mem;
    uint8_t *bytes; /* the file's */
    int fd;
    bool has_huge; /* the host gives huge pages to a memfd */
};

static void make_guest(struct fixture *f, enum guest_page_kind pages)
{
    f->node = (struct topo_plan_node){ .ram_bytes = RAM_BYTES };
    f->backing = (struct topo_plan_backing){ .len_bytes = RAM_BYTES, .pages = pages };
    f->plan = (struct topo_plan){
        .nodes = &f->node, .n_nodes = 1, .backings = &f->backing, .n_backings = 1
    };
    assert_int_equal(mem_layout_make(&test_map, &f->plan, 46, &f->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f->plan, f->layout, &f->mem, NULL), 0);
}

static void free_guest(struct fixture *f)
{
    guest_mem_free(f->mem);
    mem_layout_free(f->layout);
}

static int setup(void **state)
{
    static struct fixture f;

    take_ms = 1;
    now_ns = 0;
    asked = sent = 0;
    reports = true;
    sendfile_errno = pread_errno = 0;
    f = (struct fixture){ .fd = memfd_create("image", MFD_CLOEXEC), .bytes = malloc(FILE_BYTES) };
    assert_true(f.fd >= 0);
    assert_non_null(f.bytes);
    for (size_t i = 0; i < FILE_BYTES; i++)
        f.bytes[i] = (uint8_t)(i ^ (i >> 8) ^ (i >> 16));
    assert_int_equal(write(f.fd, f.bytes, FILE_BYTES), FILE_BYTES);
    make_guest(&f, GUEST_PAGES_ANY);
    f.has_huge = backing_take_huge(guest_mem_backing(f.mem, 0), 0) == 0;
    assert_int_equal(guest_mem_discard(f.mem, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free_guest(f);
    (void)close(f->fd);
    free(f->bytes);
    return 0;
}

static uint64_t resident(struct fixture *f)
{
    return guest_mem_resident_bytes(f->mem, f->node.vnode);
}

/* [@off, @off + @len) of the file to @addr, and that it is there and nothing beside it. */
static void assert_loads(struct fixture *f, uint64_t addr, uint64_t off, size_t len)
{
    uint8_t *got = malloc(len + 2);
    size_t n = 0;

    assert_non_null(got);
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ addr }, f->fd, off, len, &n), 0);
    assert_int_equal(n, len);
    assert_int_equal(guest_mem_read(f->mem, (struct gpa){ addr - 1 }, got, len + 2), 0);
    assert_int_equal(got[0], 0);
    assert_memory_equal(got + 1, f->bytes + off, len);
    assert_int_equal(got[len + 1], 0);
    assert_int_equal(guest_mem_leases(f->mem), 0);
    free(got);
}

static void loads_what_begins_and_ends_anywhere(void **state)
{
    struct fixture *f = *state;

    assert_loads(f, MIB - 100, 12345, 5 * MIB + 100);
    assert_int_equal(sent > 0, !f->has_huge);
}

static void loads_into_normal_pages_what_is_less_than_half_a_huge_one(void **state)
{
    struct fixture *f = *state;

    assert_loads(f, 2 * MIB - 8 * 4096, 3, MIB);
    assert_int_equal(resident(f), MIB + 4096 + 4096); /* read back one byte to each side */
    assert_true(sent >= 2);
}

static void takes_a_huge_page_where_half_of_it_is_written(void **state)
{
    struct fixture *f = *state;
    size_t n;

    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ 3 * MIB }, f->fd, 0, MIB, &n), 0);
    assert_int_equal(resident(f), f->has_huge ? 2 * MIB : MIB);
}

static void takes_no_more_huge_pages_when_one_was_dear(void **state)
{
    struct fixture *f = *state;

    if (!f->has_huge)
        skip();
    take_ms = 100;
    assert_loads(f, 2 * MIB, 0, 4 * MIB + 1);
    assert_int_equal(asked, 3); /* it was not tried again */
    assert_int_equal(resident(f), 4 * MIB + 4096 + 4096);
    assert_true(sent > 0);
    /* what was given back can be had again at once */
    assert_int_equal(guest_mem_discard(f->mem, NULL), 0);
    take_ms = 1;
    sent = 0;
    assert_loads(f, 2 * MIB, 0, 4 * MIB);
    assert_int_equal(sent, 0);
}

static void one_dear_huge_page_among_cheap_ones_changes_nothing(void **state)
{
    struct mem_load load = { .may_be_dear = true };

    (void)state;
    assert_true(mem_load_wants_huge(&load));
    mem_load_learn(&load, false);
    mem_load_learn(&load, true);
    assert_true(mem_load_wants_huge(&load));
    mem_load_learn(&load, false);
    mem_load_learn(&load, true);
    assert_true(mem_load_wants_huge(&load));
    mem_load_learn(&load, true);
    assert_false(mem_load_wants_huge(&load));
    mem_load_forget(&load);
    assert_true(mem_load_wants_huge(&load));
    mem_load_learn(&load, true);
    assert_false(mem_load_wants_huge(&load));
}

static void no_huge_page_is_dear_where_free_ones_are_not_reported(void **state)
{
    struct fixture *f = *state;

    if (!f->has_huge)
        skip();
    free_guest(f);
    reports = false;
    make_guest(f, GUEST_PAGES_ANY);
    take_ms = 100;
    assert_loads(f, 2 * MIB, 0, 4 * MIB);
    assert_int_equal(sent, 0);
    assert_int_equal(guest_mem_discard(f->mem, NULL), 0);
    assert_loads(f, 2 * MIB, 0, 4 * MIB);
    assert_int_equal(sent, 0);
}

static void knows_hosts_that_report_free_pages(void **state)
{
    static const struct {
        const char *order;
        bool reports;
    } rows[] = { { "9", true },   { "0", true },   { "10", false },
                 { "11", false }, { "-1", false }, { "", false } };
    const char *names[] = { "sys", "module", "page_reporting", "parameters" };
    char root[] = "/tmp/numavisor-load-XXXXXX", path[256], file[300];

    (void)state;
    assert_non_null(mkdtemp(root));
    assert_false(__real_mem_load_host_reports(root));
    (void)snprintf(path, sizeof(path), "%s", root);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)strcat(strcat(path, "/"), names[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    (void)snprintf(file, sizeof(file), "%s/page_reporting_order", path);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        FILE *f = fopen(file, "w");

        assert_non_null(f);
        assert_true(fprintf(f, "%s\n", rows[i].order) > 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(__real_mem_load_host_reports(root), rows[i].reports);
    }
    assert_int_equal(unlink(file), 0);
    for (size_t i = ARRAY_SIZE(names); i-- > 0; *strrchr(path, '/') = '\0')
        assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(root), 0);
}

static void takes_dear_huge_pages_when_they_were_asked_for(void **state)
{
    struct fixture *f = *state;

    if (!f->has_huge)
        skip();
    free_guest(f);
    make_guest(f, GUEST_PAGES_THP);
    take_ms = 100;
    assert_loads(f, 2 * MIB, 0, 4 * MIB);
    assert_int_equal(asked, 6);
    assert_int_equal(sent, 0);
}

static void takes_no_huge_pages_when_they_were_excluded(void **state)
{
    struct fixture *f = *state;

    free_guest(f);
    make_guest(f, GUEST_PAGES_4K);
    assert_loads(f, 2 * MIB, 0, 2 * MIB + 1);
    assert_int_equal(resident(f), 2 * MIB + 4096 + 4096);
    assert_true(sent > 0);
}

static void reads_where_files_cannot_be_copied_into_each_other(void **state)
{
    struct fixture *f = *state;

    sendfile_errno = EINVAL;
    assert_loads(f, MIB, 0, MIB / 2);
    assert_int_equal(sent, 1);
}

static void says_what_went_wrong(void **state)
{
    struct fixture *f = *state;
    size_t n = 77;

    sendfile_errno = ENOSPC;
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ MIB }, f->fd, 0, 4096, &n), -ENOMEM);
    sendfile_errno = EIO;
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ MIB }, f->fd, 0, 4096, &n), -EIO);
    sendfile_errno = EINVAL;
    pread_errno = EFAULT;
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ MIB }, f->fd, 0, 4096, &n), -ENOMEM);
    pread_errno = EIO;
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ MIB }, f->fd, 0, 4096, &n), -EIO);
    assert_int_equal(n, 77);
    assert_int_equal(guest_mem_leases(f->mem), 0);
}

static void ends_with_the_file(void **state)
{
    struct fixture *f = *state;
    size_t n;

    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ 0 }, f->fd, FILE_BYTES - 100, 4096, &n),
                     0);
    assert_int_equal(n, 100);
    assert_int_equal(
        guest_mem_load(f->mem, (struct gpa){ 0 }, f->fd, FILE_BYTES - 3 * MIB, 5 * MIB, &n), 0);
    assert_int_equal(n, 3 * MIB);
}

static void copies_nothing_where_not_all_is_memory(void **state)
{
    struct fixture *f = *state;
    size_t n = 77;

    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ RAM_BYTES - 4096 }, f->fd, 0, 4097, &n),
                     -EFAULT);
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ 64 * MIB }, f->fd, 0, 1, &n), -EFAULT);
    assert_int_equal(guest_mem_load(f->mem, (struct gpa){ UINT64_MAX - 1 }, f->fd, 0, 9, &n),
                     -EFAULT);
    assert_int_equal(n, 77);
    assert_int_equal(resident(f), 0);
}

static void judges_by_what_filling_costs(void **state)
{
    (void)state;
    assert_false(mem_load_is_dear(4 * MS, 1 * MS, HUGE));
    assert_true(mem_load_is_dear(4 * MS + 4, 1 * MS, HUGE));
    assert_false(mem_load_is_dear(4 * MS + 4, 1 * MS, MIB)); /* half of it was filled */
    assert_true(mem_load_is_dear(8 * MS + 8, 1 * MS, MIB));
    assert_false(mem_load_is_dear(0, 0, HUGE));
    assert_true(mem_load_is_dear(MS, 0, 0));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(loads_what_begins_and_ends_anywhere),
        TEST(loads_into_normal_pages_what_is_less_than_half_a_huge_one),
        TEST(takes_a_huge_page_where_half_of_it_is_written),
        TEST(takes_no_more_huge_pages_when_one_was_dear),
        TEST(takes_dear_huge_pages_when_they_were_asked_for),
        TEST(takes_no_huge_pages_when_they_were_excluded),
        TEST(reads_where_files_cannot_be_copied_into_each_other),
        TEST(says_what_went_wrong),
        TEST(ends_with_the_file),
        TEST(copies_nothing_where_not_all_is_memory),
        cmocka_unit_test(one_dear_huge_page_among_cheap_ones_changes_nothing),
        TEST(no_huge_page_is_dear_where_free_ones_are_not_reported),
        cmocka_unit_test(knows_hosts_that_report_free_pages),
        cmocka_unit_test(judges_by_what_filling_costs),
    };

    return cmocka_run_group_tests_name("memory/mem_load", tests, NULL, NULL);
}
