/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "memory/numa_policy.h"
#include "memory/page_table.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

enum { PAGE_BYTES = BACKING_PAGE, HUGE_BYTES = BACKING_EXTENT };

int mem_area_init(size_t len_bytes, size_t align, struct mem_area *ret_area, struct errctx *ec)
{
    uint8_t *start;
    size_t head;

    start = mmap(NULL, len_bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    if (start == MAP_FAILED)
        return errctx_set_os(ec, errno, "find addresses for %zu bytes", len_bytes);
    head = (align - (uintptr_t)start % align) % align;
    if (head > 0)
        (void)munmap(start, head);
    (void)munmap(start + head + len_bytes, align - head);
    *ret_area = (struct mem_area){ start + head, len_bytes };
    return 0;
}

void mem_area_fini(struct mem_area *area)
{
    if (area->start != NULL)
        (void)munmap(area->start, area->len_bytes);
    *area = (struct mem_area){ 0 };
}

size_t backing_page_bytes(const struct backing *b)
{
    const uint64_t page = guest_page_bytes(b->plan->pages);

    return page > 0 ? page : PAGE_BYTES;
}

static bool from_pool(const struct topo_plan_backing *plan)
{
    return guest_page_bytes(plan->pages) > 0;
}

static int make_file(const char *name, enum guest_page_kind pages, uint64_t len_bytes, int *ret_fd,
                     struct errctx *ec)
{
    const unsigned kind = pages == GUEST_PAGES_1G   ? MFD_HUGETLB | MFD_HUGE_1GB
                          : pages == GUEST_PAGES_2M ? MFD_HUGETLB | MFD_HUGE_2MB
                                                    : 0;
    int fd, r;

    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kind);
    if (fd < 0)
        return kind == 0 ? errctx_set_os(ec, errno, "memfd_create")
                         : errctx_set_os(ec, errno, "memfd_create with pages of %s",
                                         guest_page_name(pages));
    if (ftruncate(fd, (off_t)len_bytes) < 0) {
        r = errctx_set_os(ec, errno, "size of %zu bytes", (size_t)len_bytes);
        goto err_close;
    }
    /* A process that is handed the file could cut it short under our mapping. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        r = errctx_set_os(ec, errno, "seal the size");
        goto err_close;
    }
    *ret_fd = fd;
    return 0;

err_close:
    (void)close(fd);
    return r;
}

/* Runs of chunks with the same home are bound at once. */
static int bind_chunks(const struct topo_plan_backing *plan, uint8_t *at, struct errctx *ec)
{
    uint64_t off = 0;

    while (off < plan->len_bytes) {
        const struct hnode_id home = topo_plan_backing_home(plan, off);
        struct idset one = { 0 };
        uint64_t end = off;
        int r;

        idset_add(&one, home.v);
        while (end < plan->len_bytes && topo_plan_backing_home(plan, end).v == home.v)
            end = MIN(end + plan->chunk_bytes, plan->len_bytes);
        r = numa_policy_apply(at + off, end - off, GUEST_POLICY_BIND, &one, ec);
        if (r < 0)
            return r;
        off = end;
    }
    return 0;
}

static int set_policy(const struct topo_plan_backing *plan, uint8_t *at, bool keep,
                      struct errctx *ec)
{
    if (plan->chunk_bytes > 0)
        return bind_chunks(plan, at, ec);
    if (plan->policy != GUEST_POLICY_NONE)
        return numa_policy_apply(at, plan->len_bytes, plan->policy, &plan->host_nodes, ec);
    return keep ? numa_policy_keep(at, plan->len_bytes, ec) : 0;
}

static int advise(const struct topo_plan_backing *plan, uint8_t *at, size_t len_bytes,
                  struct errctx *ec)
{
    if (madvise(at, len_bytes, MADV_DONTFORK) < 0 ||
        madvise(at, len_bytes, MADV_DONTDUMP) < 0)
        return errctx_set_os(ec, errno, "madvise");
    /* A kernel that knows no transparent huge pages refuses both, and has 4 KiB pages only. */
    if (plan->pages == GUEST_PAGES_4K)
        (void)madvise(at, len_bytes, MADV_NOHUGEPAGE);
    else if (plan->pages == GUEST_PAGES_THP)
        (void)madvise(at, len_bytes, MADV_HUGEPAGE);
    return 0;
}

/* In place of the area's addresses, which are put back when something fails. */
static int put_in(const struct topo_plan_backing *plan, uint8_t *at, bool keep, int fd,
                  uint64_t file_off, struct errctx *ec)
{
    const bool aside = from_pool(plan) && (plan->reserve || plan->prealloc);
    int r;

    if (mmap(at, plan->len_bytes, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED | (aside ? 0 : MAP_NORESERVE), fd,
             (off_t)file_off) == MAP_FAILED)
        return errno == ENOMEM && aside
                   ? errctx_set(ec, ENOMEM, "the pool has fewer than %llu free pages of %s",
                                (unsigned long long)(plan->len_bytes /
                                                     guest_page_bytes(plan->pages)),
                                guest_page_name(plan->pages))
                   : errctx_set_os(ec, errno, "map %zu bytes", (size_t)plan->len_bytes);
    r = advise(plan, at, plan->len_bytes, ec);
    if (r == 0)
        r = set_policy(plan, at, keep, ec);
    if (r < 0)
        (void)mmap(at, plan->len_bytes, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return r;
}

static struct backing made(const struct topo_plan_backing *plan, uint8_t *at, int fd)
{
    return (struct backing){
        .plan = plan, .memfd = fd, .host = at, .len_bytes = plan->len_bytes,
        .home = { .policy = plan->policy, .host_nodes = plan->host_nodes },
    };
}

int backing_init(const struct topo_plan_backing *plan, uint8_t *at, bool keep,
                 struct backing *ret_backing, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    char name[32];
    int r;

    (void)snprintf(name, sizeof(name), "guest-ram-%u", plan->vnode.v);
    r = make_file(name, plan->pages, plan->len_bytes, &fd, ec);
    if (r == 0)
        r = put_in(plan, at, keep, fd, 0, ec);
    if (r == 0)
        *ret_backing = made(plan, at, take_fd(&fd));
    return r;
}

int backing_file_new(uint64_t len_bytes, int *ret_fd, struct errctx *ec)
{
    return make_file("guest-ram", GUEST_PAGES_ANY, len_bytes, ret_fd, ec);
}

int backing_init_in(const struct topo_plan_backing *plan, uint8_t *at, bool keep, int file,
                    uint64_t file_off, struct backing *ret_backing, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = fcntl(file, F_DUPFD_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return errctx_set_os(ec, errno, "a descriptor of the memory file");
    r = put_in(plan, at, keep, fd, file_off, ec);
    if (r < 0)
        return r;
    *ret_backing = made(plan, at, take_fd(&fd));
    ret_backing->file_off = file_off;
    ret_backing->shares_file = true;
    return 0;
}

int backing_remap(const struct backing *b, size_t off, size_t len_bytes, struct errctx *ec)
{
    if (mmap(b->host + off, len_bytes, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED | MAP_NORESERVE, b->memfd,
             backing_file_at(b, off)) == MAP_FAILED)
        return errctx_set_os(ec, errno, "map %zu bytes", len_bytes);
    return advise(b->plan, b->host + off, len_bytes, ec);
}

int backing_aim(const struct backing *b, const struct backing_home *home, struct errctx *ec)
{
    if (home->policy == GUEST_POLICY_NONE)
        return numa_policy_keep(b->host, b->len_bytes, ec);
    return numa_policy_apply(b->host, b->len_bytes, home->policy, &home->host_nodes, ec);
}

int backing_aim_home(const struct backing *b, struct errctx *ec)
{
    return b->moved ? backing_aim(b, &b->home, ec) : set_policy(b->plan, b->host, true, ec);
}

void backing_fini(struct backing *b)
{
    if (b->host == NULL)
        return;
    (void)close(b->memfd);
    *b = (struct backing){ 0 };
}

bool backing_comes_huge(const char *root, enum guest_page_kind pages)
{
    char choice[32];

    if (pages == GUEST_PAGES_4K)
        return false;
    kernel_file_choice(choice, sizeof(choice), root, BACKING_HUGE_CHOICE);
    return strcmp(choice, "always") == 0 || strcmp(choice, "within_size") == 0 ||
           strcmp(choice, "force") == 0 ||
           (strcmp(choice, "advise") == 0 && pages == GUEST_PAGES_THP);
}

bool backing_can_collapse(void)
{
    return page_table_collapse(NULL, 0) == 0;
}

/* With shmem_enabled=never, the default, a memfd gets huge pages by MADV_COLLAPSE only, which wants
 * one page to be there and fills the rest. */
int backing_take_huge(const struct backing *b, size_t off)
{
    uint8_t *const page = b->host + off;
    uint8_t *const extent = page - (uintptr_t)page % HUGE_BYTES;

    if (from_pool(b->plan) || b->plan->pages == GUEST_PAGES_4K || extent < b->host ||
        HUGE_BYTES > (size_t)(b->host + b->len_bytes - extent))
        return -EINVAL;
    /* One byte: the kernel takes the page that holds it. */
    if (madvise(page - (uintptr_t)page % PAGE_BYTES, 1, MADV_POPULATE_WRITE) < 0)
        return -errno;
    return page_table_collapse(extent, HUGE_BYTES);
}

int backing_take(const struct backing *b, size_t off, size_t len_bytes)
{
    const size_t page = backing_page_bytes(b);
    const size_t last = MIN(align_up(off + len_bytes, page), b->len_bytes);
    uint8_t *start = b->host + align_down(off, page), *const end = b->host + last;

    if (from_pool(b->plan) || b->plan->pages == GUEST_PAGES_4K) {
        if (madvise(start, (size_t)(end - start), MADV_POPULATE_WRITE) == 0)
            return 0;
        /* EFAULT: the touch would have raised SIGBUS, since the pool is empty. */
        return errno == EFAULT ? -ENOMEM : -errno;
    }
    while (start < end) {
        const size_t to_border = HUGE_BYTES - (uintptr_t)start % HUGE_BYTES;
        const size_t len = MIN((size_t)(end - start), to_border);

        if ((len < BACKING_HUGE_WORTH || backing_take_huge(b, (size_t)(start - b->host)) < 0) &&
            madvise(start, len, MADV_POPULATE_WRITE) < 0)
            return -errno;
        start += len;
    }
    return 0;
}

int backing_reserve(const struct backing *b, struct errctx *ec)
{
    if (from_pool(b->plan))
        return 0; /* by mapping it */
    if (fallocate(b->memfd, 0, backing_file_at(b, 0), (off_t)b->len_bytes) < 0)
        return errctx_set_os(ec, errno, "reserve %zu bytes", b->len_bytes);
    return 0;
}

/* Bytes of [@off, @end) that the host has memory for. */
static int count_present(const struct backing *b, size_t off, size_t end, uint64_t *ret_bytes)
{
    unsigned char there[HUGE_BYTES / PAGE_BYTES];
    uint64_t bytes = 0;

    while (off < end) {
        const size_t len = MIN(end - off, (size_t)HUGE_BYTES);

        if (mincore(b->host + off, len, there) < 0)
            return -errno;
        for (size_t i = 0; i < len / PAGE_BYTES; i++)
            bytes += (there[i] & 1u) * (uint64_t)PAGE_BYTES;
        off += len;
    }
    *ret_bytes = bytes;
    return 0;
}

uint64_t backing_held_bytes(const struct backing *b)
{
    uint64_t bytes = 0;
    struct stat st;

    if (!b->shares_file)
        return fstat(b->memfd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    if (b->plan->reserve || b->plan->prealloc)
        return b->len_bytes;
    return count_present(b, 0, b->len_bytes, &bytes) == 0 ? bytes : 0;
}

enum { GIVE_TRIES = 8, GIVE_PAUSE_NS = 50 * 1000 /* before the second, twice that before the third */ };

static int punch(const struct backing *b, size_t off, size_t end)
{
    return fallocate(b->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, backing_file_at(b, off),
                     (off_t)(end - off)) < 0
               ? -errno
               : 0;
}

/* Counted twice, since the kernel clears a part of a huge page that it cannot split just now, and
 * keeps it. That is so while somebody comes to the rest of it, which a moment later it can. */
int backing_give_back(const struct backing *b, size_t off, size_t len_bytes, uint64_t *gone_bytes)
{
    const size_t page = backing_page_bytes(b);
    const size_t first = align_up(off, page), end = align_down(off + len_bytes, page);
    uint64_t before, after = 1;
    int r;

    if (b->plan->reserve || b->plan->prealloc || first >= end)
        return 0;
    r = count_present(b, first, end, &before);
    for (unsigned i = 0; r == 0 && after > 0 && i < GIVE_TRIES; i++) {
        const struct timespec pause = { .tv_nsec = (long)GIVE_PAUSE_NS << i >> 1 };

        if (i > 0)
            (void)nanosleep(&pause, NULL);
        r = punch(b, first, end);
        if (r == 0)
            r = count_present(b, first, end, &after);
    }
    if (r == 0)
        *gone_bytes += before - MIN(before, after);
    return r;
}

/* What the pool gave stays ours: given back, it could be another's when we want it again. */
static void clear_pages(const struct backing *b)
{
    const size_t page = backing_page_bytes(b);
    unsigned char there;

    for (size_t off = 0; off < b->len_bytes; off += page)
        if (mincore(b->host + off, PAGE_BYTES, &there) == 0 && (there & 1) != 0)
            memset(b->host + off, 0, page);
}

int backing_discard(struct backing *b, struct errctx *ec)
{
    int r;

    if (from_pool(b->plan) && (b->plan->reserve || b->plan->prealloc)) {
        clear_pages(b);
        return 0;
    }
    r = punch(b, 0, b->len_bytes);
    return r < 0 ? errctx_set_os(ec, -r, "give %zu bytes back", b->len_bytes) : 0;
}
