/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fault thread allocates nothing: while it serves it gets no memory from malloc() and its kind, of
 * our code or a library's, and none from mmap() or brk(), and all that is away comes back, from each
 * place where it may be kept. On this machine's kernel.
 *
 * The program's own functions stand before those of the C library, for libraries, too. Sanitizers
 * have such functions themselves: under them only what comes back is looked at.
 */
// LDFLAGS: -Wl,--wrap=pager_serve
#include "memory/pager/test/pager_rig.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "memory/store/domain/domain_segments.h"
#include "memory/store/domain/domain_wire.h"
#include "memory/store/store_domain.h"
#include "memory/store/swap.h"
#include "memory/store/test/golden_file.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* --- what may not be called ------------------------------------------------------------------- */

static __thread bool in_fault_path;
static _Atomic unsigned n_refused; /* allocations, since the last look */

#if !SANITIZED
static bool refused(void)
{
    if (!in_fault_path)
        return false;
    atomic_fetch_add(&n_refused, 1);
    errno = ENOMEM;
    return true;
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size)
{
    return refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return refused() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return refused() ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t align, size_t size)
{
    return refused() ? NULL : __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return refused() ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
    if (refused())
        return ENOMEM;
    *ret = __libc_memalign(align, size);
    return *ret != NULL ? 0 : ENOMEM;
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    return refused() ? MAP_FAILED : (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

void *sbrk(intptr_t more)
{
    (void)more;
    (void)refused();
    errno = ENOMEM;
    return (void *)-1; /* glibc's malloc has a way of its own, and does without */
}
#endif

void __wrap_pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd);
void __real_pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd);

void __wrap_pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd)
{
    in_fault_path = true;
    __real_pager_serve(pager, vnode, quit_fd);
    in_fault_path = false;
}

static int forget_refusals(void **state)
{
    (void)state;
    atomic_store(&n_refused, 0);
    return 0;
}

/* What would be seen, here and in libraries. */
static void an_allocation_would_be_seen(void **state)
{
    char *copy, *text = NULL;
    void *memory, *aligned = NULL;
    FILE *file;

    (void)state;
    if (SANITIZED) {
        print_message("# skip: a sanitizer has a malloc of its own\n");
        skip();
    }
    in_fault_path = true;
    memory = malloc(16);
    copy = strdup("of the C library's own");
    file = open_memstream(&text, &(size_t){ 0 });
    (void)posix_memalign(&aligned, SMALL, SMALL);
    in_fault_path = false;
    assert_null(memory);
    assert_null(copy);
    assert_null(file);
    assert_null(aligned);
    assert_int_equal(atomic_load(&n_refused), 4);
}

/* --- places where pages are kept -------------------------------------------------------------- */

#define SECOND UINT64_C(1000000000)

static void nothing_was_allocated(struct rig *rig)
{
    assert_int_equal(atomic_load(&n_refused), 0);
    assert_int_equal(rig->lost, 0);
}

typedef void page_maker(uint32_t which, uint8_t *page);

/* Letters in any order, which Zstandard makes smaller than LZ4 can. */
static void letters_page(uint32_t which, uint8_t *page)
{
    uint64_t seed = which;

    for (size_t i = 0; i < SMALL; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        page[i] = (uint8_t)"eeeeetttaaoinshr"[seed >> 60];
    }
}

static void write_with(const struct rig *rig, size_t n, page_maker *page)
{
    for (size_t i = 0; i < n; i++)
        page((uint32_t)(1 + i), page_at(rig, 0, i));
}

static void write_pages(const struct rig *rig, size_t n)
{
    write_with(rig, n, golden_page);
}

/* One here and one there, then all. */
static void read_with(const struct rig *rig, size_t n, page_maker *page)
{
    uint8_t want[SMALL];

    for (size_t k = 0; k < n + 32; k++) {
        const size_t i = k < 32 ? (k * 397 + 5) % n : k - 32;

        page((uint32_t)(1 + i), want);
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
}

static void read_pages(const struct rig *rig, size_t n)
{
    read_with(rig, n, golden_page);
}

/* Zeroes, what LZ4 made smaller, and what it could not. */
static void from_a_store(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    write_pages(rig, PAGES);
    memset(page_at(rig, 1, 0), 0, NODE_BYTES);
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES);
    assert_int_equal(evict(rig, 1, NODE_BYTES), NODE_BYTES);
    c = count(rig, 0);
    assert_in_range(c.store.raw_objects, 100, c.store.objects - 100);
    assert_int_equal(count(rig, 1).away_zero_pages, PAGES);
    read_pages(rig, PAGES);
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(*(volatile uint64_t *)page_at(rig, 1, i), 0);
    nothing_was_allocated(rig);
    rig_fini(rig);
    free(rig);
}

static void packed_by_zstandard(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    rig->now_ns = 100 * SECOND;
    pager_pack(rig->pager, rig->now_ns);
    write_with(rig, PAGES, letters_page);
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES);
    for (int i = 0; i < 10000 && count(rig, 0).store.packed_objects < PAGES; i++)
        pager_pack(rig->pager, rig->now_ns += SECOND / 10);
    assert_int_equal(count(rig, 0).store.packed_objects, PAGES);
    read_with(rig, PAGES, letters_page);
    nothing_was_allocated(rig);
    rig_fini(rig);
    free(rig);
}

/* Beside the program: /tmp may be memory, which has no direct I/O everywhere. */
static char folder[256];

static void from_a_swap_file(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct swap_file file = { .fd = -1 };
    char path[sizeof(folder) + 32];
    struct errctx ec = { 0 };
    struct swap *swap;
    int fd, r;

    (void)state;
    assert_non_null(rig);
    (void)snprintf(path, sizeof(path), "%s/swap.XXXXXX", folder);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 2 * NODE_BYTES), 0);
    (void)close(fd);
    r = swap_file_open(path, &file, &ec);
    assert_int_equal(unlink(path), 0);
    if (r < 0) {
        free(rig);
        print_message("# skip: %s\n", ec.msg);
        skip();
    }
    assert_int_equal(swap_new(&file, &swap, NULL), 0);
    rig_init_swap(rig, 0, swap);
    write_pages(rig, PAGES);
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES);
    for (int i = 0; i < 4500; i++)
        pager_pack(rig->pager, rig->now_ns += SECOND / 10);
    assert_true(count(rig, 0).store.swapped_objects > 1000);
    read_pages(rig, PAGES);
    nothing_was_allocated(rig);
    rig_fini(rig);
    swap_free(swap);
    swap_file_close(&file);
    free(rig);
}

/* Through its ring as well: the host's page cache has nothing of it. */
static void from_a_golden_file(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct golden_files files;
    struct golden *golden;
    struct errctx ec = { 0 };
    int fd, r;

    (void)state;
    assert_non_null(rig);
    golden_files_init(&files);
    golden = golden_of(&files, 1, PAGES);
    r = golden_set_readers(golden, NODES + 1, &ec);
    if (r < 0)
        print_message("# without a ring: %s\n", ec.msg);
    rig_init_params(rig, &(struct pager_params){ .golden = golden });
    write_pages(rig, PAGES);
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES);
    assert_int_equal(count(rig, 0).store.golden_pages, PAGES);
    fd = open(files.file, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    (void)close(fd);
    read_pages(rig, PAGES);
    nothing_was_allocated(rig);
    rig_fini(rig);
    golden_close(golden);
    golden_files_fini(&files);
    free(rig);
}

/* As many pages as a segment has room for, as they are. */
static void from_a_segment_of_the_domain(void **state)
{
    enum { NUMBER = 3, SHARED = DOMAIN_SEGMENT / CODEC_PAGE };
    static struct store_scale scale;
    struct rig *rig = malloc(sizeof(*rig));
    struct domain_segments *segments;
    struct domain_spot spot;
    uint8_t *bytes;
    int fd;

    (void)state;
    assert_non_null(rig);
    assert_int_equal(domain_segments_new(&segments), 0);
    fd = memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DOMAIN_SEGMENT), 0);
    bytes = mmap(NULL, DOMAIN_SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE |
                                                F_SEAL_SEAL),
                     0);
    assert_int_equal(domain_segments_add(segments, NUMBER, fd, NULL), 0);
    rig_init(rig);
    assert_int_equal(store_set_domain(rig->pager->stores[0], segments), 0);
    write_pages(rig, SHARED);
    assert_int_equal(evict(rig, 0, NODE_BYTES), SHARED * SMALL);
    for (uint32_t i = 0; i < SHARED; i++) {
        uint8_t *at = bytes + (size_t)i * CODEC_PAGE;

        golden_page(1 + i, at);
        assert_true(domain_segments_spot(segments, NUMBER, i * CODEC_PAGE / DOMAIN_UNIT, &spot));
        assert_int_equal(store_domain_take(rig->pager->stores[0], &scale, golden_hash(at), spot,
                                           CODEC_PAGE, CODEC_RAW),
                         STORE_TOOK);
    }
    assert_int_equal(count(rig, 0).store.shared_objects, SHARED);
    read_pages(rig, SHARED);
    nothing_was_allocated(rig);
    rig_fini(rig);
    domain_segments_free(segments);
    (void)munmap(bytes, DOMAIN_SEGMENT);
    (void)close(fd);
    free(rig);
}

/* --- other answers ---------------------------------------------------------------------------- */

static void nor_for_what_is_new_or_lost_or_strange(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    const uint8_t *other;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    write_pages(rig, PAGES / 2);
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES / 2);
    store_damage(rig->pager->nodes[0].first,
                 page_object(atomic_load(&rig->pager->nodes[0].regions[0].words[PAGES / 4])));
    other = mmap(NULL, NODE_BYTES, PROT_READ, MAP_SHARED, guest_mem_backing(rig->mem, 0)->memfd, 0);
    assert_true(other != MAP_FAILED);
    assert_int_equal(*(const volatile uint8_t *)(other + 7 * SMALL), 0);
    assert_string_equal(why_lost(rig, 0, PAGES / 4),
                        "page 1024 of virtual node 0 was damaged in the store");
    read_pages(rig, PAGES / 4 - 1);
    assert_true(count(rig, 0).strange_pages > 0);
    for (size_t i = PAGES / 2; i < PAGES; i++) /* never touched */
        assert_int_equal(*(volatile uint64_t *)page_at(rig, 0, i), 0);
    assert_true(count(rig, 0).first_touches > 0);
    nothing_was_allocated(rig);
    (void)munmap((void *)(uintptr_t)other, NODE_BYTES);
    rig_fini(rig);
    free(rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_allocation_would_be_seen, forget_refusals),
        cmocka_unit_test_setup(from_a_store, forget_refusals),
        cmocka_unit_test_setup(packed_by_zstandard, forget_refusals),
        cmocka_unit_test_setup(from_a_swap_file, forget_refusals),
        cmocka_unit_test_setup(from_a_golden_file, forget_refusals),
        cmocka_unit_test_setup(from_a_segment_of_the_domain, forget_refusals),
        cmocka_unit_test_setup(nor_for_what_is_new_or_lost_or_strange, forget_refusals),
    };

    (void)argc;
    (void)snprintf(folder, sizeof(folder), "%s", argv[0]);
    if (strrchr(folder, '/') != NULL)
        *strrchr(folder, '/') = '\0';
    else
        (void)snprintf(folder, sizeof(folder), ".");
    return cmocka_run_group_tests_name("memory/pager/fault_path", tests, NULL, NULL);
}
