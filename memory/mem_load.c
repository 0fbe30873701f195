/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is dear is judged by CPU time of the thread and against the filling of the same page: a slow
 * machine, or an emulated one, slows both alike, and other processes count for neither.
 */
#include "memory/mem_load.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

enum {
    /* Clearing 2 MiB takes about as long as copying them, the faults that a huge page saves the
     * guest some three times as long. */
    DEAR_FACTOR = 4,
    HUGE_ORDER = 9, /* 2 MiB is 2^9 pages of 4 KiB */
};

/* The smallest block of free pages that is reported, as a power of two; before anybody asked for
 * reports -1 or, up to Linux 6.1, more than any block has. */
bool mem_load_host_reports(const char *root)
{
    uint64_t order;

    return kernel_file_u64(&order, root, "/sys/module/page_reporting/parameters/%s",
                           "page_reporting_order") &&
           order <= HUGE_ORDER;
}

bool mem_load_is_dear(uint64_t take_ns, uint64_t fill_ns, size_t len_bytes)
{
    const uint64_t whole_ns = len_bytes > 0 ? fill_ns * BACKING_EXTENT / len_bytes : 0;

    return take_ns / DEAR_FACTOR > whole_ns;
}

void mem_load_learn(struct mem_load *load, bool dear)
{
    load->found_cheap = load->found_cheap || !dear;
    load->dear_in_a_row = dear ? load->dear_in_a_row + 1 : 0;
}

void mem_load_forget(struct mem_load *load)
{
    *load = (struct mem_load){ .may_be_dear = load->may_be_dear };
}

bool mem_load_wants_huge(const struct mem_load *load)
{
    return !load->may_be_dear || load->dear_in_a_row < (load->found_cheap ? 2 : 1);
}

static uint64_t cpu_ns(void)
{
    struct timespec t = { 0 };

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Through the mapping. */
static int read_into(const struct backing *b, size_t off, int fd, uint64_t file_off, size_t len,
                     size_t *ret_len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, b->host + off + done, len - done, (off_t)(file_off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* a page that cannot be had is no mistake in an address */
            return errno == EFAULT ? -ENOMEM : -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

/* From file to file. -EINVAL where the one or the other cannot do that, nothing is copied then. */
static int send_into(const struct backing *b, size_t off, int fd, uint64_t file_off, size_t len,
                     size_t *ret_len)
{
    off_t from = (off_t)file_off;
    size_t done = 0;

    if (lseek(b->memfd, backing_file_at(b, off), SEEK_SET) < 0)
        return -errno;
    while (done < len) {
        ssize_t n = sendfile(b->memfd, fd, &from, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ENOSPC ? -ENOMEM : -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

/* What cannot be taken now, reading meets as a fault. */
static int load_small(const struct backing *b, size_t off, int fd, uint64_t file_off, size_t len,
                      size_t *ret_len)
{
    if (backing_page_bytes(b) == BACKING_PAGE) {
        int r = send_into(b, off, fd, file_off, len, ret_len);

        if (r != -EINVAL)
            return r;
    }
    (void)backing_take(b, off, len);
    return read_into(b, off, fd, file_off, len, ret_len);
}

/* [@off, @off + @len) lies in one extent. */
static int load_piece(struct mem_load *load, const struct backing *b, size_t off, int fd,
                      uint64_t file_off, size_t len, size_t *ret_len)
{
    const bool asked_for = b->plan->pages == GUEST_PAGES_THP;
    uint64_t begin, taken;
    int r;

    if (len < BACKING_HUGE_WORTH || (!asked_for && !mem_load_wants_huge(load)))
        return load_small(b, off, fd, file_off, len, ret_len);
    begin = cpu_ns();
    if (backing_take_huge(b, off) < 0)
        return load_small(b, off, fd, file_off, len, ret_len);
    taken = cpu_ns();
    r = read_into(b, off, fd, file_off, len, ret_len);
    if (r == 0)
        mem_load_learn(load, mem_load_is_dear(taken - begin, cpu_ns() - taken, *ret_len));
    return r;
}

int mem_load(struct mem_load *load, const struct backing *b, size_t off, int fd, uint64_t file_off,
             size_t len, size_t *ret_len)
{
    size_t done = 0;

    while (done < len) {
        const size_t to_border =
            BACKING_EXTENT - (uintptr_t)(b->host + off + done) % BACKING_EXTENT;
        const size_t piece = MIN(len - done, to_border);
        size_t n = 0;
        int r = load_piece(load, b, off + done, fd, file_off + done, piece, &n);

        if (r < 0)
            return r;
        done += n;
        if (n < piece)
            break;
    }
    *ret_len = done;
    return 0;
}
