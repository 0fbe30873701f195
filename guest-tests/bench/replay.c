/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay - what is done natively with the memory of guests that was written to files.
 *
 *   replay store FILE...        put all pages into one store, and into one for each file; JSON
 *   replay golden GOLDEN FILE... put the pages of each into one of its own with a golden file; JSON
 *   replay unique OUT FILE...   each content once, no zeroes, whole MiB
 *   replay hold FILE...         all but zeroes as mergeable memory, until the end of stdin
 *
 * CPU times are for a page that is not zeroes, bytes for one of all pages.
 */
#include "guest-tests/bench/captured.h"
#include "memory/store/store.h"
#include "vmm/base/macros.h"

struct result {
    double bytes_fast, bytes; /* held, before and after packing */
    double put_us, pack_us;   /* CPU time */
};

static size_t count_used(const struct captured *files, size_t n)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++)
        used += captured_used(&files[i]);
    return used;
}

static double held(struct store *store)
{
    struct store_counts c;

    store_count(store, &c);
    return (double)c.held_bytes;
}

/* What the evicting thread does when it has time. */
static void pack(struct store *store, struct store_press *press)
{
    for (int i = 0; i < 2; i++)
        store_age(store);
    while (store_pack(store, press))
        if (store_is_loose(store))
            store_trim(store);
    for (int i = 0; i < 100; i++)
        store_trim(store);
}

/* Results are added to @r. */
static void replay(const struct captured *files, size_t n, struct golden *golden, struct result *r)
{
    static const struct idset anywhere;
    static struct store_desk desk;
    static struct store_press press;
    struct store *store;
    size_t all = 0;
    uint32_t object;
    double begin;

    for (size_t i = 0; i < n; i++)
        all += files[i].n_pages;
    if (store_new(2 * all * CODEC_PAGE, (uint32_t)all, &anywhere, &store, NULL) < 0 ||
        codec_packer_init(&press.packer) < 0)
        die("a store");
    store_set_golden(store, golden);
    begin = cpu_us();
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < files[i].n_pages; k++)
            if (store_put(store, &desk, captured_page(&files[i], k), &object) < 0)
                die("put");
    r->put_us += cpu_us() - begin;
    store_trim(store);
    r->bytes_fast += held(store);
    begin = cpu_us();
    pack(store, &press);
    r->pack_us += cpu_us() - begin;
    r->bytes += held(store);
    codec_packer_fini(&press.packer);
    store_free(store);
}

static int do_store(const struct captured *files, size_t n)
{
    struct result one = { 0 }, apart = { 0 };
    const double used = (double)count_used(files, n);
    double all = 0;

    for (size_t i = 0; i < n; i++) {
        all += (double)files[i].n_pages;
        replay(&files[i], 1, NULL, &apart);
    }
    replay(files, n, NULL, &one);
    (void)printf("{\"pages\": %.0f, \"used\": %.0f, \"bytes\": %.2f, \"bytes_fast\": %.2f, \"bytes_apart\": %.2f, "
                 "\"put_us\": %.3f, \"all_us\": %.3f}\n",
                 all, used, one.bytes / all, one.bytes_fast / all, apart.bytes / all,
                 one.put_us / used, (one.put_us + one.pack_us) / used);
    return 0;
}

static int do_golden(const char *path, const struct captured *files, size_t n)
{
    struct result apart = { 0 };
    struct golden_counts counts;
    struct errctx ec = { 0 };
    const double used = (double)count_used(files, n);
    struct golden *golden;
    double all = 0;

    if (golden_open(path, &golden, &ec) < 0) {
        (void)fprintf(stderr, "%s\n", ec.msg);
        return 1;
    }
    golden_count(golden, &counts);
    for (size_t i = 0; i < n; i++) {
        all += (double)files[i].n_pages;
        replay(&files[i], 1, golden, &apart);
    }
    golden_close(golden);
    (void)printf("{\"bytes\": %.2f, \"put_us\": %.3f, \"file_bytes\": %.2f}\n", apart.bytes / all,
                 apart.put_us / used, (double)counts.file_bytes / all);
    return 0;
}

static int by_content(const void *a, const void *b)
{
    return memcmp(*(const uint8_t *const *)a, *(const uint8_t *const *)b, CODEC_PAGE);
}

static int do_unique(const char *path, const struct captured *files, size_t n)
{
    static const uint8_t zeroes[CODEC_PAGE];
    FILE *out = fopen(path, "we");
    const uint8_t **pages;
    size_t used = 0, done = 0;

    pages = calloc(count_used(files, n), sizeof(*pages));
    if (out == NULL || pages == NULL)
        die(path);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < files[i].n_pages; k++)
            if (!is_zero(captured_page(&files[i], k)))
                pages[used++] = captured_page(&files[i], k);
    qsort(pages, used, sizeof(*pages), by_content);
    for (size_t i = 0; i < used; i++)
        if (i == 0 || by_content(&pages[i], &pages[i - 1]) != 0)
            done += fwrite(pages[i], CODEC_PAGE, 1, out);
    (void)printf("%zu\n", done);
    while (done++ % 256 != 0)
        (void)fwrite(zeroes, CODEC_PAGE, 1, out);
    free(pages);
    return fclose(out) == 0 ? 0 : 1;
}

static void hold(const struct captured *file)
{
    const size_t used = count_used(file, 1), bytes = file->n_pages * CODEC_PAGE;
    uint8_t *to, *at;

    if (used == 0)
        return;
    to = mmap(NULL, used * CODEC_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (to == MAP_FAILED || madvise(to, used * CODEC_PAGE, MADV_NOHUGEPAGE) < 0 ||
        madvise(to, used * CODEC_PAGE, MADV_MERGEABLE) < 0)
        die("memory");
    at = to;
    for (size_t k = 0; k < file->n_pages; k++) {
        const uint8_t *page = captured_page(file, k);

        if (!is_zero(page)) {
            memcpy(at, page, CODEC_PAGE);
            at += CODEC_PAGE;
        }
    }
    (void)munmap((void *)(uintptr_t)file->start, bytes);
}

static int do_hold(const struct captured *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hold(&files[i]);
    (void)puts("ready");
    (void)fflush(stdout);
    return getchar() == EOF ? 0 : 1;
}

int main(int argc, char **argv)
{
    const bool more = argc > 1 && (strcmp(argv[1], "unique") == 0 || strcmp(argv[1], "golden") == 0);
    const int first = more ? 3 : 2;
    struct captured files[64];
    size_t n = 0;

    for (int i = first; i < argc && n < ARRAY_SIZE(files); i++)
        files[n++] = captured_open(argv[i]);
    if (n > 0 && strcmp(argv[1], "store") == 0)
        return do_store(files, n);
    if (n > 0 && strcmp(argv[1], "golden") == 0)
        return do_golden(argv[2], files, n);
    if (n > 0 && strcmp(argv[1], "unique") == 0)
        return do_unique(argv[2], files, n);
    if (n > 0 && strcmp(argv[1], "hold") == 0)
        return do_hold(files, n);
    (void)fprintf(stderr, "usage: replay store|hold FILE... | replay golden|unique FILE FILE...\n");
    return 2;
}
